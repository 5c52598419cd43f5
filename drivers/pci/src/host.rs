//! Host bridges: what is behind them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::log;
use driver_api::pci::{Access, Host};
use driver_api::sync::IrqLock;
use driver_api::{Error, IrqLine, PciAddress, Result, Services, Trigger};

use crate::bars::{self, Space};
use crate::config::{ConfigSpace, DEVICES, Ecam, FUNCTIONS, Ports, register};
use crate::function::Function;

/// Header types (PCI 6.2.1); the top bit says that there are further functions.
const ORDINARY: u8 = 0;
const BRIDGE: u8 = 1;
const MULTIPLE: u8 = 0x80;
/// Vendor of a function that is not there.
const NOBODY: u16 = 0xffff;

/// Opens the configuration space of a bus.
type Open<'a> = dyn Fn(u8) -> Result<Arc<dyn ConfigSpace>> + 'a;

/// Every function behind `host`, by address, with memory at an address.
///
/// # Errors
/// When configuration space cannot be reached at all.
pub fn enumerate(services: &'static dyn Services, host: &Host) -> Result<Vec<Arc<Function>>> {
    match host.access {
        Access::Ecam { base, len } => behind(services, host, &|bus| {
            Ok(Arc::new(Ecam::new(services, base, len, host.first_bus, bus)?))
        }),
        Access::Ports => {
            let ports = match Ports::new(services) {
                Err(Error::NoDevice | Error::Unsupported) => return Ok(Vec::new()),
                other => Arc::new(other?),
            };
            behind(services, host, &|_| Ok(ports.clone()))
        }
    }
}

struct Place {
    at: PciAddress,
    space: Arc<dyn ConfigSpace>,
    bars: [Option<bars::Bar>; bars::COUNT],
    /// The device on the root bus through which it is reached, and how often its pins were
    /// turned on the way.
    root_device: u8,
    turns: u8,
}

/// A bus that is still to be looked at.
struct Ahead {
    bus: u8,
    root_device: Option<u8>,
    turns: u8,
}

pub(crate) fn behind(
    services: &'static dyn Services,
    host: &Host,
    open: &Open<'_>,
) -> Result<Vec<Arc<Function>>> {
    let mut found: Vec<Place> = Vec::new();
    // Bridges may say anything: each bus is visited once.
    let mut visited = [false; 256];
    let mut ahead = Vec::from([Ahead { bus: host.first_bus, root_device: None, turns: 0 }]);
    while let Some(here) = ahead.pop() {
        let Some(seen) = visited.get_mut(usize::from(here.bus)) else { continue };
        let inside = (host.first_bus..=host.last_bus).contains(&here.bus);
        if core::mem::replace(seen, true) || !inside {
            continue;
        }
        let space = match open(here.bus) {
            Ok(space) => space,
            Err(e) if here.root_device.is_none() => return Err(e),
            Err(e) => {
                log::warn!(target: "pci", "bus {} cannot be reached: {e:?}", here.bus);
                continue;
            }
        };
        on_bus(host, &here, &space, &mut found, &mut ahead);
    }
    found.sort_by_key(|p| p.at);
    Ok(finish(services, host, found))
}

/// Looks at every function of a bus.
fn on_bus(
    host: &Host,
    here: &Ahead,
    space: &Arc<dyn ConfigSpace>,
    found: &mut Vec<Place>,
    ahead: &mut Vec<Ahead>,
) {
    for device in 0..DEVICES {
        for function in 0..FUNCTIONS {
            let at = PciAddress { segment: host.segment, bus: here.bus, device, function };
            let there = space.read16(at, register::ID) != NOBODY;
            let header = space.read8(at, register::HEADER + 2);
            let root_device = here.root_device.unwrap_or(device);
            if there && header & !MULTIPLE == ORDINARY {
                let bars = bars::read(&**space, at);
                let turns = if here.root_device.is_none() { 0 } else { here.turns + device };
                found.push(Place { at, space: space.clone(), bars, root_device, turns });
            } else if there && header & !MULTIPLE == BRIDGE {
                let bus = space.read8(at, register::BUSES + 1);
                let turns = if here.root_device.is_none() { 0 } else { (here.turns + device) % 4 };
                ahead.push(Ahead { bus, root_device: Some(root_device), turns });
            }
            // Function 0 says whether there are others; without it there is no device.
            if function == 0 && (!there || header & MULTIPLE == 0) {
                break;
            }
        }
    }
}

/// Gives addresses to what has none.
fn finish(services: &'static dyn Services, host: &Host, found: Vec<Place>) -> Vec<Arc<Function>> {
    let mut addresses = Space::new(&host.windows);
    for bar in found.iter().flat_map(|p| p.bars.iter().flatten()).filter(|b| b.bus != 0) {
        addresses.take(bar.bus, bar.len);
    }
    let addresses = Arc::new(IrqLock::new(addresses));
    let function = |mut place: Place| {
        let (at, space) = (place.at, Arc::clone(&place.space));
        let placed = addresses.lock().place(&*space, at, &mut place.bars);
        if placed.is_err() && !host.windows.is_empty() {
            log::warn!(target: "pci", "{at}: no room for its memory");
        }
        let line = line(host, &place);
        let addresses = Arc::clone(&addresses);
        Arc::new(Function { services, space, at, bars: place.bars, addresses, line })
    };
    found.into_iter().map(function).collect()
}

