//! Memory that devices read and write.
//!
//! A [`DmaBuffer`] is the CPU's: its bytes are plain memory. To hand it to a device it is
//! given up ([`DmaBuffer::lend`]); what is left, [`Lent`], has an address on the bus and no
//! bytes, and becomes a buffer again only by [`Lent::reclaim`], whose caller vouches that
//! the device is done with it. A `Lent` that is dropped is never handed out again: memory
//! that a device may still write to is lost rather than given to somebody else.
//! [`DmaShared`] is for rings and the like, which both sides use at the same time.
//!
//! Memory is coherent: both sides see each other's writes in order, given the fences of
//! `core::sync::atomic`.

use core::ptr::NonNull;

pub use crate::lending::{Lending, NotLent};
use crate::{Error, Result};

/// Any bus address will do.
pub const ANYWHERE: u64 = u64::MAX;
/// For devices that know 32 bits of address.
pub const BELOW_4G: u64 = u32::MAX as u64;

/// A stretch of an arena.
#[derive(Debug)]
pub struct Block {
    /// Where the CPU sees it.
    pub cpu: NonNull<u8>,
    /// Where devices see it.
    pub bus: u64,
    /// Length in bytes.
    pub len: usize,
}

/// Where DMA memory comes from.
///
/// # Safety
/// A block is initialised memory that nobody else uses until it is freed, contiguous on the
/// bus, and aligned to 4096 bytes on both sides.
pub unsafe trait DmaArena: Send + Sync {
    /// Takes at least `len` bytes, zeroed, whose last byte is not above `limit` on the bus.
    ///
    /// # Errors
    /// `Invalid` for a length of 0, `NoMemory`.
    fn allocate(&self, len: usize, limit: u64) -> Result<Block>;

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from this arena, and neither CPU nor device uses it any more.
    unsafe fn free(&self, block: Block);
}

/// Memory for DMA while it is the CPU's. Freed when it is dropped.
pub struct DmaBuffer {
    arena: &'static dyn DmaArena,
    block: Block,
}

// SAFETY: a block is plain memory with one owner; arenas are `Sync`.
unsafe impl Send for DmaBuffer {}
// SAFETY: a shared buffer only gives shared slices.
unsafe impl Sync for DmaBuffer {}

impl DmaBuffer {
    /// A zeroed buffer of at least `len` bytes that a device can reach which knows bus
    /// addresses up to `limit`.
    ///
    /// # Errors
    /// As [`DmaArena::allocate`]; `NoMemory` also when the arena gives something else.
    pub fn new(arena: &'static dyn DmaArena, len: usize, limit: u64) -> Result<Self> {
        let buffer = Self { arena, block: arena.allocate(len, limit)? };
        let last = buffer.block.bus.checked_add(buffer.block.len as u64 - 1);
        let fits = buffer.block.len >= len && last.is_some_and(|last| last <= limit);
        if fits { Ok(buffer) } else { Err(Error::NoMemory) }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `DmaArena`'s contract; no device has it, for it was not lent.
        unsafe { core::slice::from_raw_parts(self.block.cpu.as_ptr(), self.block.len) }
    }

    /// Its bytes, to change.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, uniquely.
        unsafe { core::slice::from_raw_parts_mut(self.block.cpu.as_ptr(), self.block.len) }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.block.len
    }

    /// Whether it has no bytes: never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.block.len == 0
    }

    /// Gives it up to a device.
    pub fn lend(self) -> Lent {
        let this = core::mem::ManuallyDrop::new(self);
        let Block { cpu, bus, len } = this.block;
        Lent { arena: this.arena, block: Block { cpu, bus, len } }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        let Block { cpu, bus, len } = self.block;
        // SAFETY: it came from this arena; it was not lent, and its owner is gone.
        unsafe { self.arena.free(Block { cpu, bus, len }) }
    }
}

impl core::fmt::Debug for DmaBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DmaBuffer({} bytes at bus {:#x})", self.block.len, self.block.bus)
    }
}

/// Memory that a device may be using.
#[must_use = "the memory is lost unless it is reclaimed"]
pub struct Lent {
    arena: &'static dyn DmaArena,
    block: Block,
}

// SAFETY: it gives no access to the memory at all.
unsafe impl Send for Lent {}
// SAFETY: as for `Send`.
unsafe impl Sync for Lent {}

impl Lent {
    /// Where the device sees it.
    #[must_use]
    pub const fn bus(&self) -> u64 {
        self.block.bus
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.block.len
    }

    /// Whether it has no bytes: never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.block.len == 0
    }

    /// The buffer again.
    ///
    /// # Safety
    /// The device does not use the memory any more: it never got the address, or has said
    /// that it is done, or has been stopped.
    #[must_use]
    pub unsafe fn reclaim(self) -> DmaBuffer {
        DmaBuffer { arena: self.arena, block: self.block }
    }
}

/// Memory that CPU and device use at the same time, reached by whole aligned words only.
/// When it is dropped it is lost, for the device may still use it.
pub struct DmaShared {
    lent: Lent,
}

