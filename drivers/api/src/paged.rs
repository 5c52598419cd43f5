//! Contents that go through the kernel's page cache, and the file systems that have them.
//!
//! The kernel keeps the pages of files, decides when dirty ones are written and when clean
//! ones are dropped. A file system moves ranges of pages between the cache and its device:
//! it never sees a read or a write of the app, and never keeps a page after a call.
//!
//! The order of calls for a page: [`Paged::fill`] (unless the whole page is written over),
//! [`Paged::reserve`] before it becomes dirty, any number of changes, then either
//! [`Paged::write`], which uses the reservation up, or [`Paged::release`], when it was cut
//! away. Calls for one range of one file never overlap; calls for different ones may come at
//! once from several threads, and may sleep.

use crate::block::BlockDevice;
use crate::vfs::Inode;
use crate::{Error, Result};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Bytes in a page of the cache.
pub const PAGE_SIZE: usize = 4096;

/// A page of the cache, lent for the length of a call.
pub type Page = [u8; PAGE_SIZE];

/// Smallest and largest record in bytes ([`Paged::record_size`]).
pub const RECORD_SIZES: core::ops::RangeInclusive<usize> = 512..=1 << 20;

/// What the kernel keeps with an inode: made at the first use, gone with the inode. A file
/// system that gives out inodes with contents holds one in each, empty, and gives out the
/// same inode for a file as long as anybody has it.
#[derive(Default)]
pub struct CacheSlot {
    /// Null until it is made; a box then.
    kept: AtomicPtr<Kept>,
    pages: AtomicU64,
}

/// What is in a slot.
type Kept = Arc<dyn Any + Send + Sync>;

impl CacheSlot {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { kept: AtomicPtr::new(core::ptr::null_mut()), pages: AtomicU64::new(0) }
    }

    /// How many pages of the file the cache has: what a file that is in memory only takes.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Notes how many pages there are. The cache's.
    pub fn set_pages(&self, pages: u64) {
        self.pages.store(pages, Ordering::Relaxed);
    }

    /// What is in it, if anything is.
    #[must_use]
    pub fn get(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        // SAFETY: null or a box that is there until the slot is dropped.
        unsafe { self.kept.load(Ordering::Acquire).as_ref() }
    }

    /// What is in it, made by `make` if it is empty. Of several that are made at once one
    /// is kept.
    pub fn get_or_make(
        &self,
        make: impl FnOnce() -> Arc<dyn Any + Send + Sync>,
    ) -> &Arc<dyn Any + Send + Sync> {
        if let Some(kept) = self.get() {
            return kept;
        }
        let made = Box::into_raw(Box::new(make()));
        let null = core::ptr::null_mut();
        let kept = match self.kept.compare_exchange(null, made, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => made,
            Err(first) => {
                // SAFETY: made above, and nobody has seen it.
                drop(unsafe { Box::from_raw(made) });
                first
            }
        };
        // SAFETY: not null, and there until the slot is dropped.
        unsafe { &*kept }
    }
}

impl Drop for CacheSlot {
    fn drop(&mut self) {
        let kept = *self.kept.get_mut();
        if !kept.is_null() {
            // SAFETY: a box that nobody else refers to any more.
            drop(unsafe { Box::from_raw(kept) });
        }
    }
}

/// The contents of a regular file, in pages ([`Inode::paged`]).
pub trait Paged: Send + Sync {
    /// Where the kernel keeps the file's pages.
    fn cache(&self) -> &CacheSlot;

    /// Bytes that the file system reads, checks and writes as one: a power of two in
    /// [`RECORD_SIZES`]. Ranges that the cache asks for begin and end at multiples of it
    /// where it is larger than a page (the last range of a file may end with the file).
    fn record_size(&self) -> usize {
        PAGE_SIZE
    }

    /// Whether the cache is all there is: nothing is ever written out or dropped, and a page
    /// that is not there reads as [`Inode::read_at`] says (and as [`Inode::resident`] shows it).
    /// Of this trait's methods only [`Self::cache`] and [`Self::extend`] are called then.
    fn memory_only(&self) -> bool {
        false
    }

    /// Fills `pages`, the first of which is page number `first` of the file. What lies in
    /// holes or beyond the end is zeroes.
    ///
    /// # Errors
    /// `Io`, `NoMemory`; the pages' contents are then not used.
    fn fill(&self, first: u64, pages: &mut [&mut Page]) -> Result<()>;

    /// Sets space aside for what writing these pages may take, so that [`Self::write`] never
    /// fails for the want of it. Called for pages that are clean now; never twice without a
    /// [`Self::write`] or [`Self::release`] between.
    ///
    /// # Errors
    /// `NoSpace`, `ReadOnly`; nothing is set aside then.
    fn reserve(&self, first: u64, count: usize) -> Result<()>;

    /// Gives back what was reserved for pages that will not be written.
    fn release(&self, first: u64, count: usize);

    /// Writes pages out. They do not change until it returns. That the data is safe is what
    /// [`Inode::sync`] or [`FileSystem::sync`] say; in what order it becomes so, the file
    /// system decides.
    ///
    /// # Errors
    /// `Io`: the pages stay dirty and reserved; the kernel tries again, and reports the
    /// error once for each open file at its next `fsync`.
    fn write(&self, first: u64, pages: &[&Page]) -> Result<()>;

    /// The file is at least `size` bytes long from now on: something was written up to
    /// there, and lies in the cache.
    ///
    /// # Errors
    /// `FileTooLarge`, `ReadOnly`.
    fn extend(&self, size: u64) -> Result<()>;
}

/// A mounted file system.
pub trait FileSystem: Send + Sync {
    /// Its root directory.
    fn root(&self) -> Arc<dyn Inode>;

    /// Makes everything that it was given durable. The kernel has written dirty pages
    /// before.
    ///
    /// # Errors
    /// `Io`.
    fn sync(&self) -> Result<()>;

    /// Memory is short: lets go of what it holds without need; about how many bytes that
    /// were. May be called from within one of its own calls for memory, so it takes no lock
    /// that it would have to wait for.
    fn shrink(&self) -> usize {
        0
    }

    /// Called once, when it is unmounted, after [`Self::sync`].
    ///
    /// # Errors
    /// `Io`.
    fn unmount(&self) -> Result<()> {
        Ok(())
    }
}

/// What a driver of a file system offers: how one comes to be mounted.
pub trait FileSystemType: Send + Sync {
    /// The name that `mount` knows it by.
    fn name(&self) -> &'static str;

    /// Mounts the file system on `device` (`None` for what has no device).
    ///
    /// # Errors
    /// `Invalid` when there is none on it, or a damaged one; `NoDevice` without a device
    /// where one is needed; `Unsupported`, `NoMemory`, `Io`.
    fn mount(
        &self,
        device: Option<Arc<dyn BlockDevice>>,
        read_only: bool,
    ) -> Result<Arc<dyn FileSystem>>;

    /// Makes an empty file system on `device`.
    ///
    /// # Errors
    /// `Unsupported`, `NoSpace` for a device that is too small, `Io`.
    fn format(&self, device: Arc<dyn BlockDevice>) -> Result<()> {
        let _ = device;
        Err(Error::Unsupported)
    }
}
