//! Virtio devices on PCI (Virtual I/O Device 1.2, 4.1), by their modern registers, which
//! capabilities of the function lead to. Transitional devices are driven as modern ones.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod layout;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use driver_api::log;
use driver_api::sync::IrqLock;
use driver_api::{
    BusAddress, Driver, Error, IrqHandler, IrqReturn, Kernel, Mmio, Result, Services, Wake,
};
use pci::{Function, Ids, PciDriver};
use virtio::{Handler, Rings, Transport};

use layout::Layout;

/// Vendor, and its device ids (4.1.2): transitional ones, whose kind is the subsystem's id,
/// then modern ones, whose kind is counted from [`MODERN`].
const VENDOR: u16 = 0x1af4;
const TRANSITIONAL: u16 = 0x1000;
const MODERN: u16 = 0x1040;
const LAST: u16 = 0x107f;

/// The common registers (4.1.4.3): offsets in bytes.
mod common {
    pub const DEVICE_FEATURE_SELECT: usize = 0;
    pub const DEVICE_FEATURE: usize = 4;
    pub const DRIVER_FEATURE_SELECT: usize = 8;
    pub const DRIVER_FEATURE: usize = 12;
    pub const CONFIG_VECTOR: usize = 16;
    pub const NUM_QUEUES: usize = 18;
    pub const STATUS: usize = 20;
    pub const GENERATION: usize = 21;
    pub const QUEUE_SELECT: usize = 22;
    pub const QUEUE_SIZE: usize = 24;
    pub const QUEUE_VECTOR: usize = 26;
    pub const QUEUE_ENABLE: usize = 28;
    pub const QUEUE_NOTIFY_OFF: usize = 30;
    pub const QUEUE_DESC: usize = 32;
    pub const QUEUE_DRIVER: usize = 40;
    pub const QUEUE_DEVICE: usize = 48;
    /// Their length.
    pub const LEN: u32 = 56;
}

/// No MSI-X vector (4.1.5.1.2).
const NO_VECTOR: u16 = 0xffff;
/// Most queues of a device that are used: as many CPUs as a VM has, in pairs, and a few.
const MOST_QUEUES: u16 = 256;

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "virtio-pci", early: None, probe };

static PCI: PciDriver = PciDriver { name: "virtio-pci", wants, start };

/// The PCI bus finds the devices.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    pci::register(&PCI);
    Ok(())
}

fn wants(ids: &Ids) -> bool {
    ids.vendor == VENDOR && (TRANSITIONAL..=LAST).contains(&ids.device)
}

fn start(services: &'static dyn Services, function: Arc<Function>) -> Result<()> {
    let device = Device::open(services, function)?;
    virtio::offer(services, Box::new(device));
    Ok(())
}

/// What kind of device it is.
fn kind(ids: &Ids) -> u32 {
    u32::from(if ids.device < MODERN { ids.subsystem } else { ids.device - MODERN })
}

/// Which vectors the device uses: for its own registers, and for each queue.
#[derive(Default)]
struct Vectors {
    config: Option<u16>,
    queues: Vec<u16>,
}

/// A device.
struct Device {
    services: &'static dyn Services,
    function: Arc<Function>,
    id: u32,
    common: Mmio,
    notify: Mmio,
    notify_multiplier: usize,
    isr: Arc<Mmio>,
    config: Mmio,
    /// Offsets in `notify`, by queue.
    doorbells: Box<[AtomicUsize]>,
    vectors: IrqLock<Vectors>,
}

impl Device {
    /// # Errors
    /// `Unsupported` without modern registers, `Io` for registers that make no sense.
    fn open(services: &'static dyn Services, function: Arc<Function>) -> Result<Self> {
        let layout = Layout::read(&function)?;
        function.enable();
        let map = |r: layout::Region| function.map(r.bar, r.offset.into(), r.len.into());
        let common = map(layout.common)?;
        let (notify, isr) = (map(layout.notify)?, map(layout.isr)?);
        let config = layout.device.map_or_else(|| common.part(0, 0), map)?;
        let queues = common.read16(common::NUM_QUEUES).min(MOST_QUEUES);
        let doorbells = (0..queues).map(|_| AtomicUsize::new(usize::MAX)).collect();
        Ok(Self {
            services,
            id: kind(&function.ids()),
            function,
            common,
            notify,
            notify_multiplier: usize::try_from(layout.notify_multiplier).map_err(|_| Error::Io)?,
            isr: Arc::new(isr),
            config,
            doorbells,
            vectors: IrqLock::new(Vectors::default()),
        })
    }

    fn write64(&self, offset: usize, value: u64) {
        // 4.1.3.1: in two halves, always.
        self.common.write32(offset, value as u32);
        self.common.write32(offset + 4, (value >> 32) as u32);
    }

