//! Names of files: made, removed, moved, linked, read.

use super::open::{Base, read_path};
use super::{Errno, Outcome, process, syscall};
use crate::fs::walk::{Last, Parent};
use crate::fs::{Path, access, fifo};
use crate::user;
use alloc::boxed::Box;
use driver_api::Error;
use driver_api::vfs::{DeviceNumber, FileType, NewInode, RenameMode};

/// `AT_FDCWD`.
pub const AT_FDCWD: i32 = -100;
/// `AT_SYMLINK_NOFOLLOW`.
pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// `AT_REMOVEDIR`.
const AT_REMOVEDIR: u32 = 0x200;
/// `AT_SYMLINK_FOLLOW`.
const AT_SYMLINK_FOLLOW: u32 = 0x400;
/// `AT_EMPTY_PATH`.
pub const AT_EMPTY_PATH: u32 = 0x1000;

/// The directory and the name that `path` ends in, for making or removing it; `itself` is
/// the error for `/`, `.` and `..`.
fn place(fd: i32, path: usize, itself: Error) -> Result<(Parent, Box<[u8]>), Error> {
    let path = read_path(path)?;
    let base = Base::of(fd, &path)?;
    let parent = process()?.walk(base.path(), |w| w.parent(&path))?;
    let name = match &parent.last {
        Last::Name(name) => name.clone(),
        Last::Itself => return Err(itself),
    };
    Ok((parent, name))
}

/// What is called `name` in `dir`.
fn entry(dir: &Path, name: &[u8]) -> Result<Path, Error> {
    process()?.walk(Some(dir), |w| w.step(dir, name))
}

fn make(fd: i32, path: usize, kind: FileType, mode: u32, device: u64, target: &[u8]) -> Outcome {
    let process = process()?;
    let (parent, name) = place(fd, path, Error::Exists)?;
    if parent.want_directory && kind != FileType::Directory {
        return Err(Error::NotFound.into());
    }
    let dir = &parent.dir;
    // That it is there is said before that it may not be made.
    match entry(dir, &name) {
        Ok(_) => return Err(Error::Exists.into()),
        Err(Error::NotFound) => {}
        Err(e) => return Err(e.into()),
    }
    dir.check_writable()?;
    let meta = dir.inode().metadata();
    access::check(process.who, &meta, access::WRITE | access::EXECUTE)?;
    let umask = process.places.lock().umask;
    let new = NewInode {
        kind,
        mode: if kind == FileType::Symlink { 0o777 } else { mode as u16 & 0o7777 & !umask },
        uid: process.who.uid,
        // A directory with the set-group-ID bit gives its group to what is in it.
        gid: if meta.mode & 0o2000 != 0 { meta.gid } else { process.who.gid },
        device: DeviceNumber {
            major: (device >> 8 & 0xfff) as u32,
            minor: (device & 0xff | device >> 12 & !0xff) as u32,
        },
        target,
        now: super::time::now(),
    };
    dir.dentry.create(&name, &new)?;
    Ok(0)
}

fn remove(fd: i32, path: usize, directory: bool) -> Outcome {
    let process = process()?;
    let itself = if directory { Error::Invalid } else { Error::IsDirectory };
    let (parent, name) = place(fd, path, itself)?;
    if parent.want_directory && !directory {
        let found = entry(&parent.dir, &name)?;
        let is_directory = found.inode().metadata().kind == FileType::Directory;
        return Err(if is_directory { Error::IsDirectory } else { Error::NotDirectory }.into());
    }
    process.mounts.remove(process.who, &parent.dir, &name, directory, super::time::now())?;
    Ok(0)
}

fn rename(from_fd: i32, from: usize, to_fd: i32, to: usize, how: u32) -> Outcome {
    let mode = match how {
        0 => RenameMode::Replace,
        1 => RenameMode::NoReplace,
        2 => RenameMode::Exchange,
        _ => return Err(Errno::EINVAL),
    };
    let process = process()?;
    let (from, from_name) = place(from_fd, from, Error::Busy)?;
    let (to, to_name) = place(to_fd, to, Error::Busy)?;
    let now = super::time::now();
    if from.want_directory || to.want_directory {
        let source = entry(&from.dir, &from_name)?;
        if source.inode().metadata().kind != FileType::Directory {
            return Err(Error::NotDirectory.into());
        }
    }
    process.mounts.rename(process.who, (&from.dir, &from_name), (&to.dir, &to_name), mode, now)?;
    Ok(0)
}

