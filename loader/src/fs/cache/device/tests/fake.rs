//! A file on a scripted device, and a machine with little memory.

use super::super::super::Mappings;
use super::super::file::File;
use super::super::{Cache, DeviceMappings, Machine};
use crate::mm::page::PageFrame;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use driver_api::paged::{CacheSlot, Page, Paged};
use driver_api::vfs::{DeviceNumber, FileType, Inode, Metadata, Timestamp};
use driver_api::{Error, Result};
use std::sync::{Condvar, Mutex};

pub const P: usize = 4096;

/// What the device did, and what is to go wrong.
#[derive(Default)]
pub struct Disk {
    pub size: u64,
    pub pages: BTreeMap<u64, Page>,
    /// Pages of records for which space is set aside.
    pub reserved: BTreeSet<u64>,
    /// Pages that are being moved.
    active: BTreeSet<u64>,
    pub fills: Vec<(u64, usize)>,
    pub writes: Vec<(u64, usize)>,
    pub fail_fill: bool,
    pub fail_write: bool,
    pub fail_extend: bool,
    /// Pages for which there is room.
    pub room: Option<usize>,
    /// More pages at once are more than the file system has memory for.
    pub most: Option<usize>,
    /// Writes wait as long as this is set; whether one does.
    pub hold: bool,
    pub held: bool,
}

/// A file on it.
pub struct Fake {
    slot: CacheSlot,
    record: usize,
    pub disk: Mutex<Disk>,
    pub changed: Condvar,
}

impl Fake {
    pub fn new(record: usize, size: u64) -> Arc<Self> {
        let mut disk = Disk { size, ..Disk::default() };
        for page in 0..size.div_ceil(P as u64) {
            let mut bytes = [0; P];
            let left = (size - page * P as u64).min(P as u64) as usize;
            bytes[..left].fill((page as u8).wrapping_add(1));
            disk.pages.insert(page, bytes);
        }
        let (slot, changed) = (CacheSlot::new(), Condvar::new());
        Arc::new(Self { slot, record, disk: Mutex::new(disk), changed })
    }

    /// How many pages are in a record.
    fn k(&self) -> u64 {
        (self.record / P).max(1) as u64
    }

    /// Checks that a range is one of whole records, but for the end, and moved by one only.
    fn enter(&self, first: u64, count: usize) {
        let mut disk = self.disk.lock().unwrap();
        let end = first + count as u64;
        assert!(first.is_multiple_of(self.k()));
        let last = disk.size.div_ceil(P as u64);
        assert!(end.is_multiple_of(self.k()) || end == last, "{first}..{end} of {last}");
        for page in first..end {
            assert!(disk.active.insert(page), "page {page} is moved twice at once");
        }
    }

    fn leave(&self, first: u64, count: usize) {
        let mut disk = self.disk.lock().unwrap();
        (first..first + count as u64).for_each(|page| assert!(disk.active.remove(&page)));
    }

    /// Waits until a write is held.
    pub fn wait_held(&self) {
        let mut disk = self.disk.lock().unwrap();
        while !disk.held {
            disk = self.changed.wait(disk).unwrap();
        }
    }

    pub fn release_held(&self) {
        self.disk.lock().unwrap().hold = false;
        self.changed.notify_all();
    }
}

impl Paged for Fake {
    fn cache(&self) -> &CacheSlot {
        &self.slot
    }

    fn record_size(&self) -> usize {
        self.record
    }

    fn fill(&self, first: u64, pages: &mut [&mut Page]) -> Result<()> {
        self.enter(first, pages.len());
        let result = {
            let mut disk = self.disk.lock().unwrap();
            disk.fills.push((first, pages.len()));
            for (number, page) in (first..).zip(pages.iter_mut()) {
                **page = disk.pages.get(&number).copied().unwrap_or([0; P]);
                assert!(!disk.reserved.contains(&number), "a dirty page is read");
            }
            if disk.fail_fill { Err(Error::Io) } else { Ok(()) }
        };
        self.leave(first, pages.len());
        result
    }

    fn reserve(&self, first: u64, count: usize) -> Result<()> {
        let mut disk = self.disk.lock().unwrap();
        assert!(first.is_multiple_of(self.k()) && count as u64 == self.k());
        if disk.room.is_some_and(|room| disk.reserved.len() + count > room) {
            return Err(Error::NoSpace);
        }
        for page in first..first + count as u64 {
            assert!(disk.reserved.insert(page), "page {page} is reserved twice");
        }
        Ok(())
    }

    fn release(&self, first: u64, count: usize) {
        let mut disk = self.disk.lock().unwrap();
        for page in first..first + count as u64 {
            assert!(disk.reserved.remove(&page), "page {page} is released, and was not reserved");
        }
    }

