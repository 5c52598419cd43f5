//! Open files: what a descriptor stands for.

use super::cache;
use super::dentry::Path;
use super::poll::Events;
use crate::sync::Mutex;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};
use driver_api::vfs::{DeviceNumber, FileType, Metadata, Timestamp};
use driver_api::{Error, Result};

/// Flags of `open` and `fcntl(F_SETFL)`, numbers of x86-64
/// (`include/uapi/asm-generic/fcntl.h`). Where arm64 differs, `crate::syscall` translates.
pub mod flags {
    /// The access mode's bits.
    pub const ACCMODE: u32 = 3;
    /// Writing only.
    pub const WRONLY: u32 = 1;
    /// Reading and writing.
    pub const RDWR: u32 = 2;
    /// Make the file if it is not there.
    pub const CREAT: u32 = 0o100;
    /// It must not be there.
    pub const EXCL: u32 = 0o200;
    /// Cut it to length 0.
    pub const TRUNC: u32 = 0o1000;
    /// Every write goes to the end.
    pub const APPEND: u32 = 0o2000;
    /// Never wait.
    pub const NONBLOCK: u32 = 0o4000;
    /// It must be a directory.
    pub const DIRECTORY: u32 = 0o200_000;
    /// It must not be a symbolic link.
    pub const NOFOLLOW: u32 = 0o400_000;
    /// Closed by `execve`.
    pub const CLOEXEC: u32 = 0o2_000_000;
    /// A place only: neither read nor written.
    pub const PATH: u32 = 0o10_000_000;
    /// It has, or had, a lock (`flock`). Of the kernel alone: in no number that apps use.
    pub const LOCKED: u32 = 1 << 31;
    /// What `F_SETFL` may change.
    pub const SETTABLE: u32 = APPEND | NONBLOCK;
}

/// What `fstat` says of a stream that no file of a file system stands for: for its owner to
/// read and write.
#[must_use]
pub fn nameless(ino: u64, kind: FileType, device: DeviceNumber) -> Metadata {
    let never = Timestamp::default();
    Metadata {
        ino,
        kind,
        mode: 0o600,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 0,
        blocks: 0,
        block_size: 4096,
        device,
        atime: never,
        mtime: never,
        ctime: never,
    }
}

/// Something to read from and write to that is no file of a file system: a terminal, a
/// pipe, a device.
pub trait Stream: Send + Sync + Any {
    /// Reads into `buf`, waiting for the first byte unless `nonblock`. 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock`, `Restart` when a signal came first, `BadFile` when it cannot be read.
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize> {
        let _ = (buf, nonblock);
        Err(Error::Invalid)
    }

    /// Writes from `buf`, waiting for room unless `nonblock`.
    ///
    /// # Errors
    /// `WouldBlock`, `Restart`, `BrokenPipe`.
    fn write(&self, buf: &[u8], nonblock: bool) -> Result<usize> {
        let _ = (buf, nonblock);
        Err(Error::Invalid)
    }

    /// What it is read and written by, when that goes by positions: [`Self::read`] and
    /// [`Self::write`] are not called then.
    fn bytes(&self) -> Option<&dyn Bytes> {
        None
    }

    /// What can be done without waiting. What changes it calls [`super::poll::changed`].
    fn poll(&self) -> Events {
        Events::READ.with(Events::WRITE)
    }

    /// Device-specific requests; `arg` is mostly a user address.
    ///
    /// # Errors
    /// `BadRequest` for one that it does not know.
    fn ioctl(&self, request: u32, arg: usize) -> Result<usize> {
        let _ = (request, arg);
        Err(Error::BadRequest)
    }

    /// What `fstat` says, when no file of a file system says it.
    fn metadata(&self) -> Option<Metadata> {
        None
    }

    /// Told when one of the open files that refer to it is closed; `write` as it was opened.
    fn closed(&self, read: bool, write: bool) {
        let _ = (read, write);
    }
}

/// Something that is no file of a file system, but has bytes at positions: a disk.
pub trait Bytes {
    /// How many.
    fn size(&self) -> u64;

    /// Reads at `offset`; fewer bytes only at the end.
    ///
    /// # Errors
    /// The device's.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Writes at `offset`; fewer bytes only at the end.
    ///
    /// # Errors
    /// The device's.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The device's.
    fn sync(&self) -> Result<()>;
}

