//! PCI host bridges, as the platform describes them to the bus driver.

use alloc::vec::Vec;

use crate::{IrqLine, Trigger};

/// How configuration space is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Memory-mapped (PCI Express Base Specification 6.0, 7.2.2): bus `first_bus` begins at
    /// `base`, each bus has 1 MiB.
    Ecam {
        /// Physical address.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Ports 0xcf8 and 0xcfc (PCI Local Bus Specification 3.0, 3.2.2.3.2).
    Ports,
}

/// A range of addresses that the bridge hands on to its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Physical address on the CPU's side.
    pub cpu: u64,
    /// Address on the bus.
    pub bus: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Where the four interrupt pins of a device go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinRoute {
    /// The device on the root bus.
    pub device: u8,
    /// The pin, 1 to 4 (INTA … INTD).
    pub pin: u8,
    /// The line.
    pub line: IrqLine,
    /// How it signals.
    pub trigger: Trigger,
}

/// A host bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// PCI segment group.
    pub segment: u16,
    /// First bus below it.
    pub first_bus: u8,
    /// Last bus below it.
    pub last_bus: u8,
    /// How configuration space is reached.
    pub access: Access,
    /// Where base address registers that no firmware has set may be put; none where firmware
    /// has set them all.
    pub windows: Vec<Window>,
    /// Interrupt pins of the root bus; none where they are not known.
    pub pins: Vec<PinRoute>,
}

#[cfg(target_os = "none")]
unsafe extern "Rust" {
    /// In the kernel (`loader/src/drivers/pci.rs`).
    safe fn osier_pci_hosts() -> Vec<Host>;
}

/// The host bridges of this machine. A symbol of its own, not a method of
/// [`crate::Services`]: kernels without a PCI driver do not hold what stands behind it.
#[cfg(target_os = "none")]
#[must_use]
pub fn hosts() -> Vec<Host> {
    osier_pci_hosts()
}

/// The host bridges that the test has set.
#[cfg(not(target_os = "none"))]
#[must_use]
pub fn hosts() -> Vec<Host> {
    crate::fake::installed().map_or_else(Vec::new, |machine| machine.pci_hosts())
}
