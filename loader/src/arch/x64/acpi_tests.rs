//! Tests of the ACPI reader on tables that are built here.

use super::*;
use std::vec::Vec;

const RSDP: usize = 0xe_0010;
const XSDT: usize = 0x1000;
const MADT: usize = 0x2000;
const FADT: usize = 0x3000;
const DSDT: usize = 0x4000;

/// A table with its checksum right.
fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut t = signature.to_vec();
    t.extend(((HEADER + body.len()) as u32).to_le_bytes());
    t.resize(HEADER, 0);
    t.extend(body);
    t[9] = 0_u8.wrapping_sub(sum(&t));
    t
}

fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A machine; `reduced` as QEMU's microvm, else as its q35.
fn machine(reduced: bool) -> Vec<u8> {
    let mut m = std::vec![0; 0x10_0000];
    let mut rsdp = b"RSD PTR \0OSIER \x02".to_vec();
    rsdp.resize(24, 0);
    rsdp.extend((XSDT as u64).to_le_bytes());
    rsdp.resize(36, 0);
    rsdp[20] = 36;
    rsdp[8] = 0_u8.wrapping_sub(sum(&rsdp[..20]));
    rsdp[32] = 0_u8.wrapping_sub(sum(&rsdp));
    put(&mut m, RSDP, &rsdp);
    let pointers: Vec<u8> = [MADT, FADT].iter().flat_map(|p| (*p as u64).to_le_bytes()).collect();
    put(&mut m, XSDT, &table(b"XSDT", &pointers));

    let mut madt = std::vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
    madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    madt.extend([0, 8, 1, 1, 1, 0, 0, 0]);
    madt.extend([0, 8, 2, 2, 0, 0, 0, 0]);
    madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    madt.extend([1, 12, 1, 0, 0, 0, 0xc1, 0xfe, 24, 0, 0, 0]);
    madt.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    madt.extend([2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0]);
    madt.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]);
    put(&mut m, MADT, &table(b"APIC", &madt));

    let mut fadt = std::vec![0; 268 - HEADER];
    let mut set = |at: usize, bytes: &[u8]| put(&mut fadt, at - HEADER, bytes);
    set(40, &(DSDT as u32).to_le_bytes());
    set(64, &0x604_u32.to_le_bytes());
    set(76, &0x608_u32.to_le_bytes());
    set(91, &[4]);
    set(108, &[0x32]);
    set(112, &(1_u32 << 10 | u32::from(reduced) << 20).to_le_bytes());
    set(116, &[1, 8, 0, 1]);
    set(120, &0xcf9_u64.to_le_bytes());
    set(128, &[0xf]);
    if reduced {
        set(244, &[0, 8, 0, 1]);
        set(248, &0xfea0_0200_u64.to_le_bytes());
    }
    put(&mut m, FADT, &table(b"FACP", &fadt));
    put(&mut m, DSDT, &table(b"DSDT", &dsdt(reduced, 50)));
    m
}

/// `padding` bytes, a decoy, then `Name (\_S5_, Package () { … })`.
fn dsdt(reduced: bool, padding: usize) -> Vec<u8> {
    let mut d = std::vec![0x5b; padding];
    d.extend(b"\x08_S5_\x0a\x07");
    d.extend(b"\x08_S5_\x12");
    d.extend(if reduced { &[0x06, 4, 0x0a, 5, 0, 0, 0][..] } else { &[0x06, 4, 0, 1, 0, 0] });
    d
}

#[test]
fn a_pc_is_read() {
    for rsdp in [None, Some(RSDP as u64)] {
        let t = read(&machine(false).as_slice(), rsdp);
        assert!(t.found);
        assert_eq!(t.io_apics[0], Some(IoApic { address: 0xfec0_0000, gsi_base: 0 }));
        assert_eq!(t.io_apics[1], Some(IoApic { address: 0xfec1_0000, gsi_base: 24 }));
        assert_eq!(t.isa[0], Some(IsaIrq { gsi: 2, level: false, low: false }));
        assert_eq!(t.isa[9], Some(IsaIrq { gsi: 9, level: true, low: false }));
        assert_eq!(t.isa[4], None);
        assert_eq!(t.cpus[..4], [Some(0), Some(1), Some(0x100), None]);
        assert_eq!(t.pm_timer, Some(0x608));
        assert_eq!(t.sleep, Some(Sleep::Pm1 { a: (0x604, 0), b: None }));
        assert_eq!(t.reset, Some((Register::Port(0xcf9), 0xf)));
        assert_eq!(t.century, 0x32);
    }
}

#[test]
fn a_hardware_reduced_machine_is_read() {
    let t = read(&machine(true).as_slice(), None);
    let register = Register::Memory(0xfea0_0200);
    assert_eq!(t.sleep, Some(Sleep::Reduced { register, kind: 5 }));
    assert_eq!(t.pm_timer, None);
}

#[test]
fn s5_is_found_wherever_it_lies() {
    let mut m = machine(false);
    for padding in 0..200 {
        put(&mut m, DSDT, &table(b"DSDT", &dsdt(false, padding)));
        assert_eq!(sleep_type_s5(&m.as_slice(), DSDT as u64), Some((0, 1)), "{padding}");
    }
}

#[test]
fn a_wrong_checksum_hides_a_table_alone() {
    let mut m = machine(false);
    m[MADT + 50] ^= 1;
    let t = read(&m.as_slice(), None);
    assert_eq!(t.io_apics, [None; MAX_IO_APICS]);
    assert_eq!(t.pm_timer, Some(0x608));
    let mut m = machine(false);
    m[DSDT + 40] ^= 1;
    assert_eq!(read(&m.as_slice(), None).sleep, None);
    let mut m = machine(false);
    m[RSDP + 9] ^= 1;
    assert!(!read(&m.as_slice(), Some(RSDP as u64)).found);
}

#[test]
fn hostile_lengths_and_pointers_end_the_walk() {
    // A structure of length 0, one past the end, an XSDT that points nowhere, and every
    // table cut short; all with right checksums.
    let mut m = machine(false);
    put(&mut m, MADT, &table(b"APIC", &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]));
    assert_eq!(read(&m.as_slice(), None).io_apics, [None; MAX_IO_APICS]);
    put(&mut m, MADT, &table(b"APIC", &[0, 0, 0, 0, 0, 0, 0, 0, 1, 200, 0, 0]));
    assert_eq!(read(&m.as_slice(), None).io_apics, [None; MAX_IO_APICS]);
    put(&mut m, XSDT, &table(b"XSDT", &u64::MAX.to_le_bytes()));
    assert!(!read(&m.as_slice(), None).found);
    put(&mut m, XSDT, &table(b"XSDT", &(FADT as u64).to_le_bytes()));
    for len in 0..268 - HEADER {
        put(&mut m, FADT, &table(b"FACP", &std::vec![0xff; len]));
        let _ = read(&m.as_slice(), None);
    }
    put(&mut m, XSDT + 4, &u32::MAX.to_le_bytes());
    assert!(!read(&m.as_slice(), None).found);
}

#[test]
fn any_package_bytes_are_survived() {
    for first in 0..=255 {
        for second in [0, 1, 0x0a, 0x40, 0xc0, 0xff] {
            let _ = package_of_two(&[0x12, first, second, 0x0a]);
            let _ = package_of_two(&[first, second]);
        }
    }
    assert_eq!(package_of_two(&[0x12, 0x46, 0, 4, 0x0a, 5, 1]), Some((5, 1)));
}
