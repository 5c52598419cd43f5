//! Files whose contents are in memory only: pages that were written, over what the file
//! system has (an image, or zeroes).
//!
//! One lock for each file, taken before the address space's. A page fault, which has the
//! address space, therefore only tries it.

use super::{PAGE, mappings, reclaim};
use crate::mm::page::PageFrame;
use crate::mm::room::{reserve_one, room};
use crate::mm::{PAGE_SIZE, PhysAddr};
use crate::sync::Mutex;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use driver_api::paged::Paged;
use driver_api::vfs::Inode;
use driver_api::{Error, Result};

/// Largest file: what a signed 64-bit offset can reach (`MAX_LFS_FILESIZE` of Linux).
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// The pages of a file that are there, by number. Files grow at their end, where adding to
/// a sorted vector costs nothing.
type Pages = Vec<(u64, PageFrame)>;

/// What the cache keeps of such a file.
struct Kept(Mutex<Pages>);

/// A file in memory.
pub struct File<'a> {
    inode: &'a Arc<dyn Inode>,
    paged: &'a dyn Paged,
}

fn find(pages: &Pages, number: u64) -> core::result::Result<usize, usize> {
    match pages.last() {
        Some(last) if last.0 < number => Err(pages.len()),
        _ => pages.binary_search_by_key(&number, |p| p.0),
    }
}

/// Cuts `len` bytes at `offset` at the pages' edges: page, offset within it, range of the
/// caller's buffer.
pub fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let n = (PAGE_SIZE - within).min(len - done);
        let part = (at / PAGE, within, done..done + n);
        done += n;
        Some(part)
    })
}

impl<'a> File<'a> {
    /// The file `inode`, whose contents `paged` are in memory only.
    pub const fn new(inode: &'a Arc<dyn Inode>, paged: &'a dyn Paged) -> Self {
        Self { inode, paged }
    }

    /// What is kept, if anything was written.
    fn kept(&self) -> Option<&Mutex<Pages>> {
        Some(&self.paged.cache().get()?.downcast_ref::<Kept>()?.0)
    }

    fn make_kept(&self) -> Result<&Mutex<Pages>> {
        self.paged.cache().get_or_make(|| Arc::new(Kept(Mutex::new(Vec::new()))));
        self.kept().ok_or(Error::Io)
    }

    /// Where the page is among `pages`, made if it is not there.
    fn page<'p>(&self, pages: &'p mut Pages, number: u64) -> Result<&'p PageFrame> {
        let at = match find(pages, number) {
            Ok(at) => at,
            Err(at) => {
                reserve_one(pages)?;
                // The last frames are not for files: even to remove one takes a few.
                if room(PAGE_SIZE).is_err() && !reclaim() {
                    return Err(Error::NoMemory);
                }
                let frame = PageFrame::new().or_else(|| reclaim().then(PageFrame::new).flatten());
                let mut frame = frame.ok_or(Error::NoMemory)?;
                let held = self.inode.read_at(number * PAGE, frame.bytes_mut())?;
                pages.insert(at, (number, frame));
                self.paged.cache().set_pages(pages.len() as u64);
                // Who has the image's page mapped is to see this one from now on.
                if held > 0 {
                    self.unmap(number..number + 1, false);
                }
                at
            }
        };
        pages.get(at).map(|p| &p.1).ok_or(Error::NoMemory)
    }

    fn unmap(&self, pages: Range<u64>, copies: bool) {
        if let Some(mappings) = mappings() {
            mappings.unmap(core::ptr::from_ref(self.paged.cache()).addr(), pages, copies);
        }
    }

    /// Reads from `offset`; how much there was.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Some(kept) = self.kept() else { return self.inode.read_at(offset, buf) };
        let pages = kept.lock();
        let left = self.inode.metadata().size.saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        for (number, within, part) in parts(offset, n) {
            let at = offset + part.start as u64;
            let to = buf.get_mut(part).unwrap_or_default();
            match find(&pages, number).ok().and_then(|at| pages.get(at)) {
                Some((_, frame)) => frame.read(within, to),
                None => {
                    self.inode.read_at(at, to)?;
                }
            }
        }
        Ok(n)
    }

    /// Writes at `offset`, or at the end; where it ended, and how much there was room for.
    pub fn write(&self, offset: Option<u64>, buf: &[u8]) -> Result<(u64, usize)> {
        let mut pages = self.make_kept()?.lock();
        let size = self.inode.metadata().size;
        let start = offset.unwrap_or(size);
        if start.checked_add(buf.len() as u64).is_none_or(|end| end > MAX_SIZE) {
            return Err(Error::FileTooLarge);
        }
        clear_from(&pages, size);
        let mut done = 0;
        for (number, within, part) in parts(start, buf.len()) {
            let Ok(frame) = self.page(&mut pages, number) else { break };
            frame.write(within, buf.get(part.clone()).unwrap_or(&[]));
            done = part.end;
        }
        if done == 0 && !buf.is_empty() {
            return Err(Error::NoSpace);
        }
        let end = start + done as u64;
        if end > size && done > 0 {
            self.paged.extend(end)?;
        }
        Ok((end, done))
    }

    /// Sets the length.
    pub fn truncate(&self, new: u64) -> Result<()> {
        if new > MAX_SIZE {
            return Err(Error::FileTooLarge);
        }
        let mut pages = self.make_kept()?.lock();
        let size = self.inode.metadata().size;
        if new < size && !new.is_multiple_of(PAGE) {
            // The rest of the page in the image is zeroes from now on.
            self.page(&mut pages, new / PAGE)?;
        }
        clear_from(&pages, new.min(size));
        self.inode.truncate(new)?;
        if new < size {
            let first = new.div_ceil(PAGE);
            self.unmap(first..u64::MAX, true);
            let (Ok(at) | Err(at)) = find(&pages, first);
            pages.truncate(at);
            self.paged.cache().set_pages(at as u64);
        }
        Ok(())
    }

    /// The frame of a page, if it is there; `None` while somebody works on the file.
    pub fn mapped(&self, number: u64) -> Option<Option<PhysAddr>> {
        let Some(kept) = self.kept() else { return Some(None) };
        let pages = kept.try_lock()?;
        Some(find(&pages, number).ok().and_then(|at| Some(pages.get(at)?.1.addr())))
    }

    /// Makes a page, unless it lies in the image and nothing is stored to it. Waits for who
    /// works on the file.
    pub fn prepare(&self, number: u64, store: bool) -> Result<()> {
        let mut pages = self.make_kept()?.lock();
        if store || image(self.inode, number).is_none() {
            self.page(&mut pages, number)?;
        }
        Ok(())
    }
}

/// The image of a file, if the page lies in it.
pub fn image(inode: &Arc<dyn Inode>, page: u64) -> Option<&'static [u8]> {
    inode.resident().filter(|image| page * PAGE < image.len() as u64)
}

/// What was stored beyond the end `size`, through a mapping, is not to appear when the file
/// grows.
fn clear_from(pages: &Pages, size: u64) {
    if let Ok(at) = find(pages, size / PAGE)
        && let Some((_, frame)) = pages.get(at)
    {
        frame.zero_from((size % PAGE) as usize);
    }
}
