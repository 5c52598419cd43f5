//! What running needs to know of a `loader.img`: where in memory it ends, and the same image
//! asking to be loaded elsewhere.

use crate::model::Arch;
use goblin::elf::{Elf, program_header};
use std::fmt;

/// Why a file is not a `loader.img` of its arch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// Not an ELF file that can be read: why.
    NotElf(String),
    /// Nothing in it is loaded.
    NothingLoaded,
    /// A segment's address or size does not fit 64 bits.
    Overflow,
    /// The PVH entry note is missing.
    NoPvhNote,
    /// Not an arm64 `Image`: magic or length.
    NotImage,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::NotElf(why) => write!(f, "it is not a readable ELF file: {why}"),
            ImageError::NothingLoaded => f.write_str("it has no LOAD segment"),
            ImageError::Overflow => f.write_str("an address in it does not fit 64 bits"),
            ImageError::NoPvhNote => f.write_str("it has no PVH entry note (.note.Xen)"),
            ImageError::NotImage => f.write_str("it has no arm64 Image header"),
        }
    }
}

impl std::error::Error for ImageError {}

/// `Documentation/arch/arm64/booting.rst`: text_offset, image_size and magic.
const TEXT_OFFSET: usize = 8;
const IMAGE_SIZE: usize = 16;
const MAGIC: (usize, &[u8; 4]) = (56, b"ARM\x64");
/// `n_type` of the PVH entry (Xen, public/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY).
const PHYS32_ENTRY: u32 = 18;

/// The physical address after the last byte of memory that the image occupies when it is
/// loaded as it asks to be.
///
/// # Errors
/// When `image` is not a `loader.img` of `arch`.
pub fn physical_end(arch: Arch, image: &[u8]) -> Result<u64, ImageError> {
    match arch {
        Arch::X64 => {
            let elf = parse(image)?;
            let mut end = None;
            for p in elf.program_headers.iter().filter(|p| p.p_type == program_header::PT_LOAD) {
                let last = p.p_paddr.checked_add(p.p_memsz).ok_or(ImageError::Overflow)?;
                end = end.max(Some(last));
            }
            end.ok_or(ImageError::NothingLoaded)
        }
        Arch::Aarch64 => {
            check_image(image)?;
            let (offset, size) = (word(image, TEXT_OFFSET)?, word(image, IMAGE_SIZE)?);
            super::memory::ram_start(arch)
                .checked_add(offset)
                .and_then(|a| a.checked_add(size))
                .ok_or(ImageError::Overflow)
        }
    }
}

/// The image, changed so that QEMU loads it `offset` bytes higher than it was planned for.
/// Nothing in it is relocated: the kernel has to find out.
///
/// # Errors
/// When `image` is not a `loader.img` of `arch`, or an address would overflow.
pub fn load_elsewhere(arch: Arch, image: &[u8], offset: u64) -> Result<Vec<u8>, ImageError> {
    let mut out = image.to_vec();
    match arch {
        Arch::X64 => {
            let elf = parse(image)?;
            // Elf64_Phdr: p_paddr at 24 (ELF-64 Object File Format, figure 6).
            for (i, p) in elf.program_headers.iter().enumerate() {
                if p.p_type == program_header::PT_LOAD {
                    let at = i
                        .checked_mul(usize::from(elf.header.e_phentsize))
                        .and_then(|n| n.checked_add(usize::try_from(elf.header.e_phoff).ok()?))
                        .and_then(|n| n.checked_add(24))
                        .ok_or(ImageError::Overflow)?;
                    raise(&mut out, at, offset)?;
                }
            }
            raise(&mut out, pvh_descriptor(&elf, image)?, offset)?;
        }
        Arch::Aarch64 => {
            check_image(image)?;
            raise(&mut out, TEXT_OFFSET, offset)?;
        }
    }
    Ok(out)
}

fn parse(image: &[u8]) -> Result<Elf<'_>, ImageError> {
    Elf::parse(image).map_err(|e| ImageError::NotElf(e.to_string()))
}

