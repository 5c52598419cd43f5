use super::*;
use alloc::string::ToString;
use alloc::vec;

pub(crate) const USER_END: u64 = 1 << 47;

/// A program header in the order of the ELF64 format.
#[derive(Clone, Copy)]
pub(crate) struct Ph {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

pub(crate) fn load(flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Ph {
    Ph { kind: PT_LOAD, flags, offset, vaddr, filesz, memsz, align: 0x1000 }
}

pub(crate) fn file(kind: u16, machine: u16, entry: u64, phdrs: &[Ph], len: usize) -> Vec<u8> {
    let mut out = vec![0; len.max(HEADER_LEN + phdrs.len() * PHDR_LEN)];
    out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    out[16..18].copy_from_slice(&kind.to_le_bytes());
    out[18..20].copy_from_slice(&machine.to_le_bytes());
    out[24..32].copy_from_slice(&entry.to_le_bytes());
    out[32..40].copy_from_slice(&64_u64.to_le_bytes());
    out[54..56].copy_from_slice(&(PHDR_LEN as u16).to_le_bytes());
    out[56..58].copy_from_slice(&(phdrs.len() as u16).to_le_bytes());
    for (i, p) in phdrs.iter().enumerate() {
        let at = HEADER_LEN + i * PHDR_LEN;
        out[at..at + 4].copy_from_slice(&p.kind.to_le_bytes());
        out[at + 4..at + 8].copy_from_slice(&p.flags.to_le_bytes());
        for (j, v) in
            [p.offset, p.vaddr, p.vaddr, p.filesz, p.memsz, p.align].into_iter().enumerate()
        {
            out[at + 8 + j * 8..at + 16 + j * 8].copy_from_slice(&v.to_le_bytes());
        }
    }
    out
}

pub(crate) fn good() -> Vec<u8> {
    let phdrs = [
        load(PF_R, 0, 0, 0x500, 0x500),
        load(PF_R | PF_X, 0x500, 0x1500, 0x300, 0x300),
        load(PF_R | PF_W, 0x800, 0x2800, 0x100, 0x3000),
    ];
    file(ET_DYN, EM_X86_64, 0x1510, &phdrs, 0x1000)
}

pub(crate) fn parse_x64(bytes: &[u8]) -> Result<Box<Program>, ElfError> {
    parse(&bytes, bytes.len() as u64, "x86_64", EM_X86_64, USER_END, 4096)
}

#[test]
fn a_static_pie_is_read() {
    let p = parse_x64(&good()).unwrap();
    assert!(p.position_independent);
    assert_eq!(p.segments.len(), 3);
    assert_eq!(p.phdrs, Some(64));
    assert_eq!(p.entry, 0x1510);
    assert_eq!(p.interpreter, None);
}

#[test]
fn the_messages_name_the_reason() {
    let arm = file(ET_EXEC, EM_AARCH64, 0, &[], 0);
    assert_eq!(
        parse_x64(&arm).unwrap_err().to_string(),
        "not a program for x86_64 (its ELF machine is 183)"
    );
    assert_eq!(parse_x64(b"#!/bin/sh\n").unwrap_err(), ElfError::NotElf);
    assert_eq!(parse_x64(b"").unwrap_err(), ElfError::NotElf);
    assert_eq!(parse_x64(b"\x7fELF").unwrap_err(), ElfError::Truncated);
    let object = file(1, EM_X86_64, 0, &[], 0);
    assert_eq!(parse_x64(&object).unwrap_err(), ElfError::NotExecutable(1));
    let nothing = file(ET_DYN, EM_X86_64, 0, &[], 0);
    assert_eq!(parse_x64(&nothing).unwrap_err(), ElfError::NoSegments);
}

fn with(phdrs: &[Ph]) -> ElfError {
    parse_x64(&file(ET_DYN, EM_X86_64, 0x1510, phdrs, 0x1000)).unwrap_err()
}

#[test]
fn hostile_segments_are_refused() {
    assert_eq!(with(&[load(7, 0x500, 0x1500, 0x100, 0x100)]), ElfError::WriteAndExecute);
    assert_eq!(with(&[load(5, 0x500, 0x1500, 0x10_0000, 0x10_0000)]), ElfError::Truncated);
    assert_eq!(with(&[load(5, u64::MAX - 0xaff, 0x1500, 0x1000, 0x1000)]), ElfError::Truncated);
    let malformed = |p: &[Ph]| assert!(matches!(with(p), ElfError::Malformed(_)), "{:?}", with(p));
    malformed(&[load(5, 0x500, 0x1500, 0x101, 0x100)]);
    malformed(&[load(5, 0x500, 0x1400, 0x100, 0x100)]);
    malformed(&[load(5, 0x500, USER_END - 0xb00, 0x100, 0x100)]);
    malformed(&[load(5, 0x500, u64::MAX - 0xaff, 0x100, 0x1000)]);
    malformed(&[load(4, 0x500, 0x1500, 0x100, 0x100)]);
    malformed(&[load(5, 0x500, 0x1500, 0x100, 0x2000), load(4, 0x600, 0x1600, 0x100, 0x100)]);
    malformed(&[Ph { align: 3, ..load(5, 0x500, 0x1500, 0x100, 0x100) }]);
    malformed(&[Ph { align: 1 << 63, ..load(5, 0x500, 0x1500, 0x100, 0x100) }]);
    malformed(&[Ph { kind: PT_INTERP, filesz: 1, ..load(4, 0, 0, 0, 0) }]);
}

#[test]
fn an_interpreter_is_found() {
    let mut bytes = file(
        ET_DYN,
        EM_X86_64,
        0x10,
        &[
            Ph { kind: PT_INTERP, filesz: 9, ..load(PF_R, 0x800, 0x800, 0, 0) },
            load(PF_R | PF_X, 0, 0, 0x900, 0x900),
        ],
        0x1000,
    );
    bytes[0x800..0x809].copy_from_slice(b"/lib/ld1\0");
    assert_eq!(parse_x64(&bytes).unwrap().interpreter, Some((0x800, 8)));
    for (raw, path) in
        [(&b"/lib/ld1"[..], &b"/lib/ld1"[..]), (b"/ld\0\0\0", b"/ld"), (b"\0/ld", b"")]
    {
        assert_eq!(interpreter_path(raw), path);
    }
}

/// No byte of the headers can make it panic: each is set to several values in turn.
#[test]
fn every_header_byte_may_lie() {
    let good = good();
    for at in 0..HEADER_LEN + 3 * PHDR_LEN {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _ = parse_x64(&bytes);
        }
    }
    for len in 0..good.len() {
        let _ = parse_x64(&good[..len]);
    }
}
