//! Where devices are, and how a bus and its drivers meet.

use alloc::vec::Vec;

use crate::Result;
use crate::sync::IrqLock;

/// A device's place on its bus. The order is the one in which the kernel names devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BusAddress {
    /// A function of a PCI device.
    Pci(PciAddress),
    /// Memory-mapped registers at this physical address.
    Mmio(u64),
    /// The kernel's own, by number.
    Virtual(u32),
}

impl core::fmt::Display for BusAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Pci(at) => write!(f, "pci {at}"),
            Self::Mmio(at) => write!(f, "mmio {at:#x}"),
            Self::Virtual(n) => write!(f, "virtual {n}"),
        }
    }
}

/// The geographical address of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    /// PCI segment group.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device, below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

impl core::fmt::Display for PciAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// A driver of devices on some bus.
pub trait BusDriver: Sync + 'static {
    /// What the bus hands over.
    type Device: Send;

    /// Its name, for the log.
    fn name(&self) -> &'static str;

    /// Whether `device` is one of its own.
    fn wants(&self, device: &Self::Device) -> bool;

    /// Starts a device that it wants.
    ///
    /// # Errors
    /// When it does not start; the device is lost then.
    fn start(&self, device: Self::Device) -> Result<()>;
}

struct Waiting<D: BusDriver> {
    drivers: Vec<&'static D>,
    /// That nobody wants yet.
    devices: Vec<D::Device>,
}

/// Drivers and devices of a bus. Whichever of the two comes last makes them meet, so the
/// order in which drivers probe does not matter.
pub struct Binding<D: BusDriver>(IrqLock<Waiting<D>>);

impl<D: BusDriver> Binding<D> {
    /// Nobody has come.
    #[must_use]
    pub const fn new() -> Self {
        Self(IrqLock::new(Waiting { drivers: Vec::new(), devices: Vec::new() }))
    }

    /// A driver has come: starts the devices that wait for it, in the order they came.
    pub fn add_driver(&self, driver: &'static D) {
        self.0.lock().drivers.push(driver);
        loop {
            let next = {
                let mut waiting = self.0.lock();
                let at = waiting.devices.iter().position(|d| driver.wants(d));
                at.map(|at| waiting.devices.remove(at))
            };
            match next {
                Some(device) => start(driver, device),
                None => return,
            }
        }
    }

    /// A device was found: starts it if its driver has come.
    pub fn add_device(&self, device: D::Device) {
        let driver = {
            let mut waiting = self.0.lock();
            match waiting.drivers.iter().find(|d| d.wants(&device)).copied() {
                Some(driver) => driver,
                None => {
                    waiting.devices.push(device);
                    return;
                }
            }
        };
        start(driver, device);
    }
}

impl<D: BusDriver> Default for Binding<D> {
    fn default() -> Self {
        Self::new()
    }
}

/// With no lock held: starting may take long, and may find further devices.
fn start<D: BusDriver>(driver: &D, device: D::Device) {
    if let Err(e) = driver.start(device) {
        log::error!("{}: a device does not start: {e:?}", driver.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;

    struct Odd(IrqLock<Vec<u32>>);

    impl BusDriver for Odd {
        type Device = u32;

        fn name(&self) -> &'static str {
            "odd"
        }

        fn wants(&self, device: &u32) -> bool {
            device % 2 == 1
        }

        fn start(&self, device: u32) -> Result<()> {
            self.0.lock().push(device);
            if device == 3 { Err(crate::Error::Io) } else { Ok(()) }
        }
    }

    #[test]
    fn driver_and_device_meet_in_any_order() {
        let binding = Binding::new();
        [1, 2, 3].into_iter().for_each(|d| binding.add_device(d));
        let odd: &'static Odd = Box::leak(Box::new(Odd(IrqLock::new(Vec::new()))));
        binding.add_driver(odd);
        [4, 5].into_iter().for_each(|d| binding.add_device(d));
        assert_eq!(*odd.0.lock(), [1, 3, 5], "each once; one that fails stops no other");
    }

    #[test]
    fn devices_are_named_by_address() {
        let pci =
            |bus, device| BusAddress::Pci(PciAddress { segment: 0, bus, device, function: 0 });
        let mut all = [
            BusAddress::Virtual(0),
            BusAddress::Mmio(2),
            pci(1, 0),
            pci(0, 31),
            BusAddress::Mmio(1),
        ];
        all.sort();
        let wanted = [
            pci(0, 31),
            pci(1, 0),
            BusAddress::Mmio(1),
            BusAddress::Mmio(2),
            BusAddress::Virtual(0),
        ];
        assert_eq!(all, wanted);
    }
}
