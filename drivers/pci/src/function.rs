//! A function, as its driver sees it.

use alloc::sync::Arc;

use driver_api::sync::IrqLock;
use driver_api::{
    BusAddress, Error, IrqLine, Mmio, MsiMessage, PciAddress, Result, Services, Trigger,
};

use crate::bars::{Bar, COUNT, Space};
use crate::capability::{self, Capability};
use crate::config::{ConfigSpace, command, register};
use crate::msix;

/// Who made a function, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Base class, subclass, interface: 24 bits.
    pub class: u32,
    /// Vendor of the subsystem.
    pub subsystem_vendor: u16,
    /// Subsystem.
    pub subsystem: u16,
}

/// A function of a PCI device.
pub struct Function {
    pub(crate) services: &'static dyn Services,
    pub(crate) space: Arc<dyn ConfigSpace>,
    pub(crate) at: PciAddress,
    pub(crate) bars: [Option<Bar>; COUNT],
    pub(crate) addresses: Arc<IrqLock<Space>>,
    pub(crate) line: Option<(IrqLine, Trigger)>,
}

impl Function {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> BusAddress {
        BusAddress::Pci(self.at)
    }

    /// What it is.
    #[must_use]
    pub fn ids(&self) -> Ids {
        let (id, class) = (self.read(register::ID), self.read(register::CLASS));
        let subsystem = self.read(register::SUBSYSTEM);
        Ids {
            vendor: id as u16,
            device: (id >> 16) as u16,
            revision: class as u8,
            class: class >> 8,
            subsystem_vendor: subsystem as u16,
            subsystem: (subsystem >> 16) as u16,
        }
    }

    /// The word of configuration space at `offset`, a multiple of 4.
    #[must_use]
    pub fn read(&self, offset: u16) -> u32 {
        self.space.read(self.at, offset)
    }

    /// The byte at `offset`.
    #[must_use]
    pub fn read8(&self, offset: u16) -> u8 {
        self.space.read8(self.at, offset)
    }

    /// Its capabilities, bounded.
    pub fn capabilities(&self) -> impl Iterator<Item = Capability> {
        capability::list(&*self.space, self.at)
    }

    /// Lets its memory answer, and lets it access ours and send messages.
    pub fn enable(&self) {
        let old = self.read(register::COMMAND) & command::WRITABLE;
        let new = old | command::MEMORY | command::MASTER;
        self.space.write(self.at, register::COMMAND, new);
    }

    /// Takes its access to our memory away: after this it cannot write to any, whatever its
    /// own registers say.
    pub fn stop(&self) {
        let old = self.read(register::COMMAND) & command::WRITABLE;
        self.space.write(self.at, register::COMMAND, old & !command::MASTER);
    }

    /// Maps `len` bytes from `offset` of the memory of base address register `index`.
    ///
    /// # Errors
    /// `NoDevice` when there is no such register, `OutOfRange` when the memory is not all
    /// there, and what mapping says.
    pub fn map(&self, index: usize, offset: u64, len: u64) -> Result<Mmio> {
        let bar = self.bars.get(index).copied().flatten().filter(|b| b.bus != 0);
        let bar = bar.ok_or(Error::NoDevice)?;
        if len == 0 || offset.checked_add(len).is_none_or(|end| end > bar.len) {
            return Err(Error::OutOfRange);
        }
        let cpu = self.addresses.lock().cpu_address(bar.bus, bar.len).ok_or(Error::OutOfRange)?;
        self.services.map_mmio(cpu.checked_add(offset).ok_or(Error::OutOfRange)?, len)
    }

    /// How many MSI-X messages it can send.
    #[must_use]
    pub fn messages(&self) -> usize {
        msix::Table::find(&*self.space, self.at).map_or(0, |t| t.entries)
    }

    /// Makes its message n `messages[n]`, and silences its pin.
    ///
    /// # Errors
    /// `Unsupported` without MSI-X; `OutOfRange` for more than it has.
    pub fn enable_messages(&self, messages: &[MsiMessage]) -> Result<()> {
        let table = msix::Table::find(&*self.space, self.at).ok_or(Error::Unsupported)?;
        let memory = self.map(table.bar, table.offset as u64, table.len() as u64)?;
        table.enable(&*self.space, self.at, &memory, messages)?;
        let old = self.read(register::COMMAND) & command::WRITABLE;
        self.space.write(self.at, register::COMMAND, old | command::NO_INTX);
        Ok(())
    }

    /// The line of its interrupt pin, where the platform says where that goes.
    #[must_use]
    pub fn line(&self) -> Option<(IrqLine, Trigger)> {
        self.line
    }
}