fn check_image(image: &[u8]) -> Result<(), ImageError> {
    let magic = image.get(MAGIC.0..).and_then(|rest| rest.first_chunk());
    if magic == Some(MAGIC.1) { Ok(()) } else { Err(ImageError::NotImage) }
}

fn word(bytes: &[u8], at: usize) -> Result<u64, ImageError> {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk());
    chunk.map(|c| u64::from_le_bytes(*c)).ok_or(ImageError::Overflow)
}

fn raise(bytes: &mut [u8], at: usize, by: u64) -> Result<(), ImageError> {
    let raised = word(bytes, at)?.checked_add(by).ok_or(ImageError::Overflow)?;
    let place = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>());
    *place.ok_or(ImageError::Overflow)? = raised.to_le_bytes();
    Ok(())
}

/// The file offset of the PVH note's descriptor: 8 bytes after the 12-byte note header and
/// the name "Xen\0".
fn pvh_descriptor(elf: &Elf, image: &[u8]) -> Result<usize, ImageError> {
    for p in elf.program_headers.iter().filter(|p| p.p_type == program_header::PT_NOTE) {
        let range = usize::try_from(p.p_offset)
            .ok()
            .zip(usize::try_from(p.p_filesz).ok())
            .and_then(|(at, len)| Some(at..at.checked_add(len)?))
            .ok_or(ImageError::Overflow)?;
        let note = image.get(range.clone()).unwrap_or_default();
        let mut header =
            [4u32, 8, PHYS32_ENTRY].iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
        header.extend_from_slice(b"Xen\0");
        let found = note.windows(header.len() + 8).step_by(4).position(|w| w.starts_with(&header));
        if let Some(at) = found {
            return Ok(range.start + at * 4 + header.len());
        }
    }
    Err(ImageError::NoPvhNote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::guests;

    fn arm_image() -> Vec<u8> {
        let mut image = vec![0; 64];
        image[TEXT_OFFSET..TEXT_OFFSET + 8].copy_from_slice(&0x8_0000u64.to_le_bytes());
        image[IMAGE_SIZE..IMAGE_SIZE + 8].copy_from_slice(&0x12_3000u64.to_le_bytes());
        image[MAGIC.0..MAGIC.0 + 4].copy_from_slice(MAGIC.1);
        image
    }

    #[test]
    fn an_image_ends_where_its_last_byte_of_memory_does() {
        assert_eq!(physical_end(Arch::X64, &guests::kvm_probe()), Ok(0x10_8000));
        assert_eq!(physical_end(Arch::Aarch64, &arm_image()), Ok(0x401a_3000));
    }

    #[test]
    fn an_image_moves_as_a_whole() {
        let moved = load_elsewhere(Arch::X64, &guests::kvm_probe(), 0x40_0000).unwrap();
        assert_eq!(physical_end(Arch::X64, &moved), Ok(0x50_8000));
        let elf = Elf::parse(&moved).unwrap();
        let note = elf.iter_note_headers(&moved).unwrap().next().unwrap().unwrap();
        assert_eq!(note.desc, 0x50_0000u64.to_le_bytes());
        assert_eq!(elf.program_headers[0].p_vaddr, 0x10_0000, "virtual addresses stay");
        let moved = load_elsewhere(Arch::Aarch64, &arm_image(), 0x20_0000).unwrap();
        assert_eq!(word(&moved, TEXT_OFFSET), Ok(0x28_0000));
    }

    #[test]
    fn every_truncation_and_hostile_field_is_an_error() {
        let whole = guests::kvm_probe();
        for n in 0..64 + 2 * 56 {
            assert!(load_elsewhere(Arch::X64, &whole[..n], 0x20_0000).is_err(), "{n}");
        }
        for n in 0..60 {
            assert!(physical_end(Arch::Aarch64, &arm_image()[..n]).is_err(), "{n}");
        }
        for at in 0..whole.len() {
            let mut hostile = whole.clone();
            hostile[at] = 0xff;
            let _ = physical_end(Arch::X64, &hostile);
            let _ = load_elsewhere(Arch::X64, &hostile, u64::MAX);
        }
        assert_eq!(
            load_elsewhere(Arch::Aarch64, &arm_image(), u64::MAX),
            Err(ImageError::Overflow)
        );
    }
}
