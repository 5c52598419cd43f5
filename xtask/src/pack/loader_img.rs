//! `loader.img`: the kernel with the payload behind it, in the form that the arch boots.
//!
//! The payload begins on the page after the kernel's bss: the bootfs, then the default
//! command line. On x64 it is one more LOAD segment, read-only, of the stripped PVH ELF
//! file. On aarch64 everything is laid flat as a Linux `Image`, bss as zeros.

use crate::link::elf::{ElfError, ElfFile, Load, MAX_EXTENT, PAGE};
use crate::link::{RelocateError, patch, strip_sections};
use object::elf;
use std::fmt;

/// Why no `loader.img` can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackError {
    /// The kernel is no ELF file that this can work on.
    Elf(ElfError),
    /// The kernel lacks a header in which the payload is noted; the text says which.
    Header(String),
    /// Kernel and payload together are larger than 1 GiB; the number is their size in bytes.
    TooLarge(u64),
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot make loader.img: ")?;
        match self {
            Self::Elf(e) => e.fmt(f),
            Self::Header(why) => f.write_str(why),
            Self::TooLarge(size) => write!(
                f,
                "kernel and root file system would take {} MiB, more than the 1024 MiB that \
                 are loaded with the kernel; use a disk image",
                size >> 20
            ),
        }
    }
}

impl std::error::Error for PackError {}

impl From<ElfError> for PackError {
    fn from(e: ElfError) -> Self {
        Self::Elf(e)
    }
}

impl From<RelocateError> for PackError {
    fn from(e: RelocateError) -> Self {
        match e {
            RelocateError::Elf(e) => Self::Elf(e),
            RelocateError::Missing(why) => Self::Header(why),
            other => Self::Header(other.to_string()),
        }
    }
}

/// The bootable image of the kernel `loader_elf` (relocated, symbols kept) with a bootfs
/// and a default command line; either may be empty.
///
/// # Errors
/// When `loader_elf` is no relocated kernel, or the whole is too large.
pub fn loader_img(loader_elf: &[u8], bootfs: &[u8], cmdline: &str) -> Result<Vec<u8>, PackError> {
    let mut file = ElfFile::parse(loader_elf)?;
    let header = file.symbol(loader_header::SYMBOL).map(|s| s.value());
    let header = header.ok_or_else(|| {
        PackError::Header(format!("the kernel has no symbol `{}`", loader_header::SYMBOL))
    })?;
    strip_sections(&mut file);

    let (start, end) = file.extent();
    let payload_offset = (end - start).next_multiple_of(PAGE);
    let payload = [bootfs, cmdline.as_bytes()].concat();
    let image_size = payload_offset.saturating_add(payload.len() as u64);
    if image_size > MAX_EXTENT {
        return Err(PackError::TooLarge(image_size));
    }
    let image_size = image_size.next_multiple_of(PAGE);
    patch::edit_loader_header_at(&mut file, header, |header| {
        let place = |offset, len: usize| if len == 0 { (0, 0) } else { (offset, len as u64) };
        (header.bootfs_offset, header.bootfs_len) = place(payload_offset, bootfs.len());
        (header.cmdline_offset, header.cmdline_len) =
            place(payload_offset + bootfs.len() as u64, cmdline.len());
        header.image_size = image_size;
    })?;
    append(&mut file, payload_offset, payload);
    if file.machine == elf::EM_AARCH64 {
        patch::set_image_size(&mut file, image_size)?;
        Ok(flatten(&file, image_size))
    } else {
        Ok(file.to_bytes())
    }
}

/// Adds the payload as a read-only segment `offset` bytes after the kernel's start.
fn append(file: &mut ElfFile<'_>, offset: u64, payload: Vec<u8>) {
    let start = file.loads.first().map_or((0, 0), |l| (l.vaddr, l.paddr));
    if !payload.is_empty() {
        file.loads.push(Load {
            flags: elf::PF_R,
            vaddr: start.0.wrapping_add(offset),
            paddr: start.1.wrapping_add(offset),
            memsz: payload.len() as u64,
            align: PAGE,
            data: payload.into(),
        });
    }
}

/// Memory as it is after loading, from the first segment's start on, `size` bytes long.
fn flatten(file: &ElfFile<'_>, size: u64) -> Vec<u8> {
    let (start, _) = file.extent();
    let mut out = Vec::with_capacity(size as usize);
    for load in &file.loads {
        out.resize((load.vaddr - start) as usize, 0);
        out.extend_from_slice(&load.data);
    }
    out.resize(size as usize, 0);
    out
}
