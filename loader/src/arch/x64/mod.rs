//! x64. See `arch` for the contract. The modules that only decide compile on every host, with
//! their tests; those that touch the CPU do not.

pub mod acpi;
pub mod mp;
pub mod phys;
pub mod pte;
pub mod pvh;
pub mod rtc;
pub mod signal;

#[cfg(target_os = "none")]
pub mod backtrace;
#[cfg(target_os = "none")]
pub mod clock;
#[cfg(target_os = "none")]
pub mod context;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod entry;
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
pub mod frame;
#[cfg(target_os = "none")]
mod idt;
#[cfg(target_os = "none")]
pub mod irq;
#[cfg(target_os = "none")]
mod lapic;
#[cfg(target_os = "none")]
mod mem;
#[cfg(target_os = "none")]
pub mod paging;
#[cfg(target_os = "none")]
pub mod percpu;
#[cfg(target_os = "none")]
pub mod platform;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod random;
#[cfg(target_os = "none")]
pub mod registers;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod trap;
#[cfg(target_os = "none")]
pub mod uaccess;

/// The machine's name as `uname` gives it.
pub const NAME: &str = "x86_64";
/// Virtual address of physical address 0: the first of the upper half.
pub const DIRECT_MAP: usize = 0xffff_8000_0000_0000;
/// First address that the app can never have: the last page of the lower half stays unused,
/// as on Linux, so that no system call instruction can end at a non-canonical address.
pub const USER_END: usize = 0x7fff_ffff_f000;

/// The page of the image below the boot stack, which `mm` leaves unmapped.
#[cfg(target_os = "none")]
#[must_use]
pub fn boot_stack_guard() -> Option<crate::mm::VirtAddr> {
    Some(entry::stack_guard())
}

/// Pages of the image that are free once `mm`'s own tables are active: the early tables.
#[cfg(target_os = "none")]
#[must_use]
pub fn reclaimable() -> core::ops::Range<usize> {
    entry::reclaimable()
}

/// A user address could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;
