//! The page cache: the contents of regular files in memory.
//!
//! Files whose inodes are [`driver_api::paged::Paged`] are read, written, cut and mapped here; others are
//! passed on to the inode. Pages are frames, so that the app can map them. What belongs to
//! files on devices ([`Pager`]) is reached through one pointer that the first mount sets: a
//! kernel that mounts none does not hold it.

pub mod device;
mod memory;
#[cfg(test)]
mod ramfs_tests;
mod registry;

pub use registry::{at_end, forget, mounted, sync_all, sync_fs};

use super::Path;
use crate::mm::{PAGE_SIZE, PhysAddr};
use alloc::sync::Arc;
use core::ops::Range;
use driver_api::Once;
use driver_api::paged::Paged;
use driver_api::vfs::Inode;
use driver_api::{Error, Result};

/// Bytes in a page, as offsets count.
pub const PAGE: u64 = PAGE_SIZE as u64;

/// The cache of files on devices.
pub trait Pager: Send + Sync {
    /// See [`read`].
    ///
    /// # Errors
    /// As there.
    fn read(&self, path: &Path, paged: &dyn Paged, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// See [`write`].
    ///
    /// # Errors
    /// As there.
    fn write(
        &self,
        path: &Path,
        paged: &dyn Paged,
        offset: Option<u64>,
        buf: &[u8],
    ) -> Result<(u64, usize)>;
    /// See [`truncate`].
    ///
    /// # Errors
    /// As there.
    fn truncate(&self, path: &Path, paged: &dyn Paged, size: u64) -> Result<()>;
    /// The frame of a page that can be mapped now, for stores or not.
    fn mapped(&self, path: &Path, paged: &dyn Paged, page: u64, store: bool) -> Option<PhysAddr>;
    /// See [`prepare`].
    ///
    /// # Errors
    /// As there.
    fn prepare(&self, path: &Path, paged: &dyn Paged, page: u64, store: bool) -> Result<()>;
    /// Writes all dirty pages of a file and waits for it.
    ///
    /// # Errors
    /// The file system's; everything was tried.
    fn write_back(&self, path: &Path, paged: &dyn Paged) -> Result<()>;
    /// How many write-outs of the file have failed so far.
    fn errors(&self, paged: &dyn Paged) -> u32;
    /// Drops pages that can be had again, after writing if need be; whether there were any.
    fn reclaim(&self) -> bool;
    /// Dirty pages and pages under write-out.
    fn counts(&self) -> (usize, usize);
    /// Writes all dirty pages of a file system ([`device::key`]).
    ///
    /// # Errors
    /// The first; everything was tried.
    fn sync(&self, fs: usize) -> Result<()>;
    /// Drops the dirty pages of a file system that is gone.
    fn forget(&self, fs: usize);
}

static PAGER: Once<&'static dyn Pager> = Once::new();

/// An address space, as the cache sees it.
pub trait Mappings: Sync {
    /// Makes all mappings of `pages` of the file whose slot is at `file` look them up again;
    /// with `copies`, for they are cut off, the app's private copies are gone too.
    fn unmap(&self, file: usize, pages: Range<u64>, copies: bool);
}

/// Where pages of files can be mapped.
#[cfg(target_os = "none")]
fn mappings() -> Option<&'static dyn Mappings> {
    crate::process::get().map(|p| &*p.space as &dyn Mappings)
}

#[cfg(all(not(target_os = "none"), not(test)))]
fn mappings() -> Option<&'static dyn Mappings> {
    None
}

#[cfg(test)]
pub use tests::mappings;

fn pager() -> Result<&'static dyn Pager> {
    PAGER.get().copied().ok_or(Error::Io)
}

/// Where the slot of the file at `path` is, which no other file has; `None` for one without pages.
pub fn slot(path: &Path) -> Option<usize> {
    Some(core::ptr::from_ref(path.inode().paged()?.cache()).addr())
}

/// Whether `path` leads to the file whose slot is at `file`.
pub fn belongs(path: &Path, file: usize) -> bool {
    slot(path) == Some(file)
}

/// Reads from the file at `path`; how much there was.
///
/// # Errors
/// What the file system gives.
pub fn read(path: &Path, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let inode = path.inode();
    match inode.paged() {
        Some(paged) if paged.memory_only() => memory::File::new(inode, paged).read(offset, buf),
        Some(paged) => pager()?.read(path, paged, offset, buf),
        None => inode.read_at(offset, buf),
    }
}

