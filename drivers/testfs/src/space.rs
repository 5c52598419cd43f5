//! Units and inodes: which are free, and which are spoken for.
//!
//! A unit that was freed is *pinned*, and not used again, until the next commit, for the
//! state that would be mounted after a cut still needs it; unless that state never had it
//! (*fresh*).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use driver_api::{Error, Result};

use crate::block::Kind;
use crate::journal::Journal;
use crate::layout::{BITS, Layout, ROOT, u8_at};
use crate::record::Record;

/// A change of the sets, to be taken back.
enum Change {
    Pinned(u32),
    Fresh(u32),
    Stale(u32),
}

/// Counts at some time.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Units that can be had now.
    free: u32,
    /// Of these, those that are promised to records.
    reserved: u32,
    free_inodes: u32,
}

/// What is free.
pub struct Space {
    layout: Layout,
    now: Counts,
    pinned: BTreeSet<u32>,
    fresh: BTreeSet<u32>,
    /// Where to look next.
    unit_hint: u32,
    ino_hint: u32,
    before: Counts,
    changes: Vec<Change>,
}

impl Space {
    /// Counts what is free; the inodes without a name that a cut has left behind.
    ///
    /// # Errors
    /// `Io` when bitmap or inode table are damaged.
    pub fn open(layout: Layout, journal: &mut Journal) -> Result<(Self, Vec<u32>)> {
        let mut now = Counts::default();
        for block in 0..layout.units.div_ceil(BITS) {
            journal.begin();
            let bits = journal.get(layout.bitmap + block, Kind::Bitmap)?;
            let mine = (layout.units - block * BITS).min(BITS);
            let used: u32 = bits.iter().map(|b| b.count_ones()).sum();
            now.free += mine.checked_sub(used).ok_or(Error::Io)?;
        }
        let mut orphans = Vec::new();
        for ino in 1..=layout.inodes {
            let (block, at) = layout.inode(ino)?;
            if at == 0 {
                journal.begin();
            }
            match Record::read(journal.get(block, Kind::Inodes)?, at)? {
                None => now.free_inodes += 1,
                Some(r) if r.nlink == 0 => orphans.push(ino),
                Some(_) => {}
            }
        }
        let space = Self {
            layout,
            now,
            pinned: BTreeSet::new(),
            fresh: BTreeSet::new(),
            unit_hint: layout.files,
            ino_hint: ROOT,
            before: now,
            changes: Vec::new(),
        };
        Ok((space, orphans))
    }

    /// An operation begins.
    pub fn begin(&mut self) {
        self.before = self.now;
        self.changes.clear();
    }

    /// It failed.
    pub fn undo(&mut self) {
        self.now = self.before;
        while let Some(change) = self.changes.pop() {
            match change {
                Change::Pinned(unit) => self.pinned.remove(&unit),
                Change::Fresh(unit) => self.fresh.remove(&unit),
                Change::Stale(unit) => self.fresh.insert(unit),
            };
        }
    }

    /// What was freed can be used.
    pub fn committed(&mut self) {
        self.now.free += self.pinned.len() as u32;
        self.pinned.clear();
        self.fresh.clear();
    }

    /// Whether a commit would free something.
    pub fn has_pinned(&self) -> bool {
        !self.pinned.is_empty()
    }

    /// Free units, those included that are promised or pinned; free inodes.
    pub fn free(&self) -> (u32, u32) {
        (self.now.free + self.pinned.len() as u32, self.now.free_inodes)
    }

    /// Units that are promised.
    #[cfg(test)]
    pub fn promised(&self) -> u32 {
        self.now.reserved
    }

    /// Promises `count` units.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn reserve(&mut self, count: u32) -> Result<()> {
        if self.now.free - self.now.reserved < count {
            return Err(Error::NoSpace);
        }
        self.now.reserved += count;
        Ok(())
    }

    /// Takes promises back.
    pub fn release(&mut self, count: u32) {
        self.now.reserved = self.now.reserved.saturating_sub(count);
    }

    /// Takes a unit; one of those that were promised, if `promised`.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn take(&mut self, journal: &mut Journal, promised: bool) -> Result<u32> {
        if promised {
            self.release(1);
        } else if self.now.free <= self.now.reserved {
            return Err(Error::NoSpace);
        }
        let hint = self.unit_hint;
        let found = match self.find(journal, hint, self.layout.units)? {
            None => self.find(journal, self.layout.files, hint)?,
            some => some,
        };
        let unit = found.ok_or(Error::NoSpace)?;
        let (block, bit) = self.layout.bit(unit);
        let bits = journal.edit(block, Kind::Bitmap)?;
        *bits.get_mut(bit as usize / 8).ok_or(Error::Io)? |= 1 << (bit % 8);
        self.unit_hint = unit + 1;
        self.now.free = self.now.free.checked_sub(1).ok_or(Error::Io)?;
        self.fresh.insert(unit);
        self.changes.push(Change::Fresh(unit));
        Ok(unit)
    }

    fn find(&self, journal: &mut Journal, from: u32, to: u32) -> Result<Option<u32>> {
        let mut unit = from;
        while unit < to {
            let (block, bit) = self.layout.bit(unit);
            let byte = u8_at(journal.get(block, Kind::Bitmap)?, bit as usize / 8);
            if byte == 0xff {
                unit = (unit / 8 + 1) * 8;
            } else if byte & 1 << (bit % 8) == 0 && !self.pinned.contains(&unit) {
                return Ok(Some(unit));
            } else {
                unit += 1;
            }
        }
        Ok(None)
    }

    /// Frees a unit.
    ///
    /// # Errors
    /// `Io` for one that no file can have, or that is free.
    pub fn free_unit(&mut self, journal: &mut Journal, unit: u32) -> Result<()> {
        if !self.layout.is_file_unit(unit) {
            return Err(Error::Io);
        }
        let (block, bit) = self.layout.bit(unit);
        let bits = journal.edit(block, Kind::Bitmap)?;
        let byte = bits.get_mut(bit as usize / 8).ok_or(Error::Io)?;
        if *byte & 1 << (bit % 8) == 0 {
            return Err(Error::Io);
        }
        *byte &= !(1 << (bit % 8));
        journal.forget(unit);
        if self.fresh.remove(&unit) {
            self.changes.push(Change::Stale(unit));
            self.now.free += 1;
        } else {
            self.pinned.insert(unit);
            self.changes.push(Change::Pinned(unit));
        }
        Ok(())
    }

    /// Finds a free inode.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn take_inode(&mut self, journal: &mut Journal) -> Result<u32> {
        if self.now.free_inodes == 0 {
            return Err(Error::NoSpace);
        }
        let all = self.layout.inodes;
        for step in 0..all {
            let ino = (self.ino_hint - 1 + step) % all + 1;
            let (block, at) = self.layout.inode(ino)?;
            if Record::read(journal.get(block, Kind::Inodes)?, at)?.is_none() {
                self.now.free_inodes -= 1;
                self.ino_hint = ino;
                return Ok(ino);
            }
        }
        Err(Error::Io)
    }

    /// Makes an inode a free one.
    ///
    /// # Errors
    /// `Io`.
    pub fn free_inode(&mut self, journal: &mut Journal, ino: u32) -> Result<()> {
        let (block, at) = self.layout.inode(ino)?;
        Record::erase(journal.edit(block, Kind::Inodes)?, at);
        self.now.free_inodes += 1;
        self.ino_hint = self.ino_hint.min(ino);
        Ok(())
    }
}
