//! Opening files, finding them by name, directories.

use super::names::{AT_EMPTY_PATH, AT_FDCWD};
use super::{Errno, Outcome, layout, process, syscall};
use crate::fs::file::{OpenFile, flags};
use crate::fs::walk::{Last, PATH_MAX};
use crate::fs::{Path, access, cache, devices, fifo};
use crate::user;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::Error;
use driver_api::vfs::{DeviceNumber, FileType, NewInode};

/// A path from the app.
///
/// # Errors
/// `Fault`, `NameTooLong`.
pub fn read_path(at: usize) -> Result<Vec<u8>, Error> {
    user::read_string(at, PATH_MAX)
}

/// Where a relative path begins.
pub struct Base(Option<Arc<Path>>);

impl Base {
    /// The directory behind `fd`; the working directory for `AT_FDCWD` and absolute paths.
    ///
    /// # Errors
    /// `BadFile`, `NotDirectory`.
    pub fn of(fd: i32, path: &[u8]) -> Result<Self, Error> {
        if fd == AT_FDCWD || path.starts_with(b"/") {
            return Ok(Self(None));
        }
        Ok(Self(Some(process()?.file(fd)?.directory()?.clone())))
    }

    /// It, for a walker.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

/// The file that `path` names; with `empty_is_fd` an empty path names the file behind `fd`.
///
/// # Errors
/// What the walk gives.
pub fn find(fd: i32, path: usize, follow: bool, empty_is_fd: bool) -> Result<Path, Error> {
    let path = read_path(path)?;
    let process = process()?;
    if path.is_empty() && empty_is_fd {
        if fd == AT_FDCWD {
            return Ok(process.places.lock().cwd.clone());
        }
        return process.file(fd)?.path.as_deref().cloned().ok_or(Error::BadFile);
    }
    let base = Base::of(fd, &path)?;
    process.walk(base.path(), |w| w.resolve(&path, follow))
}

/// Finds or makes the file to open.
fn locate(fd: i32, path: &[u8], how: u32, mode: u32) -> Result<(Path, bool), Error> {
    let process = process()?;
    let base = Base::of(fd, path)?;
    let follow = how & flags::NOFOLLOW == 0;
    if how & flags::CREAT == 0 {
        return Ok((process.walk(base.path(), |w| w.resolve(path, follow))?, false));
    }
    let exclusive = how & flags::EXCL != 0;
    let parent = process.walk(base.path(), |w| {
        if follow && !exclusive { w.parent_following(path) } else { w.parent(path) }
    })?;
    let name = match &parent.last {
        Last::Itself if exclusive => return Err(Error::Exists),
        Last::Itself => return Ok((parent.dir, false)),
        Last::Name(name) => name,
    };
    if parent.want_directory {
        return Err(Error::IsDirectory);
    }
    let dir = &parent.dir;
    let umask = process.places.lock().umask;
    loop {
        match process.walk(Some(dir), |w| w.step(dir, name)) {
            Ok(_) if exclusive => return Err(Error::Exists),
            Ok(found) => return Ok((found, false)),
            Err(Error::NotFound) => {}
            Err(e) => return Err(e),
        }
        dir.check_writable()?;
        let meta = dir.inode().metadata();
        access::check(process.who, &meta, access::WRITE | access::EXECUTE)?;
        let new = NewInode {
            kind: FileType::Regular,
            mode: mode as u16 & 0o7777 & !umask,
            uid: process.who.uid,
            gid: if meta.mode & 0o2000 != 0 { meta.gid } else { process.who.gid },
            device: DeviceNumber::default(),
            target: b"",
            now: super::time::now(),
        };
        match dir.dentry.create(name, &new) {
            // Another thread was quicker: look again.
            Err(Error::Exists) => {}
            other => return Ok((dir.with(other?), true)),
        }
    }
}

fn open(fd: i32, path: usize, raw: u32, mode: u32) -> Outcome {
    let how = layout::open_flags_in(raw);
    let path = read_path(path)?;
    let process = process()?;
    if how & flags::ACCMODE == flags::ACCMODE {
        return Err(Errno::EINVAL);
    }
    // O_TMPFILE has the bit of O_DIRECTORY and one of its own.
    if how & 0o20_000_000 != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let (found, fresh) = locate(fd, &path, how, mode)?;
    let meta = found.inode().metadata();
    let place_only = how & flags::PATH != 0;
    match meta.kind {
        FileType::Symlink if !place_only => return Err(Error::TooManySymlinks.into()),
        FileType::Directory
            if how & (flags::ACCMODE | flags::CREAT | flags::TRUNC) != 0 && !place_only =>
        {
            return Err(Error::IsDirectory.into());
        }
        FileType::Directory => {}
        _ if how & flags::DIRECTORY != 0 => return Err(Error::NotDirectory.into()),
        _ => {}
    }
    if !place_only && !fresh {
        let wanted = match how & flags::ACCMODE {
            0 => access::READ,
            flags::WRONLY => access::WRITE,
            _ => access::READ | access::WRITE,
        };
        access::check(process.who, &meta, wanted)?;
        if wanted & access::WRITE != 0 && meta.kind == FileType::Regular {
            found.check_writable()?;
        }
    }
    let stream = match meta.kind {
        FileType::CharDevice | FileType::BlockDevice if !place_only => {
            Some(devices::open(meta.device).ok_or(Error::NoDevice)?)
        }
        FileType::Fifo if !place_only => {
            Some(fifo::opener().ok_or(Error::NoDevice)?(found.inode(), how)?)
        }
        // Sockets have nobody behind them.
        FileType::Socket if !place_only => return Err(Error::NoDevice.into()),
        _ => None,
    };
    if how & flags::TRUNC != 0 && meta.kind == FileType::Regular && !place_only && !fresh {
        access::check(process.who, &meta, access::WRITE)?;
        found.check_writable()?;
        cache::truncate(&found, 0)?;
    }
    let file = OpenFile::new(Some(Arc::new(found)), stream, how);
    Ok(process.files.lock().add(file, how & flags::CLOEXEC != 0, 0)? as usize)
}

/// Fills the app's buffer with `struct linux_dirent64`.
fn entries(fd: i32, to: usize, len: usize) -> Outcome {
    /// Bytes before the name: inode, offset, record length, type.
    const HEAD: usize = 19;
    let file = process()?.file(fd)?;
    let path = file.directory()?.clone();
    if path.dentry.removed() {
        return Err(Error::NotFound.into());
    }
    let len = len.min(1 << 16);
    let mut out: Vec<u8> = Vec::new();
    let parent =
        path.dentry.parent().map_or(path.inode().metadata().ino, |p| p.inode().metadata().ino);
    let own = path.inode().metadata().ino;
    // `.` and `..` have the cursors 1 and 2, the file system's are moved up by 2.
    let full = core::cell::Cell::new(false);
    let add = |out: &mut Vec<u8>, name: &[u8], ino: u64, kind: FileType, next: u64| {
        let record = (HEAD + name.len() + 1).next_multiple_of(8);
        if out.len() + record > len {
            full.set(true);
            return false;
        }
        let start = out.len();
        out.extend_from_slice(&ino.to_le_bytes());
        out.extend_from_slice(&next.to_le_bytes());
        out.extend_from_slice(&(record as u16).to_le_bytes());
        // DT_* are the type bits of st_mode.
        out.push((kind.mode_bits() >> 12) as u8);
        out.extend_from_slice(name);
        out.resize(start + record, 0);
        true
    };
    file.with_offset(|cursor| -> Outcome {
        let mut at = *cursor;
        if at == 0 && add(&mut out, b".", own, FileType::Directory, 1) {
            at = 1;
        }
        if at == 1 && add(&mut out, b"..", parent, FileType::Directory, 2) {
            at = 2;
        }
        if at >= 2 {
            path.inode().read_dir(at - 2, &mut |e| {
                let taken = add(&mut out, e.name, e.ino, e.kind, e.next + 2);
                if taken {
                    at = e.next + 2;
                }
                taken
            })?;
        }
        if out.is_empty() && full.get() {
            return Err(Errno::EINVAL);
        }
        user::write(to, &out)?;
        *cursor = at;
        Ok(out.len())
    })
}

fn change_directory(path: Path) -> Outcome {
    let process = process()?;
    let meta = path.inode().metadata();
    if meta.kind != FileType::Directory {
        return Err(Error::NotDirectory.into());
    }
    access::check(process.who, &meta, access::EXECUTE)?;
    let old = core::mem::replace(&mut process.places.lock().cwd, path);
    drop(old);
    Ok(0)
}

syscall! {
    /// `open(2)`, without `O_TMPFILE`.
    fn open(path: usize, how: u32, mode: u32) {
        open(AT_FDCWD, path, how, mode)
    }

    /// `openat(2)`, without `O_TMPFILE`.
    fn openat(fd: i32, path: usize, how: u32, mode: u32) {
        open(fd, path, how, mode)
    }

    /// `creat(2)`.
    fn creat(path: usize, mode: u32) {
        open(AT_FDCWD, path, flags::CREAT | flags::WRONLY | flags::TRUNC, mode)
    }

    /// `getdents64(2)`.
    fn getdents64(fd: i32, to: usize, len: usize) {
        entries(fd, to, len)
    }

    /// `getcwd(2)`.
    fn getcwd(to: usize, len: usize) {
        let (root, cwd) = {
            let places = process()?.places.lock();
            (places.root.clone(), places.cwd.clone())
        };
        if cwd.dentry.removed() {
            return Err(Error::NotFound.into());
        }
        let mut path = cwd.absolute(&root);
        path.push(0);
        if path.len() > len {
            return Err(Errno::ERANGE);
        }
        user::write(to, &path)?;
        Ok(path.len())
    }

    /// `chdir(2)`.
    fn chdir(path: usize) {
        change_directory(find(AT_FDCWD, path, true, false)?)
    }

    /// `fchdir(2)`.
    fn fchdir(fd: i32) {
        let path = process()?.file(fd)?.directory()?.as_ref().clone();
        change_directory(path)
    }

    /// `chroot(2)`.
    fn chroot(path: usize) {
        let process = process()?;
        let path = find(AT_FDCWD, path, true, false)?;
        if path.inode().metadata().kind != FileType::Directory {
            return Err(Error::NotDirectory.into());
        }
        if process.who.uid != 0 {
            return Err(Errno::EPERM);
        }
        let old = core::mem::replace(&mut process.places.lock().root, path);
        drop(old);
        Ok(0)
    }

    /// `umask(2)`.
    fn umask(mask: u32) {
        let mut places = process()?.places.lock();
        let old = core::mem::replace(&mut places.umask, mask as u16 & 0o777);
        Ok(usize::from(old))
    }
}

/// Whether `how` has flags that `find`'s callers know.
pub const fn known_at_flags(how: u32) -> bool {
    // AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH, AT_STATX_*
    how & !(super::names::AT_SYMLINK_NOFOLLOW | 0x800 | AT_EMPTY_PATH | 0x6000) == 0
}
