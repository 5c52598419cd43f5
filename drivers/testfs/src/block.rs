//! Units of the device, and the blocks that some of them are ([`crate::layout`]).

use alloc::boxed::Box;
use alloc::vec::Vec;
use driver_api::disk::Disk;
use driver_api::{Error, Result};

use crate::layout::{UNIT, Unit, checksum, put};

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the bitmap.
    Bitmap,
    /// Of the inode table.
    Inodes,
    /// Pointers, so many levels above records.
    Pointers(u8),
    /// Names.
    Directory,
    /// A symbolic link's target.
    Target,
}

impl Kind {
    /// As it stands in the block.
    pub fn bytes(self) -> [u8; 2] {
        match self {
            Self::Bitmap => [1, 0],
            Self::Inodes => [2, 0],
            Self::Pointers(level) => [3, level],
            Self::Directory => [4, 0],
            Self::Target => [5, 0],
        }
    }
}

/// Memory for a unit, zeroed.
///
/// # Errors
/// `NoMemory`.
pub fn memory() -> Result<Box<Unit>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(UNIT).map_err(|_| Error::NoMemory)?;
    bytes.resize(UNIT, 0);
    bytes.into_boxed_slice().try_into().map_err(|_| Error::NoMemory)
}

/// Makes a block of what stands in its payload, and gives its bytes.
pub fn seal(block: &mut Unit, unit: u32, kind: Kind) -> &[u8] {
    put(block, 8, &unit.to_le_bytes());
    put(block, 12, &kind.bytes());
    let sum = checksum(block.get(8..).unwrap_or(&[]));
    put(block, 0, &sum.to_le_bytes());
    block
}

/// A disk as units.
pub struct Units(pub Disk);

impl Units {
    fn at(unit: u32) -> u64 {
        u64::from(unit) * UNIT as u64
    }

    /// Reads from the beginning of `unit` on.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn read(&self, unit: u32, to: &mut [u8]) -> Result<()> {
        match self.0.read_at(Self::at(unit), to) {
            Ok(n) if n == to.len() => Ok(()),
            Err(Error::NoMemory) => Err(Error::NoMemory),
            _ => Err(Error::Io),
        }
    }

    /// Writes from the beginning of `unit` on.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn write(&self, unit: u32, from: &[u8]) -> Result<()> {
        match self.0.write_at(Self::at(unit), from, false) {
            Ok(n) if n == from.len() => Ok(()),
            Err(Error::NoMemory) => Err(Error::NoMemory),
            _ => Err(Error::Io),
        }
    }

    /// What was written becomes stable.
    ///
    /// # Errors
    /// `Io`.
    pub fn flush(&self) -> Result<()> {
        self.0.flush().map_err(|_| Error::Io)
    }
}
