//! The contract that drivers are written against.
//!
//! A driver is a `no_std` crate without `unsafe` that names no other driver's crate except
//! its bus. It registers one [`Driver`] in [`DRIVERS`]; the kernel finds it there, so that
//! adding a driver changes no kernel code. Hardware is reached through [`Pio`] and
//! [`Mmio`], which check bounds and hold the `unsafe`, and memory for devices through
//! [`dma`]; everything else that a driver needs of the kernel comes through [`Kernel`] and,
//! for devices with DMA, threads and message-signalled interrupts, [`Services`]. What a
//! device offers in turn is a trait of its class: [`Console`], [`block`], [`net`],
//! [`entropy`], [`chardev`], [`vfs`] and, where contents go through the page cache, [`paged`].
//! A file system that is there when the program starts registers in [`BOOT_FILE_SYSTEMS`] too.
//! Those who call devices rather than being called find [`disk`] and [`wait`]; what holds
//! things for the program finds [`memory`], [`Mutex`] and [`process`].
//!
//! On the host the same crates compile and their tests run against a machine that the test
//! scripts (`fake`).
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod block;
mod boot_fs;
mod bus;
pub mod chardev;
mod console;
pub mod disk;
pub mod dma;
pub mod entropy;
mod error;
#[cfg(not(target_os = "none"))]
pub mod fake;
mod io;
pub mod irq;
mod kernel;
mod lending;
pub mod memory;
mod mutex;
pub mod net;
mod once;
pub mod paged;
pub mod pci;
pub mod process;
mod registry;
mod services;
pub mod sync;
pub mod vfs;
pub mod wait;

pub use boot_fs::{BOOT_FILE_SYSTEMS, BootFileSystem, MakeRoot};
pub use bus::{Binding, BusAddress, BusDriver, PciAddress};
pub use console::{Console, ConsoleInput};
pub use error::{Error, Result};
pub use io::{Mmio, Pio};
pub use irq::{IrqHandler, IrqLine, IrqReturn, Trigger};
pub use kernel::{Kernel, Resource};
pub use linkme;
pub use log;
pub use mutex::{Mutex, MutexGuard};
pub use once::Once;
pub use registry::{DRIVERS, Driver};
pub use services::{MsiMessage, Services, Wake, Worker, services};
