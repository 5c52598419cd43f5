//! The headers in a kernel that hold addresses or sizes, which the kernel's own assembly
//! leaves zero: the PVH note, Linux's arm64 `Image` header, Osier's loader header.

use super::elf::{ElfFile, PAGE};
use super::relocate::{RelocateError, RelocatePlan};
use loader_header::LoaderHeader;
use object::elf;

/// Symbol of the 32-bit entry that the PVH note names.
pub const PVH_ENTRY: &str = "pvh_start";
/// `XEN_ELFNOTE_PHYS32_ENTRY` (Xen, `public/elfnote.h`).
const PVH_NOTE_TYPE: u32 = 18;
/// "Xen" with its terminator, padded to 4 bytes.
const PVH_NOTE_NAME: [u8; 4] = *b"Xen\0";

/// Offsets in the arm64 `Image` header (Linux, `Documentation/arch/arm64/booting.rst`).
pub const IMAGE_TEXT_OFFSET: u64 = 8;
/// The field with the effective size of the image.
pub const IMAGE_SIZE: u64 = 16;
const IMAGE_MAGIC_AT: u64 = 56;
/// "ARM\x64".
const IMAGE_MAGIC: [u8; 4] = *b"ARM\x64";
/// RAM of QEMU's `virt` begins at a multiple of 1 GiB, and QEMU places an `Image` at
/// `text_offset` from there.
const RAM_ALIGN: u64 = 1 << 30;

/// Fills in what the arch's boot protocol and the loader header need. `file` is at its
/// planned address.
///
/// # Errors
/// When a header is absent or not what it should be.
pub fn boot_headers(file: &mut ElfFile<'_>, plan: &RelocatePlan) -> Result<(), RelocateError> {
    let (start, end) = file.extent();
    let size = (end - start).next_multiple_of(PAGE);
    if file.machine == elf::EM_X86_64 {
        let at = pvh_descriptor(file).ok_or_else(|| {
            missing("no PVH note (section .note.Xen, name \"Xen\", type 18, 8 bytes)")
        })?;
        let entry = file.symbol(PVH_ENTRY).map(|s| s.value());
        let entry = entry.ok_or_else(|| missing("no symbol `pvh_start` for the PVH note"))?;
        let physical = entry.wrapping_sub(plan.high_half);
        file.set_word_at(at, physical).ok_or_else(|| missing("the PVH note has no bytes"))?;
    } else {
        set_image_header(file, plan.base % RAM_ALIGN, size)?;
    }
    update_loader_header(file, |header| {
        header.planned_base = plan.base;
        header.image_size = size;
    })
}

fn missing(why: &str) -> RelocateError {
    RelocateError::Missing(why.to_owned())
}

/// Address of the 8-byte descriptor of the PVH note, in any note segment.
pub fn pvh_descriptor(file: &ElfFile<'_>) -> Option<u64> {
    for view in file.views.iter().filter(|v| v.kind == elf::PT_NOTE) {
        let bytes = file.bytes_at(view.vaddr, view.size)?;
        let mut at = 0usize;
        // A note (gABI, "Note Section"): lengths of name and descriptor, type, name,
        // descriptor, both padded to 4 bytes.
        while let Some(head) = bytes.get(at..).and_then(|b| b.first_chunk::<12>()) {
            let [name_len, desc_len, kind] = [0, 4, 8].map(|i| {
                let mut word = [0; 4];
                word.copy_from_slice(&head[i..i + 4]);
                u32::from_le_bytes(word)
            });
            let name = at + 12;
            let desc = name.checked_add((name_len as usize).checked_next_multiple_of(4)?)?;
            let next = desc.checked_add((desc_len as usize).checked_next_multiple_of(4)?)?;
            if kind == PVH_NOTE_TYPE
                && bytes.get(name..desc) == Some(&PVH_NOTE_NAME)
                && name_len == 4
                && desc_len == 8
                && next <= bytes.len()
            {
                return view.vaddr.checked_add(desc as u64);
            }
            at = next;
        }
    }
    None
}

/// Writes `text_offset` and `image_size` of the `Image` header.
fn set_image_header(
    file: &mut ElfFile<'_>,
    text_offset: u64,
    image_size: u64,
) -> Result<(), RelocateError> {
    let at = image_header(file)?;
    file.set_word_at(at + IMAGE_TEXT_OFFSET, text_offset)
        .ok_or_else(|| missing("the `Image` header has no bytes"))?;
    set_image_size(file, image_size)
}

/// Writes `image_size` of the `Image` header at the kernel's start.
///
/// # Errors
/// When there is no such header.
pub fn set_image_size(file: &mut ElfFile<'_>, image_size: u64) -> Result<(), RelocateError> {
    let at = image_header(file)?;
    file.set_word_at(at + IMAGE_SIZE, image_size)
        .ok_or_else(|| missing("the `Image` header has no bytes"))
}

/// Address of the `Image` header: the kernel's start.
fn image_header(file: &ElfFile<'_>) -> Result<u64, RelocateError> {
    let (start, _) = file.extent();
    let magic = start.checked_add(IMAGE_MAGIC_AT).and_then(|at| file.bytes_at(at, 4));
    if magic == Some(&IMAGE_MAGIC) {
        Ok(start)
    } else {
        Err(missing("no arm64 `Image` header at the kernel's start (.head.text)"))
    }
}

/// Reads the loader header by its symbol, lets `change` edit it, writes it back.
///
/// # Errors
/// When there is no such symbol, or what lies there is no loader header.
pub fn update_loader_header(
    file: &mut ElfFile<'_>,
    change: impl FnOnce(&mut LoaderHeader),
) -> Result<(), RelocateError> {
    let name = loader_header::SYMBOL;
    let symbol = file.symbol(name).map(|s| s.value());
    let at = symbol.ok_or_else(|| missing(&format!("no symbol `{name}`")))?;
    edit_loader_header_at(file, at, change)
}

/// The same, for the header at a known address.
///
/// # Errors
/// When what lies there is no loader header.
pub fn edit_loader_header_at(
    file: &mut ElfFile<'_>,
    at: u64,
    change: impl FnOnce(&mut LoaderHeader),
) -> Result<(), RelocateError> {
    let bytes = file
        .bytes_at_mut(at, loader_header::LEN as u64)
        .ok_or_else(|| missing("the loader header has no bytes in the file"))?;
    let mut header = LoaderHeader::from_bytes(bytes)
        .map_err(|e| missing(&format!("the loader header is unusable: {e:?}")))?;
    change(&mut header);
    bytes.copy_from_slice(&header.to_bytes());
    Ok(())
}
