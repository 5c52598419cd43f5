//! The kernel's own image: where its segments are, and what was packed with it.

use core::sync::atomic::{AtomicU64, Ordering};

use loader_header::LoaderHeader;

use super::{PhysAddr, PhysRange, phys_to_ptr};

/// The header that relocate and pack fill in (see `formats/loader-header`). Until then it
/// says: nothing packed, planned base 0.
#[unsafe(no_mangle)]
#[used]
static OSIER_LOADER_HEADER: [u8; loader_header::LEN] = LoaderHeader {
    bootfs_offset: 0,
    bootfs_len: 0,
    cmdline_offset: 0,
    cmdline_len: 0,
    planned_base: 0,
    image_size: 0,
}
.to_bytes();

unsafe extern "C" {
    static __kernel_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __kernel_end: u8;
}

/// Physical address of the kernel base.
static LOAD_BASE: AtomicU64 = AtomicU64::new(0);

/// The segments of the image, as virtual addresses; each begins where the one before ends.
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    /// The kernel base: text begins, executable and never written.
    pub start: usize,
    /// Read-only data begins.
    pub text_end: usize,
    /// Data and bss begin.
    pub rodata_end: usize,
    /// End of bss.
    pub end: usize,
}

/// Where the segments are.
#[must_use]
pub fn segments() -> Segments {
    Segments {
        start: (&raw const __kernel_start).addr(),
        text_end: (&raw const __text_end).addr(),
        rodata_end: (&raw const __rodata_end).addr(),
        end: (&raw const __kernel_end).addr(),
    }
}

/// Whether `address` is in the kernel's code.
#[must_use]
pub fn is_text(address: usize) -> bool {
    let s = segments();
    (s.start..s.text_end).contains(&address)
}

pub(crate) fn set_load_base(base: PhysAddr) {
    LOAD_BASE.store(base.0, Ordering::Relaxed);
}

/// Physical address of the kernel base.
#[must_use]
pub fn load_base() -> PhysAddr {
    PhysAddr(LOAD_BASE.load(Ordering::Relaxed))
}

/// The header as the packer left it.
///
/// # Errors
/// When it is damaged.
pub fn header() -> Result<LoaderHeader, loader_header::HeaderError> {
    let mut bytes = [0; loader_header::LEN];
    for (at, byte) in bytes.iter_mut().enumerate() {
        // Volatile: the bytes were changed after the compiler saw them. One by one: for the
        // whole it would write out 64 loads.
        // SAFETY: within a static of our own, never written at run time.
        *byte = unsafe { (&raw const OSIER_LOADER_HEADER).cast::<u8>().add(at).read_volatile() };
    }
    LoaderHeader::from_bytes(&bytes)
}

/// Everything that was loaded: the kernel, its bss, and what was packed behind it.
#[must_use]
pub fn loaded(base: PhysAddr) -> PhysRange {
    let s = segments();
    let kernel = (s.end - s.start) as u64;
    PhysRange::with_len(base, header().map_or(kernel, |h| h.image_size.max(kernel)))
}

/// A part of the packed payload: it must lie behind the kernel and within the image.
fn payload(offset: u64, len: u64) -> Option<PhysRange> {
    let base = load_base();
    let s = segments();
    let kernel = (s.end - s.start) as u64;
    let end = offset.checked_add(len)?;
    let inside = len > 0 && offset >= kernel && end <= loaded(base).len();
    inside.then(|| PhysRange::with_len(PhysAddr(base.0 + offset), len))
}

/// Where the bootfs lies that was packed with the kernel.
#[must_use]
pub fn bootfs() -> Option<PhysRange> {
    header().ok().and_then(|h| payload(h.bootfs_offset, h.bootfs_len))
}

/// The image's default command line; empty when there is none.
#[must_use]
pub fn default_cmdline() -> &'static [u8] {
    header().ok().and_then(|h| payload(h.cmdline_offset, h.cmdline_len)).map_or(&[], read_only)
}

/// The bytes of a range that is read-only from boot to the end: of the payload or of the
/// boot module.
#[must_use]
pub fn read_only(range: PhysRange) -> &'static [u8] {
    // SAFETY: the payload and the boot module are reserved before the first frame is handed
    // out and mapped read-only; nothing writes them.
    unsafe { core::slice::from_raw_parts(phys_to_ptr(range.start), range.len() as usize) }
}