    /// Chooses a message for the device's own registers and, as far as there are some, one
    /// for each queue, which goes to that queue's CPU.
    fn attach_messages(&self, wakes: &[Arc<dyn Wake>]) -> Result<()> {
        let entries = self.function.messages();
        let own = entries.saturating_sub(1).min(wakes.len());
        if own == 0 {
            return Err(Error::Unsupported);
        }
        let cpus = self.services.cpus().max(1);
        let mut messages = Vec::new();
        messages.push(self.services.attach_msi(0, Handler::leaked(wakes))?);
        for n in 0..own {
            // With fewer messages than queues, some are several queues'.
            let ours: Vec<_> = wakes.iter().skip(n).step_by(own).cloned().collect();
            messages.push(self.services.attach_msi(n % cpus, Handler::leaked(&ours))?);
        }
        self.function.enable_messages(&messages)?;
        let queues = (0..wakes.len()).map(|n| 1 + (n % own) as u16).collect();
        *self.vectors.lock() = Vectors { config: Some(0), queues };
        Ok(())
    }
}

/// The interrupt pin: reading the register acknowledges (4.1.4.5).
struct Pin {
    isr: Arc<Mmio>,
    wakes: &'static Handler,
}

impl IrqHandler for Pin {
    fn handle(&self) -> IrqReturn {
        if self.isr.read8(0) & 0b11 == 0 {
            return IrqReturn::NotMine;
        }
        self.wakes.wake();
        IrqReturn::Handled
    }
}

impl Transport for Device {
    fn address(&self) -> BusAddress {
        self.function.address()
    }

    fn device_id(&self) -> u32 {
        self.id
    }

    fn status(&self) -> u8 {
        self.common.read8(common::STATUS)
    }

    fn set_status(&self, status: u8) {
        self.common.write8(common::STATUS, status);
    }

    fn device_features(&self) -> u64 {
        let half = |n| {
            self.common.write32(common::DEVICE_FEATURE_SELECT, n);
            u64::from(self.common.read32(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for (n, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.common.write32(common::DRIVER_FEATURE_SELECT, n);
            self.common.write32(common::DRIVER_FEATURE, half);
        }
    }

    fn queue_size(&self, queue: u16) -> u16 {
        if usize::from(queue) >= self.doorbells.len() {
            return 0;
        }
        self.common.write16(common::QUEUE_SELECT, queue);
        self.common.read16(common::QUEUE_SIZE)
    }

    fn set_queue(&self, queue: u16, size: u16, rings: &Rings) -> Result<()> {
        let doorbell = self.doorbells.get(usize::from(queue)).ok_or(Error::Io)?;
        let vectors = self.vectors.lock();
        let vector = vectors.queues.get(usize::from(queue)).copied().unwrap_or(NO_VECTOR);
        drop(vectors);
        let c = &self.common;
        c.write16(common::QUEUE_SELECT, queue);
        if c.read16(common::QUEUE_ENABLE) != 0 {
            return Err(Error::Io);
        }
        c.write16(common::QUEUE_SIZE, size);
        c.write16(common::QUEUE_VECTOR, vector);
        if c.read16(common::QUEUE_VECTOR) != vector {
            return Err(Error::Io);
        }
        self.write64(common::QUEUE_DESC, rings.descriptors);
        self.write64(common::QUEUE_DRIVER, rings.available);
        self.write64(common::QUEUE_DEVICE, rings.used);
        let nth = usize::from(c.read16(common::QUEUE_NOTIFY_OFF));
        let place = nth.checked_mul(self.notify_multiplier).ok_or(Error::Io)?;
        if place.checked_add(2).is_none_or(|end| end > self.notify.len()) {
            return Err(Error::Io);
        }
        doorbell.store(place, Ordering::Relaxed);
        c.write16(common::QUEUE_ENABLE, 1);
        Ok(())
    }

    fn notify(&self, queue: u16) {
        let place = self.doorbells.get(usize::from(queue));
        let place = place.map_or(usize::MAX, |d| d.load(Ordering::Relaxed));
        self.notify.write16(place, queue);
    }

    fn generation(&self) -> u32 {
        self.common.read8(common::GENERATION).into()
    }

    fn config(&self) -> &Mmio {
        &self.config
    }

    fn attach(&self, wakes: &[Arc<dyn Wake>]) -> Result<()> {
        if let Err(e) = self.attach_messages(wakes) {
            let (line, trigger) = self.function.line().ok_or(e)?;
            let pin = Pin { isr: Arc::clone(&self.isr), wakes: Handler::leaked(wakes) };
            self.services.attach_irq(line, trigger, Box::leak(Box::new(pin)))?;
            log::debug!(target: "virtio-pci", "{}: no messages ({e:?}), line {}", self.function.address(), line.0);
        }
        self.reattach();
        Ok(())
    }

    fn reattach(&self) {
        let vector = self.vectors.lock().config.unwrap_or(NO_VECTOR);
        self.common.write16(common::CONFIG_VECTOR, vector);
    }

    fn cut_off(&self) -> bool {
        self.function.stop();
        true
    }
}

#[cfg(test)]
mod tests;
