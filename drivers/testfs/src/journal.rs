//! Blocks in memory, and their way to the device: transactions.
//!
//! A transaction is all blocks that were changed since the last commit. A commit writes
//!
//! 1. home, the blocks of the last transaction that are not in this one; this one's blocks
//!    into the half of the journal that the last one does not have; then a *flush*, which
//!    also covers the records that files wrote meanwhile, to units that nobody used;
//! 2. the header and its copy; then a *flush*. Now it is committed.
//!
//! The newest header tells what is newer in the journal than at home; everything else is at
//! home, by the flush before that header was written. So two barriers a commit are needed,
//! one transaction is enough to mount, and mounting writes nothing.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use driver_api::{Error, Result};

use crate::block::{Kind, Units, memory};
use crate::layout::{BLOCK_HEAD, Header, Layout, UNIT, Unit, checksum, put, u8_at, u32_at, u64_at};

/// Blocks that are kept in memory though they could be read again.
const KEEP: usize = 128;

/// A block as it was before the operation under way.
struct Before {
    block: Option<Box<Unit>>,
    dirty: bool,
    pending: bool,
}

/// The blocks.
pub struct Journal {
    units: Units,
    layout: Layout,
    blocks: BTreeMap<u32, Box<Unit>>,
    /// Changed since the last commit.
    dirty: BTreeSet<u32>,
    /// In the last transaction, and not yet home.
    pending: BTreeSet<u32>,
    /// The last transaction's number.
    sequence: u64,
    /// A header may or may not have come to the device.
    uncertain: bool,
    /// A flush failed: what of the writes before it is lost, nobody knows.
    broken: bool,
    before: BTreeMap<u32, Before>,
}

impl Journal {
    /// Finds the newest transaction and takes its blocks into memory.
    ///
    /// # Errors
    /// `Io` when it is damaged, `NoMemory`.
    pub fn open(units: Units, layout: Layout) -> Result<Self> {
        let mut buffer = memory()?;
        let mut newest: Option<Header> = None;
        for half in 0..2 {
            let first = layout.journal(half);
            for at in [first, first + layout.half - 1] {
                units.read(at, &mut buffer[..])?;
                let header = Header::read(&buffer, &layout);
                let header = header.filter(|h| h.sequence % 2 == half && h.sequence < u64::MAX);
                if header.as_ref().map(|h| h.sequence) > newest.as_ref().map(|h| h.sequence) {
                    newest = header;
                }
            }
        }
        let mut journal = Self {
            units,
            layout,
            blocks: BTreeMap::new(),
            dirty: BTreeSet::new(),
            pending: BTreeSet::new(),
            sequence: 0,
            uncertain: false,
            broken: false,
            before: BTreeMap::new(),
        };
        let Some(header) = newest else { return Ok(journal) };
        journal.sequence = header.sequence;
        for (at, (unit, sum)) in (layout.journal(header.sequence) + 1..).zip(header.blocks) {
            let mut block = memory()?;
            journal.units.read(at, &mut block[..])?;
            if checksum(&block[..]) != sum {
                return Err(Error::Io);
            }
            journal.blocks.insert(unit, block);
            journal.pending.insert(unit);
        }
        Ok(journal)
    }

    /// The disk, for records.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// The last commit's number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether nothing more can be made durable.
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Whether `count` more blocks may be changed before a commit.
    pub fn has_room(&self, count: u32) -> bool {
        self.dirty.len() + count as usize <= self.layout.transaction() as usize
    }

    /// Bytes of blocks that could be read again, now let go; not while an operation runs.
    pub fn shrink(&mut self) -> usize {
        let (dirty, pending) = (&self.dirty, &self.pending);
        let had = self.blocks.len();
        self.blocks.retain(|unit, _| dirty.contains(unit) || pending.contains(unit));
        (had - self.blocks.len()) * UNIT
    }

    fn load(&mut self, unit: u32, kind: Kind) -> Result<()> {
        if !self.blocks.contains_key(&unit) {
            let mut block = memory()?;
            self.units.read(unit, &mut block[..])?;
            if u64_at(&block[..], 0) != checksum(block.get(8..).unwrap_or(&[])) {
                return Err(Error::Io);
            }
            self.blocks.insert(unit, block);
        }
        let block = self.blocks.get(&unit).ok_or(Error::Io)?;
        let told = [u8_at(&block[..], 12), u8_at(&block[..], 13)];
        if u32_at(&block[..], 8) != unit || told != kind.bytes() {
            return Err(Error::Io);
        }
        Ok(())
    }

    /// A block's payload.
    ///
    /// # Errors
    /// `Io` also when it is damaged or another one, `NoMemory`.
    pub fn get(&mut self, unit: u32, kind: Kind) -> Result<&[u8]> {
        self.load(unit, kind)?;
        self.blocks.get(&unit).and_then(|b| b.get(BLOCK_HEAD..)).ok_or(Error::Io)
    }

