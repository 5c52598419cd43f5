//! Where devices are.

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
