//! What files are: `stat` and its family, modes, owners, times.

use super::names::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use super::open::{find, known_at_flags};
use super::{Errno, Outcome, layout, process, syscall};
use crate::fs::{Path, access, cache};
use crate::user;
use driver_api::Error;
use driver_api::vfs::{FsStat, Metadata, SetMetadata, Timestamp};

/// Metadata, and the number of the mount that the file is in.
fn of_path(path: &Path) -> (Metadata, u32) {
    (path.inode().metadata(), path.mount.id)
}

fn of_fd(fd: i32) -> Result<(Metadata, u32), Error> {
    let file = process()?.file(fd)?;
    Ok((file.metadata()?, file.path.as_ref().map_or(0, |p| p.mount.id)))
}

fn write_stat(to: usize, (meta, mount): (Metadata, u32)) -> Outcome {
    user::write(to, &layout::stat(&meta, layout::device(0, mount)))?;
    Ok(0)
}

fn find_at(fd: i32, path: usize, how: u32) -> Result<(Metadata, u32), Error> {
    // An empty path, or none at all, names the descriptor itself, whatever it is.
    if how & AT_EMPTY_PATH != 0 && fd != AT_FDCWD {
        let empty = path == 0 || user::read_array::<1>(path)? == [0];
        if empty {
            return of_fd(fd);
        }
    }
    let follow = how & AT_SYMLINK_NOFOLLOW == 0;
    Ok(of_path(&find(fd, path, follow, how & AT_EMPTY_PATH != 0)?))
}

fn check_access(fd: i32, path: usize, wanted: u32, how: u32) -> Outcome {
    if wanted & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let found = find(fd, path, how & AT_SYMLINK_NOFOLLOW == 0, how & AT_EMPTY_PATH != 0)?;
    access::check(process()?.who, &found.inode().metadata(), wanted as u8)?;
    if wanted & 2 != 0 {
        found.check_writable()?;
    }
    Ok(0)
}

/// Changes what may be changed by the file's owner only.
fn change(path: &Path, change: &SetMetadata) -> Outcome {
    let process = process()?;
    let meta = path.inode().metadata();
    if process.who.uid != 0 && process.who.uid != meta.uid {
        return Err(Errno::EPERM);
    }
    path.check_writable()?;
    path.inode().set_metadata(&SetMetadata { now: super::time::now(), ..*change })?;
    Ok(0)
}

fn change_mode(path: &Path, mode: u32) -> Outcome {
    change(path, &SetMetadata { mode: Some(mode as u16 & 0o7777), ..SetMetadata::default() })
}

fn change_owner(path: &Path, uid: u32, gid: u32) -> Outcome {
    let some = |id: u32| (id != u32::MAX).then_some(id);
    change(path, &SetMetadata { uid: some(uid), gid: some(gid), ..SetMetadata::default() })
}

fn path_of(fd: i32) -> Result<Path, Error> {
    process()?.file(fd)?.path.as_deref().cloned().ok_or(Error::Invalid)
}

/// A time of `utimensat`: `UTIME_NOW`, `UTIME_OMIT` or a time.
fn time_at(at: usize, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    const NOW: u64 = 0x3fff_ffff;
    const OMIT: u64 = 0x3fff_fffe;
    let secs = user::read_u64(at)?.cast_signed();
    match user::read_u64(at.checked_add(8).ok_or(Error::Fault)?)? {
        NOW => Ok(Some(now)),
        OMIT => Ok(None),
        nanos if nanos < 1_000_000_000 => Ok(Some(Timestamp { secs, nanos: nanos as u32 })),
        _ => Err(Error::Invalid),
    }
}

