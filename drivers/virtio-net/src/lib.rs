//! Virtio network card (Virtual I/O Device 1.2, 5.1), one pair of queues.
//!
//! Received frames stay in the ring until the client takes them, so the card meets
//! back-pressure; each is one buffer, for neither merged buffers nor large receive are
//! negotiated.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod card;
mod header;
#[cfg(test)]
mod tests;

use driver_api::{Driver, Kernel, Result};
use virtio::{Device, VirtioDriver, id};

use card::Card;

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "virtio-net", early: None, probe };

static VIRTIO: VirtioDriver = VirtioDriver { name: "virtio-net", device_id: id::NET, start };

/// The transports find the devices.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    virtio::register(&VIRTIO);
    Ok(())
}

fn start(device: Device) -> Result<()> {
    let (services, at) = (device.services(), device.address());
    let card = Card::start(device)?;
    services.add_net(at, card);
    Ok(())
}