fn link(from_fd: i32, from: usize, to_fd: i32, to: usize, how: u32) -> Outcome {
    if how & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let process = process()?;
    let source =
        super::open::find(from_fd, from, how & AT_SYMLINK_FOLLOW != 0, how & AT_EMPTY_PATH != 0)?;
    let (parent, name) = place(to_fd, to, Error::Exists)?;
    // A file, for what is behind a `/` would have to be a directory.
    if parent.want_directory {
        return Err(Error::NotFound.into());
    }
    let dir = &parent.dir;
    if !alloc::sync::Arc::ptr_eq(&source.mount, &dir.mount) {
        return Err(Error::CrossDevice.into());
    }
    dir.check_writable()?;
    access::check(process.who, &dir.inode().metadata(), access::WRITE | access::EXECUTE)?;
    dir.dentry.link(&name, source.inode(), super::time::now())?;
    Ok(0)
}

fn read_link(fd: i32, path: usize, to: usize, len: usize) -> Outcome {
    if len == 0 || len > i32::MAX as usize {
        return Err(Errno::EINVAL);
    }
    let link = super::open::find(fd, path, false, true)?;
    let target = link.inode().read_link()?;
    let n = target.len().min(len);
    user::write(to, target.get(..n).unwrap_or(&[]))?;
    Ok(n)
}

fn symlink(target: usize, fd: i32, path: usize) -> Outcome {
    let target = read_path(target)?;
    if target.is_empty() {
        return Err(Error::NotFound.into());
    }
    make(fd, path, FileType::Symlink, 0, 0, &target)
}

fn make_node(fd: i32, path: usize, mode: u32, device: u64) -> Outcome {
    let kind = match mode & 0o170_000 {
        0 => FileType::Regular,
        _ => FileType::from_mode(mode).ok_or(Errno::EINVAL)?,
    };
    match kind {
        FileType::Directory => Err(Error::NotPermitted.into()),
        FileType::Symlink => Err(Errno::EINVAL),
        FileType::Fifo => {
            fifo::enable();
            make(fd, path, kind, mode, device, b"")
        }
        _ => make(fd, path, kind, mode, device, b""),
    }
}

syscall! {
    /// `mkdir(2)`.
    fn mkdir(path: usize, mode: u32) {
        make(AT_FDCWD, path, FileType::Directory, mode & 0o1777, 0, b"")
    }

    /// `mkdirat(2)`.
    fn mkdirat(fd: i32, path: usize, mode: u32) {
        make(fd, path, FileType::Directory, mode & 0o1777, 0, b"")
    }

    /// `mknod(2)`.
    fn mknod(path: usize, mode: u32, device: u64) {
        make_node(AT_FDCWD, path, mode, device)
    }

    /// `mknodat(2)`.
    fn mknodat(fd: i32, path: usize, mode: u32, device: u64) {
        make_node(fd, path, mode, device)
    }

    /// `symlink(2)`.
    fn symlink(target: usize, path: usize) {
        symlink(target, AT_FDCWD, path)
    }

    /// `symlinkat(2)`.
    fn symlinkat(target: usize, fd: i32, path: usize) {
        symlink(target, fd, path)
    }

    /// `link(2)`.
    fn link(from: usize, to: usize) {
        link(AT_FDCWD, from, AT_FDCWD, to, 0)
    }

    /// `linkat(2)`.
    fn linkat(from_fd: i32, from: usize, to_fd: i32, to: usize, how: u32) {
        link(from_fd, from, to_fd, to, how)
    }

    /// `unlink(2)`.
    fn unlink(path: usize) {
        remove(AT_FDCWD, path, false)
    }

    /// `rmdir(2)`.
    fn rmdir(path: usize) {
        remove(AT_FDCWD, path, true)
    }

    /// `unlinkat(2)`.
    fn unlinkat(fd: i32, path: usize, how: u32) {
        if how & !AT_REMOVEDIR != 0 {
            return Err(Errno::EINVAL);
        }
        remove(fd, path, how & AT_REMOVEDIR != 0)
    }

    /// `rename(2)`.
    fn rename(from: usize, to: usize) {
        rename(AT_FDCWD, from, AT_FDCWD, to, 0)
    }

    /// `renameat(2)`.
    fn renameat(from_fd: i32, from: usize, to_fd: i32, to: usize) {
        rename(from_fd, from, to_fd, to, 0)
    }

    /// `renameat2(2)`, without `RENAME_WHITEOUT`.
    fn renameat2(from_fd: i32, from: usize, to_fd: i32, to: usize, how: u32) {
        rename(from_fd, from, to_fd, to, how)
    }

    /// `readlink(2)`.
    fn readlink(path: usize, to: usize, len: usize) {
        read_link(AT_FDCWD, path, to, len)
    }

    /// `readlinkat(2)`.
    fn readlinkat(fd: i32, path: usize, to: usize, len: usize) {
        read_link(fd, path, to, len)
    }
}
