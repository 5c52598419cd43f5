//! Addresses as types, so that a physical one is never used as a pointer.

/// Size of a page and of a frame on both archs (4 KiB granule).
pub const PAGE_SIZE: usize = 4096;

/// A physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

/// A virtual address, of the kernel or of the app.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(pub usize);

impl core::fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "phys {:#x}", self.0)
    }
}

impl core::fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A half-open range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysRange {
    /// First byte.
    pub start: PhysAddr,
    /// First byte after it.
    pub end: PhysAddr,
}

impl PhysRange {
    /// No bytes.
    pub const EMPTY: Self = Self { start: PhysAddr(0), end: PhysAddr(0) };

    /// `start..end`; empty when `end` is not after `start`.
    #[must_use]
    pub const fn new(start: PhysAddr, end: PhysAddr) -> Self {
        if end.0 > start.0 { Self { start, end } } else { Self::EMPTY }
    }

    /// `len` bytes from `start`, cut off at the end of the address space.
    #[must_use]
    pub const fn with_len(start: PhysAddr, len: u64) -> Self {
        Self::new(start, PhysAddr(start.0.saturating_add(len)))
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
