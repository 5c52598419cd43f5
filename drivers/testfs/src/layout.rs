//! What lies where on the device, and the bytes of each structure. Numbers are
//! little-endian; every checksum is an XXH64 with seed 0.
//!
//! ```text
//! unit 0        superblock (its first 512 bytes)
//! 1 ..          journal: two halves of HALF units: header, blocks, copy of the header
//! ..            bitmap: a bit a unit of the device, set when it is used
//! ..            inode table
//! ..            units of files, of their pointer blocks and of directories
//!
//! superblock    0 magic   8 version u32   12 incompatible flags u32   16 read-only-compatible
//!               flags u32   20 unit size u32   24 units u32   504 checksum of what is before
//! header        0 checksum of the rest   8 magic   16 sequence u64   24 count u32
//!               32 entries of 12 bytes: unit u32, checksum of the block u64
//! block         0 checksum of the rest   8 unit u32   12 kind u8   13 level u8   16 payload
//! pointer       0 unit u32, 0: none   4 low half of the record's checksum   8 bytes of it
//!               that count, the rest reads as zeroes
//! inode         0 kind u8   1 height u8   2 mode u16   4 links u32   8 uid u32   12 gid u32
//!               16 size u64   24 major u32   28 minor u32   32/48/64 access, change of
//!               contents, change: seconds i64, nanoseconds u32   44 units u32   80 8 pointers
//! slot          0 inode u32, 0: free   4 length of the slot u16   6 length of the name u8
//!               7 kind u8   8 name
//! ```
//!
//! Everything but the two sizes follows from the number of units, so that a superblock has
//! little to lie about. A block says where it belongs and what it is: one that went to
//! another place is noticed.

use driver_api::{Error, Result};
use xxhash_rust::xxh64::xxh64;

/// Bytes of a unit: what is allocated, read, checked and written as one.
pub const UNIT: usize = 8192;
/// Bytes of a block before its payload.
pub const BLOCK_HEAD: usize = 16;
/// Bytes of a block that its kind uses.
pub const PAYLOAD: usize = UNIT - BLOCK_HEAD;
/// Units that a block of the bitmap tells of.
pub const BITS: u32 = PAYLOAD as u32 * 8;
/// Pointers in an inode.
pub const ROOTS: usize = 8;
/// Bytes of a pointer.
pub const POINTER: usize = 12;
/// Pointers in a pointer block.
pub const POINTERS: usize = PAYLOAD / POINTER;
/// Levels of pointer blocks below an inode, at most.
pub const MAX_HEIGHT: u8 = 3;
/// Bytes of an inode.
pub const INODE: usize = 192;
const INODES: u32 = (PAYLOAD / INODE) as u32;
/// The root directory's number.
pub const ROOT: u32 = 1;
/// Blocks that an operation may change, besides those of the bitmap. The most has a rename: a
/// block of each directory, a new one with four pointer blocks, four of the inode table.
pub const OPERATION: u32 = 16;

const MAGIC: u64 = u64::from_le_bytes(*b"OsTestFs");
const JOURNAL_MAGIC: u64 = u64::from_le_bytes(*b"OsTestJn");
const VERSION: u32 = 1;
/// Fewest units: 1 MiB.
const MIN_UNITS: u32 = 128;
/// Most units, 255 GiB: all blocks of the bitmap must fit into a transaction.
const MAX_UNITS: u32 = 512 * BITS;
/// Entries of a header, at most.
const ENTRIES: usize = (UNIT - 32) / 12;
/// Longest file: what the pointers reach.
pub const MAX_SIZE: u64 = ROOTS as u64 * (POINTERS as u64).pow(MAX_HEIGHT as u32) * UNIT as u64;

/// A unit's bytes.
pub type Unit = [u8; UNIT];

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

/// The number at `at`; 0 beyond the end.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// As [`u32_at`].
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// As [`u32_at`].
pub fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Writes `value` at `at`; nothing happens beyond the end.
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}

/// Where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Units in all.
    pub units: u32,
    /// Units of half a journal.
    pub half: u32,
    /// First unit of the bitmap.
    pub bitmap: u32,
    /// First unit of the inode table.
    pub table: u32,
    /// First unit that files may have.
    pub files: u32,
    /// Inodes.
    pub inodes: u32,
}

impl Layout {
    /// The layout of a device of `bytes`, of which it may not use the end.
    ///
    /// # Errors
    /// `NoSpace` when it is too small.
    pub fn new(bytes: u64) -> Result<Self> {
        let units = (bytes / UNIT as u64).min(MAX_UNITS.into()) as u32;
        Self::of_units(units).ok_or(Error::NoSpace)
    }