/// `struct statfs`, 120 bytes on both archs.
fn write_statfs(to: usize, s: &FsStat) -> Outcome {
    let mut raw = [0; 120];
    let words = [
        s.magic,
        u64::from(s.block_size),
        s.blocks,
        s.free,
        s.free,
        s.inodes,
        s.inodes_free,
        0,
        crate::fs::dentry::NAME_MAX as u64,
        u64::from(s.block_size),
        0x20, // ST_VALID
    ];
    for (to, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    user::write(to, &raw)?;
    Ok(0)
}

syscall! {
    /// `stat(2)`.
    fn stat(path: usize, to: usize) {
        write_stat(to, find_at(AT_FDCWD, path, 0)?)
    }

    /// `lstat(2)`.
    fn lstat(path: usize, to: usize) {
        write_stat(to, find_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)?)
    }

    /// `fstat(2)`.
    fn fstat(fd: i32, to: usize) {
        write_stat(to, of_fd(fd)?)
    }

    /// `newfstatat(2)`.
    fn newfstatat(fd: i32, path: usize, to: usize, how: u32) {
        if !known_at_flags(how) {
            return Err(Errno::EINVAL);
        }
        write_stat(to, find_at(fd, path, how)?)
    }

    /// `statx(2)`: the basic set, whatever is asked for.
    fn statx(fd: i32, path: usize, how: u32, mask: u32, to: usize) {
        // STATX__RESERVED; AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC exclude each other.
        if !known_at_flags(how) || mask & 0x8000_0000 != 0 || how & 0x6000 == 0x6000 {
            return Err(Errno::EINVAL);
        }
        let (meta, mount) = find_at(fd, path, how)?;
        user::write(to, &layout::statx(&meta, mount))?;
        Ok(0)
    }

    /// `access(2)`.
    fn access(path: usize, wanted: u32) {
        check_access(AT_FDCWD, path, wanted, 0)
    }

    /// `faccessat(2)`.
    fn faccessat(fd: i32, path: usize, wanted: u32) {
        check_access(fd, path, wanted, 0)
    }

    /// `faccessat2(2)`. Real and effective ids are the same.
    fn faccessat2(fd: i32, path: usize, wanted: u32, how: u32) {
        // AT_EACCESS has the number of AT_REMOVEDIR.
        if how & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x200) != 0 {
            return Err(Errno::EINVAL);
        }
        check_access(fd, path, wanted, how)
    }

    /// `chmod(2)`.
    fn chmod(path: usize, mode: u32) {
        change_mode(&find(AT_FDCWD, path, true, false)?, mode)
    }

    /// `fchmod(2)`.
    fn fchmod(fd: i32, mode: u32) {
        change_mode(&path_of(fd)?, mode)
    }

    /// `fchmodat(2)`.
    fn fchmodat(fd: i32, path: usize, mode: u32) {
        change_mode(&find(fd, path, true, false)?, mode)
    }

    /// `chown(2)`.
    fn chown(path: usize, uid: u32, gid: u32) {
        change_owner(&find(AT_FDCWD, path, true, false)?, uid, gid)
    }

    /// `lchown(2)`.
    fn lchown(path: usize, uid: u32, gid: u32) {
        change_owner(&find(AT_FDCWD, path, false, false)?, uid, gid)
    }

    /// `fchown(2)`.
    fn fchown(fd: i32, uid: u32, gid: u32) {
        change_owner(&path_of(fd)?, uid, gid)
    }

    /// `fchownat(2)`.
    fn fchownat(fd: i32, path: usize, uid: u32, gid: u32, how: u32) {
        if !known_at_flags(how) {
            return Err(Errno::EINVAL);
        }
        let follow = how & AT_SYMLINK_NOFOLLOW == 0;
        change_owner(&find(fd, path, follow, how & AT_EMPTY_PATH != 0)?, uid, gid)
    }

    /// `utimensat(2)`.
    fn utimensat(fd: i32, path: usize, times: usize, how: u32) {
        if how & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let now = super::time::now();
        let (atime, mtime) = if times == 0 {
            (Some(now), Some(now))
        } else {
            (time_at(times, now)?, time_at(times.checked_add(16).ok_or(Error::Fault)?, now)?)
        };
        let found = if path == 0 && fd != AT_FDCWD {
            path_of(fd)?
        } else {
            find(fd, path, how & AT_SYMLINK_NOFOLLOW == 0, how & AT_EMPTY_PATH != 0)?
        };
        change(&found, &SetMetadata { atime, mtime, ..SetMetadata::default() })
    }

    /// `truncate(2)`.
    fn truncate(path: usize, size: i64) {
        let size = u64::try_from(size).map_err(|_| Error::Invalid)?;
        let found = find(AT_FDCWD, path, true, false)?;
        access::check(process()?.who, &found.inode().metadata(), access::WRITE)?;
        found.check_writable()?;
        cache::truncate(&found, size)?;
        Ok(0)
    }

    /// `statfs(2)`.
    fn statfs(path: usize, to: usize) {
        write_statfs(to, &find(AT_FDCWD, path, true, false)?.inode().statfs())
    }

    /// `fstatfs(2)`.
    fn fstatfs(fd: i32, to: usize) {
        write_statfs(to, &path_of(fd)?.inode().statfs())
    }
}
