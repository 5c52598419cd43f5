//! Configuration space: 256 bytes of every function, 4096 with PCI Express.

use driver_api::sync::IrqLock;
use driver_api::{Error, Mmio, PciAddress, Pio, Result, Services};

/// Bytes of a function's space in ECAM; buses are 1 MiB each (PCIe 7.2.2).
const ECAM_FUNCTION: usize = 4096;
const ECAM_BUS: u64 = 1 << 20;
/// Functions of a device, devices of a bus.
pub const FUNCTIONS: u8 = 8;
/// Devices of a bus.
pub const DEVICES: u8 = 32;

/// Offsets of the registers that every function has (PCI 6.1), all inside words of 32 bits.
pub mod register {
    /// Vendor, device.
    pub const ID: u16 = 0x00;
    /// Command (lower half), status (upper half).
    pub const COMMAND: u16 = 0x04;
    /// Revision, class.
    pub const CLASS: u16 = 0x08;
    /// Header type in bits 23:16.
    pub const HEADER: u16 = 0x0c;
    /// The first base address register.
    pub const BAR0: u16 = 0x10;
    /// Bridges: primary, secondary, subordinate bus.
    pub const BUSES: u16 = 0x18;
    /// Subsystem vendor, subsystem.
    pub const SUBSYSTEM: u16 = 0x2c;
    /// Offset of the first capability.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt line and pin.
    pub const INTERRUPT: u16 = 0x3c;
}

/// Bits of COMMAND, and of the status above it.
pub mod command {
    /// I/O ports answer.
    pub const IO: u32 = 1 << 0;
    /// Memory answers.
    pub const MEMORY: u32 = 1 << 1;
    /// The function may access memory by itself, and send messages.
    pub const MASTER: u32 = 1 << 2;
    /// The interrupt pin is silent.
    pub const NO_INTX: u32 = 1 << 10;
    /// Status: there is a list of capabilities.
    pub const HAS_CAPABILITIES: u32 = 1 << 20;
    /// What is written back to COMMAND: status bits are cleared by writing ones.
    pub const WRITABLE: u32 = 0xffff;
}

/// Access to the words of configuration space.
pub trait ConfigSpace: Send + Sync {
    /// The word at `offset`, a multiple of 4; all ones where there is nothing.
    fn read(&self, at: PciAddress, offset: u16) -> u32;

    /// Writes it.
    fn write(&self, at: PciAddress, offset: u16, value: u32);

    /// The byte at any offset.
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        (self.read(at, offset & !3) >> (offset % 4 * 8)) as u8
    }

    /// The half word at an even offset.
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        (self.read(at, offset & !3) >> (offset % 4 / 2 * 16)) as u16
    }
}

/// Configuration space in memory: one bus.
pub struct Ecam {
    bus: u8,
    registers: Mmio,
}

impl Ecam {
    /// The space of bus `bus` of a bridge whose ECAM of `len` bytes begins at `base` with bus
    /// `first`. A bus at a time: 256 of them would cost half a megabyte of page tables.
    ///
    /// # Errors
    /// `OutOfRange` when the bridge has no such bus, and what mapping says.
    pub fn new(
        services: &'static dyn Services,
        base: u64,
        len: u64,
        first: u8,
        bus: u8,
    ) -> Result<Self> {
        let nth = bus.checked_sub(first).ok_or(Error::OutOfRange)?;
        let offset = u64::from(nth) * ECAM_BUS;
        if offset.checked_add(ECAM_BUS).is_none_or(|end| end > len) {
            return Err(Error::OutOfRange);
        }
        let start = base.checked_add(offset).ok_or(Error::OutOfRange)?;
        Ok(Self { bus, registers: services.map_mmio(start, ECAM_BUS)? })
    }

    fn place(&self, at: PciAddress, offset: u16) -> usize {
        if at.bus != self.bus || usize::from(offset) >= ECAM_FUNCTION {
            return usize::MAX;
        }
        (usize::from(at.device) << 15) + (usize::from(at.function) << 12) + usize::from(offset)
    }
}

impl ConfigSpace for Ecam {
    fn read(&self, at: PciAddress, offset: u16) -> u32 {
        self.registers.read32(self.place(at, offset))
    }

    fn write(&self, at: PciAddress, offset: u16, value: u32) {
        self.registers.write32(self.place(at, offset), value);
    }
}

