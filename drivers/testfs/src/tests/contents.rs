//! Random changes of contents, through a small cache that keeps to the contract and uses all
//! the freedom that it leaves.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use driver_api::paged::{FileSystem, PAGE_SIZE, Page};
use driver_api::{Error, Result};

use super::driver::{Driver, LONGEST, Open, runs};
use crate::layout::UNIT;

impl Driver {
    /// Gets the pages into the cache.
    pub fn fill(&mut self, ino: u64, first: u64, count: usize) -> Result<()> {
        let file = self.files.get_mut(&ino).unwrap();
        // Whole records, or not: both are allowed for the last range.
        let per = (UNIT / PAGE_SIZE) as u64;
        let (mut from, mut to) = (first, first + count as u64);
        if self.whole || self.rng.once_in(2) {
            (from, to) = (from / per * per, to.next_multiple_of(per));
        }
        for (first, count) in runs((from..to).filter(|p| !file.pages.contains_key(p))) {
            let mut pages: Vec<Box<Page>> =
                (0..count).map(|_| Box::new([0x55; PAGE_SIZE])).collect();
            let mut lent: Vec<&mut Page> = pages.iter_mut().map(|p| &mut **p).collect();
            file.node.paged().unwrap().fill(first, &mut lent)?;
            file.pages.extend((first..).zip(pages));
        }
        Ok(())
    }

    pub fn write(&mut self) -> Result<()> {
        let Some(ino) = self.any_file()? else { return Ok(()) };
        let most = if self.rng.once_in(4) { LONGEST } else { 20_000 };
        let offset = self.rng.below(most);
        let len = 1 + self.rng.below((most - offset).min(30_000));
        let page = PAGE_SIZE as u64;
        let (mut first, mut end) = (offset as u64 / page, ((offset + len) as u64).div_ceil(page));
        if self.whole {
            let per = (UNIT / PAGE_SIZE) as u64;
            (first, end) = (first / per * per, end.next_multiple_of(per));
        }
        self.fill(ino, first, (end - first) as usize)?;
        let clean = |s: &Self| runs((first..end).filter(|p| !s.files[&ino].dirty.contains(p)));
        for (from, count) in clean(self) {
            let reserve =
                |s: &mut Self| s.done(|s| s.files[&ino].node.paged().unwrap().reserve(from, count));
            match reserve(self) {
                Err(Error::NoSpace) => {
                    // What was reserved in other runs is given back, nothing is written.
                    for (p, n) in clean(self).into_iter().take_while(|r| r.0 < from) {
                        self.files[&ino].node.paged().unwrap().release(p, n);
                    }
                    return Err(Error::NoSpace);
                }
                other => other?,
            }
        }
        let file = self.files.get_mut(&ino).unwrap();
        if offset + len > file.live.len() {
            file.node.paged().unwrap().extend((offset + len) as u64)?;
            file.live.resize(offset + len, 0);
        }
        let byte = self.now as u8;
        for i in offset..offset + len {
            let value = byte ^ (i % 251) as u8;
            file.live[i] = value;
            file.pages.get_mut(&(i as u64 / page)).unwrap()[i % PAGE_SIZE] = value;
        }
        file.dirty.extend(first..end);
        Ok(())
    }

    pub fn truncate(&mut self) -> Result<()> {
        let Some(ino) = self.any_file()? else { return Ok(()) };
        let was = self.files[&ino].live.len();
        let most = if self.rng.once_in(3) { LONGEST } else { was + 1 };
        let len = self.rng.below(most);
        self.done(|s| {
            s.files[&ino].node.truncate(len as u64)?;
            s.model.truncate(ino, len);
            Ok(())
        })?;
        let file = self.files.get_mut(&ino).unwrap();
        file.live.resize(len, 0);
        let mut gone = len.div_ceil(PAGE_SIZE) as u64;
        if self.whole {
            gone = gone.next_multiple_of((UNIT / PAGE_SIZE) as u64);
        }
        for (first, count) in runs(file.dirty.split_off(&gone)) {
            file.node.paged().unwrap().release(first, count);
        }
        file.pages.split_off(&gone);
        for (number, page) in file.pages.range_mut(len as u64 / PAGE_SIZE as u64..) {
            page[len.saturating_sub(*number as usize * PAGE_SIZE)..].fill(0);
        }
        Ok(())
    }

