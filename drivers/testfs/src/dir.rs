//! Directories: blocks full of slots. A name that stays keeps its place, so that the place is
//! a reader's cursor.

use alloc::boxed::Box;
use driver_api::vfs::FileType;
use driver_api::{Error, Result};

use crate::block::Kind;
use crate::layout::{PAYLOAD, UNIT, put, u8_at, u32_at};
use crate::record::{Pointer, Record, kind_number, kind_of};
use crate::volume::Volume;

/// Bytes of a slot before the name.
const HEAD: usize = 8;
/// Slots begin at multiples of this.
const ALIGN: usize = 8;
/// Longest name.
const NAME_MAX: usize = 255;

/// A slot of a block.
struct Slot<'a> {
    at: usize,
    len: usize,
    /// 0: free.
    ino: u32,
    kind: u8,
    name: &'a [u8],
}

/// The slots of a block.
fn slots(block: &[u8]) -> impl Iterator<Item = Result<Slot<'_>>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        if at >= PAYLOAD {
            return None;
        }
        let len = (u32_at(block, at + 4) & 0xffff) as usize;
        let ino = u32_at(block, at);
        let name = block.get(at + HEAD..at + HEAD + usize::from(u8_at(block, at + 6)));
        let name = name.unwrap_or(&[]);
        let bad_name = name.is_empty() || HEAD + name.len() > len || name.contains(&b'/');
        let slot = Slot { at, len, ino, kind: u8_at(block, at + 7), name };
        if len < HEAD || !len.is_multiple_of(ALIGN) || at + len > PAYLOAD || (ino != 0 && bad_name)
        {
            at = PAYLOAD;
            return Some(Err(Error::Io));
        }
        at += len;
        Some(Ok(slot))
    })
}

fn write_slot(block: &mut [u8], at: usize, len: usize, entry: Option<(&[u8], u32, FileType)>) {
    let (name, ino, kind) = entry.map_or((&[][..], 0, 0), |(n, i, k)| (n, i, kind_number(k)));
    put(block, at, &ino.to_le_bytes());
    put(block, at + 4, &(len as u16).to_le_bytes());
    put(block, at + 6, &[name.len() as u8, kind]);
    put(block, at + HEAD, name);
}

/// Where a name is, and what it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    unit: u32,
    at: usize,
    /// The inode.
    pub ino: u32,
    /// Its kind.
    pub kind: FileType,
}

/// An entry as a reader gets it.
pub struct Entry {
    /// The name.
    pub name: Box<[u8]>,
    /// The inode.
    pub ino: u32,
    /// Its kind.
    pub kind: FileType,
    /// Where to go on.
    pub next: u64,
}

impl Volume {
    /// How many blocks a directory has. Each takes a unit of its own, whatever it says.
    fn blocks(&self, dir: &Record) -> Result<u64> {
        let blocks = dir.size / PAYLOAD as u64;
        if blocks > self.layout.units.into() { Err(Error::Io) } else { Ok(blocks) }
    }

    fn directory_unit(&mut self, dir: &Record, index: u64) -> Result<u32> {
        match self.pointer(dir, index)?.unit {
            0 => Err(Error::Io),
            unit => Ok(unit),
        }
    }

