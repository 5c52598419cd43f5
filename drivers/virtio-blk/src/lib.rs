//! Virtio block device (Virtual I/O Device 1.2, 5.2).
//!
//! A queue for each CPU where the device has as many; one worker takes what is complete. A
//! request that is cancelled or takes too long is taken back by a reset of the device;
//! others that were under way are then submitted again, once.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod disk;
mod lane;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;

use driver_api::{Driver, Kernel, Result};
use virtio::{Device, VirtioDriver, id};

use disk::Disk;

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "virtio-blk", early: None, probe };

static VIRTIO: VirtioDriver = VirtioDriver { name: "virtio-blk", device_id: id::BLOCK, start };

/// The transports find the devices.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    virtio::register(&VIRTIO);
    Ok(())
}

fn start(device: Device) -> Result<()> {
    let (services, at) = (device.services(), device.address());
    let disk: Arc<Disk> = Disk::start(device)?;
    services.add_block(at, disk);
    Ok(())
}
