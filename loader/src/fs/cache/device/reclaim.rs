//! Dropping pages when memory is short.
//!
//! Pages that were not used since the last look go first (second chance, the clock of F. J. Corbató,
//! 1968), of all files in turn.

use super::Cache;
use super::file::FileCache;
use super::map::{Map, Slot};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// How many pages are dropped at once.
pub const BATCH: usize = 32;
/// How often dirty pages are written before there is nothing to drop.
const ROUNDS: usize = 4;

/// How eagerly pages are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Only with locks that are free: by whoever asks for memory with locks held.
    Try,
    /// Those that were not used for a while.
    Wait,
    /// Used ones as well.
    All,
}

impl Cache {
    /// Drops up to `want` clean pages; how many.
    pub fn drop_clean(&self, want: usize, how: How) -> usize {
        let files = if how == How::Try { self.files.try_lock() } else { Some(self.files.lock()) };
        let Some(mut files) = files else { return 0 };
        files.retain(|file| file.strong_count() > 0);
        let count = files.len();
        let mut dropped = 0;
        // The first time around may only take marks away.
        for _ in 0..2 * count {
            let hand = self.hand.load(Ordering::Relaxed) % count;
            if let Some(kept) = files.get(hand).and_then(alloc::sync::Weak::upgrade) {
                dropped += self.drop_of(&kept, want - dropped, how);
            }
            if dropped >= want {
                break;
            }
            self.hand.store(hand + 1, Ordering::Relaxed);
        }
        dropped
    }

    /// Drops up to about `want` clean pages of a file.
    fn drop_of(&self, kept: &FileCache, want: usize, how: How) -> usize {
        let state = if how == How::Try { kept.state.try_lock() } else { Some(kept.state.lock()) };
        let Some(mut state) = state else { return 0 };
        let mut dropped = 0;
        // Records that are mapped: first pages.
        let mut mapped = [0; BATCH];
        let mut held = 0;
        let mut at = 0;
        while let Some((page, _)) = state.pages.next(at) {
            let first = kept.record_of(page);
            at = first + kept.record;
            let mut flags = 0;
            for page in first..at {
                if let Some(slot) = state.pages.get(page) {
                    flags |= slot.flags;
                    slot.flags &= !Slot::USED;
                }
            }
            let used = if how == How::All { 0 } else { Slot::USED };
            if flags & (Slot::DIRTY | Slot::BUSY | used) != 0 {
                continue;
            }
            if flags & Slot::MAPPED == 0 {
                dropped += self.remove(&mut state.pages, first..at);
            } else if let Some(place) = mapped.get_mut(held) {
                *place = first;
                held += 1;
                for page in first..at {
                    state.pages.get(page).into_iter().for_each(|s| s.flags |= Slot::BUSY);
                }
            }
            if dropped + held >= want {
                break;
            }
        }
        drop(state);
        for first in mapped.iter().take(held).copied() {
            let pages = first..first + kept.record;
            // Where nothing can be mapped nothing is.
            let mappings = self.machine.mappings();
            let free = mappings.is_none_or(|m| m.try_unmap(kept.slot, pages.clone()));
            let mut state = kept.state.lock();
            if free {
                dropped += self.remove(&mut state.pages, pages);
            } else {
                for page in pages {
                    state.pages.get(page).into_iter().for_each(|s| s.flags &= !Slot::BUSY);
                }
            }
            drop(state);
            kept.gate.open();
        }
        dropped
    }

    fn remove(&self, pages: &mut Map, range: Range<u64>) -> usize {
        let gone = range.filter(|page| pages.remove(*page).is_some()).count();
        self.pages.fetch_sub(gone, Ordering::Relaxed);
        self.dropped.fetch_add(gone, Ordering::Relaxed);
        gone
    }

    /// Drops those of `written` that are mapped nowhere.
    pub(super) fn drop_written(&self, pages: &mut Map, written: Range<u64>, record: u64) {
        for first in written.step_by(record as usize) {
            let all = first..first + record;
            let keep = Slot::DIRTY | Slot::BUSY | Slot::MAPPED;
            if all.clone().all(|page| pages.get(page).is_none_or(|s| s.flags & keep == 0)) {
                self.remove(pages, all);
            }
        }
    }

    /// Makes memory free: drops clean pages, else writes dirty ones and drops them, else asks
    /// the file systems. Whether there was any. Only without locks that those need.
    pub fn reclaim_now(&self) -> bool {
        // Others may use, or dirty again, what is to be dropped: a few times around.
        let before = self.dropped.load(Ordering::Relaxed);
        let dropped = || self.dropped.load(Ordering::Relaxed) != before;
        self.drop_clean(BATCH, How::Wait);
        for _ in 0..ROUNDS {
            if dropped() {
                return true;
            }
            self.write_some();
            self.drop_clean(BATCH, How::All);
        }
        dropped() || self.machine.shrink()
    }
}
