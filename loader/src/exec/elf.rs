//! Reading an ELF program's headers.
//!
//! Sources: System V ABI, chapters 4 and 5 (ELF header, program header); the processor
//! supplements for `e_machine`. Every field that a file can lie about is checked here, so
//! that [`super::plan`] works on sane numbers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Size of the ELF64 header.
pub const HEADER_LEN: usize = 64;
/// Size of an ELF64 program header.
pub const PHDR_LEN: usize = 56;
/// Most program headers that are read; linkers write about a dozen.
pub const MAX_PHDRS: usize = 128;
/// Longest interpreter path, `PATH_MAX` of Linux.
const MAX_INTERP: u64 = 4096;

/// `e_machine` of x86-64.
pub const EM_X86_64: u16 = 62;
/// `e_machine` of AArch64.
pub const EM_AARCH64: u16 = 183;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// Why a file is not a program that can be started. Displays as the rest of a sentence that
/// begins with the file's path: `/bin/x: not a program for x86_64 (its machine is 183)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// No ELF magic.
    NotElf,
    /// ELF, but for 32 bits or big-endian, or of an unknown version.
    WrongClass,
    /// For another machine; with what this kernel runs and what the file says.
    WrongMachine(&'static str, u16),
    /// A relocatable object, a core dump, …
    NotExecutable(u16),
    /// The file ends before what its headers name.
    Truncated,
    /// A header holds an impossible value; says which.
    Malformed(&'static str),
    /// A segment is writable and executable.
    WriteAndExecute,
    /// There is nothing to load.
    NoSegments,
    /// The file could not be read.
    Unreadable,
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("not an ELF program"),
            Self::WrongClass => f.write_str("not a 64-bit little-endian ELF program"),
            Self::WrongMachine(arch, machine) => {
                write!(f, "not a program for {arch} (its ELF machine is {machine})")
            }
            Self::NotExecutable(kind) => {
                write!(f, "an ELF file, but not a program (its type is {kind})")
            }
            Self::Truncated => f.write_str("a truncated ELF program"),
            Self::Malformed(what) => write!(f, "a malformed ELF program: {what}"),
            Self::WriteAndExecute => {
                f.write_str("has a segment both writable and executable, which Osier refuses")
            }
            Self::NoSegments => f.write_str("an ELF program with nothing to load"),
            Self::Unreadable => f.write_str("could not be read"),
        }
    }
}

/// What may be done with a segment's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Access {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

/// A loadable segment. `vaddr` and `offset` agree modulo the page size; `filesz <= memsz`;
/// no sum of the fields overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address in the file's own terms.
    pub vaddr: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// Where its bytes are in the file.
    pub offset: u64,
    /// Bytes in the file; the rest are zeroes.
    pub filesz: u64,
    /// Permissions.
    pub access: Access,
}

/// A program, as its headers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Whether it may be loaded anywhere (`ET_DYN`).
    pub position_independent: bool,
    /// Address of the first instruction.
    pub entry: u64,
    /// Loadable segments, ascending, not overlapping, at least one.
    pub segments: Vec<Segment>,
    /// Largest alignment that a segment asks for: a power of two, at least one page.
    pub align: u64,
    /// Address of the program headers, when a segment holds them.
    pub phdrs: Option<u64>,
    /// How many program headers there are.
    pub phnum: u16,
    /// Where the path of the interpreter is in the file (offset, length without the NUL).
    pub interpreter: Option<(u64, usize)>,
    /// Whether it asks for an executable stack. Never granted; a reason for a warning.
    pub executable_stack: bool,
}

/// A file to read from: fills `buf` from `offset` and says how many bytes there were.
pub trait ReadAt {
    /// # Errors
    /// [`ElfError::Unreadable`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ElfError>;
}

