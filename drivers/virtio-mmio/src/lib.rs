//! Virtio devices behind memory-mapped registers (Virtual I/O Device 1.2, 4.2), as the device
//! tree describes them (`virtio,mmio`) or words `virtio_mmio.device=SIZE@BASE:IRQ[:ID]` of the
//! command line (Linux's `Documentation/admin-guide/kernel-parameters.txt`).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod words;

use alloc::boxed::Box;
use alloc::sync::Arc;

use driver_api::log;
use driver_api::{
    BusAddress, Driver, Error, IrqHandler, IrqLine, IrqReturn, Kernel, Mmio, Resource, Result,
    Services, Trigger, Wake,
};
use virtio::{Handler, Rings, Transport};

/// Register offsets in bytes (4.2.2).
mod register {
    pub const MAGIC: usize = 0x000;
    pub const VERSION: usize = 0x004;
    pub const DEVICE_ID: usize = 0x008;
    pub const DEVICE_FEATURES: usize = 0x010;
    pub const DEVICE_FEATURES_SEL: usize = 0x014;
    pub const DRIVER_FEATURES: usize = 0x020;
    pub const DRIVER_FEATURES_SEL: usize = 0x024;
    pub const QUEUE_SEL: usize = 0x030;
    pub const QUEUE_SIZE_MAX: usize = 0x034;
    pub const QUEUE_SIZE: usize = 0x038;
    pub const QUEUE_READY: usize = 0x044;
    pub const QUEUE_NOTIFY: usize = 0x050;
    pub const INTERRUPT_STATUS: usize = 0x060;
    pub const INTERRUPT_ACK: usize = 0x064;
    pub const STATUS: usize = 0x070;
    pub const QUEUE_DESC: usize = 0x080;
    pub const QUEUE_DRIVER: usize = 0x090;
    pub const QUEUE_DEVICE: usize = 0x0a0;
    pub const CONFIG_GENERATION: usize = 0x0fc;
    pub const CONFIG: usize = 0x100;
}

/// MAGIC: "virt".
const MAGIC: u32 = 0x7472_6976;
/// VERSION: modern, and what came before.
const MODERN: u32 = 2;
const LEGACY: u32 = 1;
/// Most devices that are looked for.
const MOST: usize = 64;
/// Most rounds of acknowledging in one interrupt.
const ROUNDS: usize = 16;

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "virtio-mmio", early: None, probe };

/// A place where a device may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    base: u64,
    len: u64,
    line: IrqLine,
    trigger: Trigger,
}

/// Offers every device that is there.
fn probe(kernel: &'static dyn Kernel) -> Result<()> {
    let services = driver_api::services();
    let mut any = false;
    for place in (0..MOST).map_while(|n| by_tree(kernel, n)).flatten() {
        any |= offer(services, &place);
    }
    for (n, word) in services.described_devices("virtio_mmio.device").iter().enumerate() {
        match words::parse(word) {
            Some(place) => any |= offer(services, &place),
            None => {
                log::warn!(target: "virtio-mmio", "virtio_mmio.device= number {n} is not SIZE@BASE:IRQ");
            }
        }
    }
    if any { Ok(()) } else { Err(Error::NoDevice) }
}

/// The `index`-th place of the device tree; the inner `None` when it lacks something.
fn by_tree(kernel: &'static dyn Kernel, index: usize) -> Option<Option<Place>> {
    let mut found = [Resource::Mmio { base: 0, len: 0 }; 2];
    let count = kernel.find_device("virtio,mmio", index, &mut found)?;
    let place = match found.get(..count) {
        Some(&[Resource::Mmio { base, len }, Resource::Irq { line, trigger }]) => {
            Some(Place { base, len, line, trigger })
        }
        _ => None,
    };
    Some(place)
}

/// Offers the device at `place`; whether there is one.
#[inline(never)]
fn offer(services: &'static dyn Services, place: &Place) -> bool {
    match Device::open(services, place) {
        Ok(device) => {
            virtio::offer(services, Box::new(device));
            true
        }
        Err(Error::NoDevice) => false,
        Err(e) => {
            log::warn!(target: "virtio-mmio", "the device at {:#x} cannot be used: {e:?}", place.base);
            false
        }
    }
}

/// A device.
struct Device {
    services: &'static dyn Services,
    place: Place,
    id: u32,
    registers: Arc<Mmio>,
    config: Mmio,
}

