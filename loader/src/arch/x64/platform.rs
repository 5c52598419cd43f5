//! What the machine has, from ACPI or by the conventions of PCs where there is no ACPI.

use alloc::vec::Vec;
use core::cell::RefCell;

use driver_api::pci::{Access, Host};
use driver_api::{Error, IrqLine, Mmio, Resource, Result, Trigger};

use super::acpi::{self, IoApic, Tables};
use super::mp;
use super::phys::PhysMemory;
use crate::mm::kernel::map_fixed;
use crate::mm::table::Flags;
use crate::mm::{PAGE_SIZE, PhysAddr};

/// Ports and ISA interrupts of a PC's serial ports COM1 … COM4.
const SERIAL: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
/// Registers of each.
const SERIAL_LEN: u16 = 8;

static TABLES: driver_api::Once<Tables> = driver_api::Once::new();

/// Reads the firmware's tables; early, while `memory` shows the first 4 GiB.
pub(super) fn init(memory: &impl PhysMemory, rsdp: Option<u64>) {
    TABLES.call_once(|| {
        let mut tables = acpi::read(memory, rsdp);
        if !tables.found {
            tables.cpus = mp::cpus(memory);
        }
        tables
    });
}

/// What the tables said.
pub fn tables() -> &'static Tables {
    TABLES.call_once(Tables::default)
}

/// The I/O APICs by convention: the one of every PC, and the second one of QEMU's `microvm`
/// (`docs/system/i386/microvm.rst`), whose absence `irq::init` notices.
const IO_APICS: [Option<IoApic>; 2] = [
    Some(IoApic { address: 0xfec0_0000, gsi_base: 0 }),
    Some(IoApic { address: 0xfec1_0000, gsi_base: 24 }),
];

/// The I/O APICs, the first ones of the list.
pub(super) fn io_apics() -> &'static [Option<IoApic>] {
    let found = &tables().io_apics;
    if found.first().is_some_and(Option::is_some) { found } else { &IO_APICS }
}

/// Maps the page of device registers at `page` for ever.
pub(super) fn map(page: PhysAddr) -> Result<Mmio> {
    let flags = Flags::WRITE.with(Flags::DEVICE);
    let base = map_fixed(page, PAGE_SIZE as u64, flags).map_err(|_| Error::NoMemory)?;
    // SAFETY: mapped just now, uncached, for ever, and aligned to a page.
    Ok(unsafe { Mmio::new(base, PAGE_SIZE) })
}

/// Firmware's tables after the early page tables are gone: each page is mapped when it is
/// first read, and stays.
#[derive(Default)]
struct Firmware(RefCell<Vec<(u64, Mmio)>>);

impl PhysMemory for Firmware {
    fn read(&self, at: u64, out: &mut [u8]) -> bool {
        const MASK: u64 = PAGE_SIZE as u64 - 1;
        let mut mapped = self.0.borrow_mut();
        for (at, byte) in (at..).zip(out.iter_mut()) {
            let page = at & !MASK;
            if mapped.last().is_none_or(|(p, _)| *p != page) {
                let found = mapped.iter().position(|(p, _)| *p == page);
                let entry = match found.map(|n| mapped.swap_remove(n)) {
                    Some(entry) => entry,
                    None => match map(PhysAddr(page)) {
                        Ok(bytes) => (page, bytes),
                        Err(_) => return false,
                    },
                };
                mapped.push(entry);
            }
            *byte = mapped.last().map_or(0, |(_, bytes)| bytes.read8((at & MASK) as usize));
        }
        true
    }
}

/// The PCI host bridges: what ACPI's MCFG lists, else the ports of every PC. Firmware has set
/// the devices' addresses; where pins go only ACPI's byte code knows.
#[must_use]
pub fn pci_hosts() -> Vec<Host> {
    let host = |access, segment, first_bus, last_bus| Host {
        segment,
        first_bus,
        last_bus,
        access,
        windows: Vec::new(),
        pins: Vec::new(),
    };
    let rsdp = crate::end::boot_info().and_then(|info| info.rsdp).map(|a| a.0);
    let mut hosts = Vec::new();
    acpi::ecam(&Firmware::default(), rsdp, &mut |e| {
        // 1 MiB a bus.
        let base = e.base.saturating_add(u64::from(e.first_bus) << 20);
        let len = (u64::from(e.last_bus - e.first_bus) + 1) << 20;
        hosts.push(host(Access::Ecam { base, len }, e.segment, e.first_bus, e.last_bus));
    });
    if hosts.is_empty() {
        hosts.push(host(Access::Ports, 0, 0, u8::MAX));
    }
    hosts
}

/// The interrupt line of the ISA interrupt `irq`.
fn isa_line(irq: u8) -> (IrqLine, Trigger) {
    match tables().isa.get(usize::from(irq)).copied().flatten() {
        None => (IrqLine(u32::from(irq)), Trigger::Edge),
        Some(wired) => {
            let trigger = match (wired.level, wired.low) {
                (false, _) => Trigger::Edge,
                (true, false) => Trigger::LevelHigh,
                (true, true) => Trigger::LevelLow,
            };
            (IrqLine(wired.gsi), trigger)
        }
    }
}

/// The resources of the `index`-th device that goes by `compatible`, as many as fit `out`.
/// A serial port may be absent all the same: its driver looks.
#[must_use]
pub fn find_device(compatible: &str, index: usize, out: &mut [Resource]) -> Option<usize> {
    if compatible != "ns16550a" {
        return None;
    }
    let &(base, irq) = SERIAL.get(index)?;
    let (line, trigger) = isa_line(irq);
    let all = [Resource::Pio { base, len: SERIAL_LEN }, Resource::Irq { line, trigger }];
    let n = all.len().min(out.len());
    out.get_mut(..n)?.copy_from_slice(all.get(..n)?);
    Some(n)
}