impl ReadAt for &[u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ElfError> {
        let Some(rest) = usize::try_from(offset).ok().and_then(|at| self.get(at..)) else {
            return Ok(0);
        };
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut raw = [0; 2];
    if let Some(s) = bytes.get(at..at + 2) {
        raw.copy_from_slice(s);
    }
    u16::from_le_bytes(raw)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    if let Some(s) = bytes.get(at..at + 4) {
        raw.copy_from_slice(s);
    }
    u32::from_le_bytes(raw)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    if let Some(s) = bytes.get(at..at + 8) {
        raw.copy_from_slice(s);
    }
    u64::from_le_bytes(raw)
}

fn read_exact(file: &dyn ReadAt, offset: u64, buf: &mut [u8]) -> Result<(), ElfError> {
    if file.read_at(offset, buf)? == buf.len() { Ok(()) } else { Err(ElfError::Truncated) }
}

/// Reads the headers of `file`, which is `size` bytes long, for a machine called `arch`
/// with the number `machine`. Addresses must lie below `user_end`.
///
/// # Errors
/// Each [`ElfError`] but never a panic, whatever the file holds.
pub fn parse(
    file: &dyn ReadAt,
    size: u64,
    arch: &'static str,
    machine: u16,
    user_end: u64,
    page: u64,
) -> Result<Box<Program>, ElfError> {
    let mut header = [0; HEADER_LEN];
    let got = file.read_at(0, &mut header)?;
    if !header.starts_with(b"\x7fELF") || got < 4 {
        return Err(ElfError::NotElf);
    }
    if got < HEADER_LEN {
        return Err(ElfError::Truncated);
    }
    // EI_CLASS = ELFCLASS64, EI_DATA = ELFDATA2LSB, EI_VERSION = EV_CURRENT.
    if header.get(4..7) != Some(&[2, 1, 1]) {
        return Err(ElfError::WrongClass);
    }
    let kind = u16_at(&header, 16);
    let found = u16_at(&header, 18);
    if found != machine {
        return Err(ElfError::WrongMachine(arch, found));
    }
    if kind != ET_EXEC && kind != ET_DYN {
        return Err(ElfError::NotExecutable(kind));
    }
    let phoff = u64_at(&header, 32);
    let phnum = u16_at(&header, 56);
    if usize::from(u16_at(&header, 54)) != PHDR_LEN {
        return Err(ElfError::Malformed("its program headers are not of 56 bytes"));
    }
    if phnum == 0 {
        return Err(ElfError::NoSegments);
    }
    if usize::from(phnum) > MAX_PHDRS {
        return Err(ElfError::Malformed("it has more than 128 program headers"));
    }
    let mut table = Vec::new();
    let table_len = usize::from(phnum) * PHDR_LEN;
    if phoff.checked_add(table_len as u64).is_none_or(|end| end > size) {
        return Err(ElfError::Truncated);
    }
    table.try_reserve_exact(table_len).map_err(|_| ElfError::Unreadable)?;
    table.resize(table_len, 0);
    read_exact(file, phoff, &mut table)?;

    let mut program = Box::new(Program {
        position_independent: kind == ET_DYN,
        entry: u64_at(&header, 24),
        segments: Vec::new(),
        align: page,
        phdrs: None,
        phnum,
        interpreter: None,
        executable_stack: false,
    });
    let mut declared_phdrs = None;
    for raw in table.as_chunks::<PHDR_LEN>().0 {
        let flags = u32_at(raw, 4);
        match u32_at(raw, 0) {
            PT_LOAD => add_segment(&mut program, raw, size, user_end, page)?,
            PT_INTERP => {
                let (offset, len) = (u64_at(raw, 8), u64_at(raw, 32));
                if offset.checked_add(len).is_none_or(|end| end > size) {
                    return Err(ElfError::Truncated);
                }
                if !(2..=MAX_INTERP).contains(&len) {
                    return Err(ElfError::Malformed("the length of its interpreter's path"));
                }
                program.interpreter = Some((offset, len as usize - 1));
            }
            PT_PHDR => declared_phdrs = Some(u64_at(raw, 16)),
            PT_GNU_STACK => program.executable_stack = flags & PF_X != 0,
            _ => {}
        }
    }
    if program.segments.is_empty() {
        return Err(ElfError::NoSegments);
    }
    let inside = |addr: u64, execute: bool| {
        program
            .segments
            .iter()
            .any(|s| addr >= s.vaddr && addr - s.vaddr < s.memsz && (!execute || s.access.execute))
    };
    if !inside(program.entry, true) {
        return Err(ElfError::Malformed("its entry point is in no executable segment"));
    }
    // AT_PHDR is where the headers are in memory: the segment that holds them in the file
    // says it, as in Linux; PT_PHDR alone could lie.
    program.phdrs = program
        .segments
        .iter()
        .find(|s| phoff >= s.offset && phoff + table_len as u64 <= s.offset + s.filesz)
        .map(|s| s.vaddr + (phoff - s.offset));
    if let (Some(declared), Some(found)) = (declared_phdrs, program.phdrs)
        && declared != found
    {
        return Err(ElfError::Malformed("PT_PHDR and the segments disagree"));
    }
    Ok(program)
}

/// The path in `raw`, the bytes of a program's `PT_INTERP`: a string that ends at its first NUL
/// (gABI, "Program Interpreter"), behind which tools that edit programs leave more of them.
#[must_use]
pub fn interpreter_path(raw: &[u8]) -> &[u8] {
    raw.split(|&b| b == 0).next().unwrap_or_default()
}

fn add_segment(
    program: &mut Program,
    raw: &[u8; PHDR_LEN],
    size: u64,
    user_end: u64,
    page: u64,
) -> Result<(), ElfError> {
    let flags = u32_at(raw, 4);
    let segment = Segment {
        offset: u64_at(raw, 8),
        vaddr: u64_at(raw, 16),
        filesz: u64_at(raw, 32),
        memsz: u64_at(raw, 40),
        access: Access {
            read: flags & PF_R != 0,
            write: flags & PF_W != 0,
            execute: flags & PF_X != 0,
        },
    };
    let align = u64_at(raw, 48);
    if segment.memsz == 0 {
        return Ok(());
    }
    if segment.filesz > segment.memsz {
        return Err(ElfError::Malformed("a segment is larger in the file than in memory"));
    }
    if segment.offset.checked_add(segment.filesz).is_none_or(|end| end > size) {
        return Err(ElfError::Truncated);
    }
    // One page is kept free at the end, so that rounding up never overflows.
    match segment.vaddr.checked_add(segment.memsz) {
        Some(end) if end <= user_end - page => {}
        _ => return Err(ElfError::Malformed("a segment lies outside of user memory")),
    }
    if align > 1 && !align.is_power_of_two() {
        return Err(ElfError::Malformed("a segment's alignment is not a power of two"));
    }
    if align > user_end / 4 {
        return Err(ElfError::Malformed("a segment's alignment is absurd"));
    }
    if segment.vaddr % page != segment.offset % page {
        return Err(ElfError::Malformed(
            "a segment's address and file offset disagree within the page",
        ));
    }
    if segment.access.write && segment.access.execute {
        return Err(ElfError::WriteAndExecute);
    }
    if let Some(last) = program.segments.last()
        && segment.vaddr < last.vaddr + last.memsz
    {
        return Err(ElfError::Malformed("its segments overlap or are not in ascending order"));
    }
    program.align = program.align.max(align);
    program.segments.try_reserve(1).map_err(|_| ElfError::Unreadable)?;
    program.segments.push(segment);
    Ok(())
}

#[cfg(test)]
#[path = "elf_tests.rs"]
pub(crate) mod tests;