    /// Writes dirty pages out, and clean ones of the same records; all, or some.
    pub fn write_out(&mut self, ino: u64, all: bool) -> Result<()> {
        let file = &self.files[&ino];
        let per = (UNIT / PAGE_SIZE) as u64;
        let dirty: BTreeSet<u64> = file.dirty.iter().map(|p| p / per).collect();
        let with = file.pages.keys().copied().filter(|p| dirty.contains(&(p / per)));
        let mut ranges = runs(with);
        ranges.retain(|(p, n)| file.dirty.range(p..&(p + *n as u64)).next().is_some());
        if self.rng.once_in(2) {
            ranges.reverse();
        }
        for (first, count) in ranges {
            let (mut first, mut count) = (first, count);
            if !all {
                // Any part: records come whole, or not.
                let skip = self.rng.below(count);
                (first, count) = (first + skip as u64, 1 + self.rng.below(count - skip));
                if self.whole {
                    let end = (first + count as u64).next_multiple_of(per);
                    first = first / per * per;
                    count = (end - first) as usize;
                }
            }
            if self.whole {
                // The last range of a file ends with the file.
                let end = self.files[&ino].live.len().div_ceil(PAGE_SIZE) as u64;
                count = count.min(end.saturating_sub(first) as usize);
            }
            self.done(|s| {
                let file = &s.files[&ino];
                let pages: Vec<&Page> =
                    file.pages.range(first..).map(|(_, p)| &**p).take(count).collect();
                file.node.paged().unwrap().write(first, &pages)?;
                let data: Vec<u8> = pages.iter().flat_map(|p| p.iter().copied()).collect();
                let live = file.live.len();
                s.model.written(ino, first as usize * PAGE_SIZE, &data, live);
                let to = (first + count as u64).next_multiple_of(if s.whole { per } else { 1 });
                let file = s.files.get_mut(&ino).unwrap();
                file.dirty.retain(|p| !(first..to).contains(p));
                Ok(())
            })?;
        }
        Ok(())
    }

    pub fn write_some(&mut self) -> Result<()> {
        let Some(ino) = self.any_file()? else { return Ok(()) };
        self.write_out(ino, false)
    }

    pub fn read(&mut self) -> Result<()> {
        let Some(ino) = self.any_file()? else { return Ok(()) };
        let count = self.files[&ino].live.len().div_ceil(PAGE_SIZE);
        self.fill(ino, 0, count)?;
        let file = &self.files[&ino];
        let bytes = file.pages.values().take(count).flat_map(|p| p.iter().copied());
        let bytes: Vec<u8> = bytes.take(file.live.len()).collect();
        assert!(bytes == file.live, "inode {ino} does not read as it was written");
        assert_eq!(file.node.metadata().size, file.live.len() as u64);
        Ok(())
    }

    /// Drops clean pages.
    pub fn forget(&mut self) -> Result<()> {
        let Some(ino) = self.any_file()? else { return Ok(()) };
        let Open { pages, dirty, .. } = self.files.get_mut(&ino).unwrap();
        pages.retain(|p, _| dirty.contains(p));
        self.fs.shrink();
        Ok(())
    }

    pub fn fsync(&mut self) -> Result<()> {
        let Some(ino) = self.any_file()? else { return Ok(()) };
        self.write_out(ino, true)?;
        self.synced(|s| s.files[&ino].node.sync())
    }

    pub fn close(&mut self) -> Result<()> {
        let Some(ino) = self.any_file()? else { return Ok(()) };
        self.write_out(ino, true)?;
        self.files.remove(&ino);
        Ok(())
    }

    /// Everything is written and durable.
    pub fn sync(&mut self) -> Result<()> {
        for ino in self.files.keys().copied().collect::<Vec<_>>() {
            self.write_out(ino, true)?;
        }
        self.synced(|s| s.fs.sync())
    }
}
