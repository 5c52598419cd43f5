//! The kernel of Osier.
//!
//! One address space and two privilege levels: the app runs unprivileged in the low half,
//! the kernel (its image and a direct map of all RAM) in the high half. Every entry path
//! fills one [`bootinfo::BootInfo`]; nothing after it knows the boot protocol.
//!
//! What needs the hardware stands behind `cfg(target_os = "none")`; everything that decides
//! is plain code that also compiles and is tested on the host.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

extern crate alloc;

pub mod bootinfo;
pub mod cmdline;
pub mod dtb;
pub mod entropy;
pub mod exec;
pub mod fs;
pub mod log;
#[allow(unsafe_code)]
pub mod mm;
pub mod signal;
pub mod strings;
pub mod sync;
pub mod text;
pub mod thread;
pub mod time;
pub mod user;

#[allow(unsafe_code)]
pub mod arch;
// The services are symbols, which only an attribute that counts as unsafe can make them.
#[cfg(target_os = "none")]
#[allow(unsafe_code)]
pub mod drivers;
#[cfg(target_os = "none")]
pub mod end;
#[cfg(target_os = "none")]
pub mod irq;
#[cfg(target_os = "none")]
mod kmain;
#[cfg(any(test, all(target_os = "none", debug_assertions)))]
mod lockcheck;
#[cfg(target_os = "none")]
pub mod panic;
#[cfg(target_os = "none")]
pub mod percpu;
#[cfg(target_os = "none")]
pub mod process;
#[cfg(target_os = "none")]
pub mod registry;
#[cfg(all(target_os = "none", debug_assertions))]
mod selftest;
#[cfg(target_os = "none")]
mod smp;
// Each call is a symbol, which only an attribute that counts as unsafe can give it.
#[cfg(target_os = "none")]
#[allow(unsafe_code)]
pub mod syscall;
#[cfg(target_os = "none")]
pub mod trap;

#[cfg(target_os = "none")]
pub use kmain::kmain;
