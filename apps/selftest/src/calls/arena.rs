//! Memory for the arguments of calls: slots whose ends are followed by memory that is not
//! there, so that a byte too far is a fault.

use super::raw;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: usize = 4096;
/// Pages of a slot that are there; as many that are not come after them.
const SLOT: usize = 2 * PAGE;
/// One slot an argument.
const SLOTS: usize = 6;
/// Pages for calls that take whole pages.
const PAGES: usize = 4 * PAGE;
/// A read-only page, a page without access.
const SPECIAL: usize = 2 * PAGE;
const LEN: usize = SLOTS * 2 * SLOT + 2 * PAGES + 2 * SPECIAL;

/// Where the next one lies.
static NEXT: AtomicUsize = AtomicUsize::new(0x10_0000_0000);

const NONE: usize = 0;
const READ: usize = 1;
const READ_WRITE: usize = 3;

/// Some of the address space.
pub struct Arena(usize);

/// Room for one argument.
#[derive(Clone, Copy)]
pub struct Slot(usize);

/// Maps fresh pages at `at`, in place of what is there.
pub fn map(at: usize, len: usize, protection: usize) -> Result<(), String> {
    // MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    let got = raw::named("mmap", &[at, len, protection, 0x32, usize::MAX, 0]);
    if got == at as isize { Ok(()) } else { Err(format!("mmap at {at:#x}: {got}")) }
}

impl Arena {
    /// A new one.
    pub fn new() -> Result<Self, String> {
        // Far below where the kernel looks for places of its own: the C library's heap must
        // not come to lie in a hole that a call made here, and go with it.
        let arena = Self(NEXT.fetch_add(2 * LEN, Ordering::Relaxed));
        arena.reset()?;
        Ok(arena)
    }

    /// All memory as in the beginning.
    pub fn reset(&self) -> Result<(), String> {
        map(self.0, LEN, NONE)?;
        for i in 0..SLOTS {
            map(self.slot(i).start(), SLOT, READ_WRITE)?;
        }
        map(self.pages(), PAGES, READ_WRITE)?;
        map(self.read_only(), PAGE, READ)
    }

    /// The room for argument `i`.
    pub fn slot(&self, i: usize) -> Slot {
        Slot(self.0 + i * 2 * SLOT)
    }

    /// Whole pages, four of them; as many after them are not there.
    pub fn pages(&self) -> usize {
        self.0 + SLOTS * 2 * SLOT
    }

    /// A page of zeroes that must not be written.
    pub fn read_only(&self) -> usize {
        self.0 + SLOTS * 2 * SLOT + 2 * PAGES
    }

    /// A page that is there and must not be touched.
    pub fn no_access(&self) -> usize {
        self.read_only() + PAGE
    }

    /// Whether `at` is in it.
    pub fn contains(&self, at: usize) -> bool {
        at.wrapping_sub(self.0) < LEN
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        raw::named("munmap", &[self.0, LEN]);
    }
}

impl Slot {
    /// Its first byte.
    pub fn start(self) -> usize {
        self.0
    }

    /// The first byte after it, which is not there.
    pub fn end(self) -> usize {
        self.0 + SLOT
    }

    /// Its pages alone.
    pub const fn len() -> usize {
        SLOT
    }

    /// Puts `bytes` so near its end that 8 bytes are left; where they are.
    pub fn place(self, bytes: &[u8]) -> usize {
        let at = (self.end() - bytes.len() - 8) & !7;
        put(at, bytes);
        at
    }
}

/// Writes to memory of an arena that is there.
pub fn put(at: usize, bytes: &[u8]) {
    let to: *mut u8 = std::ptr::with_exposed_provenance_mut(at);
    // SAFETY: callers give places in an arena's slots, which nothing else refers to; the
    // mapping came from the kernel, as an address.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
}

/// Reads memory of an arena that is there.
pub fn get(at: usize, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let from: *const u8 = std::ptr::with_exposed_provenance(at);
    // SAFETY: as for `put`.
    unsafe { std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), len) };
    out
}
