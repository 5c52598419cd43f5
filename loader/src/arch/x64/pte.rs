//! Page-table entries of x64 (Intel SDM vol. 3, 5.5 "4-level paging").

use core::sync::atomic::{AtomicBool, Ordering};

use crate::mm::PhysAddr;
use crate::mm::table::{Entry, Flags, PteFormat};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// Write-through and cache-disable together choose entry 3 of the PAT, which is "uncached"
/// after reset (Intel SDM vol. 3, 13.12.4).
const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// In a level 1 or 2 entry: a leaf.
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
/// Bits 9 … 11 are software's, and in an entry that is not present all but bit 0 are.
const OWNED: u64 = 1 << 9;
const NO_ACCESS: u64 = 1 << 10;
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 12 … 51.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Whether the CPU has leaves of 1 GiB. Set once at boot.
pub(super) static GIGABYTE_LEAVES: AtomicBool = AtomicBool::new(false);

/// The encoding.
pub struct Format;

impl PteFormat for Format {
    fn max_leaf_level() -> u8 {
        if GIGABYTE_LEAVES.load(Ordering::Relaxed) { 2 } else { 1 }
    }

    fn table(next: PhysAddr) -> u64 {
        next.0 & ADDRESS | PRESENT | WRITABLE | USER
    }

    fn leaf(level: u8, addr: PhysAddr, flags: Flags) -> u64 {
        let mut entry = addr.0 & ADDRESS;
        entry |= if flags.has(Flags::NO_ACCESS) { NO_ACCESS } else { PRESENT };
        for (flag, bits) in [
            (Flags::WRITE, WRITABLE),
            (Flags::USER, USER),
            (Flags::DEVICE, UNCACHED),
            (Flags::GLOBAL, GLOBAL),
            (Flags::OWNED, OWNED),
        ] {
            if flags.has(flag) {
                entry |= bits;
            }
        }
        if !flags.has(Flags::EXECUTE) {
            entry |= NO_EXECUTE;
        }
        if level > 0 {
            entry |= LARGE;
        }
        entry
    }

    fn decode(level: u8, entry: u64) -> Entry {
        if entry & (PRESENT | NO_ACCESS) == 0 {
            return Entry::Empty;
        }
        if level > 0 && entry & LARGE == 0 {
            return Entry::Table(PhysAddr(entry & ADDRESS));
        }
        let mut flags = Flags::NONE;
        for (flag, bits) in [
            (Flags::WRITE, WRITABLE),
            (Flags::USER, USER),
            (Flags::DEVICE, UNCACHED),
            (Flags::GLOBAL, GLOBAL),
            (Flags::OWNED, OWNED),
        ] {
            if entry & bits == bits {
                flags = flags.with(flag);
            }
        }
        if entry & PRESENT == 0 {
            flags = flags.with(Flags::NO_ACCESS);
        }
        if entry & NO_EXECUTE == 0 {
            flags = flags.with(Flags::EXECUTE);
        }
        Entry::Leaf(PhysAddr(entry & ADDRESS), flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for bits in 0..128 {
            for level in 0..3 {
                let (at, flags) = (PhysAddr(0x000f_ffff_c000_0000), Flags(bits));
                let entry = Format::leaf(level, at, flags);
                assert_eq!(Format::decode(level, entry), Entry::Leaf(at, flags));
                assert_eq!(entry & PRESENT == 0, flags.has(Flags::NO_ACCESS));
            }
        }
        let table = Format::table(PhysAddr(0x1234_5000));
        assert_eq!(Format::decode(3, table), Entry::Table(PhysAddr(0x1234_5000)));
        assert_eq!(Format::decode(1, 0), Entry::Empty);
    }

    #[test]
    fn bits_are_those_of_the_manual() {
        let rw = Flags::WRITE.with(Flags::USER);
        assert_eq!(Format::leaf(0, PhysAddr(0x1000), rw), 0x8000_0000_0000_1007);
        let text = Flags::EXECUTE.with(Flags::GLOBAL);
        assert_eq!(Format::leaf(1, PhysAddr(0x20_0000), text), 0x20_0181);
        let device = Flags::WRITE.with(Flags::DEVICE);
        assert_eq!(Format::leaf(0, PhysAddr(0xfec0_0000), device), 0x8000_0000_fec0_001b);
    }
}
