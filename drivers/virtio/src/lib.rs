//! Virtio (OASIS Virtual I/O Device 1.2): what all its devices have in common. Section
//! numbers are of that document.
//!
//! A transport (`virtio-pci`, `virtio-mmio`) finds devices and offers each as a
//! [`Transport`]; a driver registers a [`VirtioDriver`] and gets its devices as [`Device`]s,
//! whose [`Queue`]s own the memory that the device was lent. Only devices of version 1 and
//! later ("modern") are driven.
//!
//! The device is not trusted: what it writes into rings is checked before use, and what
//! makes no sense ends the queue's life until the device is reset.
#![no_std]

extern crate alloc;

mod device;
#[cfg(not(target_os = "none"))]
pub mod fake;
mod queue;
mod transport;

use alloc::boxed::Box;

use driver_api::{Binding, BusDriver, Driver, Kernel, Result, Services};

pub use device::{Device, Stopped};
pub use queue::{Completed, Part, Queue, Rejected};
pub use transport::{Handler, Rings, Transport, status};

/// Feature bits of all devices (section 6).
pub mod feature {
    /// The device is modern.
    pub const VERSION_1: u64 = 1 << 32;
    /// The device is behind what translates or protects its accesses.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
}

/// Device ids (section 5).
pub mod id {
    /// Network card.
    pub const NET: u32 = 1;
    /// Block device.
    pub const BLOCK: u32 = 2;
    /// Source of entropy.
    pub const ENTROPY: u32 = 4;
}

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "virtio", early: None, probe };

/// The transports find the devices.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    Ok(())
}

/// A driver of virtio devices.
pub struct VirtioDriver {
    /// Its name, for the log.
    pub name: &'static str,
    /// The kind of device.
    pub device_id: u32,
    /// Starts one.
    pub start: fn(Device) -> Result<()>,
}

impl BusDriver for VirtioDriver {
    type Device = Device;

    fn name(&self) -> &'static str {
        self.name
    }

    fn wants(&self, device: &Device) -> bool {
        device.id() == self.device_id
    }

    fn start(&self, device: Device) -> Result<()> {
        (self.start)(device)
    }
}

static BUS: Binding<VirtioDriver> = Binding::new();

/// Registers a driver: it gets the devices that were found, and those that will be.
pub fn register(driver: &'static VirtioDriver) {
    BUS.add_driver(driver);
}

/// A transport has found a device.
pub fn offer(services: &'static dyn Services, transport: Box<dyn Transport>) {
    BUS.add_device(Device::new(services, transport));
}
