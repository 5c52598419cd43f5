//! Programs as images hold them: what the ELF loader reads, and nothing after it.

use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{LittleEndian as LE, ReadRef as _};
use std::fmt;

/// Why an app's file is no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramError(String);

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no ELF program: {}", self.0)
    }
}

impl std::error::Error for ProgramError {}

/// Fields of the ELF header (System V ABI, "ELF Header"): offset and length in bytes.
const E_SHOFF: std::ops::Range<usize> = 0x28..0x30;
/// `e_shentsize`, `e_shnum`, `e_shstrndx`.
const E_SH: std::ops::Range<usize> = 0x3a..0x40;

/// The program without symbols, debug information and section headers: everything up to
/// the end of the last segment. Addresses in it are those of the file with symbols.
///
/// Linkers put what is not loaded behind what is, so this is a cut; a program that they laid
/// out otherwise merely keeps more.
///
/// # Errors
/// When `bytes` is no 64-bit little-endian ELF file, or a segment lies outside it.
pub fn strip_program(bytes: &[u8]) -> Result<Vec<u8>, ProgramError> {
    let broken = |e: object::read::Error| ProgramError(e.to_string());
    let header = FileHeader64::<LE>::parse(bytes).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let segments = header.program_headers(endian, bytes).map_err(broken)?;
    let table = u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian));
    let mut end = header.e_phoff(endian).saturating_add(table);
    for segment in segments {
        let (offset, size) = segment.file_range(endian);
        end = end.max(offset.saturating_add(size));
    }
    let kept = bytes.read_bytes_at(0, end);
    let mut out =
        kept.map_err(|()| ProgramError("a segment lies outside the file".to_owned()))?.to_vec();
    for field in [E_SHOFF, E_SH] {
        out.get_mut(field).into_iter().flatten().for_each(|byte| *byte = 0);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test itself is an ELF program with symbols and debug information.
    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn segments_stay_and_sections_go() {
        let whole = own();
        let cut = strip_program(&whole).unwrap();
        assert!(cut.len() < whole.len() / 2, "{} of {}", cut.len(), whole.len());
        let (a, b) =
            (goblin::elf::Elf::parse(&whole).unwrap(), goblin::elf::Elf::parse(&cut).unwrap());
        assert_eq!(a.program_headers, b.program_headers);
        assert_eq!((a.entry, b.section_headers.len()), (b.entry, 0));
        for segment in &b.program_headers {
            assert_eq!(
                whole[segment.file_range()][..16.min(segment.p_filesz as usize)],
                cut[segment.file_range()][..16.min(segment.p_filesz as usize)]
            );
        }
    }

    #[test]
    fn what_is_cut_or_no_program_is_refused() {
        let whole = own();
        for end in [0, 1, 63, 64, 100, 4096] {
            assert!(strip_program(&whole[..end]).is_err(), "{end}");
        }
        assert!(strip_program(b"#!/bin/sh\n").is_err());
    }
}
