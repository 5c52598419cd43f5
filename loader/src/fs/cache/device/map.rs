//! The pages of one file, by number.

use crate::mm::page::PageFrame;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::{Error, Result};

/// Slots in a chunk: a file of one page costs one chunk, 256 bytes.
const SLOTS: u64 = 16;

/// What is known of a page.
#[derive(Default)]
pub struct Slot {
    /// The page; `None` while it is being filled.
    pub frame: Option<Arc<PageFrame>>,
    /// `Slot::…` bits.
    pub flags: u8,
}

impl Slot {
    /// It is not on the device yet, and space is reserved for it. Every page that can be
    /// stored to through a mapping is dirty.
    pub const DIRTY: u8 = 1;
    /// Somebody works on it without the lock: fills it, writes it out, takes it away. It
    /// stays where it is; who wants to change or map it waits at the file's gate.
    pub const BUSY: u8 = 2;
    /// It is being written out.
    pub const WRITING: u8 = 4;
    /// It may be mapped.
    pub const MAPPED: u8 = 8;
    /// It may be mapped so that it can be stored to.
    pub const STORED: u8 = 16;
    /// It was used since the last look for pages to drop.
    pub const USED: u8 = 32;
    /// Its contents are what its writer is about to put there (with `BUSY`).
    pub const FRESH: u8 = 64;

    /// Whether it has all of these.
    #[must_use]
    pub const fn is(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    const fn taken(&self) -> bool {
        self.frame.is_some() || self.flags != 0
    }
}

/// Chunks of slots, ascending. Files grow at their end, where adding costs nothing.
#[derive(Default)]
pub struct Map {
    chunks: Vec<(u64, Vec<Slot>)>,
    pages: u64,
}

impl Map {
    /// No page.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), pages: 0 }
    }

    /// How many pages there are.
    pub const fn len(&self) -> u64 {
        self.pages
    }

    fn find(&self, chunk: u64) -> core::result::Result<usize, usize> {
        match self.chunks.last() {
            Some(last) if last.0 < chunk => Err(self.chunks.len()),
            _ => self.chunks.binary_search_by_key(&chunk, |c| c.0),
        }
    }

    /// The page's slot, if the page is there or on its way.
    pub fn get(&mut self, page: u64) -> Option<&mut Slot> {
        let at = self.find(page / SLOTS).ok()?;
        let slot = self.chunks.get_mut(at)?.1.get_mut((page % SLOTS) as usize)?;
        slot.taken().then_some(slot)
    }

    /// Puts a page, or what is known of it, where none is.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn insert(&mut self, page: u64, slot: Slot) -> Result<()> {
        let chunk = page / SLOTS;
        let at = match self.find(chunk) {
            Ok(at) => at,
            Err(at) => {
                let mut slots = Vec::new();
                slots.try_reserve_exact(SLOTS as usize).map_err(|_| Error::NoMemory)?;
                slots.resize_with(SLOTS as usize, Slot::default);
                self.chunks.try_reserve(1).map_err(|_| Error::NoMemory)?;
                self.chunks.insert(at, (chunk, slots));
                at
            }
        };
        let place = self.chunks.get_mut(at).and_then(|c| c.1.get_mut((page % SLOTS) as usize));
        if let Some(place) = place {
            debug_assert!(!place.taken());
            *place = slot;
            self.pages += 1;
        }
        Ok(())
    }

    /// The first page from `from` on that is there.
    pub fn next(&self, from: u64) -> Option<(u64, &Slot)> {
        let (Ok(first) | Err(first)) = self.find(from / SLOTS);
        self.chunks.get(first..)?.iter().find_map(|(chunk, slots)| {
            let numbered = (chunk * SLOTS..).zip(slots);
            numbered.into_iter().find(|(page, slot)| *page >= from && slot.taken())
        })
    }

    /// Takes a page out.
    pub fn remove(&mut self, page: u64) -> Option<Slot> {
        let at = self.find(page / SLOTS).ok()?;
        let slots = &mut self.chunks.get_mut(at)?.1;
        let slot = slots.get_mut((page % SLOTS) as usize).filter(|slot| slot.taken())?;
        let gone = core::mem::take(slot);
        self.pages -= 1;
        if !slots.iter().any(Slot::taken) {
            self.chunks.remove(at);
        }
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_does_what_a_set_does() {
        let (mut map, mut model) = (Map::new(), BTreeSet::new());
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let page = (seed >> 33) % 200 + if seed >> 63 == 1 { u64::MAX / 2 } else { 0 };
            if model.remove(&page) {
                assert!(map.remove(page).is_some_and(|s| s.is(Slot::BUSY)));
                assert!(map.get(page).is_none() && map.remove(page).is_none());
            } else {
                map.insert(page, Slot { frame: None, flags: Slot::BUSY }).unwrap();
                model.insert(page);
                assert!(map.get(page).is_some());
            }
            let from = (seed >> 20) % 220;
            assert_eq!(map.next(from).map(|n| n.0), model.range(from..).next().copied());
            assert_eq!(map.len(), model.len() as u64);
        }
        for page in model {
            map.remove(page);
        }
        assert!(map.chunks.is_empty());
    }
}
