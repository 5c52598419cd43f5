//! PCI host bridges in the device tree (Open Firmware's PCI Bus Binding 2.1, and
//! `pci-host-ecam-generic` of Linux's bindings).

use alloc::vec::Vec;

use driver_api::pci::{Access, Host, PinRoute, Window};

use super::describe;
use crate::dtb::{Dtb, Gic, Path, gic_interrupt};

/// Bits of the first cell of an address (2.2.1.1): the space, and the device number.
const SPACE: u32 = 0b11 << 24;
const MEMORY_32: u32 = 0b10 << 24;
const DEVICE_SHIFT: u32 = 11;
/// Cells of a PCI address, and of an interrupt pin.
const ADDRESS_CELLS: usize = 3;
const PIN_CELLS: usize = 1;
/// Most bridges that are looked for.
const MAX_HOSTS: usize = 16;

/// Every bridge of `tree`.
#[must_use]
pub fn hosts(tree: &Dtb<'_>) -> Vec<Host> {
    let gic = describe::gic(tree);
    let gic_cells = gic_address_cells(tree);
    let find = |n| {
        describe::with_device(tree, "pci-host-ecam-generic", n, |path| host(path, gic, gic_cells))
    };
    (0..MAX_HOSTS).map_while(find).flatten().collect()
}

/// Cells of the interrupt controller's unit address: what stands before each specifier in an
/// interrupt map.
fn gic_address_cells(tree: &Dtb<'_>) -> usize {
    let cells =
        |name| describe::with_device(tree, name, 0, |path| path.node().number("#address-cells"));
    let found = describe::GICS.iter().find_map(|(name, _)| cells(name));
    found.flatten().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
}

/// The cells of a property.
fn cells(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|c| u32::from_be_bytes(*c)).collect()
}

fn wide(cells: &[u32]) -> Option<u64> {
    match cells {
        [low] => Some(u64::from(*low)),
        [high, low] => Some(u64::from(*high) << 32 | u64::from(*low)),
        _ => None,
    }
}

fn host(path: &Path<'_, '_>, gic: Option<Gic>, gic_cells: usize) -> Option<Host> {
    let node = path.node();
    let ecam = path.reg(0)?;
    let buses = node.property("bus-range").map(cells).unwrap_or_default();
    let bus = |n: usize, default: u8| buses.get(n).map_or(Some(default), |&b| u8::try_from(b).ok());
    let (first_bus, last_bus) = (bus(0, 0)?, bus(1, u8::MAX)?);
    let segment = u16::try_from(node.number("linux,pci-domain").unwrap_or(0)).ok()?;
    let map = node.property("interrupt-map").map(cells).unwrap_or_default();
    (first_bus <= last_bus).then(|| Host {
        segment,
        first_bus,
        last_bus,
        access: Access::Ecam { base: ecam.start.0, len: ecam.len() },
        windows: windows(path).unwrap_or_default(),
        pins: gic.map_or_else(Vec::new, |gic| pins(&map, gic, gic_cells)),
    })
}

/// The windows of 32-bit memory in `ranges`: a PCI address, the parent's, a length.
fn windows(path: &Path<'_, '_>) -> Option<Vec<Window>> {
    let above =
        usize::try_from(path.parent()?.node().number("#address-cells").unwrap_or(2)).ok()?;
    let size = usize::try_from(path.node().number("#size-cells").unwrap_or(2)).ok()?;
    let ranges = cells(path.node().property("ranges")?);
    let entry = ADDRESS_CELLS.checked_add(above)?.checked_add(size)?;
    let window = |e: &[u32]| {
        let (space, rest) = e.split_first()?;
        let (bus, rest) = rest.split_at_checked(ADDRESS_CELLS - 1)?;
        let (cpu, len) = rest.split_at_checked(above)?;
        let window = Window { cpu: wide(cpu)?, bus: wide(bus)?, len: wide(len)? };
        (space & SPACE == MEMORY_32).then_some(window)
    };
    Some(ranges.chunks_exact(entry).filter_map(window).collect())
}