impl DmaShared {
    /// Zeroed memory of at least `len` bytes.
    ///
    /// # Errors
    /// As [`DmaBuffer::new`].
    pub fn new(arena: &'static dyn DmaArena, len: usize, limit: u64) -> Result<Self> {
        Ok(Self { lent: DmaBuffer::new(arena, len, limit)?.lend() })
    }

    /// Where the device sees the byte at `offset`.
    #[must_use]
    pub const fn bus(&self, offset: usize) -> u64 {
        self.lent.block.bus + offset as u64
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lent.block.len
    }

    /// Whether it has no bytes: never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lent.block.len == 0
    }

    /// The memory as a buffer.
    ///
    /// # Safety
    /// As for [`Lent::reclaim`].
    #[must_use]
    pub unsafe fn reclaim(self) -> DmaBuffer {
        // SAFETY: the caller's promise.
        unsafe { self.lent.reclaim() }
    }

    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        (end <= self.len() && offset.is_multiple_of(align_of::<T>()))
            .then(|| self.lent.block.cpu.as_ptr().wrapping_add(offset).cast())
    }
}

macro_rules! accessors {
    ($($read:ident $write:ident $ty:ty;)*) => { impl DmaShared { $(
        /// Reads a little-endian word; 0 when `offset` (bytes) is outside or misaligned.
        #[must_use]
        pub fn $read(&self, offset: usize) -> $ty {
            match self.at::<$ty>(offset) {
                // SAFETY: `at` checked range and alignment. The device may write meanwhile:
                // volatile, and any bits are a value.
                Some(p) => <$ty>::from_le(unsafe { p.read_volatile() }),
                None => 0,
            }
        }

        /// Writes a little-endian word; nothing happens when `offset` (bytes) is outside or
        /// misaligned.
        pub fn $write(&self, offset: usize, value: $ty) {
            if let Some(p) = self.at::<$ty>(offset) {
                // SAFETY: as for reading.
                unsafe { p.write_volatile(value.to_le()) }
            }
        }
    )* } };
}

accessors! {
    read8 write8 u8;
    read16 write16 u16;
    read32 write32 u32;
    read64 write64 u64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Arena;

    #[test]
    fn a_buffer_is_the_cpus_then_the_devices_then_the_cpus() {
        let arena = Arena::leaked();
        let mut buffer = DmaBuffer::new(arena, 5000, ANYWHERE).unwrap();
        assert_eq!(buffer.len(), 8192, "whole pages");
        assert!(buffer.bytes().iter().all(|b| *b == 0));
        buffer.bytes_mut()[4999] = 7;
        let lent = buffer.lend();
        let mut byte = [0];
        assert!(arena.device_read(lent.bus() + 4999, &mut byte));
        assert_eq!(byte, [7]);
        assert!(arena.device_write(lent.bus(), &[1, 2]));
        // SAFETY: the device is this test.
        let buffer = unsafe { lent.reclaim() };
        assert_eq!(buffer.bytes()[..2], [1, 2]);
        drop(buffer);
        assert_eq!(arena.in_use(), 0);
    }

    #[test]
    fn what_was_lent_and_forgotten_is_never_handed_out_again() {
        let arena = Arena::leaked();
        let bus = DmaBuffer::new(arena, 1, ANYWHERE).unwrap().lend().bus();
        assert_eq!(arena.in_use(), 1);
        for _ in 0..100 {
            assert_ne!(DmaBuffer::new(arena, 1, ANYWHERE).unwrap().lend().bus(), bus);
        }
    }

    #[test]
    fn an_arena_that_gives_too_little_or_too_high_is_refused() {
        let arena = Arena::leaked();
        assert_eq!(DmaBuffer::new(arena, 1, BELOW_4G).err(), Some(Error::NoMemory));
        arena.place_at(0x10_0000);
        assert!(DmaBuffer::new(arena, 1, BELOW_4G).is_ok());
        arena.fail_after(0);
        assert_eq!(DmaBuffer::new(arena, 1, ANYWHERE).err(), Some(Error::NoMemory));
        assert_eq!(DmaBuffer::new(arena, 0, ANYWHERE).err(), Some(Error::Invalid));
    }

    #[test]
    fn shared_words_are_bounded() {
        let arena = Arena::leaked();
        let shared = DmaShared::new(arena, 4096, ANYWHERE).unwrap();
        shared.write16(4094, 0xbeef);
        shared.write32(4094, 1);
        shared.write64(usize::MAX - 3, 1);
        assert_eq!(shared.read16(4094), 0xbeef);
        assert_eq!((shared.read32(4096), shared.read32(2)), (0, 0));
        let mut seen = [0; 2];
        assert!(arena.device_read(shared.bus(4094), &mut seen));
        assert_eq!(seen, [0xef, 0xbe], "little-endian on the bus");
        assert!(!arena.device_read(shared.bus(4095), &mut seen), "past the end");
    }
}
