//! Reading what PVH hands over: `hvm_start_info` and what it points to
//! (Xen's `public/arch-x86/hvm/start_info.h`). Everything is little-endian.

use crate::bootinfo::{MemoryMap, Region, RegionKind};
use crate::mm::{PhysAddr, PhysRange};

use super::phys::PhysMemory;

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
/// Bytes of the structure that every version has.
const LEN: usize = 40;
/// Bytes of it from version 1, which has the memory map.
const LEN_V1: usize = 56;
/// Bytes of an `hvm_memmap_table_entry`.
const MEMMAP_ENTRY: usize = 24;
/// Bytes of an `hvm_modlist_entry`.
const MODULE_ENTRY: usize = 32;
/// Most memory map entries that are looked at: twice what is kept, so that a map with many
/// entries is cut off rather than walked for ever.
const MAX_ENTRIES: u32 = 2 * crate::bootinfo::MAX_REGIONS as u32;

/// Why there is nothing to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The start info lies where it cannot be read.
    Unreadable,
    /// It begins with another magic.
    BadMagic,
    /// It has no memory map (version 0), or an empty one.
    NoMemoryMap,
}

/// The start info, decoded.
#[derive(Clone, Debug)]
pub struct StartInfo {
    /// The memory map.
    pub memory: MemoryMap,
    /// Physical address of the command line, a NUL-terminated string.
    pub cmdline: Option<PhysAddr>,
    /// The first module.
    pub module: Option<PhysRange>,
    /// ACPI's root pointer, when the loader knows it.
    pub rsdp: Option<PhysAddr>,
}

/// Reads the start info at `at`.
///
/// # Errors
/// When it cannot be read, is not one, or has no memory map.
pub fn read(memory: &impl PhysMemory, at: PhysAddr) -> Result<StartInfo, Error> {
    let head: [u8; LEN] = memory.array(at.0).ok_or(Error::Unreadable)?;
    if u32_at(&head, 0) != MAGIC {
        return Err(Error::BadMagic);
    }
    if u32_at(&head, 4) == 0 {
        return Err(Error::NoMemoryMap);
    }
    let info: [u8; LEN_V1] = memory.array(at.0).ok_or(Error::Unreadable)?;
    let mut map = MemoryMap::new();
    let (table, entries) = (u64_at(&info, 40), u32_at(&info, 48).min(MAX_ENTRIES));
    for i in 0..u64::from(entries) {
        let entry: [u8; MEMMAP_ENTRY] = table
            .checked_add(i * MEMMAP_ENTRY as u64)
            .and_then(|a| memory.array(a))
            .ok_or(Error::Unreadable)?;
        // XEN_HVM_MEMMAP_TYPE_RAM; the others are firmware's, or not to be touched.
        let kind = if u32_at(&entry, 16) == 1 { RegionKind::Usable } else { RegionKind::Reserved };
        let range = PhysRange::with_len(PhysAddr(u64_at(&entry, 0)), u64_at(&entry, 8));
        map.push(Region { range, kind });
    }
    if !map.regions().iter().any(|r| r.kind == RegionKind::Usable) {
        return Err(Error::NoMemoryMap);
    }
    let module = (u32_at(&info, 12) > 0)
        .then(|| memory.array::<MODULE_ENTRY>(u64_at(&info, 16)))
        .flatten()
        .map(|m| PhysRange::with_len(PhysAddr(u64_at(&m, 0)), u64_at(&m, 8)))
        .filter(|r| !r.is_empty());
    Ok(StartInfo {
        memory: map,
        cmdline: some_address(u64_at(&info, 24)),
        module,
        rsdp: some_address(u64_at(&info, 32)),
    })
}

/// An address field, where 0 means that there is none.
fn some_address(value: u64) -> Option<PhysAddr> {
    (value != 0).then_some(PhysAddr(value))
}

/// The word at `at`; 0 past the end, which no caller asks for.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// As [`u32_at`], for eight bytes.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A start info at 0x100, its map at 0x200 and a module list at 0x300.
    fn sample(entries: &[(u64, u64, u32)]) -> Vec<u8> {
        let mut m = std::vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| m[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x100, &MAGIC.to_le_bytes());
        put(0x104, &1u32.to_le_bytes());
        put(0x10c, &1u32.to_le_bytes());
        put(0x110, &0x300u64.to_le_bytes());
        put(0x118, &0x380u64.to_le_bytes());
        put(0x120, &0xe_0000u64.to_le_bytes());
        put(0x128, &0x200u64.to_le_bytes());
        put(0x130, &(entries.len() as u32).to_le_bytes());
        for (i, &(start, len, kind)) in entries.iter().enumerate() {
            put(0x200 + i * 24, &start.to_le_bytes());
            put(0x208 + i * 24, &len.to_le_bytes());
            put(0x210 + i * 24, &kind.to_le_bytes());
        }
        put(0x300, &0x40_0000u64.to_le_bytes());
        put(0x308, &0x1000u64.to_le_bytes());
        m
    }

    const MAP: [(u64, u64, u32); 2] = [(0, 0x9_fc00, 1), (0xf_0000, 0x1_0000, 2)];

    #[test]
    fn everything_is_found() {
        let info = read(&sample(&MAP).as_slice(), PhysAddr(0x100)).unwrap();
        let kinds: Vec<_> = info.memory.regions().iter().map(|r| (r.range.len(), r.kind)).collect();
        assert_eq!(kinds, [(0x9_fc00, RegionKind::Usable), (0x1_0000, RegionKind::Reserved)]);
        assert_eq!(info.cmdline, Some(PhysAddr(0x380)));
        assert_eq!(info.rsdp, Some(PhysAddr(0xe_0000)));
        assert_eq!(info.module, Some(PhysRange::with_len(PhysAddr(0x40_0000), 0x1000)));
    }

    #[test]
    fn what_is_no_start_info_is_refused() {
        let good = sample(&MAP);
        assert_eq!(read(&good.as_slice(), PhysAddr(0)).unwrap_err(), Error::BadMagic);
        assert_eq!(read(&good.as_slice(), PhysAddr(0x3f0)).unwrap_err(), Error::Unreadable);
        assert_eq!(read(&good.as_slice(), PhysAddr(u64::MAX)).unwrap_err(), Error::Unreadable);
        let none = sample(&[(0, 0x1000, 2)]);
        assert_eq!(read(&none.as_slice(), PhysAddr(0x100)).unwrap_err(), Error::NoMemoryMap);
        let mut version0 = sample(&MAP);
        version0[0x104] = 0;
        assert_eq!(read(&version0.as_slice(), PhysAddr(0x100)).unwrap_err(), Error::NoMemoryMap);
        let mut wild = sample(&MAP);
        wild[0x128..0x130].copy_from_slice(&(u64::MAX - 4).to_le_bytes());
        assert_eq!(read(&wild.as_slice(), PhysAddr(0x100)).unwrap_err(), Error::Unreadable);
    }

    #[test]
    fn a_wild_module_list_is_no_module() {
        let mut m = sample(&MAP);
        m[0x110..0x118].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(read(&m.as_slice(), PhysAddr(0x100)).unwrap().module, None);
    }
}