    fn write(&self, first: u64, pages: &[&Page]) -> Result<()> {
        self.enter(first, pages.len());
        let before: Vec<Page> = pages.iter().map(|page| **page).collect();
        let mut disk = self.disk.lock().unwrap();
        disk.writes.push((first, pages.len()));
        while disk.hold {
            disk.held = true;
            self.changed.notify_all();
            disk = self.changed.wait(disk).unwrap();
        }
        disk.held = false;
        assert!(pages.iter().zip(&before).all(|(now, before)| *now == before), "it changed");
        let end = (first + pages.len() as u64).next_multiple_of(self.k());
        assert!((first..end).all(|page| disk.reserved.contains(&page)), "not reserved");
        let result = if disk.fail_write { Err(Error::Io) } else { Ok(()) };
        let too_many = disk.most.is_some_and(|most| pages.len() > most);
        let result = if too_many { Err(Error::NoMemory) } else { result };
        if result.is_ok() {
            for (page, bytes) in (first..).zip(before) {
                disk.pages.insert(page, bytes);
            }
            disk.reserved.retain(|page| !(first..end).contains(page));
        }
        drop(disk);
        self.leave(first, pages.len());
        result
    }

    fn extend(&self, size: u64) -> Result<()> {
        let mut disk = self.disk.lock().unwrap();
        if disk.fail_extend {
            return Err(Error::FileTooLarge);
        }
        disk.size = disk.size.max(size);
        Ok(())
    }
}

impl Inode for Fake {
    fn metadata(&self) -> Metadata {
        let zero = Timestamp::default();
        Metadata {
            ino: 1,
            kind: FileType::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: self.disk.lock().unwrap().size,
            blocks: 0,
            block_size: P as u32,
            device: DeviceNumber::default(),
            atime: zero,
            mtime: zero,
            ctime: zero,
        }
    }

    fn truncate(&self, size: u64) -> Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let first = size.div_ceil(P as u64);
        assert!(!disk.active.iter().any(|page| *page >= first), "cut while it is moved");
        if size < disk.size {
            drop(disk.pages.split_off(&first));
            if let Some(tail) = disk.pages.get_mut(&(size / P as u64)) {
                tail[size as usize % P..].fill(0);
            }
        }
        disk.size = size;
        Ok(())
    }

    fn paged(&self) -> Option<&dyn Paged> {
        Some(self)
    }
}

/// A machine, and what was done to its mappings.
#[derive(Default)]
pub struct Fakes {
    /// Most pages in the cache.
    pub limit: AtomicUsize,
    pub now: AtomicU64,
    pub woken: AtomicUsize,
    pub shrunk: AtomicUsize,
    pub protected: Mutex<Vec<Range<u64>>>,
    pub unmapped: Mutex<Vec<Range<u64>>>,
    /// Somebody holds the address space.
    pub locked: AtomicBool,
}

impl Machine for Fakes {
    fn frame(&self, cached: usize) -> Option<PageFrame> {
        if cached < self.limit.load(Ordering::Relaxed) { PageFrame::new() } else { None }
    }
    fn low(&self, _: usize) -> bool {
        false
    }
    fn frames(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }
    fn now_ns(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
    fn wake_writer(&self) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
    fn shrink(&self) -> bool {
        self.shrunk.fetch_add(1, Ordering::Relaxed);
        false
    }
    fn mappings(&self) -> Option<&'static dyn DeviceMappings> {
        LEAKED.with(std::cell::Cell::get).map(|m| m as &dyn DeviceMappings)
    }
}

std::thread_local! {
    static LEAKED: std::cell::Cell<Option<&'static Fakes>> = const { std::cell::Cell::new(None) };
}

impl Mappings for Fakes {
    fn unmap(&self, _: usize, pages: Range<u64>, _: bool) {
        self.unmapped.lock().unwrap().push(pages);
    }
}

impl DeviceMappings for Fakes {
    fn protect(&self, _: usize, pages: Range<u64>) {
        self.protected.lock().unwrap().push(pages);
    }
    fn try_unmap(&self, _: usize, pages: Range<u64>) -> bool {
        let free = !self.locked.load(Ordering::Relaxed);
        if free {
            self.unmapped.lock().unwrap().push(pages);
        }
        free
    }
}

/// A machine whose cache takes `limit` pages.
pub fn machine(limit: usize) -> (&'static Fakes, &'static Cache) {
    let machine: &'static Fakes = Box::leak(Box::default());
    machine.limit.store(limit, Ordering::Relaxed);
    LEAKED.set(Some(machine));
    (machine, Box::leak(Box::new(Cache::new(machine))))
}

/// Calls `f` with the file as the cache has it.
pub fn with<R>(cache: &'static Cache, fake: &Arc<Fake>, f: impl FnOnce(&File<'_>) -> R) -> R {
    let inode: Arc<dyn Inode> = fake.clone();
    let paged: &dyn Paged = &**fake;
    f(&cache.file(&inode, paged, 1).unwrap())
}