/// Writes to the file at `path`, at its end if no offset is given; where that ended, and
/// how much there was room for.
///
/// # Errors
/// What the file system gives.
pub fn write(path: &Path, offset: Option<u64>, buf: &[u8]) -> Result<(u64, usize)> {
    let inode = path.inode();
    match inode.paged() {
        Some(paged) if paged.memory_only() => memory::File::new(inode, paged).write(offset, buf),
        Some(paged) => pager()?.write(path, paged, offset, buf),
        None => {
            // What has no pages has no end to write at.
            let offset = offset.unwrap_or(0);
            let n = inode.write_at(offset, buf)?;
            Ok((offset.saturating_add(n as u64), n))
        }
    }
}

/// Sets the length of the file at `path`.
///
/// # Errors
/// What the file system gives.
pub fn truncate(path: &Path, size: u64) -> Result<()> {
    let inode = path.inode();
    match inode.paged() {
        Some(paged) if paged.memory_only() => memory::File::new(inode, paged).truncate(size),
        Some(paged) => pager()?.truncate(path, paged, size),
        None => inode.truncate(size),
    }
}

/// What a page of a file is mapped from.
pub enum Found {
    /// A page of the cache; for stores if that was asked.
    Page(PhysAddr),
    /// Memory that is there for ever, and whether nothing of the file is anywhere else.
    Image(&'static [u8], bool),
    /// It must be prepared first.
    Nothing,
}

/// What page number `page` of the file at `path` can be mapped from now, for stores or not.
/// Does not wait.
///
/// # Errors
/// `OutOfRange` beyond the end, `NoDevice` for a file without pages.
pub fn find(path: &Path, page: u64, store: bool) -> Result<Found> {
    let inode = path.inode();
    let paged = inode.paged().ok_or(Error::NoDevice)?;
    if page >= inode.metadata().size.div_ceil(PAGE) {
        return Err(Error::OutOfRange);
    }
    if !paged.memory_only() {
        let found = pager()?.mapped(path, paged, page, store);
        return Ok(found.map_or(Found::Nothing, Found::Page));
    }
    let Some(found) = memory::File::new(inode, paged).mapped(page) else {
        return Ok(Found::Nothing);
    };
    Ok(match (found, memory::image(inode, page)) {
        (Some(frame), _) => Found::Page(frame),
        (None, Some(image)) if !store => Found::Image(image, paged.cache().get().is_none()),
        _ => Found::Nothing,
    })
}

/// Makes a page of the file at `path` ready to be mapped, for stores or not. Waits; without
/// the address space's lock.
///
/// # Errors
/// `Io`, `NoMemory`; for stores also `NoSpace`, `ReadOnly`.
pub fn prepare(path: &Path, page: u64, store: bool) -> Result<()> {
    let inode = path.inode();
    match inode.paged() {
        Some(paged) if paged.memory_only() => memory::File::new(inode, paged).prepare(page, store),
        Some(paged) => pager()?.prepare(path, paged, page, store),
        None => Err(Error::NoDevice),
    }
}

/// Writes the dirty pages of the file at `path` and waits for it. What they are made durable
/// by is [`Inode::sync`].
///
/// # Errors
/// What the file system gives; everything was tried.
pub fn write_back(path: &Path) -> Result<()> {
    match path.inode().paged().filter(|paged| !paged.memory_only()) {
        Some(paged) => pager()?.write_back(path, paged),
        None => Ok(()),
    }
}

/// How many write-outs of the file have failed so far.
pub fn errors(inode: &Arc<dyn Inode>) -> u32 {
    let pager = PAGER.get();
    pager.and_then(|pager| Some(pager.errors(inode.paged()?))).unwrap_or(0)
}

/// Dirty pages and pages under write-out.
pub fn counts() -> (usize, usize) {
    PAGER.get().map_or((0, 0), |pager| pager.counts())
}

/// Drops pages that can be had again; whether there were any. Never while a lock is held
/// that the address space or files on devices need.
#[must_use]
pub fn reclaim() -> bool {
    PAGER.get().is_some_and(|pager| pager.reclaim())
}

#[cfg(test)]
mod tests;
