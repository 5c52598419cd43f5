//! Memory for devices: frames that are contiguous, at bus addresses.
//!
//! No bus of the machines so far translates addresses, so a bus address is the frame's
//! physical one; drivers do not know that.

use core::ptr::NonNull;

use driver_api::dma::{Block, DmaArena};
use driver_api::{Error, Result};

use super::buddy::MAX_ORDER;
use super::{PAGE_SIZE, PhysAddr, frames, phys_to_ptr};

/// The arena of all devices.
pub struct Frames;

/// The order of the smallest block of frames that holds `len` bytes.
fn order(len: usize) -> Option<u8> {
    let pages = len.checked_next_multiple_of(PAGE_SIZE)? / PAGE_SIZE;
    let order = pages.checked_next_power_of_two()?.trailing_zeros() as u8;
    (order <= MAX_ORDER).then_some(order)
}

/// Frames of the kernel's own, as long as half of those are left: what makes memory free may
/// need some, to write pages out.
fn spare(order: u8, limit: u64) -> Option<PhysAddr> {
    frames::spare(1 << order).then(|| frames::alloc_below(order, limit)).flatten()
}

// SAFETY: frames just allocated, contiguous and aligned to more than a page, zeroed, and seen
// through the direct map.
unsafe impl DmaArena for Frames {
    fn allocate(&self, len: usize, limit: u64) -> Result<Block> {
        if len == 0 {
            return Err(Error::Invalid);
        }
        let order = order(len).ok_or(Error::NoMemory)?;
        let len = PAGE_SIZE << order;
        let frame = frames::alloc_user_below(order, limit).or_else(|| spare(order, limit));
        let frame = frame.ok_or(Error::NoMemory)?;
        let cpu = NonNull::new(phys_to_ptr(frame)).ok_or(Error::NoMemory)?;
        // SAFETY: allocated just now.
        unsafe { cpu.write_bytes(0, len) };
        Ok(Block { cpu, bus: frame.0, len })
    }

    unsafe fn free(&self, block: Block) {
        if let Some(order) = order(block.len) {
            frames::free(PhysAddr(block.bus), order);
        }
    }
}
