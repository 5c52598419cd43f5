//! The contents of a file in RAM: in the image until the first write, then in pages.

use crate::mm::PAGE_SIZE;
use crate::mm::room::{reserve_one, room};
use alloc::boxed::Box;
use alloc::vec::Vec;
use driver_api::{Error, Result};

/// Largest file: what a signed 64-bit offset can reach (`MAX_LFS_FILESIZE` of Linux).
const MAX_SIZE: u64 = i64::MAX as u64;

type Page = Box<[u8; PAGE_SIZE]>;

/// What a file holds.
pub enum Content {
    /// In memory that is there for ever and does not change; only what begins on a page and
    /// has its last page to itself can be mapped.
    Resident(&'static [u8]),
    /// Pages of its own; those that are missing are holes.
    Pages {
        /// Length in bytes.
        size: u64,
        /// What was written.
        pages: Pages,
    },
}

/// The pages of a file that are there, by number. Files grow at their end, where adding to
/// a sorted vector costs nothing.
#[derive(Default)]
pub struct Pages(pub Vec<(u64, Page)>);

impl Pages {
    fn find(&self, number: u64) -> core::result::Result<usize, usize> {
        match self.0.last() {
            Some(last) if last.0 < number => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&number, |p| p.0),
        }
    }

    fn get(&self, number: u64) -> Option<&Page> {
        Some(&self.0.get(self.find(number).ok()?)?.1)
    }

    /// The page, made of zeroes if it is not there.
    fn get_or_make(&mut self, number: u64) -> Result<&mut Page> {
        let at = match self.find(number) {
            Ok(at) => at,
            Err(at) => {
                reserve_one(&mut self.0)?;
                self.0.insert(at, (number, new_page()?));
                at
            }
        };
        self.0.get_mut(at).map(|p| &mut p.1).ok_or(Error::NoMemory)
    }

    /// Drops the pages from `first` on.
    fn cut(&mut self, first: u64) {
        let (Ok(at) | Err(at)) = self.find(first);
        self.0.truncate(at);
    }
}

impl Content {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Resident(bytes) => bytes.len() as u64,
            Self::Pages { size, .. } => *size,
        }
    }

    /// Reads from `offset`; how much there was.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let left = self.size().saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..n) else { return 0 };
        match self {
            Self::Resident(bytes) => {
                if let Some(from) = bytes.get(offset as usize..offset as usize + n) {
                    buf.copy_from_slice(from);
                }
            }
            Self::Pages { pages, .. } => {
                for (page, within, part) in parts(offset, n) {
                    let Some(to) = buf.get_mut(part) else { continue };
                    match pages.get(page).and_then(|p| p.get(within..within + to.len())) {
                        Some(from) => to.copy_from_slice(from),
                        None => to.fill(0),
                    }
                }
            }
        }
        n
    }

    /// Its pages and size, copied out of the image where they still lie there.
    fn own(&mut self) -> Result<(&mut Pages, &mut u64)> {
        if let Self::Resident(bytes) = *self {
            let mut pages = Pages::default();
            for (i, chunk) in bytes.chunks(PAGE_SIZE).enumerate() {
                let page = pages.get_or_make(i as u64)?;
                if let Some(to) = page.get_mut(..chunk.len()) {
                    to.copy_from_slice(chunk);
                }
            }
            *self = Self::Pages { size: bytes.len() as u64, pages };
        }
        match self {
            Self::Pages { size, pages } => Ok((pages, size)),
            Self::Resident(_) => Err(Error::Io),
        }
    }

    /// Writes at `offset`; how much there was room for.
    pub fn write(&mut self, offset: u64, buf: &[u8]) -> Result<usize> {
        let end = offset
            .checked_add(buf.len() as u64)
            .filter(|&end| end <= MAX_SIZE)
            .ok_or(Error::FileTooLarge)?;
        let (pages, size) = self.own()?;
        let mut done = 0;
        for (page, within, part) in parts(offset, buf.len()) {
            let Some(from) = buf.get(part) else { break };
            let page = match pages.get_or_make(page) {
                Ok(page) => page,
                Err(_) if done > 0 => break,
                Err(_) => return Err(Error::NoSpace),
            };
            if let Some(to) = page.get_mut(within..within + from.len()) {
                to.copy_from_slice(from);
            }
            done += from.len();
        }
        *size = (*size).max(end - (buf.len() - done) as u64);
        Ok(done)
    }

    /// Sets the length.
    pub fn truncate(&mut self, new: u64) -> Result<()> {
        if new > MAX_SIZE {
            return Err(Error::FileTooLarge);
        }
        if new == 0 {
            *self = Self::Pages { size: 0, pages: Pages::default() };
            return Ok(());
        }
        if new == self.size() {
            return Ok(());
        }
        let (pages, size) = self.own()?;
        if new < *size {
            let first_gone = new.div_ceil(PAGE_SIZE as u64);
            pages.cut(first_gone);
            // What grows back later reads as zeroes.
            let within = (new % PAGE_SIZE as u64) as usize;
            if within > 0
                && let Some((number, page)) = pages.0.last_mut()
                && *number + 1 == first_gone
                && let Some(tail) = page.get_mut(within..)
            {
                tail.fill(0);
            }
        }
        *size = new;
        Ok(())
    }
}

fn new_page() -> Result<Page> {
    room(PAGE_SIZE)?;
    // Through a Vec, for only it can say that there is no memory.
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(PAGE_SIZE).map_err(|_| Error::NoMemory)?;
    bytes.resize(PAGE_SIZE, 0);
    bytes.into_boxed_slice().try_into().map_err(|_| Error::NoMemory)
}

/// Cuts `len` bytes at `offset` at the pages' edges: page, offset within it, range of the
/// caller's buffer.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, core::ops::Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE_SIZE as u64) as usize;
        let n = (PAGE_SIZE - within).min(len - done);
        let part = (at / PAGE_SIZE as u64, within, done..done + n);
        done += n;
        Some(part)
    })
}
