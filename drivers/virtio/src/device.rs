//! A device and its life: reset, features, queues, in use (3.1).

use alloc::boxed::Box;
use alloc::sync::Arc;

use driver_api::dma::ANYWHERE;
use driver_api::{BusAddress, Error, Mmio, Result, Services, Wake};

use crate::feature;
use crate::queue::Queue;
use crate::transport::{Transport, status};

/// How long a reset may take, in milliseconds; hypervisors wait for requests under way.
const RESET_MS: u32 = 1000;
/// How often registers are read that change meanwhile.
const TRIES: u32 = 100;

/// A proof that the device was stopped: it uses no memory that it was lent before.
#[derive(Debug)]
pub struct Stopped(pub(crate) ());

/// A virtio device.
pub struct Device {
    services: &'static dyn Services,
    transport: Box<dyn Transport>,
}

impl Device {
    /// The device that `transport` carries.
    #[must_use]
    pub fn new(services: &'static dyn Services, transport: Box<dyn Transport>) -> Self {
        Self { services, transport }
    }

    /// The kernel's services.
    #[must_use]
    pub fn services(&self) -> &'static dyn Services {
        self.services
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> BusAddress {
        self.transport.address()
    }

    /// What kind of device it is.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.transport.device_id()
    }

    /// Resets it and settles the features: those of `wanted` that it offers, and
    /// [`feature::VERSION_1`]. Returns them. It is not in use before [`Self::ready`].
    ///
    /// # Errors
    /// `TimedOut` when it does not answer the reset, `Unsupported` when it is not modern or
    /// refuses the features.
    #[inline(never)]
    pub fn begin(&self, wanted: u64) -> Result<u64> {
        self.reset()?;
        let t = &self.transport;
        t.set_status(status::ACKNOWLEDGE | status::DRIVER);
        let offered = t.device_features();
        // One that translates its accesses gets bus addresses as well, so it may say so.
        let features = offered & (wanted | feature::VERSION_1 | feature::ACCESS_PLATFORM);
        if features & feature::VERSION_1 == 0 {
            t.set_status(status::FAILED);
            return Err(Error::Unsupported);
        }
        t.set_driver_features(features);
        t.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        if t.status() & status::FEATURES_OK == 0 {
            t.set_status(status::FAILED);
            return Err(Error::Unsupported);
        }
        Ok(features)
    }

    /// Lets it wake: see [`Transport::attach`]. Once, after the first [`Self::begin`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&self, wakes: &[Arc<dyn Wake>]) -> Result<()> {
        self.transport.attach(wakes)
    }

    /// After a further [`Self::begin`]: the interrupts are as before.
    pub fn reattach(&self) {
        self.transport.reattach();
    }

    /// A new queue with the number `index` and at most `size` descriptors, given to the
    /// device. Between [`Self::begin`] and [`Self::ready`].
    ///
    /// # Errors
    /// `NoDevice` when the device has no such queue, `NoMemory`, and what the transport
    /// says.
    #[inline(never)]
    pub fn queue(&self, index: u16, size: u16) -> Result<Queue> {
        let most = self.transport.queue_size(index);
        let queue = Queue::new(self.services.dma(), index, size.min(most), ANYWHERE)?;
        self.transport.set_queue(index, queue.size(), &queue.rings())?;
        Ok(queue)
    }

    /// Gives the device a queue again that a reset has emptied.
    ///
    /// # Errors
    /// `Io` when the device has become another.
    #[inline(never)]
    pub fn restore(&self, queue: &Queue) -> Result<()> {
        if self.transport.queue_size(queue.index()) < queue.size() {
            return Err(Error::Io);
        }
        self.transport.set_queue(queue.index(), queue.size(), &queue.rings())
    }

    /// The device may be used.
    pub fn ready(&self) {
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.transport.set_status(all);
    }

    /// Tells it that `queue` has something new, unless it looks anyway.
    #[inline(never)]
    pub fn notify(&self, queue: &Queue) {
        if queue.wants_notification() {
            self.transport.notify(queue.index());
        }
    }

    /// It has said that it cannot go on.
    #[must_use]
    pub fn needs_reset(&self) -> bool {
        self.transport.status() & status::NEEDS_RESET != 0
    }

    /// Resets it, and waits until that is complete.
    ///
    /// # Errors
    /// `TimedOut`.
    #[inline(never)]
    pub fn reset(&self) -> Result<Stopped> {
        self.transport.set_status(0);
        for _ in 0..RESET_MS {
            if self.transport.status() == 0 {
                return Ok(Stopped(()));
            }
            self.services.sleep_ns(1_000_000);
        }
        Err(Error::TimedOut)
    }

    /// Stops it for good or until [`Self::begin`]: by a reset, or where it does not answer
    /// that, by keeping it from memory. `None` where neither works.
    #[must_use]
    #[inline(never)]
    pub fn stop(&self) -> Option<Stopped> {
        match self.reset() {
            Ok(stopped) => Some(stopped),
            Err(_) => self.transport.cut_off().then_some(Stopped(())),
        }
    }

    /// Reads what takes several accesses of the device's own registers, so that all are of
    /// one moment (2.5.1).
    ///
    /// # Errors
    /// `Io` when they never stop changing.
    pub fn config<R>(&self, read: impl Fn(&Mmio) -> R) -> Result<R> {
        for _ in 0..TRIES {
            let before = self.transport.generation();
            let value = read(self.transport.config());
            if self.transport.generation() == before {
                return Ok(value);
            }
        }
        Err(Error::Io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, device};
    use driver_api::Kernel;
    use driver_api::fake::Machine;

    fn start() -> (&'static Machine, Arc<Fake>, Device) {
        let machine = Machine::leaked();
        let (fake, device) = device(machine, crate::id::ENTROPY, &[8]);
        (machine, fake, device)
    }

    #[test]
    fn features_are_those_that_both_know() {
        let (_, fake, device) = start();
        fake.offer(feature::VERSION_1 | 0b110);
        assert_eq!(device.begin(0b011), Ok(feature::VERSION_1 | 0b010));
        assert_eq!(fake.chosen(), feature::VERSION_1 | 0b010);
        let settled = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        assert_eq!(fake.status(), settled);
        device.ready();
        assert_eq!(fake.status(), settled | status::DRIVER_OK);
        assert!(!device.needs_reset());
        fake.break_down();
        assert!(device.needs_reset());
    }

    #[test]
    fn devices_that_are_not_modern_or_refuse_are_left_alone() {
        let (_, fake, device) = start();
        fake.offer(0b1);
        assert_eq!(device.begin(0b1), Err(Error::Unsupported));
        assert_eq!(fake.status(), status::FAILED);
        fake.offer(feature::VERSION_1);
        fake.refuse_features();
        assert_eq!(device.begin(0), Err(Error::Unsupported));
        assert_eq!(fake.status(), status::FAILED);
    }

    #[test]
    fn a_reset_without_an_answer_ends() {
        let (machine, fake, device) = start();
        fake.deafen();
        assert_eq!(device.begin(0), Err(Error::TimedOut));
        assert_eq!(machine.now_ns(), u64::from(RESET_MS) * 1_000_000, "bounded");
        assert!(device.stop().is_none(), "nothing stops it");
        fake.allow_cut_off();
        assert!(device.stop().is_some());
    }

    #[test]
    fn registers_that_never_rest_are_an_error() {
        let (_, fake, device) = start();
        fake.set_config(0, 7);
        assert_eq!(device.config(|c| c.read32(0)), Ok(7));
        fake.restless();
        assert_eq!(device.config(|c| c.read32(0)), Err(Error::Io));
    }

    #[test]
    fn queue_sizes_are_what_both_can_do() {
        let (_, fake, device) = start();
        device.begin(0).unwrap();
        for (offered, asked, wanted) in
            [(8, 64, Ok(8)), (256, 64, Ok(64)), (u16::MAX, 100, Ok(64)), (7, 64, Ok(4))]
        {
            fake.set_queue_size(0, offered);
            let size = device.queue(0, asked).map(|q| q.size());
            assert_eq!(size, wanted, "{offered} offered");
        }
        fake.set_queue_size(0, 0);
        assert_eq!(device.queue(0, 8).err(), Some(Error::NoDevice));
        assert_eq!(device.queue(5, 8).err(), Some(Error::NoDevice));
    }
}
