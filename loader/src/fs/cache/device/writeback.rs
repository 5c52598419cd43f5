//! Writing dirty pages out.

use super::super::PAGE;
use super::file::File;
use super::map::Slot;
use super::{AGE_NS, Cache, DirtyFile};
use crate::mm::page::PageFrame;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use driver_api::paged::Page;
use driver_api::{Error, Result};

/// Most pages that are written in one call, unless a record has more: 1 MiB.
const RUN: u64 = 256;

impl File<'_> {
    /// Writes all that is dirty now and waits for it. Pages do not change while they are
    /// written: writers wait at the gate, and stores through mappings fault.
    ///
    /// # Errors
    /// The file system's first; everything was tried. It is counted ([`super::FileCache`]).
    pub fn write_out(&self) -> Result<()> {
        let mut result = Ok(());
        let mut at = 0;
        let short = self.kept.cache.short.load(Ordering::Relaxed) > 0;
        let mut most = if short { 0 } else { RUN };
        loop {
            let mut frames = Vec::new();
            match self.begin(at, most, &mut frames) {
                Ok(Some((first, end, size))) => {
                    let written = self.write_run(first, size, &frames);
                    self.end(first, end, written.is_ok());
                    if written == Err(Error::NoMemory) && end - first > self.kept.record {
                        // File systems may need as much again to write: less at once.
                        most = 0;
                        continue;
                    }
                    if written.is_err() {
                        self.kept.failed();
                    }
                    result = result.and(written);
                    at = end;
                }
                Ok(None) => break,
                Err(e) => {
                    self.kept.failed();
                    result = result.and(Err(e));
                    break;
                }
            }
        }
        self.kept.cache.unlist(self.kept);
        result
    }

    /// Marks the next dirty records from `at` on, about `most` pages and at least one record,
    /// and collects their pages: first page, first
    /// page after them, and the size of the file.
    fn begin(
        &self,
        at: u64,
        most: u64,
        frames: &mut Vec<Arc<PageFrame>>,
    ) -> Result<Option<(u64, u64, u64)>> {
        let kept = self.kept;
        loop {
            let mut state = kept.state.lock();
            let size = self.size(&state);
            // What is being cut is left alone, and what nobody has extended the file to yet.
            let limit = state.cut.map_or(size.div_ceil(PAGE), |cut| kept.record_of(cut / PAGE));
            let mut from = at;
            let dirty = loop {
                match state.pages.next(from) {
                    Some((page, slot)) if slot.is(Slot::DIRTY) => break Some(page),
                    Some((page, _)) => from = page + 1,
                    None => break None,
                }
            };
            let Some(page) = dirty.filter(|page| *page < limit) else { return Ok(None) };
            let first = kept.record_of(page);
            let mut end = first;
            while end < limit && end - first < most.max(kept.record) {
                let record = end..(end + kept.record).min(limit);
                let len = frames.len();
                frames.try_reserve(kept.record as usize).map_err(|_| Error::NoMemory)?;
                for page in record.clone() {
                    if let Some(slot) = state.pages.get(page)
                        && slot.flags & (Slot::DIRTY | Slot::BUSY) == Slot::DIRTY
                        && let Some(frame) = &slot.frame
                    {
                        frames.push(frame.clone());
                    }
                }
                if (frames.len() - len) as u64 != record.end - record.start {
                    frames.truncate(len);
                    break;
                }
                end = record.end;
            }
            if frames.is_empty() {
                let gap = (first..limit.min(first + kept.record))
                    .find(|page| state.pages.get(*page).is_none());
                if let Some(gap) = gap {
                    // It came within the end since the record was dirtied: zeroes.
                    drop(state);
                    self.fill(gap)?;
                } else {
                    kept.wait(state);
                }
                continue;
            }
            let mut stored = false;
            for page in first..end.next_multiple_of(kept.record) {
                let Some(slot) = state.pages.get(page) else { continue };
                stored |= slot.is(Slot::STORED);
                slot.flags = slot.flags & !Slot::STORED | Slot::BUSY | Slot::WRITING;
            }
            kept.cache.writing.fetch_add(frames.len(), Ordering::Relaxed);
            drop(state);
            if stored && let Some(mappings) = kept.cache.machine.mappings() {
                mappings.protect(kept.slot, first..end);
            }
            return Ok(Some((first, end, size)));
        }
    }

    fn write_run(&self, first: u64, size: u64, frames: &[Arc<PageFrame>]) -> Result<()> {
        // What was stored beyond the end, through a mapping, is not the file's.
        let tail = (size / PAGE).checked_sub(first).and_then(|n| frames.get(n as usize));
        if let Some(tail) = tail {
            tail.zero_from((size % PAGE) as usize);
        }
        let mut pages: Vec<&Page> = Vec::new();
        pages.try_reserve_exact(frames.len()).map_err(|_| Error::NoMemory)?;
        pages.extend(frames.iter().map(|frame| frame.bytes()));
        self.paged.write(first, &pages)
    }

    /// Gives written pages free; after an error they are dirty still.
    fn end(&self, first: u64, end: u64, written: bool) {
        let mut state = self.kept.state.lock();
        let mut clean = 0;
        // The reservation is the record's: a page beyond the end, which is just coming, needs
        // a new one as well.
        for page in first..end.next_multiple_of(self.kept.record) {
            let Some(slot) = state.pages.get(page) else { continue };
            slot.flags &= !(Slot::BUSY | Slot::WRITING);
            if written {
                slot.flags &= !Slot::DIRTY;
                clean += 1;
            }
        }
        state.dirty -= clean;
        if written && self.kept.cache.short.load(Ordering::Relaxed) > 0 {
            // Before they are dirtied again.
            self.kept.cache.drop_written(&mut state.pages, first..end, self.kept.record);
            self.note(&state);
        }
        drop(state);
        self.kept.cache.writing.fetch_sub((end - first) as usize, Ordering::Relaxed);
        self.kept.cache.dirty_pages.fetch_sub(clean, Ordering::Relaxed);
        self.kept.gate.open();
    }
}

