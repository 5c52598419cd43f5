//! What carries a device: the registers of section 4, whatever bus they are on.

use alloc::boxed::Box;
use alloc::sync::Arc;

use driver_api::{BusAddress, IrqHandler, IrqReturn, Mmio, Result, Wake};

/// Bits of the device status (2.1).
pub mod status {
    /// The device was noticed.
    pub const ACKNOWLEDGE: u8 = 1;
    /// There is a driver for it.
    pub const DRIVER: u8 = 2;
    /// The driver may use it.
    pub const DRIVER_OK: u8 = 4;
    /// The features are settled.
    pub const FEATURES_OK: u8 = 8;
    /// The device has given up and wants a reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
}

/// Where the three parts of a queue are on the bus (2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Descriptor table.
    pub descriptors: u64,
    /// Available ring.
    pub available: u64,
    /// Used ring.
    pub used: u64,
}

/// The registers of a device.
pub trait Transport: Send + Sync {
    /// Where it is.
    fn address(&self) -> BusAddress;

    /// What kind of device it is (section 5).
    fn device_id(&self) -> u32;

    /// The device status; 0 once a reset is complete.
    fn status(&self) -> u8;

    /// Sets the device status; 0 begins a reset.
    fn set_status(&self, status: u8);

    /// The features that the device offers.
    fn device_features(&self) -> u64;

    /// The features that the driver has chosen.
    fn set_driver_features(&self, features: u64);

    /// The most descriptors that queue `queue` can have; 0 when there is no such queue.
    fn queue_size(&self, queue: u16) -> u16;

    /// Gives the device queue `queue` with `size` descriptors, and turns it on.
    ///
    /// # Errors
    /// `Io` when the device does not take it.
    fn set_queue(&self, queue: u16, size: u16, rings: &Rings) -> Result<()>;

    /// Tells the device that queue `queue` has something new.
    fn notify(&self, queue: u16);

    /// A number that changes when the device's own registers do.
    fn generation(&self) -> u32;

    /// The device's own registers.
    fn config(&self) -> &Mmio;

    /// Wakes `wakes[n]` when queue n has something new, and all of them when the device's own
    /// registers have changed. Called once, before the queues are set; what it decided is
    /// told the device again after each reset.
    ///
    /// # Errors
    /// What the kernel says of the interrupts.
    fn attach(&self, wakes: &[Arc<dyn Wake>]) -> Result<()>;

    /// After a reset: tells the device again which interrupts [`Self::attach`] chose.
    fn reattach(&self);

    /// Keeps the device from memory where the bus can, for it does not answer a reset.
    /// `false` where it cannot.
    fn cut_off(&self) -> bool {
        false
    }
}

/// Wakes whom it must for a message-signalled interrupt, which needs no acknowledgement.
pub struct Handler(Box<[Arc<dyn Wake>]>);

impl Handler {
    /// A handler that wakes all of `wakes`. For ever: handlers are never detached.
    #[must_use]
    pub fn leaked(wakes: &[Arc<dyn Wake>]) -> &'static Self {
        Box::leak(Box::new(Self(wakes.into())))
    }

    /// Wakes them.
    pub fn wake(&self) {
        self.0.iter().for_each(|w| w.wake());
    }
}

impl IrqHandler for Handler {
    fn handle(&self) -> IrqReturn {
        self.wake();
        IrqReturn::Handled
    }
}
