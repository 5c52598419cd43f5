//! Contents of regular files: records of [`UNIT`] bytes, each written to a place of its own
//! before anything points to it.

use alloc::vec::Vec;
use driver_api::paged::{CacheSlot, PAGE_SIZE, Page, Paged};
use driver_api::{Error, Result, log};

use crate::block::memory;
use crate::layout::{MAX_SIZE, UNIT, Unit, checksum};
use crate::node::Node;
use crate::record::{Pointer, Record};
use crate::volume::Volume;

/// Pages of a record.
const PAGES: u64 = (UNIT / PAGE_SIZE) as u64;
/// Records that are written in one operation, at most.
const BATCH: usize = 128;

/// Which part of the records from page `first` on `count` pages are: record, its first page
/// of these, which pages of it.
fn records(first: u64, count: usize) -> impl Iterator<Item = (u64, usize, u8)> {
    let end = first.saturating_add(count as u64);
    (first / PAGES..end.div_ceil(PAGES)).map(move |index| {
        let base = index * PAGES;
        let (from, to) = (first.max(base), end.min(base + PAGES));
        let bits = (from - base..to - base).fold(0, |bits, page| bits | 1 << page);
        (index, (from - first) as usize, bits)
    })
}

impl Volume {
    /// A record's bytes; zeroes where there are none.
    fn read_record(&mut self, inode: &Record, index: u64, to: &mut Unit) -> Result<()> {
        let pointer = self.pointer(inode, index)?;
        if pointer.unit == 0 {
            to.fill(0);
            return Ok(());
        }
        self.journal.units().read(pointer.unit, to)?;
        if checksum(to) as u32 != pointer.sum {
            return Err(Error::Io);
        }
        if let Some(rest) = to.get_mut(pointer.valid as usize..) {
            rest.fill(0);
        }
        Ok(())
    }

    /// Writes records to new units, those that lie side by side at once.
    fn place(&mut self, bytes: &[u8], promised: &[bool]) -> Result<Vec<Pointer>> {
        let mut pointers: Vec<Pointer> = Vec::new();
        for (record, promised) in bytes.chunks(UNIT).zip(promised) {
            let unit = self.space.take(&mut self.journal, *promised)?;
            pointers.push(Pointer { unit, sum: checksum(record) as u32, valid: UNIT as u32 });
        }
        let mut rest = bytes;
        for run in pointers.chunk_by(|a, b| a.unit + 1 == b.unit) {
            let (now, later) = rest.split_at_checked(run.len() * UNIT).ok_or(Error::Io)?;
            self.journal.units().write(run.first().ok_or(Error::Io)?.unit, now)?;
            rest = later;
        }
        Ok(pointers)
    }
}

impl Node {
    /// Writes the pages of at most [`BATCH`] records.
    fn write_batch(&self, core: &mut Volume, first: u64, pages: &[&Page]) -> Result<()> {
        let size = self.state.lock().size;
        // What was cut away meanwhile is not written.
        let end = size.div_ceil(PAGE_SIZE as u64);
        let count = pages.len().min(usize::try_from(end.saturating_sub(first)).unwrap_or(0));
        let mut bytes = Vec::new();
        let wanted: Vec<_> = records(first, count).collect();
        bytes.try_reserve_exact(wanted.len() * UNIT).map_err(|_| Error::NoMemory)?;
        bytes.resize(wanted.len() * UNIT, 0);
        let before = core.record(self.ino)?;
        for ((index, at, bits), record) in wanted.iter().zip(bytes.chunks_exact_mut(UNIT)) {
            let record: &mut Unit = record.try_into().map_err(|_| Error::Io)?;
            if bits.count_ones() < PAGES as u32 {
                core.read_record(&before, *index, record)?;
            }
            let mut given = pages.get(*at..).unwrap_or(&[]).iter();
            for (page, to) in record.chunks_exact_mut(PAGE_SIZE).enumerate() {
                if bits & 1 << page != 0 {
                    to.copy_from_slice(&given.next().ok_or(Error::Invalid)?[..]);
                }
            }
        }
        let promised: Vec<bool> = {
            let reserved = self.reserved.lock();
            wanted.iter().map(|w| reserved.contains_key(&w.0)).collect()
        };
        core.operation(|core| {
            let placed = core.place(&bytes, &promised)?;
            let mut record = core.record(self.ino)?;
            for ((index, ..), mut pointer) in wanted.iter().zip(placed) {
                // What lies beyond the end reads as zeroes when the file grows.
                let left = size.saturating_sub(index * UNIT as u64);
                pointer.valid = left.min(UNIT as u64) as u32;
                core.set_pointer(&mut record, *index, pointer)?;
            }
            let end = (first + count as u64).saturating_mul(PAGE_SIZE as u64);
            record.size = record.size.max(end.min(size));
            core.set_record(self.ino, &record)
        })?;
        // The promises were kept; those for what was cut away are void. A record of which a
        // page did not come that is not beyond the end (which no cache does) needs a new one.
        let mut reserved = self.reserved.lock();
        let mut void = 0;
        for (n, (index, _, bits)) in records(first, pages.len()).enumerate() {
            let Some(held) = reserved.get_mut(&index) else { continue };
            let inside = end.saturating_sub(index * PAGES).min(PAGES) as u32;
            *held &= !bits & ((1 << inside) - 1) as u8;
            if *held == 0 || core.space.reserve(1).is_err() {
                reserved.remove(&index);
            }
            void += u32::from(n >= wanted.len());
        }
        drop(reserved);
        core.space.release(void);
        Ok(())
    }
}

