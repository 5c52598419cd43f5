//! Base address registers (PCI 6.2.5.1): what a function wants of the address space, and
//! where it is put.

use alloc::vec::Vec;

use driver_api::pci::Window;
use driver_api::{Error, PciAddress, Result};

use crate::config::{ConfigSpace, command, register};

/// Registers of an ordinary function.
pub const COUNT: usize = 6;
/// Lowest bits of a register: I/O ports; a memory register's type; its address.
const IS_IO: u32 = 1;
const TYPE: u32 = 0b110;
const TYPE_64: u32 = 0b100;
const ADDRESS: u32 = !0xf;
/// Nothing is put above: the largest registers of real devices are frame buffers of some GiB.
const LARGEST: u64 = 1 << 40;

/// A range of memory that a function answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Where it is on the bus.
    pub bus: u64,
    /// Length in bytes, a power of two.
    pub len: u64,
    /// Its register takes the next one for the upper half of the address.
    wide: bool,
}

fn offset(index: usize) -> u16 {
    register::BAR0 + index as u16 * 4
}

/// The memory registers of a function, by index; I/O registers are left out. Memory is off
/// while they are sized, and as it was afterwards.
pub fn read(space: &dyn ConfigSpace, at: PciAddress) -> [Option<Bar>; COUNT] {
    let mut bars = [None; COUNT];
    let before = space.read(at, register::COMMAND) & command::WRITABLE;
    space.write(at, register::COMMAND, before & !(command::IO | command::MEMORY));
    let mut index = 0;
    while index < COUNT {
        let bar = size(space, at, index);
        if let Some(slot) = bars.get_mut(index) {
            *slot = bar.filter(|b| b.len <= LARGEST);
        }
        index += if bar.is_some_and(|b| b.wide) { 2 } else { 1 };
    }
    space.write(at, register::COMMAND, before);
    bars
}

fn size(space: &dyn ConfigSpace, at: PciAddress, index: usize) -> Option<Bar> {
    let low = space.read(at, offset(index));
    if low & IS_IO != 0 {
        return None;
    }
    let wide = low & TYPE == TYPE_64;
    if wide && index + 1 >= COUNT {
        return None;
    }
    let probe = |index: usize, old: u32| {
        space.write(at, offset(index), u32::MAX);
        let mask = space.read(at, offset(index));
        space.write(at, offset(index), old);
        mask
    };
    let low_mask = probe(index, low) & ADDRESS;
    let mut bus = u64::from(low & ADDRESS);
    let mut mask = u64::from(low_mask);
    if wide {
        let high = space.read(at, offset(index + 1));
        bus |= u64::from(high) << 32;
        mask |= u64::from(probe(index + 1, high)) << 32;
    } else if low_mask != 0 {
        mask |= u64::from(u32::MAX) << 32;
    }
    // The lowest address bit that can be set is the length; all above it can be set too.
    let len = mask & mask.wrapping_neg();
    let whole = mask != 0 && mask == len.wrapping_neg();
    whole.then_some(Bar { bus, len, wide })
}

/// Bus addresses of a bridge's windows, and which are taken.
#[derive(Debug, Default)]
pub struct Space {
    windows: Vec<Window>,
    taken: Vec<(u64, u64)>,
}

impl Space {
    /// The windows, nothing taken.
    #[must_use]
    pub fn new(windows: &[Window]) -> Self {
        Self { windows: windows.to_vec(), taken: Vec::new() }
    }

    /// Firmware has put something here.
    pub fn take(&mut self, bus: u64, len: u64) {
        self.taken.push((bus, bus.saturating_add(len)));
    }

    /// A free range of `len` bytes, a power of two, aligned to its length.
    fn find(&mut self, len: u64, below: u64) -> Option<u64> {
        let found = self.windows.iter().find_map(|w| {
            let end = w.bus.checked_add(w.len)?.min(below);
            // Address 0 means "nowhere" in a register.
            let mut at = w.bus.max(len).checked_next_multiple_of(len)?;
            loop {
                let after = at.checked_add(len).filter(|after| *after <= end)?;
                match self.taken.iter().find(|(from, to)| at < *to && *from < after) {
                    None => return Some(at),
                    Some((_, to)) => at = to.checked_next_multiple_of(len)?,
                }
            }
        })?;
        self.take(found, len);
        Some(found)
    }

    /// What the bus address of `len` bytes is for the CPU. Without windows the two are the
    /// same.
    #[must_use]
    pub fn cpu_address(&self, bus: u64, len: u64) -> Option<u64> {
        if self.windows.is_empty() {
            return Some(bus);
        }
        let inside = |w: &&Window| {
            bus.checked_sub(w.bus).is_some_and(|o| o.checked_add(len).is_some_and(|e| e <= w.len))
        };
        let window = self.windows.iter().find(inside)?;
        window.cpu.checked_add(bus - window.bus)
    }

