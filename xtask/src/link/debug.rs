//! DWARF that moves with the kernel.
//!
//! Debug sections hold link-time addresses, which the dynamic relocations do not cover.
//! `--emit-relocs` keeps the static relocations of those sections: each 64-bit absolute
//! one against a symbol of the loaded image is a word to which the bias is added. What
//! the linker resolved to a tombstone (code that `--gc-sections` removed) has lost its
//! symbol and stays as it is.

use super::elf::ElfFile;
use super::relocate::RelocateError;
use object::LittleEndian as LE;
use object::elf::{self, Rela64, RelocationType};
use object::pod;

/// `R_X86_64_64` and `R_AARCH64_ABS64`.
pub const ABS64: [u32; 2] = [1, 257];

/// Adds `bias` to every address in the sections that are not loaded.
///
/// # Errors
/// When there is debug information without static relocations, or a relocation table
/// of it is malformed or contradicts the word that it is about.
pub fn shift(file: &mut ElfFile<'_>, bias: u64) -> Result<(), RelocateError> {
    let has = |name: &str| file.section(name).is_some_and(|s| s.size > 0);
    if has(".debug_info") && !has(".rela.debug_info") {
        let why = "debug information without its relocations; link with --emit-relocs";
        return Err(RelocateError::Debug(why.into()));
    }
    let places = places(file)?;
    for Place { section, at, value } in places {
        let word = file
            .sections
            .get_mut(section)
            .and_then(|s| s.data.to_mut().get_mut(at..at.checked_add(8)?));
        let Some(word) = word else {
            let why = format!("a relocation of debug information lies outside it, at {at:#x}");
            return Err(RelocateError::Debug(why));
        };
        if *word != value.to_le_bytes() {
            let why =
                format!("the word at {at:#x} of a debug section is not what its relocation says");
            return Err(RelocateError::Debug(why));
        }
        word.copy_from_slice(&value.wrapping_add(bias).to_le_bytes());
    }
    Ok(())
}

/// A word of a section that is not loaded which holds an address of the image.
struct Place {
    section: usize,
    at: usize,
    /// The link-time address.
    value: u64,
}

fn places(file: &ElfFile<'_>) -> Result<Vec<Place>, RelocateError> {
    let bad = |name: &str, why: &str| RelocateError::Debug(format!("section {name} {why}"));
    let symtab = file.symtab();
    let mut out = Vec::new();
    for table in file.sections.iter().filter(|s| s.kind == elf::SHT_RELA && !s.loaded()) {
        let section = table.info as usize;
        let target = file.sections.get(section).ok_or_else(|| bad(&table.name, "is of nothing"))?;
        if target.loaded() {
            continue;
        }
        let relas = pod::slice_from_all_bytes::<Rela64<LE>>(&table.data)
            .map_err(|()| bad(&table.name, "ends within an entry"))?;
        for rela in relas {
            let RelocationType(kind) = rela.r_type(LE, false);
            let symbol = symtab.get(rela.r_sym(LE, false) as usize);
            let symbol = symbol.ok_or_else(|| bad(&table.name, "names no symbol"))?;
            let of_image = file
                .sections
                .get(usize::from(symbol.st_shndx.get(LE).0))
                .is_some_and(super::elf::Section::loaded);
            if !ABS64.contains(&kind) || !of_image {
                continue;
            }
            out.push(Place {
                section,
                at: usize::try_from(rela.r_offset.get(LE))
                    .map_err(|_| bad(&table.name, "has an offset out of range"))?,
                value: symbol.st_value.get(LE).wrapping_add_signed(rela.r_addend.get(LE)),
            });
        }
    }
    Ok(out)
}
