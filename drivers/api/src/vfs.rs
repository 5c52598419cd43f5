//! What a file system offers: inodes.
//!
//! The kernel keeps names, mounts, open files and positions (`loader/src/fs`); a file system
//! keeps inodes and finds them by name within a directory. Methods may be called from
//! several threads at once and may sleep. Every method that a kind of inode does not have
//! keeps its default, an error.

use crate::paged::Paged;
use crate::{Error, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// Another path.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl FileType {
    /// The type bits of `st_mode` (`include/uapi/linux/stat.h`: `S_IFMT`, octal).
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The kind that `st_mode`'s type bits name.
    #[must_use]
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }
}

/// A point in time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00 UTC; negative before.
    pub secs: i64,
    /// 0 … 999 999 999.
    pub nanos: u32,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// Everything `stat` says, but for the device number of the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Number within the file system, never 0.
    pub ino: u64,
    /// Its kind.
    pub kind: FileType,
    /// Permission bits, `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names it has.
    pub nlink: u32,
    /// Length in bytes.
    pub size: u64,
    /// What it takes on the device, in units of 512 bytes.
    pub blocks: u64,
    /// Size of a good transfer in bytes.
    pub block_size: u32,
    /// For device files: which device.
    pub device: DeviceNumber,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
}

/// A change of an inode's metadata; `None` leaves a field as it is. The kernel has checked
/// that the caller may; the file system sets `ctime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SetMetadata {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last read.
    pub atime: Option<Timestamp>,
    /// Last change of the contents.
    pub mtime: Option<Timestamp>,
    /// The time of the change itself.
    pub now: Timestamp,
}

/// A new inode, to be made under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewInode<'a> {
    /// Its kind.
    pub kind: FileType,
    /// Permission bits, umask applied.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// For device files: which device.
    pub device: DeviceNumber,
    /// For symbolic links: where to.
    pub target: &'a [u8],
    /// All three of its times.
    pub now: Timestamp,
}

impl NewInode<'_> {
    /// One of the first user, that is neither a device nor a link.
    #[must_use]
    pub const fn plain(kind: FileType, mode: u16, now: Timestamp) -> Self {
        let device = DeviceNumber { major: 0, minor: 0 };
        Self { kind, mode, uid: 0, gid: 0, device, target: b"", now }
    }
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Its name, without `/`.
    pub name: &'a [u8],
    /// Its inode's number.
    pub ino: u64,
    /// Its inode's kind.
    pub kind: FileType,
    /// Where to go on after this entry: a value for `read_dir`, never 0.
    pub next: u64,
}

/// What happens when a rename's target exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// It is replaced.
    Replace,
    /// That is an error.
    NoReplace,
    /// Both names change places.
    Exchange,
}

/// What a file system is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FsStat {
    /// `f_type` of `statfs` (`include/uapi/linux/magic.h`).
    pub magic: u64,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Inodes in all, 0 when there is no limit.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}

/// A file, directory, … of a file system.
pub trait Inode: Send + Sync + Any {
    /// Everything `stat` says.
    fn metadata(&self) -> Metadata;

    /// Changes owner, mode or times.
    ///
    /// # Errors
    /// `ReadOnly`, `Io`.
    fn set_metadata(&self, change: &SetMetadata) -> Result<()> {
        let _ = change;
        Err(Error::ReadOnly)
    }

    /// Reads into `buf` from `offset`; fewer bytes than asked only at the end of the file.
    ///
    /// # Errors
    /// `IsDirectory`, `Invalid` for what has no contents, `Io`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let _ = (offset, buf);
        Err(Error::Invalid)
    }

    /// Writes all of `buf` at `offset`, growing the file where needed; fewer bytes only when
    /// space ends in the middle.
    ///
    /// # Errors
    /// `ReadOnly`, `NoSpace`, `FileTooLarge`, `Io`.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        let _ = (offset, buf);
        Err(Error::ReadOnly)
    }

    /// Sets the length; what is added reads as zeroes.
    ///
    /// # Errors
    /// As for `write_at`.
    fn truncate(&self, size: u64) -> Result<()> {
        let _ = size;
        Err(Error::ReadOnly)
    }

    /// Writes what is not yet on the device.
    ///
    /// # Errors
    /// `Io`, once for each failed write-out.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// The contents as pages, for a regular file whose reads, writes and mappings go through
    /// the kernel's page cache. `write_at` is not called then, and `read_at` only for files
    /// that are in memory only.
    fn paged(&self) -> Option<&dyn Paged> {
        None
    }

    /// The first pages of the contents, when they lie in memory for ever, page-aligned: they are
    /// mapped without a copy. They do not change; a page that is changed is in the page
    /// cache instead, where it is looked for first. Behind the last byte the rest of its page is
    /// readable and zero. What the file has beyond is not here.
    fn resident(&self) -> Option<&'static [u8]> {
        None
    }

    /// The inode called `name` in this directory. Never called with `.` or `..`.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Io`.
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let _ = name;
        Err(Error::NotDirectory)
    }

    /// Calls `emit` for the entries from `cursor` on (0: the first) until it returns false.
    /// Without `.` and `..`. An entry that stays is seen exactly once by a reader who goes
    /// on at the last `next`, whatever is added or removed meanwhile. `emit` must not use the
    /// directory.
    ///
    /// # Errors
    /// `NotDirectory`, `Io`.
    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        let _ = (cursor, emit);
        Err(Error::NotDirectory)
    }

    /// Makes an inode under a name that is free.
    ///
    /// # Errors
    /// `Exists`, `NotDirectory`, `ReadOnly`, `NoSpace`, `NoMemory`, `Io`.
    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let _ = (name, new);
        Err(Error::ReadOnly)
    }

    /// Gives `inode`, which is of the same file system and no directory, one more name.
    ///
    /// # Errors
    /// `Exists`, `TooManyLinks`, `ReadOnly`, `NoSpace`, `Io`.
    fn link(&self, name: &[u8], inode: &Arc<dyn Inode>, now: Timestamp) -> Result<()> {
        let _ = (name, inode, now);
        Err(Error::NotPermitted)
    }

    /// Removes a name: of an empty directory if `directory`, else of anything but one.
    ///
    /// # Errors
    /// `NotFound`, `IsDirectory`, `NotDirectory`, `NotEmpty`, `ReadOnly`, `Io`.
    fn unlink(&self, name: &[u8], directory: bool, now: Timestamp) -> Result<()> {
        let _ = (name, directory, now);
        Err(Error::ReadOnly)
    }

    /// Moves `name` to `to_name` in `to`, a directory of the same file system. The kernel
    /// has checked that no directory goes below itself.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `NotEmpty`, `IsDirectory`, `NotDirectory`, `ReadOnly`, `Io`.
    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Inode>,
        to_name: &[u8],
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<()> {
        let _ = (name, to, to_name, mode, now);
        Err(Error::ReadOnly)
    }

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// `Invalid` for another kind, `Io`, `NoMemory`.
    fn read_link(&self) -> Result<Vec<u8>> {
        Err(Error::Invalid)
    }

    /// State of the whole file system.
    fn statfs(&self) -> FsStat {
        FsStat { block_size: 4096, ..FsStat::default() }
    }
}
