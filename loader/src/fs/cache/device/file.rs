//! One file's pages: reading, writing, cutting, and what a mapping gets.
//!
//! Locks, in this order: `writers` (one who writes or cuts at a time), the address space, the
//! state, the file system's own. Whoever moves pages to or from a device marks them busy and
//! lets go of the state; others wait at the gate.

use super::super::{PAGE, memory};
use super::Cache;
use super::gate::Gate;
use super::map::{Map, Slot};
use crate::mm::{PAGE_SIZE, PhysAddr};
use crate::sync::Mutex;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use driver_api::paged::Paged;
use driver_api::vfs::Inode;
use driver_api::{Error, Result};

/// What a page is to be ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Reading it.
    Read,
    /// A store through a mapping.
    Store,
    /// A write of the kernel's, beyond the end as well.
    Write {
        /// All of it is written over.
        whole: bool,
    },
}

/// What the lock of a file protects.
pub struct State {
    /// Its pages. Those of a record come and go together, but for what lies beyond the end.
    pub pages: Map,
    /// While it is being cut: where. Nothing beyond is given out, nothing from its record on
    /// begins to move to or from the device.
    pub cut: Option<u64>,
    /// How many of its pages are dirty.
    pub dirty: usize,
    /// It is among the cache's dirty files, or about to be.
    pub listed: bool,
    /// Where a sequential reader comes next.
    pub next_read: u64,
    /// How many pages were brought in the last time.
    pub window: u64,
}

/// What the cache keeps of a file, in its [`driver_api::paged::CacheSlot`].
pub struct FileCache {
    pub(super) cache: &'static Cache,
    pub(super) state: Mutex<State>,
    writers: Mutex<()>,
    pub(super) gate: Gate,
    /// How many write-outs have failed.
    errors: AtomicU32,
    /// It is among the cache's files.
    pub(super) known: AtomicBool,
    /// Its file system's key.
    pub(super) fs: usize,
    /// The address of its slot.
    pub(super) slot: usize,
    /// Pages in a record.
    pub(super) record: u64,
}

/// A file with its pages: what operations need of it.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// The file.
    pub inode: &'a Arc<dyn Inode>,
    /// Its contents on the device.
    pub paged: &'a dyn Paged,
    /// Its contents in memory.
    pub kept: &'a FileCache,
}

impl FileCache {
    /// An empty one.
    pub const fn new(cache: &'static Cache, fs: usize, slot: usize, record: u64) -> Self {
        let state = State {
            pages: Map::new(),
            cut: None,
            dirty: 0,
            listed: false,
            next_read: 0,
            window: 0,
        };
        Self {
            cache,
            state: Mutex::new(state),
            writers: Mutex::new(()),
            gate: Gate::new(),
            errors: AtomicU32::new(0),
            known: AtomicBool::new(false),
            fs,
            slot,
            record,
        }
    }

    /// How many write-outs have failed so far.
    pub fn errors(&self) -> u32 {
        self.errors.load(Ordering::Relaxed)
    }

    /// One more write-out has failed.
    pub(super) fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// First page of the record that `page` is in.
    pub(super) const fn record_of(&self, page: u64) -> u64 {
        page - page % self.record
    }

    /// Waits until somebody is done with a page. `state` shows that somebody is not.
    pub(super) fn wait<G>(&self, state: G) {
        let seen = self.gate.opened();
        drop(state);
        self.gate.wait(seen);
    }
}

impl Drop for FileCache {
    fn drop(&mut self) {
        let pages = self.state.get_mut().pages.len() as usize;
        self.cache.pages.fetch_sub(pages, Ordering::Relaxed);
    }
}

