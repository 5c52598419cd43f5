//! Making an empty file system, and knowing one.

use driver_api::vfs::{DeviceNumber, FileType, Timestamp};
use driver_api::{Error, Result};

use crate::block::{Kind, Units, memory, seal};
use crate::layout::{BITS, BLOCK_HEAD, Layout, ROOT, ROOTS};
use crate::record::{Pointer, Record};

/// The layout on a device, and whether only reading is known to be safe.
///
/// # Errors
/// `Invalid` when there is none, or a damaged one; `Unsupported`, `Io`, `NoMemory`.
pub fn superblock(units: &Units) -> Result<(Layout, bool)> {
    let mut bytes = [0; 512];
    if units.0.size() < bytes.len() as u64 {
        return Err(Error::Invalid);
    }
    units.read(0, &mut bytes)?;
    Layout::read(&bytes, units.0.size())
}

/// Makes an empty file system. Until it is there as a whole, none is there.
///
/// # Errors
/// `NoSpace` for a device that is too small, `ReadOnly`, `Io`, `NoMemory`.
pub fn format(units: &Units) -> Result<()> {
    if units.0.geometry().read_only {
        return Err(Error::ReadOnly);
    }
    let layout = Layout::new(units.0.size())?;
    units.write(0, &[0; 512])?;
    units.flush()?;
    let mut block = memory()?;
    for half in 0..2 {
        let first = layout.journal(half);
        units.write(first, &block[..])?;
        units.write(first + layout.half - 1, &block[..])?;
    }
    for index in 0..layout.table - layout.bitmap {
        block.fill(0);
        let from = index * BITS;
        let used = layout.files.clamp(from, from + BITS) - from;
        for bit in 0..used {
            let at = BLOCK_HEAD + bit as usize / 8;
            *block.get_mut(at).ok_or(Error::Io)? |= 1 << (bit % 8);
        }
        units
            .write(layout.bitmap + index, seal(&mut block, layout.bitmap + index, Kind::Bitmap))?;
    }
    let root = Record {
        kind: FileType::Directory,
        height: 0,
        mode: 0o755,
        nlink: 2,
        uid: 0,
        gid: 0,
        size: 0,
        units: 0,
        device: DeviceNumber::default(),
        atime: Timestamp::default(),
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
        roots: [Pointer::default(); ROOTS],
    };
    for unit in layout.table..layout.files {
        block.fill(0);
        let (first, at) = layout.inode(ROOT)?;
        if unit == first {
            root.write(block.get_mut(BLOCK_HEAD..).ok_or(Error::Io)?, at);
        }
        units.write(unit, seal(&mut block, unit, Kind::Inodes))?;
    }
    units.flush()?;
    units.write(0, &layout.superblock())?;
    units.flush()
}