impl Node {
    /// Promises for the pages of at most [`BATCH`] records.
    fn reserve_batch(&self, core: &mut Volume, first: u64, count: usize) -> Result<()> {
        let new: Vec<u64> = {
            let reserved = self.reserved.lock();
            records(first, count).map(|r| r.0).filter(|i| !reserved.contains_key(i)).collect()
        };
        core.operation(|core| {
            let mut record = core.record(self.ino)?;
            let before = record;
            for index in &new {
                // Pointer blocks come now: then a record needs no more than its unit.
                core.make_way(&mut record, *index)?;
            }
            core.space.reserve(new.len() as u32)?;
            if record == before { Ok(()) } else { core.set_record(self.ino, &record) }
        })?;
        let mut reserved = self.reserved.lock();
        for (index, _, bits) in records(first, count) {
            *reserved.entry(index).or_default() |= bits;
        }
        Ok(())
    }

    fn give_back(&self, core: &mut Volume, first: u64, count: usize) {
        let mut reserved = self.reserved.lock();
        let mut void = 0;
        for (index, _, bits) in records(first, count) {
            if let Some(held) = reserved.get_mut(&index) {
                *held &= !bits;
                if *held == 0 {
                    reserved.remove(&index);
                    void += 1;
                }
            }
        }
        drop(reserved);
        core.space.release(void);
    }
}

impl Paged for Node {
    fn cache(&self) -> &CacheSlot {
        &self.cache
    }

    fn record_size(&self) -> usize {
        UNIT
    }

    fn fill(&self, first: u64, pages: &mut [&mut Page]) -> Result<()> {
        let mut record = memory()?;
        let mut core = self.fs.core.lock();
        let inode = core.record(self.ino)?;
        for (index, at, bits) in records(first, pages.len()) {
            core.read_record(&inode, index, &mut record)?;
            let wanted = pages.get_mut(at..).unwrap_or(&mut []);
            let parts = record.chunks_exact(PAGE_SIZE).enumerate();
            let parts = parts.filter(|(page, _)| bits & 1 << page != 0);
            for ((_, from), to) in parts.zip(wanted) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn reserve(&self, first: u64, count: usize) -> Result<()> {
        let mut core = self.fs.core.lock();
        let mut done = 0;
        while done < count {
            let batch = (count - done).min(BATCH * PAGES as usize);
            if let Err(e) = self.reserve_batch(&mut core, first + done as u64, batch) {
                self.give_back(&mut core, first, done);
                return Err(e);
            }
            done += batch;
        }
        Ok(())
    }

    fn release(&self, first: u64, count: usize) {
        self.give_back(&mut self.fs.core.lock(), first, count);
    }

    fn write(&self, first: u64, pages: &[&Page]) -> Result<()> {
        let mut core = self.fs.core.lock();
        let (mut first, mut pages) = (first, pages);
        let mut batch = BATCH;
        while !pages.is_empty() {
            let (now, later) = pages.split_at(pages.len().min(batch * PAGES as usize));
            match self.write_batch(&mut core, first, now) {
                // Memory comes back by writing: as little as will do.
                Err(Error::NoMemory) if batch > 1 => {
                    batch = 1;
                    continue;
                }
                Err(e) => {
                    log::warn!(target: "testfs", "inode {}: not written: {e:?}", self.ino);
                    return Err(e);
                }
                Ok(()) => {}
            }
            first += now.len() as u64;
            pages = later;
        }
        Ok(())
    }

    fn extend(&self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Error::FileTooLarge);
        }
        // Behind the lock: not while the file is cut.
        let _core = self.fs.core.lock();
        let mut state = self.state.lock();
        state.size = state.size.max(size);
        Ok(())
    }
}