    /// Puts those of `bars` that are nowhere into the windows. Memory is off meanwhile.
    ///
    /// # Errors
    /// `NoMemory` when there is no room.
    pub fn place(
        &mut self,
        space: &dyn ConfigSpace,
        at: PciAddress,
        bars: &mut [Option<Bar>; COUNT],
    ) -> Result<()> {
        let before = space.read(at, register::COMMAND) & command::WRITABLE;
        space.write(at, register::COMMAND, before & !command::MEMORY);
        for (index, bar) in bars.iter_mut().enumerate() {
            let Some(bar) = bar.as_mut().filter(|b| b.bus == 0) else { continue };
            let below = if bar.wide { u64::MAX } else { 1 << 32 };
            bar.bus = self.find(bar.len, below).ok_or(Error::NoMemory)?;
            space.write(at, offset(index), bar.bus as u32);
            if bar.wide {
                space.write(at, offset(index + 1), (bar.bus >> 32) as u32);
            }
        }
        space.write(at, register::COMMAND, before);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{AT, Fake};

    const WINDOW: Window = Window { cpu: 0x5000_0000, bus: 0x1000_0000, len: 0x10_0000 };

    #[test]
    fn lengths_are_found_and_contents_restored() {
        let fake = Fake::new();
        fake.bar(0, 0xfebf_1000, 0x1000, false);
        fake.bar(2, 0x8_c000_0000, 0x4000, true);
        fake.set(register::BAR0 + 20, 0xc001); // I/O
        let bars = read(&fake, AT);
        assert_eq!(bars[0], Some(Bar { bus: 0xfebf_1000, len: 0x1000, wide: false }));
        assert_eq!(bars[2], Some(Bar { bus: 0x8_c000_0000, len: 0x4000, wide: true }));
        assert_eq!([bars[1], bars[3], bars[4], bars[5]], [None; 4]);
        assert_eq!(fake.read(AT, register::BAR0), 0xfebf_1000);
        assert_eq!(fake.read(AT, register::BAR0 + 12), 8);
        assert_ne!(fake.read(AT, register::COMMAND) & command::MEMORY, 0, "as it was");
        assert!(fake.memory_was_off(), "no address moved while memory answered");
    }

    #[test]
    fn registers_that_make_no_sense_are_left_out() {
        let fake = Fake::new();
        fake.mask(0, 0xff00_f000); // holes
        fake.mask(1, 0xf); // no address bits
        fake.bar(5, 0, 0x1000, true); // its upper half would be behind the last
        assert_eq!(read(&fake, AT), [None; COUNT]);
        fake.bar(0, 0, 1 << 41, true);
        assert_eq!(read(&fake, AT)[0], None, "larger than anything");
    }

    #[test]
    fn what_is_nowhere_is_placed_beside_what_is_somewhere() {
        let fake = Fake::new();
        fake.bar(0, 0, 0x1000, false);
        fake.bar(1, 0x1000_4000, 0x1000, false);
        fake.bar(2, 0, 0x4000, true);
        let mut space = Space::new(&[WINDOW]);
        let mut bars = read(&fake, AT);
        space.take(0x1000_4000, 0x1000);
        space.place(&fake, AT, &mut bars).unwrap();
        let at: Vec<u64> = bars.iter().flatten().map(|b| b.bus).collect();
        assert_eq!(at, [0x1000_0000, 0x1000_4000, 0x1000_8000]);
        assert_eq!(fake.read(AT, register::BAR0), 0x1000_0000);
        assert_eq!(read(&fake, AT), bars);
        assert_eq!(space.cpu_address(0x1000_8000, 0x4000), Some(0x5000_8000));
        assert_eq!(space.cpu_address(0x100f_f000, 0x2000), None);
        assert_eq!(space.cpu_address(0xfff_ffff, 1), None);
        assert_eq!(Space::new(&[]).cpu_address(7, 1), Some(7));
    }

    #[test]
    fn a_full_window_is_an_error() {
        let fake = Fake::new();
        fake.bar(0, 0, 0x20_0000, false);
        let mut bars = read(&fake, AT);
        let mut space = Space::new(&[WINDOW]);
        assert_eq!(space.place(&fake, AT, &mut bars), Err(Error::NoMemory));
        let top = Window { bus: u64::MAX - 0xfff, ..WINDOW };
        assert_eq!(Space::new(&[top]).place(&fake, AT, &mut bars), Err(Error::NoMemory));
    }
}
