//! The PCI bus (PCI Local Bus Specification 3.0, PCI Express Base Specification 6.0): finds
//! functions below the platform's host bridges, gives them addresses where no firmware has,
//! and hands each to the driver that wants it.
//!
//! Configuration space is input: lists are bounded, sizes and places are checked. Bridges are
//! followed where firmware has numbered their buses; the kernel numbers none itself.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bars;
pub mod capability;
pub mod config;
#[cfg(not(target_os = "none"))]
pub mod fake;
mod function;
mod host;
pub mod msix;

use alloc::sync::Arc;

use driver_api::log;
use driver_api::{Binding, BusDriver, Driver, Error, Kernel, Result, Services};

pub use function::{Function, Ids};

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "pci", early: None, probe };

/// A driver of PCI functions.
pub struct PciDriver {
    /// Its name, for the log.
    pub name: &'static str,
    /// Whether it drives such a function.
    pub wants: fn(&Ids) -> bool,
    /// Starts a function.
    pub start: fn(&'static dyn Services, Arc<Function>) -> Result<()>,
}

/// A function that waits for its driver.
pub struct Found {
    services: &'static dyn Services,
    function: Arc<Function>,
}

impl BusDriver for PciDriver {
    type Device = Found;

    fn name(&self) -> &'static str {
        self.name
    }

    fn wants(&self, found: &Found) -> bool {
        (self.wants)(&found.function.ids())
    }

    fn start(&self, found: Found) -> Result<()> {
        (self.start)(found.services, found.function)
    }
}

static BUS: Binding<PciDriver> = Binding::new();

/// Registers a driver: it gets the functions that were found, and those that will be.
pub fn register(driver: &'static PciDriver) {
    BUS.add_driver(driver);
}

/// Enumerates every host bridge.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    let services = driver_api::services();
    let hosts = driver_api::pci::hosts();
    let mut any = false;
    for host in &hosts {
        for function in host::enumerate(services, host)? {
            any = true;
            let ids = function.ids();
            log::debug!(target: "pci", "{} {:04x}:{:04x} class {:06x}", function.address(), ids.vendor, ids.device, ids.class);
            BUS.add_device(Found { services, function });
        }
    }
    if any { Ok(()) } else { Err(Error::NoDevice) }
}
