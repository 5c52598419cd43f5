//! Virtio source of entropy (Virtual I/O Device 1.2, 5.4): seeds the kernel's generator.
//!
//! It is asked a few times in the life of a machine, so the driver looks for the answer
//! instead of taking interrupts.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::dma::{ANYWHERE, DmaBuffer};
use driver_api::entropy::EntropySource;
use driver_api::sync::IrqLock;
use driver_api::{Driver, Error, Kernel, Result};
use virtio::{Device, Part, Queue, VirtioDriver, id};

/// Bytes that are asked for at once, at most.
const MOST: usize = 256;
/// How long an answer may take, in milliseconds: a host may have to gather entropy.
const PATIENCE_MS: u32 = 1000;
/// Descriptors: one request at a time.
const QUEUE_SIZE: u16 = 4;

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "virtio-rng", early: None, probe };

static VIRTIO: VirtioDriver = VirtioDriver { name: "virtio-rng", device_id: id::ENTROPY, start };

/// The transports find the devices.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    virtio::register(&VIRTIO);
    Ok(())
}

fn start(device: Device) -> Result<()> {
    device.begin(0)?;
    let queue = device.queue(0, QUEUE_SIZE)?;
    device.ready();
    let services = device.services();
    services.add_entropy(Arc::new(Rng { device, queue: IrqLock::new(queue) }));
    Ok(())
}

/// A source.
struct Rng {
    device: Device,
    queue: IrqLock<Queue>,
}

impl Rng {
    /// The buffer that the device has filled, and how many bytes of it.
    fn wait(&self) -> Result<(DmaBuffer, usize)> {
        for _ in 0..PATIENCE_MS {
            let done = self.queue.lock().pop();
            match done {
                Ok(None) => self.device.services().sleep_ns(1_000_000),
                Ok(Some(mut done)) => {
                    let buffer = done.buffers.pop().ok_or(Error::Io)?;
                    return Ok((buffer, done.written as usize));
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::TimedOut)
    }

    /// The device does not do what it should: takes the memory back, if that can be.
    fn give_up(&self) {
        let stopped = self.device.stop();
        let mut queue = self.queue.lock();
        match stopped {
            Some(stopped) => drop(queue.drain(&stopped)),
            None => drop(queue.abandon()),
        }
    }
}

impl EntropySource for Rng {
    fn fill(&self, out: &mut [u8]) -> Result<usize> {
        let len = out.len().min(MOST);
        let buffer = DmaBuffer::new(self.device.services().dma(), len, ANYWHERE)?;
        let parts = Vec::from([Part::Buffer { buffer, offset: 0, len, write: true }]);
        {
            let mut queue = self.queue.lock();
            queue.submit(parts, 0).map_err(|r| r.error)?;
            self.device.notify(&queue);
        }
        let (buffer, written) = self.wait().inspect_err(|_| self.give_up())?;
        let got = buffer.bytes().get(..written).filter(|b| !b.is_empty()).ok_or(Error::Io)?;
        out.get_mut(..written).ok_or(Error::Io)?.copy_from_slice(got);
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_api::fake::Machine;
    use virtio::fake::{Fake, device};

    fn source() -> (&'static Machine, Arc<Fake>, Arc<dyn EntropySource>) {
        let machine = Machine::leaked();
        let (fake, device) = device(machine, id::ENTROPY, &[8]);
        start(device).unwrap();
        let source = machine.entropy().pop().unwrap();
        (machine, fake, source)
    }

    #[test]
    fn bytes_come_from_the_device() {
        let (machine, fake, source) = source();
        let device = fake.clone();
        machine.on_sleep(move |_| {
            if let Some(chain) = device.take(0) {
                assert_eq!(chain.parts.len(), 1);
                let written = device.write(&chain, &[0xa5; 40]);
                device.give(0, chain.head.into(), written);
            }
        });
        let mut out = [0; 64];
        assert_eq!(source.fill(&mut out), Ok(40));
        assert_eq!((out[39], out[40]), (0xa5, 0));
        assert_eq!(fake.notification(), Some(0));
        assert_eq!(machine.arena().in_use(), 1, "the rings alone");
    }

    #[test]
    fn a_device_that_lies_or_is_silent_ends_with_an_error_and_a_reset() {
        for lie in [None, Some(0), Some(65)] {
            let (machine, fake, source) = source();
            let device = fake.clone();
            machine.on_sleep(move |_| {
                if let (Some(written), Some(chain)) = (lie, device.take(0)) {
                    device.give(0, chain.head.into(), written);
                }
            });
            let wanted = if lie.is_none() { Error::TimedOut } else { Error::Io };
            let resets = fake.resets();
            let mut out = [7; 64];
            assert_eq!(source.fill(&mut out), Err(wanted), "{lie:?}");
            assert_eq!(out, [7; 64]);
            // No bytes at all is a useless answer, but not a wrong one.
            assert_eq!(fake.resets() - resets, u32::from(lie != Some(0)));
            assert_eq!(machine.arena().in_use(), 1, "the memory came back");
        }
    }

    #[test]
    fn memory_of_a_device_that_cannot_be_stopped_is_lost() {
        let (machine, fake, source) = source();
        fake.deafen();
        assert_eq!(source.fill(&mut [0; 8]), Err(Error::TimedOut));
        assert_eq!(machine.arena().in_use(), 2);
        assert_eq!(source.fill(&mut [0; 8]), Err(Error::Io), "and is not asked again");
    }
}
