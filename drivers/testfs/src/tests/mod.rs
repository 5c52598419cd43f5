//! Tests against a model, on a disk that remembers what was done to it.

mod basic;
mod contents;
mod cuts;
mod driver;
mod errors;
mod hostile;
mod model;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::fake::{LogDisk, Machine};
use driver_api::paged::{FileSystemType, PAGE_SIZE, Page};
use driver_api::vfs::{DeviceNumber, FileType, Inode, NewInode, Timestamp};
use driver_api::{Error, Result};

use crate::block::Kind;
use crate::layout::{BITS, POINTERS, u8_at};
use crate::record::{Pointer, Record};
use crate::volume::Volume;
use crate::{Mounted, TestFs};

/// Small enough to be full now and then.
const DISK: usize = 144 * crate::layout::UNIT;

/// The same numbers in each run.
pub struct Rng(pub u64);

impl Rng {
    /// xorshift64.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0 … `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The test's thread gets a machine.
fn machine() {
    Machine::install().arena().recycle();
}

/// A disk with an empty file system.
fn formatted(len: usize) -> Arc<LogDisk> {
    machine();
    let disk = Arc::new(LogDisk::zeroed(len));
    TestFs.format(disk.clone()).unwrap();
    disk.take_log();
    disk
}

fn mount(disk: &Arc<LogDisk>) -> Result<Mounted> {
    TestFs::open(disk.clone(), false)
}

fn at(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 7 }
}

fn new(kind: FileType, now: i64) -> NewInode<'static> {
    let device = DeviceNumber::default();
    NewInode { kind, mode: 0o640, uid: 1, gid: 2, device, target: b"", now: at(now) }
}

/// What `fill` gives, up to the end.
fn contents(inode: &Arc<dyn Inode>) -> Result<Vec<u8>> {
    let size = inode.metadata().size as usize;
    let count = size.div_ceil(PAGE_SIZE);
    let mut pages: Vec<Box<Page>> = (0..count).map(|_| Box::new([0xaa; PAGE_SIZE])).collect();
    let mut lent: Vec<&mut Page> = pages.iter_mut().map(|p| &mut **p).collect();
    inode.paged().ok_or(Error::Invalid)?.fill(0, &mut lent)?;
    let mut bytes: Vec<u8> = pages.iter().flat_map(|p| p.iter().copied()).collect();
    assert!(bytes[size..].iter().all(|b| *b == 0), "what lies beyond the end is not zero");
    bytes.truncate(size);
    Ok(bytes)
}

/// Writes a file without a cache between, as a cache would.
fn write(inode: &Arc<dyn Inode>, offset: u64, bytes: &[u8]) -> Result<()> {
    let paged = inode.paged().ok_or(Error::Invalid)?;
    let first = offset / PAGE_SIZE as u64;
    let end = offset + bytes.len() as u64;
    let count = (end.div_ceil(PAGE_SIZE as u64) - first) as usize;
    let mut pages: Vec<Box<Page>> = (0..count).map(|_| Box::new([0; PAGE_SIZE])).collect();
    let mut lent: Vec<&mut Page> = pages.iter_mut().map(|p| &mut **p).collect();
    paged.fill(first, &mut lent)?;
    paged.reserve(first, count)?;
    paged.extend(end)?;
    let start = (offset % PAGE_SIZE as u64) as usize;
    for (i, byte) in bytes.iter().enumerate() {
        pages[(start + i) / PAGE_SIZE][(start + i) % PAGE_SIZE] = *byte;
    }
    let lent: Vec<&Page> = pages.iter().map(|p| &**p).collect();
    paged.write(first, &lent)
}

/// Looks whether every unit has one user, or is free, and every directory counts right.
fn check(fs: &Mounted) {
    let mut core = fs.fs.core.lock();
    let core = &mut *core;
    let mut users: BTreeMap<u32, u32> = (0..core.layout.files).map(|u| (u, 1)).collect();
    let mut names: BTreeMap<u32, u32> = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    for ino in 1..=core.layout.inodes {
        let (block, at) = core.layout.inode(ino).unwrap();
        let table = core.journal.get(block, Kind::Inodes).unwrap();
        let Some(record) = Record::read(table, at).unwrap() else { continue };
        let mut units = 0;
        for root in record.roots {
            walk(core, root, record.height, &mut users, &mut units);
        }
        assert_eq!(record.units, units, "units of inode {ino}");
        if record.kind == FileType::Directory && record.nlink > 0 {
            let mut cursor = 0;
            while let Some(e) = core.next_entry(&record, cursor).unwrap() {
                *names.entry(e.ino).or_default() += 1;
                if e.kind == FileType::Directory {
                    *names.entry(ino).or_default() += 1;
                }
                cursor = e.next;
            }
        }
        inodes.insert(ino, record);
    }
    for (ino, record) in &inodes {
        let own = u32::from(record.kind == FileType::Directory && record.nlink > 0)
            + u32::from(*ino == crate::layout::ROOT);
        let counted = names.get(ino).copied().unwrap_or(0) + own;
        assert_eq!(record.nlink, counted, "names of inode {ino}");
    }
    let mut free = 0;
    for unit in 0..core.layout.units {
        let (block, bit) = (core.layout.bitmap + unit / BITS, unit % BITS);
        let byte = u8_at(core.journal.get(block, Kind::Bitmap).unwrap(), bit as usize / 8);
        let used = u32::from(byte >> (bit % 8) & 1);
        free += 1 - used;
        assert_eq!(users.get(&unit).copied().unwrap_or(0), used, "users of unit {unit}");
    }
    assert_eq!(core.space.free().0, free);
}

fn walk(
    core: &mut Volume,
    pointer: Pointer,
    level: u8,
    users: &mut BTreeMap<u32, u32>,
    units: &mut u32,
) {
    if pointer.unit == 0 {
        return;
    }
    *users.entry(pointer.unit).or_default() += 1;
    *units += u32::from(level == 0);
    for i in 0..if level == 0 { 0 } else { POINTERS } {
        let next = Pointer::read(core.block(pointer.unit, Kind::Pointers(level)).unwrap(), 0, i);
        walk(core, next, level - 1, users, units);
    }
}