/// An open file (POSIX: open file description): shared by the descriptors that were
/// duplicated from each other.
pub struct OpenFile {
    /// Where it was found; `None` for pipes and the like.
    pub path: Option<Arc<Path>>,
    /// What it is, unless `path`'s inode says it all.
    pub stream: Option<Arc<dyn Stream>>,
    flags: AtomicU32,
    /// How many write-outs of the file had failed when somebody last heard of it here.
    errors_seen: AtomicU32,
    /// Position of the next read or write; in a directory the cursor of the next entry.
    offset: Mutex<u64>,
}

impl OpenFile {
    /// An open file or directory.
    #[must_use]
    pub fn new(path: Option<Arc<Path>>, stream: Option<Arc<dyn Stream>>, flags: u32) -> Arc<Self> {
        let flags = flags & (flags::ACCMODE | flags::SETTABLE | flags::DIRECTORY | flags::PATH);
        let errors = path.as_ref().map_or(0, |path| cache::errors(path.inode()));
        Arc::new(Self {
            path,
            stream,
            flags: AtomicU32::new(flags),
            errors_seen: AtomicU32::new(errors),
            offset: Mutex::new(0),
        })
    }

    /// Access mode and status flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed) & !flags::LOCKED
    }

    /// Changes the status flags that can be changed.
    pub fn set_flags(&self, new: u32) {
        let old = self.flags.load(Ordering::Relaxed);
        let flags = (old & !flags::SETTABLE) | (new & flags::SETTABLE);
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// Notes that it has a lock, for which others may wait.
    pub fn set_locked(&self) {
        self.flags.fetch_or(flags::LOCKED, Ordering::Relaxed);
    }

    fn nonblock(&self) -> bool {
        self.flags() & flags::NONBLOCK != 0
    }

    /// Whether it was opened for reading.
    #[must_use]
    pub fn may_read(&self) -> bool {
        self.flags() & (flags::WRONLY | flags::PATH) == 0
    }

    /// Whether it was opened for writing.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.flags() & flags::ACCMODE != 0 && self.flags() & flags::PATH == 0
    }

    /// What `fstat` says.
    ///
    /// # Errors
    /// `BadFile` when nothing says it.
    pub fn metadata(&self) -> Result<Metadata> {
        match (&self.path, &self.stream) {
            (Some(path), _) => Ok(path.inode().metadata()),
            (None, Some(stream)) => stream.metadata().ok_or(Error::BadFile),
            (None, None) => Err(Error::BadFile),
        }
    }

    /// Whether it has a position.
    #[must_use]
    pub fn seekable(&self) -> bool {
        self.stream.is_none() || self.bytes().is_some()
    }

    /// The bytes of what is no file of a file system, but has positions.
    #[must_use]
    pub fn bytes(&self) -> Option<&dyn Bytes> {
        self.stream.as_ref()?.bytes()
    }

    fn read_here(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.bytes() {
            Some(bytes) => bytes.read_at(offset, buf),
            None => cache::read(self.inode_path()?, offset, buf),
        }
    }

    /// As [`cache::write`].
    fn write_here(&self, offset: Option<u64>, buf: &[u8]) -> Result<(u64, usize)> {
        let Some(bytes) = self.bytes() else {
            return cache::write(self.inode_path()?, offset, buf);
        };
        let offset = offset.unwrap_or(0);
        let n = bytes.write_at(offset, buf)?;
        Ok((offset.saturating_add(n as u64), n))
    }

    fn inode_path(&self) -> Result<&Arc<Path>> {
        self.path.as_ref().ok_or(Error::BadFile)
    }

    /// Reads at the position and moves it.
    ///
    /// # Errors
    /// `BadFile` when it was not opened for reading, and what it gives itself.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        if !self.may_read() {
            return Err(Error::BadFile);
        }
        if let Some(stream) = self.stream.as_ref().filter(|s| s.bytes().is_none()) {
            return stream.read(buf, self.nonblock());
        }
        let mut offset = self.offset.lock();
        let n = self.read_here(*offset, buf)?;
        *offset += n as u64;
        Ok(n)
    }

    /// Writes at the position, or at the end, and moves it.
    ///
    /// # Errors
    /// `BadFile` when it was not opened for writing, and what it gives itself.
    pub fn write(&self, buf: &[u8]) -> Result<usize> {
        if !self.may_write() {
            return Err(Error::BadFile);
        }
        if let Some(stream) = self.stream.as_ref().filter(|s| s.bytes().is_none()) {
            return stream.write(buf, self.nonblock());
        }
        let mut offset = self.offset.lock();
        let at = (self.flags() & flags::APPEND == 0).then_some(*offset);
        let (end, n) = self.write_here(at, buf)?;
        *offset = end;
        Ok(n)
    }

    /// Reads at `offset` and leaves the position alone.
    ///
    /// # Errors
    /// `BadFile`, `NotSeekable`, and what it gives itself.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if !self.may_read() {
            return Err(Error::BadFile);
        }
        if !self.seekable() {
            return Err(Error::NotSeekable);
        }
        self.read_here(offset, buf)
    }

    /// Writes at `offset` and leaves the position alone. With `O_APPEND` it writes at the end,
    /// as Linux has it and POSIX has not (`pwrite(2)`, bugs).
    ///
    /// # Errors
    /// `BadFile`, `NotSeekable`, and what it gives itself.
    pub fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        if !self.may_write() {
            return Err(Error::BadFile);
        }
        if !self.seekable() {
            return Err(Error::NotSeekable);
        }
        let at = (self.flags() & flags::APPEND == 0).then_some(offset);
        Ok(self.write_here(at, buf)?.1)
    }

    /// Writes what is not yet on the device and makes it durable.
    ///
    /// # Errors
    /// `Io`, once for each open file after a write-out has failed, whoever asked for it;
    /// `Invalid` for what is no file.
    pub fn sync(&self) -> Result<()> {
        if let Some(bytes) = self.bytes() {
            return bytes.sync();
        }
        let path = self.path.as_ref().filter(|_| self.stream.is_none()).ok_or(Error::Invalid)?;
        let written = cache::write_back(path);
        let errors = cache::errors(path.inode());
        let durable = path.inode().sync();
        if self.errors_seen.swap(errors, Ordering::Relaxed) != errors {
            return Err(Error::Io);
        }
        written.and(durable)
    }

    /// Calls `with` with the position, which it may change (`lseek`, `getdents64`).
    pub fn with_offset<R>(&self, with: impl FnOnce(&mut u64) -> R) -> R {
        with(&mut self.offset.lock())
    }

    /// What can be done without waiting.
    #[must_use]
    pub fn poll(&self) -> Events {
        match &self.stream {
            Some(stream) => stream.poll(),
            None => Events::READ.with(Events::WRITE),
        }
    }

    /// The directory that it is.
    ///
    /// # Errors
    /// `NotDirectory`.
    pub fn directory(&self) -> Result<&Arc<Path>> {
        let path = self.path.as_ref().ok_or(Error::NotDirectory)?;
        if path.inode().metadata().kind == FileType::Directory {
            Ok(path)
        } else {
            Err(Error::NotDirectory)
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            stream.closed(self.may_read(), self.may_write());
        }
        if self.flags.load(Ordering::Relaxed) & flags::LOCKED != 0 {
            super::poll::changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{MountTable, NewMount};
    use driver_api::vfs::NewInode;
    use ramfs::RamFs;

    fn open(how: u32) -> Arc<OpenFile> {
        let now = Timestamp::default();
        let fs = RamFs::new(0o755, now);
        let new = NewInode::plain(FileType::Regular, 0o644, now);
        fs.root().create(b"f", &new).unwrap();
        let (_, root) = MountTable::new(NewMount::plain(fs.root(), "ramfs"));
        let path = root.with(root.dentry.child(b"f").unwrap());
        cache::write(&path, None, b"hello").unwrap();
        OpenFile::new(Some(Arc::new(path)), None, how)
    }

    #[test]
    fn the_position_moves_and_append_goes_to_the_end() {
        let f = open(flags::RDWR);
        let mut buf = [0; 3];
        assert_eq!(f.read(&mut buf), Ok(3));
        assert_eq!(f.write(b"XY"), Ok(2));
        assert_eq!(f.read(&mut buf), Ok(0));
        assert_eq!(f.read_at(0, &mut buf), Ok(3));
        assert_eq!(&buf, b"hel");
        f.with_offset(|o| *o = 0);
        f.set_flags(flags::APPEND | flags::WRONLY);
        assert_eq!(f.write(b"!"), Ok(1));
        assert_eq!(f.metadata().unwrap().size, 6);
        assert_eq!(f.write_at(0, b"?"), Ok(1));
        assert_eq!(f.read_at(5, &mut buf), Ok(2));
        assert_eq!(&buf[..2], b"!?");
        assert_eq!(f.flags(), flags::RDWR | flags::APPEND);
    }

    #[test]
    fn the_access_mode_holds() {
        let mut buf = [0; 3];
        assert_eq!(open(flags::WRONLY).read(&mut buf), Err(Error::BadFile));
        assert_eq!(open(0).write(b"x"), Err(Error::BadFile));
        assert_eq!(open(flags::PATH).read_at(0, &mut buf), Err(Error::BadFile));
        assert_eq!(open(0).directory().err(), Some(Error::NotDirectory));
    }
}
