//! aarch64: boot by Linux's `Image` protocol with a device tree, EL1, GICv2 and GICv3, the
//! generic timer, PSCI. See `arch` for the contract.
//!
//! Addresses: TTBR0 holds the app's half (`0 ..` [`USER_END`]), TTBR1 the kernel's, 48 bits
//! each, 4 KiB granule. References to the "Arm ARM" are to DDI 0487J.

mod boot;
mod esr;
mod head;
mod tables;
mod vectors;

pub mod backtrace;
pub mod clock;
pub mod context;
pub mod cpu;
pub mod irq;
pub mod paging;
pub mod percpu;
pub mod platform;
pub mod power;
pub mod random;
pub mod trap;
pub mod uaccess;

/// What `uname -m` says.
pub const NAME: &str = "aarch64";
/// Virtual address of physical address 0 in the direct map: the first of TTBR1.
pub const DIRECT_MAP: usize = 0xffff_0000_0000_0000;
/// First address that the app can never have: TTBR0 spans 48 bits.
pub const USER_END: usize = 1 << 48;

/// A user address could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;
