//! `loader-stripped.elf`: what is loaded, and the headers that say so.

use super::elf::{ElfError, ElfFile};
use super::relocate::retain_sections;
use object::elf;

/// Alignment of segments in the stripped file (bytes). Who loads a kernel copies its segments
/// to their physical addresses and maps none, so offsets need not agree with addresses modulo
/// the page: that would cost about a page for each segment.
const FILE_ALIGN: u64 = 16;

/// Removes symbols, DWARF and every other section that is not loaded.
///
/// # Errors
/// When `bytes` is no kernel's ELF file.
pub fn strip(bytes: &[u8]) -> Result<Vec<u8>, ElfError> {
    let mut file = ElfFile::parse(bytes)?;
    strip_sections(&mut file);
    Ok(file.to_bytes())
}

/// The same, on the value.
pub fn strip_sections(file: &mut ElfFile<'_>) {
    let keep: Vec<bool> = file
        .sections
        .iter()
        .map(|s| s.kind == elf::SHT_NULL || s.loaded() || s.name == ".shstrtab")
        .collect();
    retain_sections(file, &keep);
    for load in &mut file.loads {
        load.align = load.align.min(FILE_ALIGN);
    }
}