    /// Finds `name`.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn find(&mut self, dir: &Record, name: &[u8]) -> Result<Option<Place>> {
        for index in 0..self.blocks(dir)? {
            let unit = self.directory_unit(dir, index)?;
            for slot in slots(self.block(unit, Kind::Directory)?) {
                let slot = slot?;
                if slot.ino != 0 && slot.name == name {
                    let kind = kind_of(slot.kind).ok_or(Error::Io)?;
                    return Ok(Some(Place { unit, at: slot.at, ino: slot.ino, kind }));
                }
            }
        }
        Ok(None)
    }

    /// Adds a name that is free.
    ///
    /// # Errors
    /// `NameTooLong`, `NoSpace`, `Io`, `NoMemory`.
    pub fn add_name(
        &mut self,
        dir: &mut Record,
        name: &[u8],
        ino: u32,
        kind: FileType,
    ) -> Result<()> {
        if name.len() > NAME_MAX || name.is_empty() {
            return Err(Error::NameTooLong);
        }
        let need = (HEAD + name.len()).next_multiple_of(ALIGN);
        for index in 0..self.blocks(dir)? {
            let unit = self.directory_unit(dir, index)?;
            let mut found = None;
            for slot in slots(self.block(unit, Kind::Directory)?) {
                let slot = slot?;
                if slot.ino == 0 && slot.len >= need {
                    found = Some((slot.at, slot.len));
                    break;
                }
            }
            if let Some((at, len)) = found {
                let block = self.journal.edit(unit, Kind::Directory)?;
                if len > need {
                    write_slot(block, at + need, len - need, None);
                }
                write_slot(block, at, need, Some((name, ino, kind)));
                return Ok(());
            }
        }
        let unit = self.space.take(&mut self.journal, false)?;
        let block = self.journal.create(unit, Kind::Directory)?;
        write_slot(block, need, PAYLOAD - need, None);
        write_slot(block, 0, need, Some((name, ino, kind)));
        let index = self.blocks(dir)?;
        self.set_pointer(dir, index, Pointer { unit, sum: 0, valid: UNIT as u32 })?;
        dir.size += PAYLOAD as u64;
        Ok(())
    }

    /// Makes a name stand for another inode.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn set_name(&mut self, place: Place, ino: u32, kind: FileType) -> Result<()> {
        let block = self.journal.edit(place.unit, Kind::Directory)?;
        put(block, place.at, &ino.to_le_bytes());
        put(block, place.at + 7, &[kind_number(kind)]);
        Ok(())
    }

    /// Removes a name. Free slots in a row become one.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn remove_name(&mut self, place: Place) -> Result<()> {
        let (mut from, mut to) = (None, place.at);
        for slot in slots(self.block(place.unit, Kind::Directory)?) {
            let slot = slot?;
            if slot.at < place.at {
                from = if slot.ino == 0 { from.or(Some(slot.at)) } else { None };
            } else if slot.at == place.at || slot.ino == 0 {
                to = slot.at + slot.len;
            } else {
                break;
            }
        }
        let from = from.unwrap_or(place.at);
        write_slot(self.journal.edit(place.unit, Kind::Directory)?, from, to - from, None);
        Ok(())
    }

    /// Whether it has no names.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn is_empty(&mut self, dir: &Record) -> Result<bool> {
        Ok(self.next_entry(dir, 0)?.is_none())
    }

    /// The first entry at or after `cursor`.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn next_entry(&mut self, dir: &Record, cursor: u64) -> Result<Option<Entry>> {
        let first = cursor / PAYLOAD as u64;
        for index in first..self.blocks(dir)? {
            let within = if index == first { (cursor % PAYLOAD as u64) as usize } else { 0 };
            let unit = self.directory_unit(dir, index)?;
            for slot in slots(self.block(unit, Kind::Directory)?) {
                let slot = slot?;
                if slot.ino != 0 && slot.at >= within {
                    let next = index * PAYLOAD as u64 + (slot.at + slot.len) as u64;
                    let kind = kind_of(slot.kind).ok_or(Error::Io)?;
                    let name = slot.name.into();
                    return Ok(Some(Entry { name, ino: slot.ino, kind, next }));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_nonsense_is_an_error_and_has_an_end() {
        assert!(slots(&[0; PAYLOAD]).next().unwrap().is_err(), "slots without a length");
        let mut block = [0; PAYLOAD];
        write_slot(&mut block, 0, 16, Some((b"a", 1, FileType::Regular)));
        write_slot(&mut block, 16, PAYLOAD, None);
        let seen: alloc::vec::Vec<bool> = slots(&block).map(|s| s.is_ok()).collect();
        assert_eq!(seen, [true, false], "a slot beyond the block");
        for name in [&b""[..], b"a/b", b"a name that is longer than its slot"] {
            write_slot(&mut block, 0, 16, Some((name, 1, FileType::Regular)));
            assert!(slots(&block).next().unwrap().is_err(), "{name:?}");
        }
    }
}