/// Configuration space behind the ports 0xcf8 (address) and 0xcfc (data): the first 256
/// bytes.
pub struct Ports(IrqLock<Pio>);

impl Ports {
    /// The first port, and how many.
    const BASE: u16 = 0xcf8;
    const LEN: u16 = 8;
    /// Offsets of address and data.
    const ADDRESS: u16 = 0;
    const DATA: u16 = 4;
    /// The address is one of configuration space.
    const ENABLE: u32 = 1 << 31;

    /// The ports, if something answers there.
    ///
    /// # Errors
    /// `NoDevice`, and what claiming ports says.
    pub fn new(services: &'static dyn Services) -> Result<Self> {
        let ports = services.claim_pio(Self::BASE, Self::LEN)?;
        ports.write32(Self::ADDRESS, Self::ENABLE);
        if ports.read32(Self::ADDRESS) != Self::ENABLE {
            return Err(Error::NoDevice);
        }
        Ok(Self(IrqLock::new(ports)))
    }

    fn select(ports: &Pio, at: PciAddress, offset: u16) -> bool {
        if offset > 0xfc || at.segment != 0 {
            return false;
        }
        let address = Self::ENABLE
            | u32::from(at.bus) << 16
            | u32::from(at.device) << 11
            | u32::from(at.function) << 8
            | u32::from(offset & 0xfc);
        ports.write32(Self::ADDRESS, address);
        true
    }
}

impl ConfigSpace for Ports {
    fn read(&self, at: PciAddress, offset: u16) -> u32 {
        let ports = self.0.lock();
        if Self::select(&ports, at, offset) { ports.read32(Self::DATA) } else { u32::MAX }
    }

    fn write(&self, at: PciAddress, offset: u16, value: u32) {
        let ports = self.0.lock();
        if Self::select(&ports, at, offset) {
            ports.write32(Self::DATA, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use driver_api::fake::{Machine, Registers};

    /// Answers with what was selected.
    struct Echo(IrqLock<u64>, u64);
    impl Registers for Echo {
        fn read(&self, offset: usize, _size: usize) -> u64 {
            if offset == 0 { *self.0.lock() & self.1 } else { *self.0.lock() ^ 0xffff }
        }
        fn write(&self, offset: usize, _size: usize, value: u64) {
            if offset == 0 {
                *self.0.lock() = value;
            }
        }
    }

    const AT: PciAddress = PciAddress { segment: 0, bus: 2, device: 3, function: 1 };

    #[test]
    fn ports_select_what_is_read() {
        let machine = Machine::leaked();
        machine.set_ports(0xcf8, 8, Arc::new(Echo(IrqLock::new(0), u64::MAX)));
        let ports = Ports::new(machine).unwrap();
        assert_eq!(ports.read(AT, 0x10), 0x8002_1910 ^ 0xffff);
        assert_eq!(ports.read(AT, 0x100), u32::MAX, "beyond what ports reach");
        assert_eq!(ports.read(PciAddress { segment: 1, ..AT }, 0), u32::MAX);
        let deaf = Machine::leaked();
        deaf.set_ports(0xcf8, 8, Arc::new(Echo(IrqLock::new(0), 0)));
        assert_eq!(Ports::new(deaf).err(), Some(Error::NoDevice));
        assert_eq!(Ports::new(Machine::leaked()).err(), Some(Error::Unsupported));
    }

    #[test]
    fn ecam_is_mapped_bus_by_bus_and_bounded() {
        struct Offset;
        impl Registers for Offset {
            fn read(&self, offset: usize, _size: usize) -> u64 {
                offset as u64
            }
            fn write(&self, _offset: usize, _size: usize, _value: u64) {}
        }
        let machine = Machine::leaked();
        machine.set_registers(0xb000_0000, 4 << 20, Arc::new(Offset));
        let open = |bus| Ecam::new(machine, 0xb000_0000, 4 << 20, 1, bus);
        let ecam = open(2).unwrap();
        assert_eq!(ecam.read(AT, 0x104), (1 << 20) + (3 << 15) + (1 << 12) + 0x104);
        assert_eq!(ecam.read16(AT, 0x106), 0x11);
        assert_eq!(ecam.read(AT, 4096), u32::MAX);
        assert_eq!(ecam.read(PciAddress { bus: 1, ..AT }, 0), u32::MAX, "another bus");
        for bus in [0, 5, 255] {
            assert_eq!(open(bus).err(), Some(Error::OutOfRange));
        }
    }
}
