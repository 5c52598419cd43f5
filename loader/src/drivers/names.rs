//! Devices of a class and their numbers.

use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::BusAddress;
use driver_api::sync::IrqLock;

/// The devices of a class in the order of their addresses, which is that of their names.
/// All are added while drivers probe; nobody asks before.
pub struct Names<T: ?Sized>(IrqLock<Vec<(BusAddress, Arc<T>)>>);

impl<T: ?Sized> Names<T> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(IrqLock::new(Vec::new()))
    }

    /// Adds a device.
    pub fn add(&self, at: BusAddress, device: Arc<T>) {
        let mut all = self.0.lock();
        let place = all.partition_point(|(other, _)| *other <= at);
        all.insert(place, (at, device));
    }

    /// The device with number `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(BusAddress, Arc<T>)> {
        self.0.lock().get(index).map(|(at, device)| (*at, Arc::clone(device)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }
}
