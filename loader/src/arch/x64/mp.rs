//! The CPUs by Intel's MultiProcessor Specification 1.4, for machines without ACPI (QEMU's
//! `microvm,acpi=off`; Firecracker). Its other tables say what the conventions of a PC say.

use super::acpi::{MAX_CPUS, add, sum, word16, word32};
use super::phys::PhysMemory;

/// Where the floating pointer may lie (4): the last KiB of base memory, and the BIOS. On a
/// 16-byte boundary.
const PLACES: [(u64, u64); 2] = [(0x9_fc00, 0xa_0000), (0xf_0000, 0x10_0000)];
/// The configuration table's header, and the longest table that is read.
const HEADER: usize = 44;
const MAX_TABLE: u16 = 0x2000;
/// Entry types: a processor takes 20 bytes, all others 8 (4.3).
const PROCESSOR: u8 = 0;
const LAST_TYPE: u8 = 4;
/// A processor's flags: usable.
const ENABLED: u8 = 1;

/// Local APIC ids of the CPUs that can be started; none when there is no such table.
pub fn cpus(memory: &impl PhysMemory) -> [Option<u32>; MAX_CPUS] {
    let mut found = [None; MAX_CPUS];
    if let Some((table, len)) = find(memory) {
        // What came before a broken entry is kept.
        let _ = read(memory, table, len, &mut found);
    }
    found
}

/// Address and length of the configuration table (4.2) that a floating pointer leads to.
fn find(memory: &impl PhysMemory) -> Option<(u64, u16)> {
    let table = |at| {
        let pointer: [u8; 16] = memory.array(at)?;
        let at = word32(&pointer, 4).filter(|t| *t != 0 && sum(&pointer) == 0)?;
        verified(memory, u64::from(at))
    };
    let mut found = None;
    PLACES.iter().find(|&&(start, end)| {
        let mut accept = |at| {
            found = table(at);
            found.is_some()
        };
        memory.find(start, end, *b"_MP_", &mut accept).is_some()
    })?;
    found
}

/// The address back, and the length, when the table there can be read and sums to zero.
fn verified(memory: &impl PhysMemory, at: u64) -> Option<(u64, u16)> {
    let header: [u8; HEADER] = memory.array(at)?;
    let len = word16(&header, 4)?;
    if !header.starts_with(b"PCMP") || usize::from(len) < HEADER || len > MAX_TABLE {
        return None;
    }
    let mut total = 0_u8;
    for i in 0..u64::from(len) {
        let [byte] = memory.array(at + i)?;
        total = total.wrapping_add(byte);
    }
    (total == 0).then_some((at, len))
}

/// Collects the processors of the table of `len` bytes at `at`.
fn read(memory: &impl PhysMemory, at: u64, len: u16, found: &mut [Option<u32>]) -> Option<()> {
    let end = at + u64::from(len);
    let mut here = at + HEADER as u64;
    while here < end {
        let [kind, id, _version, flags] = memory.array(here)?;
        if kind == PROCESSOR && flags & ENABLED != 0 {
            add(found, u32::from(id));
        }
        here += match kind {
            PROCESSOR => 20,
            1..=LAST_TYPE => 8,
            _ => return None,
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const TABLE: usize = 0xf_1000;

    fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A machine with its pointer at `at` and `entries` in its table.
    fn machine(at: usize, entries: &[u8]) -> Vec<u8> {
        let mut m = std::vec![0; 0x10_0000];
        let mut pointer = b"_MP_".to_vec();
        pointer.extend((TABLE as u32).to_le_bytes());
        pointer.extend([1, 4, 0, 0, 0, 0, 0, 0]);
        pointer[10] = 0_u8.wrapping_sub(sum(&pointer));
        put(&mut m, at, &pointer);
        let mut table = b"PCMP".to_vec();
        table.extend(((HEADER + entries.len()) as u16).to_le_bytes());
        table.resize(HEADER, 0);
        table.extend(entries);
        table[7] = 0_u8.wrapping_sub(sum(&table));
        put(&mut m, TABLE, &table);
        m
    }

    fn processor(id: u8, flags: u8) -> Vec<u8> {
        let mut p = std::vec![PROCESSOR, id, 0x14, flags];
        p.resize(20, 0);
        p
    }

    fn sample() -> Vec<u8> {
        let mut entries = processor(0, 3);
        entries.extend([1, 0, b'I', b'S', b'A', b' ', b' ', b' ']);
        entries.extend(processor(1, 1));
        entries.extend(processor(2, 0));
        entries.extend([2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe]);
        entries.extend(processor(7, 1));
        entries
    }

    #[test]
    fn usable_processors_are_found_wherever_the_pointer_is() {
        for at in [0x9_fc00, 0x9_fff0, 0xf_0000, 0xf_fff0] {
            let found = cpus(&machine(at, &sample()).as_slice());
            assert_eq!(found[..4], [Some(0), Some(1), Some(7), None], "{at:#x}");
        }
    }

    #[test]
    fn no_table_or_a_wrong_one_is_no_processor() {
        let none = [None; MAX_CPUS];
        assert_eq!(cpus(&std::vec![0; 0x10_0000].as_slice()), none);
        let mut m = machine(0xf_0000, &sample());
        m[TABLE + 60] ^= 1;
        assert_eq!(cpus(&m.as_slice()), none);
        let mut m = machine(0xf_0000, &sample());
        m[0xf_0008] ^= 1;
        assert_eq!(cpus(&m.as_slice()), none);
        // A length below the header's, or past what can be read.
        for len in [0_u16, 43, 0x1fff, u16::MAX] {
            let mut m = machine(0xf_0000, &sample());
            put(&mut m, TABLE + 4, &len.to_le_bytes());
            assert_eq!(cpus(&m.as_slice()), none, "{len}");
        }
    }

    #[test]
    fn an_unknown_entry_ends_the_list() {
        let mut entries = processor(3, 1);
        entries.extend([9, 9, 9, 9]);
        entries.extend(processor(4, 1));
        assert_eq!(cpus(&machine(0xf_0000, &entries).as_slice())[..2], [Some(3), None]);
    }
}
