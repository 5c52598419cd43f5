//! A page of the page cache: one frame, seen by the kernel, by devices and by the app.
//!
//! Its bytes change under the lock of the file that it belongs to, or by the app's stores
//! through a shared mapping, at any time; what needs them to stay still (a device that writes
//! them out) first takes the app's right to write away. So they are copied in and out through
//! pointers; a reference to them is given for pages that are taken out of the others' reach.

use super::{PAGE_SIZE, PhysAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use driver_api::paged::Page;

#[cfg(target_os = "none")]
use super::frames::{OwnedFrame as Memory, phys_to_ptr};
#[cfg(not(target_os = "none"))]
use host::Memory;

/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How many pages the cache has.
#[must_use]
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// See the module.
#[derive(Debug)]
pub struct PageFrame(Memory);

impl PageFrame {
    /// A page of zeroes; `None` when memory is out.
    #[must_use]
    pub fn new() -> Option<Self> {
        let page = Self(Memory::new()?);
        COUNT.fetch_add(1, Ordering::Relaxed);
        Some(page)
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> PhysAddr {
        self.0.addr()
    }

    #[cfg(target_os = "none")]
    fn pointer(&self) -> *mut u8 {
        phys_to_ptr(self.0.addr())
    }

    #[cfg(not(target_os = "none"))]
    fn pointer(&self) -> *mut u8 {
        self.0.pointer()
    }

    /// The bytes. The caller has seen to it that nobody writes to them meanwhile.
    #[must_use]
    pub fn bytes(&self) -> &Page {
        // SAFETY: a whole frame, initialised, that lives as long as `self`. The cache's rule
        // for pages under write-out: no mapping can write to it, and `write` is not called.
        unsafe { &*self.pointer().cast() }
    }

    /// The bytes of a page that nobody else has.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut Page {
        // SAFETY: as for `bytes`; borrowed exclusively, so it is in no cache yet.
        unsafe { &mut *self.pointer().cast() }
    }

    /// Copies bytes out, from `at`; what lies beyond the page is left as it is.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        let n = to.len().min(PAGE_SIZE.saturating_sub(at));
        // SAFETY: `n` bytes from `at` lie in the frame, and `to` is another memory. The app
        // may store meanwhile: then it gets what memory gives.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(self.pointer().wrapping_add(at), n) }
    }

    /// Copies bytes in, at `at`; what would lie beyond the page is left out.
    pub fn write(&self, at: usize, from: &[u8]) {
        let n = from.len().min(PAGE_SIZE.saturating_sub(at));
        // SAFETY: as for `read`; the lock of the file keeps other writers of the kernel out.
        unsafe { self.pointer().wrapping_add(at).copy_from_nonoverlapping(from.as_ptr(), n) }
    }

    /// Fills it with zeroes from `at` on.
    pub fn zero_from(&self, at: usize) {
        let n = PAGE_SIZE.saturating_sub(at);
        // SAFETY: as for `write`.
        unsafe { self.pointer().wrapping_add(at).write_bytes(0, n) }
    }
}

impl Drop for PageFrame {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A frame of the host: memory of the heap, its address standing for the physical one.
#[cfg(not(target_os = "none"))]
mod host {
    use super::{PAGE_SIZE, PhysAddr};
    use alloc::boxed::Box;
    use core::cell::UnsafeCell;

    #[repr(align(4096))]
    #[derive(Debug)]
    struct Bytes(UnsafeCell<[u8; PAGE_SIZE]>);

    #[derive(Debug)]
    pub struct Memory(Box<Bytes>);

    // SAFETY: shared by the same rules as a frame.
    unsafe impl Sync for Memory {}

    impl Memory {
        pub fn new() -> Option<Self> {
            Some(Self(Box::new(Bytes(UnsafeCell::new([0; PAGE_SIZE])))))
        }

        pub fn addr(&self) -> PhysAddr {
            PhysAddr(self.pointer().expose_provenance() as u64)
        }

        pub fn pointer(&self) -> *mut u8 {
            self.0.0.get().cast()
        }
    }
}
