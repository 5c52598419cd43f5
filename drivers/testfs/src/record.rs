//! Inodes and pointers as they lie on the device ([`crate::layout`]).

use driver_api::vfs::{DeviceNumber, FileType, Timestamp};
use driver_api::{Error, Result};

use crate::layout::{
    INODE, MAX_HEIGHT, MAX_SIZE, POINTER, ROOTS, UNIT, put, u8_at, u32_at, u64_at,
};

/// A record or a block of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// Where; 0: nowhere.
    pub unit: u32,
    /// Low half of the record's checksum; 0 for blocks, which have their own.
    pub sum: u32,
    /// Bytes that count.
    pub valid: u32,
}

impl Pointer {
    /// Pointer number `index` from `at` on.
    pub fn read(bytes: &[u8], at: usize, index: usize) -> Self {
        let at = at + index * POINTER;
        let valid = u32_at(bytes, at + 8).min(UNIT as u32);
        Self { unit: u32_at(bytes, at), sum: u32_at(bytes, at + 4), valid }
    }

    /// Writes it as number `index` from `at` on.
    pub fn write(&self, bytes: &mut [u8], at: usize, index: usize) {
        let at = at + index * POINTER;
        put(bytes, at, &self.unit.to_le_bytes());
        put(bytes, at + 4, &self.sum.to_le_bytes());
        put(bytes, at + 8, &self.valid.to_le_bytes());
    }
}

const KINDS: [FileType; 7] = [
    FileType::Regular,
    FileType::Directory,
    FileType::Symlink,
    FileType::CharDevice,
    FileType::BlockDevice,
    FileType::Fifo,
    FileType::Socket,
];

/// The number that stands for a kind; never 0.
pub fn kind_number(kind: FileType) -> u8 {
    KINDS.iter().position(|k| *k == kind).map_or(0, |i| i as u8 + 1)
}

/// The kind that a number stands for.
pub fn kind_of(number: u8) -> Option<FileType> {
    KINDS.get(usize::from(number).checked_sub(1)?).copied()
}

/// An inode of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: FileType,
    /// Levels of pointer blocks.
    pub height: u8,
    /// Permission bits.
    pub mode: u16,
    /// Names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; of a directory those of its blocks.
    pub size: u64,
    /// Units with contents.
    pub units: u32,
    /// For device files.
    pub device: DeviceNumber,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Last change.
    pub ctime: Timestamp,
    /// Records, or what leads to them.
    pub roots: [Pointer; ROOTS],
}

impl Record {
    /// The inode at `at`; `None` for a free one.
    ///
    /// # Errors
    /// `Io` for one that makes no sense.
    pub fn read(bytes: &[u8], at: usize) -> Result<Option<Self>> {
        let b = bytes.get(at..at + INODE).ok_or(Error::Io)?;
        if u8_at(b, 0) == 0 {
            return Ok(None);
        }
        let time = |at| Timestamp {
            secs: u64_at(b, at).cast_signed(),
            nanos: u32_at(b, at + 8).min(999_999_999),
        };
        let mut roots = [Pointer::default(); ROOTS];
        for (i, root) in roots.iter_mut().enumerate() {
            *root = Pointer::read(b, 80, i);
        }
        let record = Self {
            kind: kind_of(u8_at(b, 0)).ok_or(Error::Io)?,
            height: u8_at(b, 1),
            mode: (u32_at(b, 0) >> 16) as u16 & 0o7777,
            nlink: u32_at(b, 4),
            uid: u32_at(b, 8),
            gid: u32_at(b, 12),
            size: u64_at(b, 16),
            units: u32_at(b, 44),
            device: DeviceNumber { major: u32_at(b, 24), minor: u32_at(b, 28) },
            atime: time(32),
            mtime: time(48),
            ctime: time(64),
            roots,
        };
        if record.height > MAX_HEIGHT || record.size > MAX_SIZE {
            return Err(Error::Io);
        }
        Ok(Some(record))
    }

    /// Writes it at `at`.
    pub fn write(&self, bytes: &mut [u8], at: usize) {
        let Some(b) = bytes.get_mut(at..at + INODE) else { return };
        b.fill(0);
        put(b, 0, &[kind_number(self.kind), self.height]);
        put(b, 2, &self.mode.to_le_bytes());
        for (at, value) in [
            (4, self.nlink),
            (8, self.uid),
            (12, self.gid),
            (24, self.device.major),
            (28, self.device.minor),
            (44, self.units),
        ] {
            put(b, at, &value.to_le_bytes());
        }
        put(b, 16, &self.size.to_le_bytes());
        for (at, time) in [(32, self.atime), (48, self.mtime), (64, self.ctime)] {
            put(b, at, &time.secs.to_le_bytes());
            put(b, at + 8, &time.nanos.to_le_bytes());
        }
        for (i, root) in self.roots.iter().enumerate() {
            root.write(b, 80, i);
        }
    }

    /// Makes the inode at `at` a free one.
    pub fn erase(bytes: &mut [u8], at: usize) {
        if let Some(b) = bytes.get_mut(at..at + INODE) {
            b.fill(0);
        }
    }
}
