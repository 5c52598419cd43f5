//! `loader.img`: the kernel with the payload behind it, in the form that the arch boots.
//!
//! The payload begins on the page after the kernel's bss: the bootfs, then the default
//! command line. On x64 it is one more LOAD segment, read-only, of the stripped PVH ELF
//! file. On aarch64 everything is laid flat as a Linux `Image`, bss as zeros.
//!
//! The bootfs decides nothing but its length, so what stands before and behind it is made
//! without it: an image of many megabytes is never in memory.

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

/// What stands around the bootfs in a `loader.img`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderImg {
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

/// The bootable image of the kernel `loader_elf` (relocated, symbols kept) around a bootfs of
/// `bootfs_len` bytes, with a default command line; either may be empty.
///
/// # Errors
/// When `loader_elf` is no relocated kernel, or the whole is too large.
pub fn loader_img(
    loader_elf: &[u8],
    bootfs_len: u64,
    cmdline: &str,
) -> Result<LoaderImg, PackError> {
    let mut file = ElfFile::parse(loader_elf)?;
    let header = file.symbol(loader_header::SYMBOL).map(|s| s.value());
    let header = header.ok_or_else(|| {
        PackError::Header(format!("the kernel has no symbol `{}`", loader_header::SYMBOL))
    })?;
    strip_sections(&mut file);

    let (start, end) = file.extent();
    let payload_offset = (end - start).next_multiple_of(PAGE);
    let payload_len = bootfs_len.saturating_add(cmdline.len() as u64);
    let image_size = payload_offset.saturating_add(payload_len);
    if image_size > MAX_EXTENT {
        return Err(PackError::TooLarge(image_size));
    }
    let image_size = image_size.next_multiple_of(PAGE);
    patch::edit_loader_header_at(&mut file, header, |header| {
        let place = |offset, len: u64| if len == 0 { (0, 0) } else { (offset, len) };
        (header.bootfs_offset, header.bootfs_len) = place(payload_offset, bootfs_len);
        (header.cmdline_offset, header.cmdline_len) =
            place(payload_offset + bootfs_len, cmdline.len() as u64);
        header.image_size = image_size;
    })?;
    let mut after = cmdline.as_bytes().to_vec();
    if file.machine == elf::EM_AARCH64 {
        patch::set_image_size(&mut file, image_size)?;
        let end = image_size - payload_offset - bootfs_len;
        after.resize(usize::try_from(end).unwrap_or(after.len()), 0);
        return Ok(LoaderImg { before: flatten(&file, payload_offset), after });
    }
    if payload_len == 0 {
        return Ok(LoaderImg { before: file.to_bytes(), after: Vec::new() });
    }
    let start = file.loads.first().map_or((0, 0), |l| (l.vaddr, l.paddr));
    file.loads.push(Load {
        flags: elf::PF_R,
        vaddr: start.0.wrapping_add(payload_offset),
        paddr: start.1.wrapping_add(payload_offset),
        memsz: payload_len,
        align: PAGE,
        data: (&[]).into(),
    });
    let (before, end) = file.to_bytes_around(payload_len);
    after.extend(end);
    Ok(LoaderImg { before, after })
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
