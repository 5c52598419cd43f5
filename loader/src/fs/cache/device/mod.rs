//! Files on devices: their pages come from a file system and go back to it.
//!
//! [`Cache`] is what all of them share: which files have dirty pages, which have any, how many
//! there are. [`file`] is one file; [`fill`] brings pages in and makes them dirty;
//! [`writeback`] writes them out; [`reclaim`] drops them.

mod file;
mod fill;
mod gate;
#[cfg(target_os = "none")]
pub mod kernel;
mod map;
mod reclaim;
mod writeback;

use super::{PAGE, Pager};
use crate::fs::Path;
use crate::mm::PhysAddr;
use crate::mm::page::PageFrame;
use crate::sync::Mutex;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use driver_api::Result;
use driver_api::paged::{FileSystem, Paged};
use driver_api::vfs::Inode;
use file::{File, FileCache, Want};
use reclaim::How;

/// How long a page stays dirty before it is written, in ns: 5 s, as the time between Linux's
/// looks for them (`dirty_writeback_centisecs`).
pub const AGE_NS: u64 = 5_000_000_000;

/// The machine, as the cache needs it.
pub trait Machine: Send + Sync {
    /// A page of zeroes while `cached` pages are in the cache; `None` when memory is out.
    fn frame(&self, cached: usize) -> Option<PageFrame>;
    /// Whether little memory is left.
    fn low(&self, cached: usize) -> bool;
    /// How many frames the machine has.
    fn frames(&self) -> usize;
    /// ns since boot.
    fn now_ns(&self) -> u64;
    /// Something is dirty that was not, or too much is: see [`Cache::write_aged`].
    fn wake_writer(&self);
    /// The file systems may have memory to give back; whether they had.
    fn shrink(&self) -> bool;
    /// Where pages can be mapped.
    fn mappings(&self) -> Option<&'static dyn DeviceMappings>;
}

/// An address space, as the cache of files on devices sees it. Files are told apart by the
/// addresses of their slots.
pub trait DeviceMappings: super::Mappings {
    /// Makes stores to `pages` fault again.
    fn protect(&self, file: usize, pages: core::ops::Range<u64>);
    /// Unmaps `pages`, if that can be done without waiting.
    fn try_unmap(&self, file: usize, pages: core::ops::Range<u64>) -> bool;
}

/// A file with dirty pages: it lives until they are written.
#[derive(Clone)]
struct DirtyFile {
    inode: Arc<dyn Inode>,
    kept: Arc<FileCache>,
    /// Since when, in ns since boot; or when writing failed the last time.
    since: u64,
}

/// The cache of files on devices.
pub struct Cache {
    machine: &'static dyn Machine,
    /// Oldest first.
    dirty: Mutex<Vec<DirtyFile>>,
    /// All files that have had a page.
    files: Mutex<Vec<Weak<FileCache>>>,
    /// Where the search for pages to drop goes on.
    hand: AtomicUsize,
    pages: AtomicUsize,
    dirty_pages: AtomicUsize,
    writing: AtomicUsize,
    /// How many write pages to have their memory.
    short: AtomicUsize,
    /// How many pages were dropped so far.
    dropped: AtomicUsize,
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub const fn new(machine: &'static dyn Machine) -> Self {
        Self {
            machine,
            dirty: Mutex::new(Vec::new()),
            files: Mutex::new(Vec::new()),
            hand: AtomicUsize::new(0),
            pages: AtomicUsize::new(0),
            dirty_pages: AtomicUsize::new(0),
            writing: AtomicUsize::new(0),
            short: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        }
    }

    /// The file `inode` of the file system `fs` ([`key`]), with what is kept of it.
    fn file<'a>(
        &'static self,
        inode: &'a Arc<dyn Inode>,
        paged: &'a dyn Paged,
        fs: usize,
    ) -> Result<File<'a>> {
        let slot = paged.cache();
        let record = (paged.record_size() as u64 / PAGE).max(1);
        let make = || -> Arc<dyn core::any::Any + Send + Sync> {
            Arc::new(FileCache::new(self, fs, core::ptr::from_ref(slot).addr(), record))
        };
        let kept = slot.get_or_make(make).downcast_ref().ok_or(driver_api::Error::Io)?;
        Ok(File { inode, paged, kept })
    }

    fn at<'a>(&'static self, path: &'a Path, paged: &'a dyn Paged) -> Result<File<'a>> {
        self.file(path.inode(), paged, path.mount.fs.as_ref().map_or(0, key))
    }

    /// A page of zeroes; where there is none, others are dropped or written for it.
    fn frame(&self) -> Option<PageFrame> {
        let cached = || self.pages.load(Ordering::Relaxed);
        if self.machine.low(cached()) {
            self.drop_clean(reclaim::BATCH, How::Try);
        }
        loop {
            let frame = self.machine.frame(cached());
            if frame.is_some() || !self.reclaim_now() {
                return frame;
            }
        }
    }

    /// How many dirty pages are too many: then who writes waits.
    fn most_dirty(&self) -> usize {
        self.machine.frames() / 5
    }
}

/// What tells a file system from others.
pub fn key(fs: &Arc<dyn FileSystem>) -> usize {
    Arc::as_ptr(fs).cast::<()>().addr()
}

/// The cache that the kernel has.
pub struct Global(pub &'static Cache);

impl Pager for Global {
    fn read(&self, path: &Path, paged: &dyn Paged, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.0.at(path, paged)?.read(offset, buf)
    }

    fn write(
        &self,
        path: &Path,
        paged: &dyn Paged,
        offset: Option<u64>,
        buf: &[u8],
    ) -> Result<(u64, usize)> {
        self.0.at(path, paged)?.write(offset, buf)
    }

    fn truncate(&self, path: &Path, paged: &dyn Paged, size: u64) -> Result<()> {
        self.0.at(path, paged)?.truncate(size)
    }

    fn mapped(&self, path: &Path, paged: &dyn Paged, page: u64, store: bool) -> Option<PhysAddr> {
        self.0.at(path, paged).ok()?.mapped(page, store)
    }

    fn prepare(&self, path: &Path, paged: &dyn Paged, page: u64, store: bool) -> Result<()> {
        self.0.at(path, paged)?.prepare(page, if store { Want::Store } else { Want::Read })
    }

    fn write_back(&self, path: &Path, paged: &dyn Paged) -> Result<()> {
        self.0.at(path, paged)?.write_out()
    }

    fn errors(&self, paged: &dyn Paged) -> u32 {
        let kept = paged.cache().get().and_then(|kept| kept.downcast_ref::<FileCache>());
        kept.map_or(0, FileCache::errors)
    }

    fn reclaim(&self) -> bool {
        self.0.reclaim_now()
    }

    fn counts(&self) -> (usize, usize) {
        let count = |n: &AtomicUsize| n.load(Ordering::Relaxed);
        (count(&self.0.dirty_pages), count(&self.0.writing))
    }

    fn sync(&self, fs: usize) -> Result<()> {
        self.0.sync(fs)
    }

    fn forget(&self, fs: usize) {
        self.0.forget(fs);
    }
}

#[cfg(test)]
mod tests;