/// Where the pin of a function goes. Bridges turn pins by the device number (PCI-to-PCI
/// Bridge Architecture Specification 1.2, 9.1).
fn line(host: &Host, place: &Place) -> Option<(IrqLine, Trigger)> {
    let pin = place.space.read8(place.at, register::INTERRUPT + 1);
    if !(1..=4).contains(&pin) {
        return None;
    }
    let pin = (pin - 1 + place.turns % 4) % 4 + 1;
    // The map covers as many devices as its mask lets through: the least power of two.
    let highest = host.pins.iter().map(|p| p.device).max()?;
    let device = place.root_device % (highest + 1).next_power_of_two();
    let route = host.pins.iter().find(|p| p.device == device && p.pin == pin)?;
    Some((route.line, route.trigger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::command;
    use crate::fake::{Bus, Fake};
    use driver_api::fake::Machine;
    use driver_api::pci::{PinRoute, Window};

    fn host() -> Host {
        Host {
            segment: 0,
            first_bus: 0,
            last_bus: 9,
            access: Access::Ports,
            windows: Vec::from([Window { cpu: 0x9000_0000, bus: 0x1000_0000, len: 0x10_0000 }]),
            pins: (0..4)
                .map(|n| PinRoute {
                    device: n,
                    pin: 1,
                    line: IrqLine(40 + u32::from(n)),
                    trigger: Trigger::LevelHigh,
                })
                .collect(),
        }
    }

    fn found(bus: &Arc<Bus>) -> Vec<Arc<Function>> {
        behind(Machine::leaked(), &host(), &|_| Ok(bus.clone())).unwrap()
    }

    fn addresses(all: &[Arc<Function>]) -> Vec<(u8, u8, u8)> {
        all.iter().map(|f| (f.at.bus, f.at.device, f.at.function)).collect()
    }

    #[test]
    fn functions_are_found_behind_bridges_and_sorted() {
        let bus = Arc::new(Bus::default());
        bus.add(0, 3, 0, Fake::ids(0x1af4, 0x1042));
        bus.add(0, 5, 0, Fake::bridge(2));
        bus.add(2, 1, 0, Fake::ids(1, 2).multiple());
        bus.add(2, 1, 3, Fake::ids(1, 3));
        bus.add(0, 7, 1, Fake::ids(9, 9)); // without function 0
        let all = found(&bus);
        assert_eq!(addresses(&all), [(0, 3, 0), (2, 1, 0), (2, 1, 3)]);
        assert_eq!((all[0].ids().vendor, all[0].ids().device), (0x1af4, 0x1042));
    }

    #[test]
    fn bridges_that_lead_in_circles_or_nowhere_are_followed_once() {
        let bus = Arc::new(Bus::default());
        for (device, secondary) in [(0, 0), (1, 1), (2, 200), (3, 1)] {
            bus.add(0, device, 0, Fake::bridge(secondary));
        }
        bus.add(1, 0, 0, Fake::bridge(0));
        bus.add(1, 4, 0, Fake::ids(7, 7));
        assert_eq!(addresses(&found(&bus)), [(1, 4, 0)]);
    }

    #[test]
    fn what_firmware_left_nowhere_gets_an_address_and_pins_their_lines() {
        let bus = Arc::new(Bus::default());
        let with_pin = |fake: Fake| {
            fake.set(register::INTERRUPT, 0x100);
            fake
        };
        let first = with_pin(Fake::ids(1, 1));
        first.bar(0, 0, 0x4000, true);
        let second = with_pin(Fake::ids(1, 2));
        second.bar(1, 0x1000_0000, 0x1000, false);
        bus.add(0, 1, 0, first);
        bus.add(0, 6, 0, second);
        bus.add(0, 2, 0, Fake::bridge(1));
        bus.add(1, 3, 0, with_pin(Fake::ids(1, 3)));
        let all = found(&bus);
        assert_eq!(all[0].bars[0].map(|b| b.bus), Some(0x1000_4000));
        assert_eq!(all[0].line(), Some((IrqLine(41), Trigger::LevelHigh)));
        assert_eq!(all[1].line(), Some((IrqLine(42), Trigger::LevelHigh)), "6 is 2, masked");
        assert_eq!(all[2].line(), None, "turned to pin 4, which has no line");
        let machine = Machine::leaked();
        machine.set_registers(0x9000_4000, 0x4000, Arc::new(crate::fake::Words::default()));
        let function = Function { services: machine, ..copy(&all[0]) };
        assert_eq!(function.map(0, 0x3000, 0x1000).map(|m| m.len()), Ok(0x1000));
        assert_eq!(function.map(0, 0x3001, 0x1000).err(), Some(Error::OutOfRange));
        assert_eq!(function.map(0, u64::MAX, 2).err(), Some(Error::OutOfRange));
        assert_eq!(function.map(1, 0, 4).err(), Some(Error::NoDevice));
        function.enable();
        let on = command::MEMORY | command::MASTER;
        assert_eq!(function.read(register::COMMAND) & on, on);
        function.stop();
        assert_eq!(function.read(register::COMMAND) & on, command::MEMORY);
    }

    fn copy(f: &Function) -> Function {
        Function {
            services: f.services,
            space: f.space.clone(),
            at: f.at,
            bars: f.bars,
            addresses: f.addresses.clone(),
            line: f.line,
        }
    }
}