    /// Keeps what is needed to undo a change of `unit`.
    fn keep(&mut self, unit: u32) {
        if !self.before.contains_key(&unit) {
            let (dirty, pending) = (self.dirty.contains(&unit), self.pending.contains(&unit));
            let block = self.blocks.get(&unit).cloned();
            self.before.insert(unit, Before { block, dirty, pending });
        }
    }

    /// A block's payload, to change it.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn edit(&mut self, unit: u32, kind: Kind) -> Result<&mut [u8]> {
        self.load(unit, kind)?;
        self.keep(unit);
        self.dirty.insert(unit);
        self.blocks.get_mut(&unit).and_then(|b| b.get_mut(BLOCK_HEAD..)).ok_or(Error::Io)
    }

    /// The payload of a new block, all zero.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn create(&mut self, unit: u32, kind: Kind) -> Result<&mut [u8]> {
        let mut block = memory()?;
        put(&mut block[..], 8, &unit.to_le_bytes());
        put(&mut block[..], 12, &kind.bytes());
        self.keep(unit);
        self.dirty.insert(unit);
        self.pending.remove(&unit);
        self.blocks.insert(unit, block);
        self.blocks.get_mut(&unit).and_then(|b| b.get_mut(BLOCK_HEAD..)).ok_or(Error::Io)
    }

    /// The unit is no block any more.
    pub fn forget(&mut self, unit: u32) {
        if self.blocks.contains_key(&unit) {
            self.keep(unit);
            self.blocks.remove(&unit);
            self.dirty.remove(&unit);
            self.pending.remove(&unit);
        }
    }

    /// An operation begins: what it changes can be taken back.
    pub fn begin(&mut self) {
        self.before.clear();
        if self.blocks.len() > KEEP {
            self.shrink();
        }
    }

    /// Takes back what was changed since [`Self::begin`].
    pub fn undo(&mut self) {
        let set = |set: &mut BTreeSet<u32>, unit, yes| {
            if yes { set.insert(unit) } else { set.remove(&unit) }
        };
        for (unit, before) in core::mem::take(&mut self.before) {
            set(&mut self.dirty, unit, before.dirty);
            set(&mut self.pending, unit, before.pending);
            match before.block {
                Some(block) => self.blocks.insert(unit, block),
                None => self.blocks.remove(&unit),
            };
        }
    }

    fn stable(&mut self) -> Result<()> {
        self.units.flush().inspect_err(|_| self.broken = true)
    }

    /// Makes the transaction durable; whether there was one.
    ///
    /// # Errors
    /// `Io`; then it is as if it had not been tried, except after a failed flush, when
    /// nothing can be made durable any more.
    pub fn commit(&mut self) -> Result<bool> {
        if self.broken {
            return Err(Error::Io);
        }
        if self.dirty.is_empty() {
            return Ok(false);
        }
        let sequence = self.sequence + 1;
        let first = self.layout.journal(sequence);
        let copy = first + self.layout.half - 1;
        if self.uncertain {
            // Its blocks are about to be overwritten: it must not be found with others.
            for at in [first, copy] {
                self.units.write(at, &[0; 512])?;
            }
            self.stable()?;
            self.uncertain = false;
        }
        let behind: Vec<u32> = self.pending.difference(&self.dirty).copied().collect();
        for unit in behind {
            self.write_home(unit)?;
        }
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(self.dirty.len()).map_err(|_| Error::NoMemory)?;
        for (at, unit) in (first + 1..copy).zip(&self.dirty) {
            let block = self.blocks.get_mut(unit).ok_or(Error::Io)?;
            let sum = checksum(block.get(8..).unwrap_or(&[]));
            put(&mut block[..], 0, &sum.to_le_bytes());
            self.units.write(at, &block[..])?;
            blocks.push((*unit, checksum(&block[..])));
        }
        if blocks.len() != self.dirty.len() {
            return Err(Error::NoSpace);
        }
        self.stable()?;
        let mut header = vec![0; UNIT];
        let bytes: &mut Unit = header.as_mut_slice().try_into().map_err(|_| Error::NoMemory)?;
        Header { sequence, blocks }.write(bytes);
        self.uncertain = true;
        for at in [first, copy] {
            self.units.write(at, &bytes[..])?;
        }
        self.stable()?;
        self.uncertain = false;
        self.sequence = sequence;
        self.pending = core::mem::take(&mut self.dirty);
        Ok(true)
    }

    fn write_home(&mut self, unit: u32) -> Result<()> {
        let block = self.blocks.get(&unit).ok_or(Error::Io)?;
        self.units.write(unit, &block[..])
    }

    /// Brings everything home, so that what is in the journal does not matter any more.
    ///
    /// # Errors
    /// `Io`.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.commit()?;
        let behind: Vec<u32> = self.pending.iter().copied().collect();
        for unit in behind {
            self.write_home(unit)?;
        }
        self.stable()
    }
}
