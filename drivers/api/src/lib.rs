//! The contract that drivers are written against.
//!
//! A driver is a `no_std` crate without `unsafe` that names no other driver's crate except
//! its bus. It registers one [`Driver`] in [`DRIVERS`]; the kernel finds it there, so that
//! adding a driver changes no kernel code. Hardware is reached through [`Pio`] and
//! [`Mmio`], which check bounds and hold the `unsafe`; everything else that a driver needs
//! of the kernel comes through [`Kernel`].
//!
//! On the host the same crates compile and their tests run against fakes of [`Kernel`].
#![no_std]

extern crate alloc;

mod console;
mod error;
mod io;
pub mod irq;
mod kernel;
mod registry;
pub mod sync;
pub mod vfs;

pub use console::{Console, ConsoleInput};
pub use error::{Error, Result};
pub use io::{Mmio, Pio};
pub use irq::{IrqHandler, IrqLine, IrqReturn, Trigger};
pub use kernel::{Kernel, Resource};
pub use linkme;
pub use log;
pub use registry::{DRIVERS, Driver};