impl Cache {
    /// Takes a file that has no dirty page any more out of the dirty ones.
    fn unlist(&self, kept: &super::FileCache) {
        let mut gone = None;
        let mut dirty = self.dirty.lock();
        let mut state = kept.state.lock();
        if state.dirty == 0 {
            state.listed = false;
            let at = dirty.iter().position(|d| core::ptr::eq(&*d.kept, kept));
            gone = at.map(|at| dirty.remove(at));
        }
        drop(state);
        drop(dirty);
        // The last reference to a file may be this one: its end is the file system's work.
        drop(gone);
    }

    /// Writes a dirty file; one that fails counts as dirty from `now` on.
    fn write_file(&self, found: &DirtyFile, now: u64) -> Result<()> {
        let Some(paged) = found.inode.paged() else { return Ok(()) };
        let result = File { inode: &found.inode, paged, kept: &found.kept }.write_out();
        if let Some(d) = self.dirty.lock().iter_mut().find(|d| Arc::ptr_eq(&d.kept, &found.kept)) {
            d.since = d.since.max(now);
        }
        result
    }

    /// Writes what has been dirty since `before` or longer, once each. The first error.
    fn write_since(&self, before: u64, fs: Option<usize>, enough: &dyn Fn() -> bool) -> Result<()> {
        let now = self.machine.now_ns();
        let which = |d: &&DirtyFile| d.since <= before && fs.is_none_or(|fs| d.kept.fs == fs);
        let found: Vec<DirtyFile> = self.dirty.lock().iter().filter(which).cloned().collect();
        let mut files = found.iter();
        let mut result = Ok(());
        while !enough()
            && let Some(file) = files.next()
        {
            result = result.and(self.write_file(file, now));
        }
        result
    }

    /// Writes all dirty files of a file system.
    ///
    /// # Errors
    /// The first; everything was tried.
    pub fn sync(&self, fs: usize) -> Result<()> {
        self.write_since(self.machine.now_ns(), Some(fs), &|| false)
    }

    /// What the writer thread does: writes what is old, and more if much is dirty. Returns
    /// when it wants to be called again at the latest, in ns since boot; `None` while nothing
    /// is dirty.
    pub fn write_aged(&self) -> Option<u64> {
        let now = self.machine.now_ns();
        let much = self.most_dirty() / 2;
        if self.dirty_pages.load(Ordering::Relaxed) > much {
            let enough = || self.dirty_pages.load(Ordering::Relaxed) <= much;
            let _ = self.write_since(now, None, &enough);
        }
        // Errors are told to who asks for them: `fsync`.
        if let Some(before) = now.checked_sub(AGE_NS) {
            let _ = self.write_since(before, None, &|| false);
        }
        let dirty = self.dirty.lock();
        dirty.iter().map(|d| d.since).min().map(|since| since.saturating_add(AGE_NS))
    }

    /// After a write: wakes the writer when much is dirty, and writes itself when too much is.
    pub fn balance(&self) {
        let dirty = self.dirty_pages.load(Ordering::Relaxed);
        let most = self.most_dirty();
        if dirty > most {
            let enough = || self.dirty_pages.load(Ordering::Relaxed) <= most;
            let _ = self.write_since(self.machine.now_ns(), None, &enough);
        } else if dirty > most / 2 {
            self.machine.wake_writer();
        }
    }

    /// Writes some dirty pages, for memory is short, and drops them.
    pub(super) fn write_some(&self) {
        self.short.fetch_add(1, Ordering::Relaxed);
        let before = self.dirty_pages.load(Ordering::Relaxed);
        let enough = || {
            let left = self.dirty_pages.load(Ordering::Relaxed);
            before.saturating_sub(left) >= super::reclaim::BATCH
        };
        let _ = self.write_since(self.machine.now_ns(), None, &enough);
        self.short.fetch_sub(1, Ordering::Relaxed);
    }

    /// Drops what is dirty of a file system that is gone.
    pub fn forget(&self, fs: usize) {
        let which = |d: &&DirtyFile| d.kept.fs == fs;
        let all: Vec<DirtyFile> = self.dirty.lock().iter().filter(which).cloned().collect();
        for found in &all {
            let mut state = found.kept.state.lock();
            let mut at = 0;
            while let Some((page, slot)) = state.pages.next(at) {
                at = page + 1;
                if slot.is(Slot::DIRTY) {
                    state.pages.get(page).into_iter().for_each(|s| s.flags &= !Slot::DIRTY);
                    self.dirty_pages.fetch_sub(1, Ordering::Relaxed);
                }
            }
            state.dirty = 0;
            drop(state);
            self.unlist(&found.kept);
        }
    }
}
