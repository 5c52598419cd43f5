//! aarch64: boot by Linux's `Image` protocol with a device tree, EL1, GICv2 and GICv3, the
//! generic timer, PSCI. See `arch` for the contract. The
//! modules that only decide compile, with their tests, on every host.
//!
//! Addresses: TTBR0 holds the app's half (`0 ..` [`USER_END`]), TTBR1 the kernel's, 48 bits
//! each, 4 KiB granule. References to the "Arm ARM" are to DDI 0487J.

mod describe;
mod esr;
mod frame;
mod hwcap;
mod pci;
mod pte;
pub mod signal;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod head;
#[cfg(target_os = "none")]
mod tables;
#[cfg(target_os = "none")]
mod vectors;

#[cfg(target_os = "none")]
pub mod backtrace;
#[cfg(target_os = "none")]
pub mod clock;
#[cfg(target_os = "none")]
pub mod context;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod irq;
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
pub mod trap;
#[cfg(target_os = "none")]
pub mod uaccess;

/// What `uname -m` says.
pub const NAME: &str = "aarch64";
/// Virtual address of physical address 0 in the direct map: the first of TTBR1.
pub const DIRECT_MAP: usize = 0xffff_0000_0000_0000;
/// First address that the app can never have: TTBR0 spans 48 bits.
pub const USER_END: usize = 1 << 48;

#[cfg(target_os = "none")]
pub use boot::boot_stack_guard;
#[cfg(target_os = "none")]
pub use tables::reclaimable;

/// A user address could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;
