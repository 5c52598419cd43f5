//! Page-table entries of aarch64: VMSAv8-64 descriptors, stage 1 (Arm ARM D8.3).

use crate::mm::PhysAddr;
use crate::mm::table::{Entry, Flags, PteFormat};

/// Memory types by index: 0 Device-nGnRE, 1 Normal write-back, 2 Normal non-cacheable
/// (Arm ARM D17.2.97).
pub const MAIR: u64 = 0x04 | 0xff << 8 | 0x44 << 16;
/// MAIR index of device registers, as descriptor bits (AttrIndx).
pub const ATTR_DEVICE: u64 = 0 << 2;
/// MAIR index of RAM, as descriptor bits.
pub const ATTR_NORMAL: u64 = 1 << 2;
/// Descriptor is valid.
pub const VALID: u64 = 1 << 0;
/// Descriptor points to a table (levels 0-2) or is a page (level 3).
pub const TABLE_OR_PAGE: u64 = 1 << 1;
/// AP[1]: EL0 may access it.
pub const AP_EL0: u64 = 1 << 6;
/// AP[2]: read-only.
pub const AP_READ_ONLY: u64 = 1 << 7;
/// SH = 3: inner shareable.
pub const SH_INNER: u64 = 3 << 8;
/// Access flag: set by us always, so that no access-flag fault happens.
pub const AF: u64 = 1 << 10;
/// Not global: tagged with an ASID.
pub const NG: u64 = 1 << 11;
/// A bit that the CPU ignores: the frame belongs to the address space.
pub const OWNED: u64 = 1 << 55;
/// Not executable at EL1.
pub const PXN: u64 = 1 << 53;
/// Not executable at EL0.
pub const UXN: u64 = 1 << 54;
/// Output address bits of a descriptor (48 bits, 4 KiB granule).
pub const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// VMSAv8-64 with a 4 KiB granule and 48-bit addresses.
pub struct Format;

impl PteFormat for Format {
    fn max_leaf_level() -> u8 {
        2
    }

    fn table(next: PhysAddr) -> u64 {
        (next.0 & ADDRESS) | VALID | TABLE_OR_PAGE
    }

    fn leaf(level: u8, addr: PhysAddr, flags: Flags) -> u64 {
        let mut entry = (addr.0 & ADDRESS) | VALID | AF | PXN | UXN;
        if level == 0 {
            entry |= TABLE_OR_PAGE;
        }
        if flags.has(Flags::DEVICE) {
            entry |= ATTR_DEVICE;
        } else {
            entry |= ATTR_NORMAL | SH_INNER;
        }
        if !flags.has(Flags::WRITE) {
            entry |= AP_READ_ONLY;
        }
        if flags.has(Flags::USER) {
            entry |= AP_EL0;
        }
        if flags.has(Flags::EXECUTE) {
            entry &= if flags.has(Flags::USER) { !UXN } else { !PXN };
        }
        if !flags.has(Flags::GLOBAL) {
            entry |= NG;
        }
        if flags.has(Flags::OWNED) {
            entry |= OWNED;
        }
        // An invalid entry may hold anything; AF tells it from an empty one.
        if flags.has(Flags::NO_ACCESS) { entry & !VALID } else { entry }
    }

    fn decode(level: u8, entry: u64) -> Entry {
        if entry & (VALID | AF) == 0 {
            return Entry::Empty;
        }
        let addr = PhysAddr(entry & ADDRESS);
        if level > 0 && entry & TABLE_OR_PAGE != 0 {
            return Entry::Table(addr);
        }
        let mut flags = Flags::NONE;
        let mut add = |yes: bool, flag: Flags| {
            if yes {
                flags = flags.with(flag);
            }
        };
        let user = entry & AP_EL0 != 0;
        add(user, Flags::USER);
        add(entry & AP_READ_ONLY == 0, Flags::WRITE);
        add(entry & (if user { UXN } else { PXN }) == 0, Flags::EXECUTE);
        add(entry & (7 << 2) == ATTR_DEVICE, Flags::DEVICE);
        add(entry & NG == 0, Flags::GLOBAL);
        add(entry & OWNED != 0, Flags::OWNED);
        add(entry & VALID == 0, Flags::NO_ACCESS);
        Entry::Leaf(addr, flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let addr = PhysAddr(0x1234_4000_0000);
        for bits in 0..128 {
            let flags = Flags(bits);
            // Device registers are never executed; user or kernel, the bit that counts does.
            for level in 0..3 {
                let entry = Format::leaf(level, addr, flags);
                assert_ne!(entry, 0);
                assert_eq!(Format::decode(level, entry), Entry::Leaf(addr, flags), "{level}");
                assert_eq!(entry & VALID == 0, flags.has(Flags::NO_ACCESS));
            }
        }
        for level in 1..4 {
            assert_eq!(Format::decode(level, Format::table(addr)), Entry::Table(addr));
        }
        assert_eq!(Format::decode(0, 0), Entry::Empty);
    }

    #[test]
    fn permissions_are_what_the_architecture_calls_them() {
        let leaf = |flags| Format::leaf(0, PhysAddr(0x4000_0000), flags);
        // Kernel text: read-only, executable at EL1 alone, global.
        let text = leaf(Flags::EXECUTE.with(Flags::GLOBAL));
        assert_eq!(text, 0x4000_0000 | UXN | AP_READ_ONLY | ATTR_NORMAL | SH_INNER | AF | 3);
        // User data: writable, executable nowhere, tagged with an ASID.
        let data = leaf(Flags::USER.with(Flags::WRITE));
        assert_eq!(data, 0x4000_0000 | UXN | PXN | AP_EL0 | NG | ATTR_NORMAL | SH_INNER | AF | 3);
        // User text: the kernel cannot execute it.
        assert_ne!(leaf(Flags::USER.with(Flags::EXECUTE)) & PXN, 0);
        assert_eq!(leaf(Flags::DEVICE) & (7 << 2), ATTR_DEVICE);
    }
}
