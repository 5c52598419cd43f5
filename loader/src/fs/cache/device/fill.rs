//! Bringing pages in, and making them dirty.

use super::super::PAGE;
use super::file::{File, FileCache, State};
use super::map::Slot;
use super::{Cache, DirtyFile};
use crate::mm::page::PageFrame;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering;
use driver_api::paged::Page;
use driver_api::{Error, Result};

/// Fewest pages that a sequential reader gets at once.
const AHEAD_FIRST: u64 = 4;
/// Most: 128 KiB, as Linux's `read_ahead_kb`. Larger records come whole.
const AHEAD_MOST: u64 = 32;

impl Cache {
    /// Up to `count` pages of zeroes, at least one if memory allows.
    fn frames(&self, count: u64) -> Vec<PageFrame> {
        let mut frames = Vec::new();
        if frames.try_reserve_exact(count as usize).is_ok() {
            frames.extend((0..count).map_while(|_| self.frame()));
        }
        frames
    }
}

impl File<'_> {
    /// Says that pages will come: nobody else brings them in meanwhile.
    fn announce(&self, state: &mut State, pages: Range<u64>) -> Result<()> {
        for page in pages.clone() {
            let coming = Slot { frame: None, flags: Slot::BUSY };
            if let Err(e) = state.pages.insert(page, coming) {
                (pages.start..page).for_each(|page| drop(state.pages.remove(page)));
                return Err(e);
            }
        }
        Ok(())
    }

    /// Puts announced pages in their places, and takes back the announcement of the rest.
    fn arrive(&self, pages: Range<u64>, frames: Vec<PageFrame>, flags: u8) {
        let mut frames = frames.into_iter();
        let mut state = self.kept.state.lock();
        for page in pages {
            match (frames.next(), state.pages.get(page)) {
                (Some(frame), Some(slot)) => {
                    *slot = Slot { frame: Some(Arc::new(frame)), flags: flags | Slot::USED };
                    self.kept.cache.pages.fetch_add(1, Ordering::Relaxed);
                    if flags & Slot::DIRTY != 0 {
                        state.dirty += 1;
                        self.kept.cache.dirty_pages.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ => drop(state.pages.remove(page)),
            }
        }
        self.note(&state);
        drop(state);
        self.kept.gate.open();
        if !self.kept.known.swap(true, Ordering::Relaxed)
            && let Some(kept) = self.shared()
        {
            self.kept.cache.files.lock().push(Arc::downgrade(&kept));
        }
    }

    /// What is kept, to hold on to.
    fn shared(&self) -> Option<Arc<FileCache>> {
        self.paged.cache().get()?.clone().downcast().ok()
    }

    /// Brings in the record of `page`, and more for a sequential reader.
    pub(super) fn fill(&self, page: u64) -> Result<()> {
        let record = self.kept.record;
        let first = self.kept.record_of(page);
        let (needed, wanted) = {
            let mut state = self.kept.state.lock();
            let end = self.size(&state).div_ceil(PAGE);
            let slot = state.pages.get(page);
            if slot.as_ref().is_some_and(|s| s.frame.is_some() && !s.is(Slot::FRESH)) {
                return Ok(());
            }
            if slot.is_some() || self.cutting(&state, page) {
                self.kept.wait(state);
                return Ok(());
            }
            if page >= end {
                return Ok(());
            }
            if state.pages.get(first).is_some() {
                drop(state);
                return self.complete(page);
            }
            let needed = (first + record).min(end);
            state.window = if first > 0 && first == state.next_read {
                (state.window * 2).clamp(AHEAD_FIRST, AHEAD_MOST)
            } else {
                1
            };
            let ahead = first + state.window.next_multiple_of(record);
            let mut wanted = ahead.min(end).max(needed);
            if let Some((there, _)) = state.pages.next(first) {
                wanted = wanted.min(there).max(needed);
            }
            self.announce(&mut state, first..wanted)?;
            state.next_read = wanted;
            (needed - first, wanted - first)
        };
        let mut frames = self.kept.cache.frames(wanted);
        let mut result = Err(Error::NoMemory);
        if frames.len() as u64 >= needed {
            // Records come whole.
            if (frames.len() as u64) < wanted {
                frames.truncate(self.kept.record_of(frames.len() as u64).max(needed) as usize);
            }
            result = self.bring(first, &mut frames);
            if result.is_err() && frames.len() as u64 > needed {
                // Perhaps only what was read ahead is damaged.
                frames.truncate(needed as usize);
                result = self.bring(first, &mut frames);
            }
        }
        if result.is_err() {
            frames.clear();
        }
        self.arrive(first..first + wanted, frames, 0);
        result
    }

    fn bring(&self, first: u64, frames: &mut [PageFrame]) -> Result<()> {
        let mut pages: Vec<&mut Page> = Vec::new();
        pages.try_reserve_exact(frames.len()).map_err(|_| Error::NoMemory)?;
        pages.extend(frames.iter_mut().map(PageFrame::bytes_mut));
        self.paged.fill(first, &mut pages)
    }

    /// Adds a page of zeroes to a record that is there: it lay beyond the end until now.
    fn complete(&self, page: u64) -> Result<()> {
        let frame = self.kept.cache.frame().ok_or(Error::NoMemory)?;
        let mut state = self.kept.state.lock();
        let first = self.kept.record_of(page);
        // It may have been dropped meanwhile.
        let Some(peer) = state.pages.get(first) else { return Ok(()) };
        let dirty = peer.flags & Slot::DIRTY;
        if peer.is(Slot::BUSY) {
            self.kept.wait(state);
            return Ok(());
        }
        if state.pages.get(page).is_some() {
            return Ok(());
        }
        state
            .pages
            .insert(page, Slot { frame: Some(Arc::new(frame)), flags: dirty | Slot::USED })?;
        let cache = self.kept.cache;
        cache.pages.fetch_add(1, Ordering::Relaxed);
        if dirty != 0 {
            state.dirty += 1;
            cache.dirty_pages.fetch_add(1, Ordering::Relaxed);
        }
        self.note(&state);
        Ok(())
    }

    /// Makes the record of `page` dirty: for a store, or for a write (and whether that
    /// covers the page).
    pub(super) fn make_dirty(&self, page: u64, write: Option<bool>) -> Result<()> {
        let record = self.kept.record;
        let first = self.kept.record_of(page);
        let mut state = self.kept.state.lock();
        let all = first..first + record;
        let busy = all.clone().any(|p| state.pages.get(p).is_some_and(|s| s.is(Slot::BUSY)));
        if busy || self.cutting(&state, page) {
            self.kept.wait(state);
            return Ok(());
        }
        let end = self.size(&state).div_ceil(PAGE);
        if write.is_none() && page >= end {
            return Ok(());
        }
        if let Some(slot) = state.pages.get(first) {
            let dirty = slot.is(Slot::DIRTY);
            if state.pages.get(page).is_none() {
                drop(state);
                return self.complete(page);
            }
            if dirty {
                return Ok(());
            }
            for page in all.clone() {
                state.pages.get(page).into_iter().for_each(|slot| slot.flags |= Slot::BUSY);
            }
            drop(state);
            let result = self.paged.reserve(first, record as usize);
            let mut state = self.kept.state.lock();
            for page in all {
                let Some(slot) = state.pages.get(page) else { continue };
                slot.flags &= !Slot::BUSY;
                if result.is_ok() {
                    slot.flags |= Slot::DIRTY;
                    state.dirty += 1;
                    self.kept.cache.dirty_pages.fetch_add(1, Ordering::Relaxed);
                }
            }
            drop(state);
            self.kept.gate.open();
            self.list();
            return result;
        }
        // What is there is read first, unless nothing of it stays.
        let over = first < end;
        if over && !(write == Some(true) && record == 1) {
            drop(state);
            return self.fill(first);
        }
        let new = first..page + 1;
        self.announce(&mut state, new.clone())?;
        drop(state);
        let mut frames = self.kept.cache.frames(page + 1 - first);
        let mut result = Err(Error::NoMemory);
        if frames.len() as u64 == page + 1 - first {
            result = self.paged.reserve(first, record as usize);
        }
        if result.is_err() {
            frames.clear();
        }
        // Until the writer has put its bytes there, others would see zeroes.
        let fresh = if over { Slot::BUSY | Slot::FRESH } else { 0 };
        self.arrive(new, frames, Slot::DIRTY | fresh);
        self.list();
        result
    }

    /// Puts the file among the dirty ones, if it is and is not there yet.
    fn list(&self) {
        {
            let mut state = self.kept.state.lock();
            if state.listed || state.dirty == 0 {
                return;
            }
            state.listed = true;
        }
        let cache = self.kept.cache;
        if let Some(kept) = self.shared() {
            let since = cache.machine.now_ns();
            cache.dirty.lock().push(DirtyFile { inode: self.inode.clone(), kept, since });
            cache.machine.wake_writer();
        }
    }
}