impl File<'_> {
    /// Length in bytes; what is being cut off does not count.
    pub(super) fn size(&self, state: &State) -> u64 {
        self.inode.metadata().size.min(state.cut.unwrap_or(u64::MAX))
    }

    /// Whether the record of `page` is being cut, or lies behind the cut.
    pub(super) fn cutting(&self, state: &State, page: u64) -> bool {
        state.cut.is_some_and(|cut| page >= self.kept.record_of(cut / PAGE))
    }

    /// Reads from `offset`; how much there was.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        for (page, within, part) in memory::parts(offset, buf.len()) {
            let at = offset.saturating_add(part.start as u64);
            loop {
                let mut state = self.kept.state.lock();
                let left = self.size(&state).saturating_sub(at);
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
                if n == 0 {
                    return Ok(done);
                }
                if let Some(slot) = state.pages.get(page).filter(|s| !s.is(Slot::FRESH))
                    && let Some(frame) = &slot.frame
                {
                    let to = buf.get_mut(part.start..part.start + n).unwrap_or_default();
                    frame.read(within, to);
                    slot.flags |= Slot::USED;
                    done += n;
                    break;
                }
                drop(state);
                match self.prepare(page, Want::Read) {
                    Err(_) if done > 0 => return Ok(done),
                    other => other?,
                }
            }
        }
        Ok(done)
    }

    /// Writes at `offset`, or at the end; where it ended, and how much there was room for.
    pub fn write(&self, offset: Option<u64>, buf: &[u8]) -> Result<(u64, usize)> {
        let writers = self.kept.writers.lock();
        let size = self.inode.metadata().size;
        let start = offset.unwrap_or(size);
        if start.checked_add(buf.len() as u64).is_none_or(|end| end > memory::MAX_SIZE) {
            return Err(Error::FileTooLarge);
        }
        if start > size {
            clear_from(&mut self.kept.state.lock(), size);
        }
        let mut done = 0;
        let mut result = Ok(());
        for (page, within, part) in memory::parts(start, buf.len()) {
            result = self.write_page(page, within, buf.get(part.clone()).unwrap_or(&[]));
            if result.is_err() {
                break;
            }
            done = part.end;
        }
        drop(writers);
        self.kept.cache.balance();
        match result {
            Err(e) if done == 0 => Err(e),
            _ => Ok((start + done as u64, done)),
        }
    }

    fn write_page(&self, page: u64, within: usize, from: &[u8]) -> Result<()> {
        loop {
            let mut state = self.kept.state.lock();
            if let Some(slot) = state.pages.get(page)
                && let Some(frame) = &slot.frame
                && (slot.is(Slot::FRESH) || slot.flags & (Slot::DIRTY | Slot::BUSY) == Slot::DIRTY)
            {
                frame.write(within, from);
                let fresh = slot.is(Slot::FRESH);
                if fresh {
                    slot.flags &= !(Slot::FRESH | Slot::BUSY);
                }
                slot.flags |= Slot::USED;
                let end = page * PAGE + (within + from.len()) as u64;
                let size = self.inode.metadata().size;
                let mut result = Ok(());
                if end > size {
                    result = self.paged.extend(end);
                    if result.is_err() {
                        // Nothing would ever write what lies beyond the end.
                        self.drop_from(&mut state, size.div_ceil(PAGE));
                    }
                }
                drop(state);
                if fresh {
                    self.kept.gate.open();
                }
                return result;
            }
            drop(state);
            self.prepare(page, Want::Write { whole: from.len() == PAGE_SIZE })?;
        }
    }

    /// The frame of a page that can be mapped now, for stores or not; `None` when it must be
    /// prepared first.
    pub fn mapped(&self, page: u64, store: bool) -> Option<PhysAddr> {
        let mut state = self.kept.state.lock();
        if page >= self.size(&state).div_ceil(PAGE) {
            return None;
        }
        let slot = state.pages.get(page).filter(|s| !s.is(Slot::BUSY))?;
        if store && !slot.is(Slot::DIRTY) {
            return None;
        }
        slot.flags |= Slot::USED | Slot::MAPPED | if store { Slot::STORED } else { 0 };
        slot.frame.as_ref().map(|frame| frame.addr())
    }

    /// Sets the length.
    pub fn truncate(&self, new: u64) -> Result<()> {
        if new > memory::MAX_SIZE {
            return Err(Error::FileTooLarge);
        }
        let _writers = self.kept.writers.lock();
        let old = self.inode.metadata().size;
        if new >= old {
            clear_from(&mut self.kept.state.lock(), old);
            return if new > old { self.inode.truncate(new) } else { Ok(()) };
        }
        // Nothing of what is cut moves meanwhile.
        let tail = self.kept.record_of(new / PAGE);
        loop {
            let mut state = self.kept.state.lock();
            state.cut = Some(new);
            let mut at = tail;
            let busy = loop {
                match state.pages.next(at) {
                    Some((_, slot)) if slot.is(Slot::BUSY) => break true,
                    Some((page, _)) => at = page + 1,
                    None => break false,
                }
            };
            if !busy {
                break;
            }
            self.kept.wait(state);
        }
        let result = self.inode.truncate(new);
        let gone = new.div_ceil(PAGE);
        if result.is_ok()
            && let Some(mappings) = self.kept.cache.machine.mappings()
        {
            // Stores that were made meanwhile are lost with the pages.
            mappings.unmap(self.kept.slot, gone..u64::MAX, true);
        }
        let mut state = self.kept.state.lock();
        state.cut = None;
        if result.is_ok() {
            self.drop_from(&mut state, gone);
            clear_from(&mut state, new);
        }
        drop(state);
        self.kept.gate.open();
        result
    }

    /// Drops the pages from `first` on, which are mapped nowhere and not busy.
    fn drop_from(&self, state: &mut State, first: u64) {
        let mut released = None;
        while let Some((page, slot)) = state.pages.next(first) {
            if slot.is(Slot::DIRTY) {
                state.dirty -= 1;
                self.kept.cache.dirty_pages.fetch_sub(1, Ordering::Relaxed);
                // What is reserved is reserved for records; that of a part that stays, stays.
                let record = self.kept.record_of(page);
                if record >= first && released != Some(record) {
                    self.paged.release(record, self.kept.record as usize);
                    released = Some(record);
                }
            }
            state.pages.remove(page);
            self.kept.cache.pages.fetch_sub(1, Ordering::Relaxed);
        }
        self.note(state);
    }

    /// Tells the file system how many pages there are.
    pub(super) fn note(&self, state: &State) {
        self.paged.cache().set_pages(state.pages.len());
    }

    /// Brings a page nearer to what is wanted. Waits; to be called again until it is so.
    pub fn prepare(&self, page: u64, want: Want) -> Result<()> {
        match want {
            Want::Read => self.fill(page),
            Want::Store => self.make_dirty(page, None),
            Want::Write { whole } => self.make_dirty(page, Some(whole)),
        }
    }
}

/// Fills the rest of the page that holds the offset `size` with zeroes, if it is there: what
/// was stored there through a mapping is not to appear when the file grows. While it is
/// written out it is so already.
fn clear_from(state: &mut State, size: u64) {
    if let Some(slot) = state.pages.get(size / PAGE).filter(|s| !s.is(Slot::BUSY))
        && let Some(frame) = &slot.frame
    {
        frame.zero_from((size % PAGE) as usize);
    }
}
