//! From the number of a record in a file to where it lies: a tree of pointer blocks below
//! the eight pointers of the inode, as high as the file needs.

use driver_api::{Error, Result};

use crate::block::Kind;
use crate::layout::{MAX_HEIGHT, MAX_SIZE, POINTERS, ROOTS, UNIT};
use crate::record::{Pointer, Record};
use crate::volume::Volume;

/// Records below a pointer that is `level` levels above them.
fn span(level: u8) -> u64 {
    (POINTERS as u64).pow(level.into())
}

/// Which pointer of a block leads to `index`, and what remains.
fn step(index: u64, level: u8) -> (usize, u64) {
    ((index / span(level)) as usize, index % span(level))
}

impl Volume {
    /// The pointer of record `index`.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn pointer(&mut self, inode: &Record, index: u64) -> Result<Pointer> {
        let (root, mut rest) = step(index, inode.height);
        let Some(&found) = inode.roots.get(root) else { return Ok(Pointer::default()) };
        let mut found = found;
        for level in (1..=inode.height).rev() {
            if found.unit == 0 {
                break;
            }
            let block = self.block(found.unit, Kind::Pointers(level))?;
            let at;
            (at, rest) = step(rest, level - 1);
            found = Pointer::read(block, 0, at);
        }
        Ok(found)
    }

    /// Makes the way to record `index`.
    ///
    /// # Errors
    /// `NoSpace`, `FileTooLarge`, `Io`, `NoMemory`.
    pub fn make_way(&mut self, inode: &mut Record, index: u64) -> Result<()> {
        if index >= MAX_SIZE / UNIT as u64 {
            return Err(Error::FileTooLarge);
        }
        while index >= ROOTS as u64 * span(inode.height) {
            let level = inode.height + 1;
            if level > MAX_HEIGHT {
                return Err(Error::FileTooLarge);
            }
            if inode.roots.iter().any(|p| p.unit != 0) {
                let unit = self.space.take(&mut self.journal, false)?;
                let block = self.journal.create(unit, Kind::Pointers(level))?;
                for (i, root) in inode.roots.iter().enumerate() {
                    root.write(block, 0, i);
                }
                inode.roots = [Pointer::default(); ROOTS];
                inode.roots[0].unit = unit;
            }
            inode.height = level;
        }
        let (root, mut rest) = step(index, inode.height);
        let mut unit = inode.roots.get(root).ok_or(Error::Io)?.unit;
        if inode.height > 0 && unit == 0 {
            unit = self.new_pointers(inode.height)?;
            inode.roots.get_mut(root).ok_or(Error::Io)?.unit = unit;
        }
        for level in (1..inode.height).rev() {
            let at;
            (at, rest) = step(rest, level);
            let kind = Kind::Pointers(level + 1);
            let mut next = Pointer::read(self.block(unit, kind)?, 0, at).unit;
            if next == 0 {
                next = self.new_pointers(level)?;
                let pointer = Pointer { unit: next, ..Pointer::default() };
                pointer.write(self.journal.edit(unit, kind)?, 0, at);
            }
            unit = next;
        }
        Ok(())
    }

    fn new_pointers(&mut self, level: u8) -> Result<u32> {
        let unit = self.space.take(&mut self.journal, false)?;
        self.journal.create(unit, Kind::Pointers(level))?;
        Ok(unit)
    }

    /// Sets the pointer of record `index`, and frees what it pointed to.
    ///
    /// # Errors
    /// As for [`Self::make_way`].
    pub fn set_pointer(&mut self, inode: &mut Record, index: u64, new: Pointer) -> Result<()> {
        self.make_way(inode, index)?;
        let (root, mut rest) = step(index, inode.height);
        let slot = inode.roots.get_mut(root).ok_or(Error::Io)?;
        let old;
        if inode.height == 0 {
            old = core::mem::replace(slot, new);
        } else {
            let mut unit = slot.unit;
            for level in (1..inode.height).rev() {
                let at;
                (at, rest) = step(rest, level);
                unit = Pointer::read(self.block(unit, Kind::Pointers(level + 1))?, 0, at).unit;
            }
            // The blocks' own check of where they are: a damaged tree leads nowhere.
            self.block(unit, Kind::Pointers(1))?;
            let block = self.journal.edit(unit, Kind::Pointers(1))?;
            old = Pointer::read(block, 0, rest as usize);
            new.write(block, 0, rest as usize);
        }
        if old.unit == 0 {
            inode.units += 1;
        } else if old.unit != new.unit {
            self.space.free_unit(&mut self.journal, old.unit)?;
        }
        Ok(())
    }

    /// Frees what lies beyond `size` bytes, and lets the rest of the last record read as
    /// zeroes.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn cut(&mut self, inode: &mut Record, size: u64) -> Result<()> {
        let first = size.div_ceil(UNIT as u64);
        let below = span(inode.height);
        for root in 0..ROOTS {
            let base = root as u64 * below;
            let Some(&pointer) = inode.roots.get(root) else { continue };
            if pointer.unit != 0 && first < base + below {
                let gone =
                    self.cut_below(inode, pointer, inode.height, first.saturating_sub(base))?;
                if gone && let Some(root) = inode.roots.get_mut(root) {
                    *root = Pointer::default();
                }
            }
        }
        if inode.roots.iter().all(|p| p.unit == 0) {
            inode.height = 0;
        }
        let within = (size % UNIT as u64) as u32;
        if within != 0 {
            let index = size / UNIT as u64;
            let last = self.pointer(inode, index)?;
            if last.unit != 0 && last.valid > within {
                self.set_pointer(inode, index, Pointer { valid: within, ..last })?;
            }
        }
        Ok(())
    }

    /// Frees the records from number `first` on below `pointer`; whether it is gone itself.
    fn cut_below(
        &mut self,
        inode: &mut Record,
        pointer: Pointer,
        level: u8,
        first: u64,
    ) -> Result<bool> {
        let whole = first == 0;
        if level > 0 {
            let (below, kind) = (span(level - 1), Kind::Pointers(level));
            for at in (first / below) as usize..POINTERS {
                let next = Pointer::read(self.block(pointer.unit, kind)?, 0, at);
                let first = first.saturating_sub(at as u64 * below);
                // A block that is freed as a whole is not changed before.
                if next.unit != 0 && self.cut_below(inode, next, level - 1, first)? && !whole {
                    Pointer::default().write(self.journal.edit(pointer.unit, kind)?, 0, at);
                }
            }
        }
        if !whole {
            return Ok(false);
        }
        if level == 0 {
            inode.units = inode.units.saturating_sub(1);
        }
        self.space.free_unit(&mut self.journal, pointer.unit)?;
        Ok(true)
    }
}