/// The interrupt map: a PCI address and a pin, the controller, its unit address, a specifier.
/// QEMU masks the address down to the device number's lowest bits; the root bus has as many
/// entries as the mask leaves, and the others repeat them.
fn pins(map: &[u32], gic: Gic, gic_cells: usize) -> Vec<PinRoute> {
    let head = ADDRESS_CELLS + PIN_CELLS;
    let Some(entry) = gic.cells.checked_add(gic_cells).and_then(|n| n.checked_add(head + 1)) else {
        return Vec::new();
    };
    let route = |e: &[u32]| {
        let phandle = u64::from(*e.get(head)?);
        let specifier = e.get(head + 1 + gic_cells..)?;
        let interrupt = gic_interrupt(*specifier.first()?, *specifier.get(1)?, *specifier.get(2)?)?;
        let device = (*e.first()? >> DEVICE_SHIFT & 0x1f) as u8;
        let pin = u8::try_from(*e.get(ADDRESS_CELLS)?).ok().filter(|p| (1..=4).contains(p))?;
        let route = PinRoute { device, pin, line: interrupt.line, trigger: interrupt.trigger };
        (phandle == gic.phandle).then_some(route)
    };
    map.chunks_exact(entry).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtb::build::Builder;
    use driver_api::{IrqLine, Trigger};

    fn tree(change: impl Fn(&mut Builder)) -> Vec<u8> {
        let mut tree = Builder::default();
        tree.node("", |t| {
            t.cells("interrupt-parent", &[1]);
            t.cells("#address-cells", &[2]);
            t.cells("#size-cells", &[2]);
            t.node("intc@8000000", |t| {
                t.bytes("compatible", b"arm,cortex-a15-gic\0");
                t.cells("phandle", &[1]);
                t.cells("#interrupt-cells", &[3]);
                t.cells("#address-cells", &[2]);
            });
            t.node("pcie@10000000", |t| {
                t.bytes("compatible", b"pci-host-ecam-generic\0");
                t.cells("#address-cells", &[3]);
                t.cells("#size-cells", &[2]);
                t.cells("reg", &[0x40, 0x1000_0000, 0, 0x1000_0000]);
                change(t);
            });
        });
        tree.finish(&[])
    }

    fn read(change: impl Fn(&mut Builder)) -> Vec<Host> {
        let bytes = tree(change);
        hosts(&Dtb::new(&bytes).unwrap())
    }

    #[test]
    fn qemus_bridge_is_read() {
        let all = read(|t| {
            t.cells("bus-range", &[0, 255]);
            t.cells("linux,pci-domain", &[0]);
            t.cells(
                "ranges",
                &[
                    // I/O, 32-bit memory, 64-bit memory
                    [0x100_0000, 0, 0, 0, 0x3eff_0000, 0, 0x1_0000],
                    [0x200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000],
                    [0x300_0000, 0x80, 0, 0x80, 0, 0x80, 0],
                ]
                .concat(),
            );
            t.cells(
                "interrupt-map",
                &[
                    [0, 0, 0, 1, 1, 0, 0, 0, 3, 4],
                    [0x800, 0, 0, 4, 1, 0, 0, 0, 3, 4],
                    [0x800, 0, 0, 5, 1, 0, 0, 0, 3, 4], // there is no pin 5
                    [0x800, 0, 0, 1, 9, 0, 0, 0, 3, 4], // another controller
                ]
                .concat(),
            );
        });
        let [host] = &all[..] else { panic!("{all:?}") };
        assert_eq!((host.segment, host.first_bus, host.last_bus), (0, 0, 255));
        assert_eq!(host.access, Access::Ecam { base: 0x40_1000_0000, len: 0x1000_0000 });
        assert_eq!(host.windows, [Window { cpu: 0x1000_0000, bus: 0x1000_0000, len: 0x2eff_0000 }]);
        let route =
            |device, pin| PinRoute { device, pin, line: IrqLine(35), trigger: Trigger::LevelHigh };
        assert_eq!(host.pins, [route(0, 1), route(1, 4)]);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let all = read(|t| {
            t.cells("bus-range", &[7]);
            t.cells("ranges", &[0x200_0000, 0, 1]);
            t.cells("interrupt-map", &[1; 7]);
        });
        assert_eq!((all[0].first_bus, all[0].last_bus), (7, 255));
        assert!(all[0].windows.is_empty() && all[0].pins.is_empty());
        assert!(read(|t| t.cells("bus-range", &[9, 3])).is_empty());
        assert!(read(|t| t.cells("bus-range", &[300, 301])).is_empty());
    }
}