impl Device {
    /// # Errors
    /// `NoDevice` for an empty place, `Unsupported` for a legacy device, `Invalid` for too
    /// few registers.
    fn open(services: &'static dyn Services, place: &Place) -> Result<Self> {
        let len = usize::try_from(place.len).map_err(|_| Error::Invalid)?;
        let config_len = len.checked_sub(register::CONFIG).ok_or(Error::Invalid)?;
        let registers = services.map_mmio(place.base, place.len)?;
        if registers.read32(register::MAGIC) != MAGIC {
            return Err(Error::NoDevice);
        }
        let id = registers.read32(register::DEVICE_ID);
        match registers.read32(register::VERSION) {
            // A place without a device (4.2.3.1.1).
            _ if id == 0 => Err(Error::NoDevice),
            MODERN => {
                let config = registers.part(register::CONFIG, config_len)?;
                let registers = Arc::new(registers);
                Ok(Self { services, place: *place, id, registers, config })
            }
            LEGACY => {
                log::warn!(target: "virtio-mmio", "the device at {:#x} is a legacy one (QEMU: -global virtio-mmio.force-legacy=false)", place.base);
                Err(Error::Unsupported)
            }
            _ => Err(Error::Unsupported),
        }
    }

    /// Registers of the queue that is selected hold addresses in two halves.
    fn write_address(&self, offset: usize, address: u64) {
        self.registers.write32(offset, address as u32);
        self.registers.write32(offset + 4, (address >> 32) as u32);
    }
}

/// Acknowledges and wakes.
struct Line {
    registers: Arc<Mmio>,
    wakes: &'static Handler,
}

impl IrqHandler for Line {
    fn handle(&self) -> IrqReturn {
        let mut ours = false;
        // On an edge-triggered line the next interrupt comes only after the line was low.
        for _ in 0..ROUNDS {
            let pending = self.registers.read32(register::INTERRUPT_STATUS);
            if pending == 0 {
                break;
            }
            ours = true;
            self.registers.write32(register::INTERRUPT_ACK, pending);
        }
        if !ours {
            return IrqReturn::NotMine;
        }
        self.wakes.wake();
        IrqReturn::Handled
    }
}

impl Transport for Device {
    fn address(&self) -> BusAddress {
        BusAddress::Mmio(self.place.base)
    }

    fn device_id(&self) -> u32 {
        self.id
    }

    fn status(&self) -> u8 {
        self.registers.read32(register::STATUS) as u8
    }

    fn set_status(&self, status: u8) {
        self.registers.write32(register::STATUS, status.into());
    }

    fn device_features(&self) -> u64 {
        let half = |n| {
            self.registers.write32(register::DEVICE_FEATURES_SEL, n);
            u64::from(self.registers.read32(register::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for (n, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.registers.write32(register::DRIVER_FEATURES_SEL, n);
            self.registers.write32(register::DRIVER_FEATURES, half);
        }
    }

    fn queue_size(&self, queue: u16) -> u16 {
        self.registers.write32(register::QUEUE_SEL, queue.into());
        u16::try_from(self.registers.read32(register::QUEUE_SIZE_MAX)).unwrap_or(u16::MAX)
    }

    fn set_queue(&self, queue: u16, size: u16, rings: &Rings) -> Result<()> {
        let r = &self.registers;
        r.write32(register::QUEUE_SEL, queue.into());
        if r.read32(register::QUEUE_READY) != 0 {
            return Err(Error::Io);
        }
        r.write32(register::QUEUE_SIZE, size.into());
        self.write_address(register::QUEUE_DESC, rings.descriptors);
        self.write_address(register::QUEUE_DRIVER, rings.available);
        self.write_address(register::QUEUE_DEVICE, rings.used);
        r.write32(register::QUEUE_READY, 1);
        if r.read32(register::QUEUE_READY) == 1 { Ok(()) } else { Err(Error::Io) }
    }

    fn notify(&self, queue: u16) {
        self.registers.write32(register::QUEUE_NOTIFY, queue.into());
    }

    fn generation(&self) -> u32 {
        self.registers.read32(register::CONFIG_GENERATION)
    }

    fn config(&self) -> &Mmio {
        &self.config
    }

    fn attach(&self, wakes: &[Arc<dyn Wake>]) -> Result<()> {
        let line = Line { registers: Arc::clone(&self.registers), wakes: Handler::leaked(wakes) };
        let line: &'static Line = Box::leak(Box::new(line));
        self.services.attach_irq(self.place.line, self.place.trigger, line)
    }

    /// A device has one line, always.
    fn reattach(&self) {}
}

#[cfg(test)]
mod tests;