    fn of_units(units: u32) -> Option<Self> {
        if !(MIN_UNITS..=MAX_UNITS).contains(&units) {
            return None;
        }
        let bitmaps = units.div_ceil(BITS);
        // Room for the largest operation and then some, so that small ones share a commit.
        let half = 2 + bitmaps + (units / 16).clamp(OPERATION + 16, 160);
        let bitmap = 1 + 2 * half;
        let table = bitmap + bitmaps;
        let blocks = (units / 2).div_ceil(INODES);
        let files = table + blocks;
        Some(Self { units, half, bitmap, table, files, inodes: blocks * INODES })
    }

    /// The superblock's bytes.
    pub fn superblock(&self) -> [u8; 512] {
        let mut b = [0; 512];
        put(&mut b, 0, &MAGIC.to_le_bytes());
        put(&mut b, 8, &VERSION.to_le_bytes());
        put(&mut b, 20, &(UNIT as u32).to_le_bytes());
        put(&mut b, 24, &self.units.to_le_bytes());
        let sum = checksum(b.get(..504).unwrap_or(&[]));
        put(&mut b, 504, &sum.to_le_bytes());
        b
    }

    /// The layout that a superblock tells of, on a device of `bytes`; whether only reading
    /// is known to be safe.
    ///
    /// # Errors
    /// `Invalid` for what is none, or is damaged; `Unsupported` for one of another version.
    pub fn read(b: &[u8; 512], bytes: u64) -> Result<(Self, bool)> {
        if u64_at(b, 0) != MAGIC || u64_at(b, 504) != checksum(b.get(..504).unwrap_or(&[])) {
            return Err(Error::Invalid);
        }
        if u32_at(b, 8) != VERSION || u32_at(b, 12) != 0 || u32_at(b, 20) != UNIT as u32 {
            return Err(Error::Unsupported);
        }
        let layout = Self::of_units(u32_at(b, 24)).ok_or(Error::Invalid)?;
        if u64::from(layout.units) * UNIT as u64 > bytes {
            return Err(Error::Invalid);
        }
        Ok((layout, u32_at(b, 16) != 0))
    }

    /// Blocks that a transaction may have.
    pub fn transaction(&self) -> u32 {
        self.half - 2
    }

    /// Blocks that any one operation changes at most.
    pub fn operation(&self) -> u32 {
        OPERATION + (self.table - self.bitmap)
    }

    /// The block of the bitmap for `unit`, and the bit in its payload.
    pub fn bit(&self, unit: u32) -> (u32, u32) {
        (self.bitmap + unit / BITS, unit % BITS)
    }

    /// The block of an inode, and the offset in its payload.
    ///
    /// # Errors
    /// `Io` for a number that there is not.
    pub fn inode(&self, ino: u32) -> Result<(u32, usize)> {
        let index = ino.checked_sub(1).filter(|i| *i < self.inodes).ok_or(Error::Io)?;
        Ok((self.table + index / INODES, (index % INODES) as usize * INODE))
    }

    /// Where half `sequence % 2` of the journal begins.
    pub fn journal(&self, sequence: u64) -> u32 {
        1 + (sequence % 2) as u32 * self.half
    }

    /// Whether a file may have `unit`.
    pub fn is_file_unit(&self, unit: u32) -> bool {
        (self.files..self.units).contains(&unit)
    }
}

/// A transaction's header: the sequence, and unit and checksum of each block.
pub struct Header {
    /// Its number, from 1.
    pub sequence: u64,
    /// The blocks in the order in which they lie in the journal.
    pub blocks: alloc::vec::Vec<(u32, u64)>,
}

impl Header {
    /// Its bytes.
    pub fn write(&self, to: &mut Unit) {
        to.fill(0);
        put(to, 8, &JOURNAL_MAGIC.to_le_bytes());
        put(to, 16, &self.sequence.to_le_bytes());
        put(to, 24, &(self.blocks.len() as u32).to_le_bytes());
        for (i, (unit, sum)) in self.blocks.iter().enumerate() {
            put(to, 32 + i * 12, &unit.to_le_bytes());
            put(to, 36 + i * 12, &sum.to_le_bytes());
        }
        let sum = checksum(to.get(8..).unwrap_or(&[]));
        put(to, 0, &sum.to_le_bytes());
    }

    /// The header in these bytes; `None` for one that is torn, damaged or of no use.
    pub fn read(from: &Unit, layout: &Layout) -> Option<Self> {
        let good = u64_at(from, 0) == checksum(from.get(8..)?) && u64_at(from, 8) == JOURNAL_MAGIC;
        let count = u32_at(from, 24) as usize;
        if !good || count > ENTRIES || count > layout.transaction() as usize {
            return None;
        }
        let entry = |i| (u32_at(from, 32 + i * 12), u64_at(from, 36 + i * 12));
        let blocks: alloc::vec::Vec<_> = (0..count).map(entry).collect();
        let known = |unit: u32| (layout.bitmap..layout.units).contains(&unit);
        blocks.iter().all(|b| known(b.0)).then(|| Self { sequence: u64_at(from, 16), blocks })
    }
}
