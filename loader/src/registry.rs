//! Drivers: what the linker gathered, started; and what they may ask of the kernel.

use driver_api::{
    Console, Error, IrqHandler, IrqLine, Kernel, Mmio, Pio, Resource, Result, Trigger,
};

use crate::mm::table::Flags;
use crate::mm::{PAGE_SIZE, PhysAddr, kernel};
use crate::{arch, irq, time};
use core::sync::atomic::{AtomicBool, Ordering};
use driver_api::sync::IrqLock;

/// The kernel's services, as drivers see them.
pub(crate) struct Services;
pub(crate) static SERVICES: Services = Services;

/// `mm::init` is done: registers are mapped for good.
static MEMORY_UP: AtomicBool = AtomicBool::new(false);

/// Registers that were mapped, so that asking again gives the same mapping.
#[derive(Clone, Copy)]
struct Mapped {
    base: u64,
    len: u64,
    at: usize,
}

static MAPPED: IrqLock<heapless_list::List> = IrqLock::new(heapless_list::List::new());

/// A short list without an allocator: drivers map registers before there is a heap.
mod heapless_list {
    use super::Mapped;

    /// More mappings than this are made anew each time they are asked for.
    const MAX: usize = 32;

    pub struct List {
        items: [Option<Mapped>; MAX],
    }

    impl List {
        pub const fn new() -> Self {
            Self { items: [None; MAX] }
        }

        /// The mapping that covers `len` bytes from `base`.
        pub fn find(&self, base: u64, len: u64) -> Option<Mapped> {
            self.items.iter().flatten().copied().find(|m| {
                base >= m.base && base - m.base <= m.len && len <= m.len - (base - m.base)
            })
        }

        pub fn add(&mut self, mapped: Mapped) {
            if let Some(slot) = self.items.iter_mut().find(|i| i.is_none()) {
                *slot = Some(mapped);
            }
        }
    }
}

/// Whether `len` bytes from `base` touch RAM that the boot protocol reported as usable.
fn touches_ram(base: u64, end: u64) -> bool {
    crate::end::boot_info().is_some_and(|info| {
        let ram = crate::mm::regions::usable(&info.memory);
        ram.ranges().iter().any(|r| base < r.end.0 && r.start.0 < end)
    })
}

fn map_registers(base: u64, len: u64) -> Result<usize> {
    let end = base.checked_add(len).filter(|_| len > 0).ok_or(Error::Invalid)?;
    if let Some(m) = MAPPED.lock().find(base, len) {
        return Ok(m.at + (base - m.base) as usize);
    }
    if touches_ram(base, end) {
        return Err(Error::Invalid);
    }
    let page = base & !(PAGE_SIZE as u64 - 1);
    let at = if MEMORY_UP.load(Ordering::Acquire) {
        let flags = Flags::WRITE.with(Flags::DEVICE);
        kernel::map_fixed(PhysAddr(base), len, flags).map_err(|_| Error::NoMemory)?.addr()
    } else {
        // One page each, so early.
        if end - page > PAGE_SIZE as u64 {
            return Err(Error::Unsupported);
        }
        let va = kernel::map_early_device(PhysAddr(page)).ok_or(Error::NoMemory)?;
        va.0 + (base - page) as usize
    };
    MAPPED.lock().add(Mapped { base, len, at });
    Ok(at)
}

impl Kernel for Services {
    fn find_device(&self, compatible: &str, index: usize, out: &mut [Resource]) -> Option<usize> {
        arch::platform::find_device(compatible, index, out)
    }

    fn map_mmio(&self, base: u64, len: u64) -> Result<Mmio> {
        let at = map_registers(base, len)?;
        Ok(crate::mm::kernel::registers(at, len as usize))
    }

    fn claim_pio(&self, base: u16, len: u16) -> Result<Pio> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::Unsupported);
        }
        if len == 0 || base.checked_add(len - 1).is_none() {
            return Err(Error::Invalid);
        }
        Ok(crate::mm::kernel::ports(base, len))
    }

    fn attach_irq(
        &self,
        line: IrqLine,
        trigger: Trigger,
        handler: &'static dyn IrqHandler,
    ) -> Result<()> {
        irq::attach(line, trigger, handler)
    }

    fn set_console(&self, console: &'static dyn Console) {
        if !crate::log::set_console(console) {
            log::info!("a further console is not used");
        }
    }

    fn now_ns(&self) -> u64 {
        time::now_ns()
    }
}

/// The kernel's services, for drivers and for what starts a console's input.
#[must_use]
pub fn services() -> &'static dyn Kernel {
    &SERVICES
}

/// The drivers of this kernel. One place that asks the list for them: it is copied for that.
#[inline(never)]
fn drivers() -> &'static [driver_api::Driver] {
    driver_api::DRIVERS.static_slice()
}

/// Lets the drivers that can start so early find the console.
pub(crate) fn early() {
    for driver in drivers() {
        if let Some(early) = driver.early
            && let Err(e) = early(&SERVICES)
        {
            report(driver.name, e);
        }
    }
}

/// Memory management is up.
pub(crate) fn memory_is_up() {
    MEMORY_UP.store(true, Ordering::Release);
}

/// Starts the drivers, one after the other, in the thread that calls it.
pub(crate) fn probe() {
    for driver in drivers() {
        if let Err(e) = (driver.probe)(&SERVICES) {
            report(driver.name, e);
        }
    }
}

/// A device that is not there is no news; everything else is.
fn report(name: &str, e: Error) {
    match e {
        Error::NoDevice => log::info!("{name}: no device"),
        e => log::error!("driver {name} could not start: {e:?}"),
    }
}
