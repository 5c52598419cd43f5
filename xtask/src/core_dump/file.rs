//! The core file: segments, headers, and which piece of RAM goes where (System V ABI,
//! chapter 5; core files as `fs/coredump.c` of Linux writes them).

use super::pages::{self, PAGE, Run};
use super::{CoreError, RamLayout};
use crash_record::{Arch, Mapping, flags};

/// First address that no app has: 47 bits on x64, 48 on aarch64.
const USER_END: u64 = 1 << 48;
const EHDR: u64 = 64;
const PHDR: u64 = 56;
const SHDR: u64 = 64;
/// `e_phnum` when there are as many or more: the number is in the first section header then.
const PN_XNUM: u64 = 0xffff;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Longest mapping whose untouched pages are holes of the file. They read as zeroes, as they
/// do for the app and as in Linux's core files; a reservation that is longer has only its
/// touched pages in the file.
const LONGEST_SPARSE: u64 = 1 << 30;

/// Bytes of RAM in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the file.
    pub at: u64,
    /// Offset in the RAM.
    pub from: u64,
    pub len: u64,
}

/// A segment of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    start: u64,
    len: u64,
    /// `PF_R`, `PF_W`, `PF_X`.
    access: u32,
    /// It has bytes in the file.
    in_file: bool,
    /// Its pages that are there.
    pages: Vec<Run>,
}

/// The segments of `mappings`, ascending. Of mappings of files only the pages that are there
/// have bytes in the core file: debuggers find the others in the program. Of others all pages
/// have, as soon as one is there.
///
/// # Errors
/// `Mapping`.
pub fn segments(mappings: &[Mapping], pages: &[Run]) -> Result<Vec<Segment>, CoreError> {
    let mut sorted: Vec<&Mapping> = mappings.iter().collect();
    sorted.sort_by_key(|m| m.start);
    let mut out = Vec::new();
    let mut free = 0;
    for m in sorted {
        let whole = m.start.is_multiple_of(PAGE) && m.end.is_multiple_of(PAGE);
        if !whole || m.start < free || m.end > USER_END || m.start >= m.end {
            return Err(CoreError::Mapping { start: m.start, end: m.end });
        }
        free = m.end;
        add(m, pages, &mut out);
    }
    Ok(out)
}

fn add(m: &Mapping, pages: &[Run], out: &mut Vec<Segment>) {
    let bit = |flag, access| if m.flags & flag != 0 { access } else { 0 };
    let access = bit(flags::READ, 4) | bit(flags::WRITE, 2) | bit(flags::EXECUTE, 1);
    let segment = |start, end: u64, pages: Vec<Run>| Segment {
        start,
        len: end - start,
        access,
        in_file: !pages.is_empty(),
        pages,
    };
    let there = pages::within(pages, m.start, m.end);
    if m.flags & flags::DEVICE != 0 {
        out.push(segment(m.start, m.end, Vec::new()));
        return;
    }
    if m.flags & flags::FILE == 0 && m.end - m.start <= LONGEST_SPARSE {
        out.push(segment(m.start, m.end, there.collect()));
        return;
    }
    // What is there and what is not, in turns.
    let mut at = m.start;
    let mut run: Vec<Run> = Vec::new();
    for page in there {
        if page.virt > at {
            if let Some(first) = run.first().map(|r| r.virt) {
                out.push(segment(first, at, std::mem::take(&mut run)));
            }
            out.push(segment(at, page.virt, Vec::new()));
        }
        at = page.virt + page.len;
        run.push(page);
    }
    if let Some(first) = run.first().map(|r| r.virt) {
        out.push(segment(first, at, run));
    }
    if at < m.end {
        out.push(segment(at, m.end, Vec::new()));
    }
}

/// A program header.
struct Header {
    kind: u32,
    access: u32,
    offset: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
}

impl Header {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.kind.to_le_bytes());
        out.extend(self.access.to_le_bytes());
        let align = if self.kind == PT_LOAD { PAGE } else { 4 };
        for word in [self.offset, self.address, 0, self.in_file, self.in_memory, align] {
            out.extend(word.to_le_bytes());
        }
    }
}

/// The first bytes of the file, the pieces of RAM in it, and its length.
///
/// # Errors
/// `TooLong`.
pub fn lay_out(
    arch: Arch,
    segments: &[Segment],
    notes: &[u8],
    ram: &RamLayout,
) -> Result<(Vec<u8>, Vec<Piece>, u64), CoreError> {
    let count = segments.len() as u64 + 1;
    let many = count >= PN_XNUM;
    let headers_end = EHDR + count * PHDR;
    let notes_at = headers_end + if many { SHDR } else { 0 };
    let notes_len = notes.len() as u64;
    let mut head = elf_header(arch, count);
    let first = Header {
        kind: PT_NOTE,
        access: 0,
        offset: notes_at,
        address: 0,
        in_file: notes_len,
        in_memory: 0,
    };
    first.put(&mut head);
    let mut at = (notes_at + notes_len).next_multiple_of(PAGE);
    let mut pieces = Vec::new();
    for s in segments {
        let in_file = if s.in_file { s.len } else { 0 };
        Header {
            kind: PT_LOAD,
            access: s.access,
            offset: at,
            address: s.start,
            in_file,
            in_memory: s.len,
        }
        .put(&mut head);
        for page in &s.pages {
            // Pages are kept only where they are RAM.
            let Some(from) = ram.offset(page.phys, page.len) else { continue };
            pieces.push(Piece { at: at + (page.virt - s.start), from, len: page.len });
        }
        // Lengths of files are signed.
        at = at.checked_add(in_file).filter(|&a| a < i64::MAX as u64).ok_or(CoreError::TooLong)?;
    }
    if many {
        // Of the one section header only `sh_info` counts: the number of program headers.
        let n = u32::try_from(count).map_err(|_| CoreError::TooLong)?;
        head.extend([0; 44]);
        head.extend(n.to_le_bytes());
        head.extend([0; 16]);
    }
    head.extend(notes);
    Ok((head, pieces, at))
}

fn elf_header(arch: Arch, headers: u64) -> Vec<u8> {
    let many = headers >= PN_XNUM;
    // 64 bits, little-endian, version 1, System V.
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // EM_X86_64, EM_AARCH64.
    let machine: u16 = match arch {
        Arch::X64 => 62,
        Arch::Aarch64 => 183,
    };
    // ET_CORE.
    for half in [4, machine] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1_u32.to_le_bytes());
    let sections = if many { EHDR + headers * PHDR } else { 0 };
    for word in [0, EHDR, sections] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0_u32.to_le_bytes());
    let shown = headers.min(PN_XNUM) as u16;
    let (section_len, section_count) = if many { (SHDR as u16, 1) } else { (0, 0) };
    for half in [EHDR as u16, PHDR as u16, shown, section_len, section_count, 0] {
        out.extend(half.to_le_bytes());
    }
    out
}
