//! Mounting file systems, and making them durable.

use super::names::AT_FDCWD;
use super::open::{find, read_path};
use super::{Errno, Outcome, process, syscall};
use crate::fs::{NewMount, Path, cache, disks, fifo, kinds};
use crate::user;
use alloc::sync::Arc;
use driver_api::Error;
use driver_api::vfs::FileType;
use linux_abi::errno::{ENODEV, ENOTBLK};

/// `MS_*` (`include/uapi/linux/mount.h`).
mod ms {
    pub const RDONLY: usize = 1;
    /// What changes nothing here: no program gets rights from its file (`NOSUID`), access
    /// times are the file system's (`NOATIME`, `NODIRATIME`, `RELATIME`, `STRICTATIME`,
    /// `LAZYTIME`), and so is what it logs (`SILENT`).
    pub const HARMLESS: usize = 2 | 1 << 10 | 1 << 11 | 1 << 15 | 1 << 21 | 1 << 24 | 1 << 25;
    /// What Linux before 2.4 wanted in the upper half.
    pub const MAGIC: usize = 0xc0ed_0000;
    pub const MAGIC_MASK: usize = 0xffff_0000;
}

/// Longest text of options.
const OPTIONS_MAX: usize = 4096;

/// Checks that the caller may change what is mounted.
fn privileged() -> Result<(), Errno> {
    if process()?.who.uid == 0 { Ok(()) } else { Err(Errno::EPERM) }
}

/// The disk that a path names.
fn disk(source: &Path) -> Result<usize, Errno> {
    let meta = source.inode().metadata();
    if meta.kind != FileType::BlockDevice {
        return Err(Errno(ENOTBLK));
    }
    if meta.device.major != disks::MAJOR {
        return Err(Error::NoDevice.into());
    }
    Ok(meta.device.minor as usize)
}

fn mount(source: usize, target: usize, kind: usize, how: usize, options: usize) -> Outcome {
    let source_name = read_path(source)?;
    let at = find(AT_FDCWD, target, true, false)?;
    let kind = user::read_string(kind, OPTIONS_MAX)?;
    let options =
        if options == 0 { Default::default() } else { user::read_string(options, OPTIONS_MAX)? };
    privileged()?;
    let how = if how & ms::MAGIC_MASK == ms::MAGIC { how & !ms::MAGIC_MASK } else { how };
    if how & !(ms::RDONLY | ms::HARMLESS) != 0 {
        return Err(Errno::EINVAL);
    }
    let read_only = how & ms::RDONLY != 0;
    let kind = kinds::get(&kind).ok_or(Errno(ENODEV))?;
    let format = match &options[..] {
        b"" => false,
        b"format" if !read_only => true,
        _ => return Err(Errno::EINVAL),
    };
    if at.inode().metadata().kind != FileType::Directory {
        return Err(Error::NotDirectory.into());
    }
    let index = disk(&find(AT_FDCWD, source, true, false)?)?;
    // There may be named pipes on it.
    fifo::enable();
    let (device, claim) = disks::get().ok_or(Error::NoDevice)?.claim(index)?;
    let read_only = read_only || device.geometry().read_only;
    if format {
        kind.format(Arc::clone(&device))?;
    }
    let fs = kind.mount(Some(device), read_only)?;
    let new = NewMount {
        root: fs.root(),
        fs: Some(Arc::clone(&fs)),
        claim: Some(claim),
        kind: kind.name(),
        source: &source_name,
        read_only,
    };
    process()?.mounts.mount(&at, new)?;
    cache::mounted(fs);
    Ok(0)
}

fn unmount(path: Path) -> Outcome {
    let fs = path.mount.fs.clone();
    if let Some(fs) = &fs {
        // What fails stays mounted, and is not lost yet.
        cache::sync_fs(fs)?;
    }
    let mount = process()?.mounts.unmount(path)?;
    if let Some(fs) = fs {
        let synced = cache::sync_fs(&fs);
        cache::forget(&fs);
        let ended = fs.unmount();
        // The device is free again when nobody can use it any more.
        drop(mount);
        synced?;
        ended?;
    }
    Ok(0)
}

syscall! {
    /// `mount(2)`, of file systems on block devices: without binding, moving, remounting and
    /// `MS_NODEV`, `MS_NOEXEC`, `MS_SYNCHRONOUS`; the one option is `format`, which makes an
    /// empty file system first.
    fn mount(source: usize, target: usize, kind: usize, how: usize, options: usize) {
        mount(source, target, kind, how, options)
    }

    /// `umount2(2)`, without `MNT_DETACH`, `MNT_FORCE` and `MNT_EXPIRE`.
    fn umount2(path: usize, how: u32) {
        // UMOUNT_NOFOLLOW
        const NOFOLLOW: u32 = 8;
        if how & !NOFOLLOW != 0 {
            return Err(Errno::EINVAL);
        }
        let path = find(AT_FDCWD, path, how & NOFOLLOW == 0, false)?;
        privileged()?;
        unmount(path)
    }

    /// `sync(2)`.
    fn sync() {
        // An error is told to who asks for one file or file system.
        let _ = cache::sync_all();
        Ok(0)
    }

    /// `syncfs(2)`.
    fn syncfs(fd: i32) {
        let file = process()?.file(fd)?;
        let path = file.path.as_ref().ok_or(Error::BadFile)?;
        if let Some(fs) = &path.mount.fs {
            cache::sync_fs(fs)?;
        }
        Ok(0)
    }
}
