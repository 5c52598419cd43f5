//! Functions for tests of drivers, on the host: configuration space that the test fills.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use driver_api::fake::{Machine, Registers};
use driver_api::pci::{Access, Host, PinRoute};
use driver_api::sync::IrqLock;
use driver_api::{PciAddress, Result};

use crate::Function;
use crate::config::{ConfigSpace, command, register};

/// Where a lone function is.
pub const AT: PciAddress = PciAddress { segment: 0, bus: 0, device: 1, function: 0 };

struct State {
    words: [u32; 64],
    /// For each base address register: bits that can be written, bits that are fixed.
    masks: [(u32, u32); 6],
    moved_while_on: bool,
}

/// A function's configuration space.
pub struct Fake(IrqLock<State>);

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

/// The function that `fake` is, at [`AT`] of a machine whose firmware has placed everything.
///
/// # Errors
/// What enumeration says.
pub fn function(
    machine: &'static Machine,
    fake: Fake,
    pins: Vec<PinRoute>,
) -> Result<Option<Arc<Function>>> {
    let bus = Arc::new(Bus::default());
    bus.add(AT.bus, AT.device, AT.function, fake);
    let (access, windows) = (Access::Ports, Vec::new());
    let host = Host { segment: 0, first_bus: 0, last_bus: 0, access, windows, pins };
    Ok(crate::host::behind(machine, &host, &|_| Ok(bus.clone()))?.pop())
}

impl Fake {
    /// A function with memory on and no registers.
    #[must_use]
    pub fn new() -> Self {
        let mut words = [0; 64];
        words[1] = command::MEMORY | command::HAS_CAPABILITIES;
        words[13] = 0x40;
        Self(IrqLock::new(State { words, masks: [(0, 0); 6], moved_while_on: false }))
    }

    /// A function with these ids.
    #[must_use]
    pub fn ids(vendor: u16, device: u16) -> Self {
        let fake = Self::new();
        fake.set(register::ID, u32::from(device) << 16 | u32::from(vendor));
        fake
    }

    /// A bridge to bus `secondary`.
    #[must_use]
    pub fn bridge(secondary: u8) -> Self {
        let fake = Self::ids(0x1b36, 1);
        fake.set(register::HEADER, 1 << 16);
        fake.set(register::BUSES, u32::from(secondary) << 8);
        fake
    }

    /// As it is, with further functions beside it.
    #[must_use]
    pub fn multiple(self) -> Self {
        let old = self.0.lock().words[3];
        self.set(register::HEADER, old | 0x80 << 16);
        self
    }

    /// Sets the word at `offset`.
    pub fn set(&self, offset: u16, value: u32) {
        self.0.lock().words[usize::from(offset / 4)] = value;
    }

    /// Puts the head of a capability at `offset`.
    pub fn capability(&self, offset: u16, id: u8, next: u8) {
        self.set(offset, u32::from(id) | u32::from(next) << 8);
    }

    /// A memory register of `len` bytes at `address`.
    pub fn bar(&self, index: usize, address: u64, len: u64, wide: bool) {
        let mut state = self.0.lock();
        let kind = if wide { 0b100 } else { 0 };
        state.words[4 + index] = address as u32 | kind;
        state.masks[index] = ((len - 1) as u32 ^ u32::MAX, kind);
        if wide && index + 1 < 6 {
            state.words[5 + index] = (address >> 32) as u32;
            state.masks[index + 1] = (((len - 1) >> 32) as u32 ^ u32::MAX, 0);
        }
    }

    /// A register in which only the bits of `mask` can be written.
    pub fn mask(&self, index: usize, mask: u32) {
        self.0.lock().masks[index] = (mask, 0);
    }

    /// Whether memory was off whenever a base address register was written.
    #[must_use]
    pub fn memory_was_off(&self) -> bool {
        !self.0.lock().moved_while_on
    }
}

impl ConfigSpace for Fake {
    fn read(&self, _at: PciAddress, offset: u16) -> u32 {
        self.0.lock().words.get(usize::from(offset / 4)).copied().unwrap_or(u32::MAX)
    }

    fn write(&self, _at: PciAddress, offset: u16, value: u32) {
        let mut state = self.0.lock();
        let word = usize::from(offset / 4);
        if let Some(&(mask, fixed)) = word.checked_sub(4).and_then(|n| state.masks.get(n)) {
            state.moved_while_on |= state.words[1] & command::MEMORY != 0;
            state.words[word] = value & mask | fixed;
        } else if word == 1 {
            let status = state.words[1] & !command::WRITABLE & !value;
            state.words[1] = status | value & command::WRITABLE;
        } else {
            state.words[word] = value;
        }
    }
}

/// Functions by bus, device, function.
#[derive(Default)]
pub struct Bus(IrqLock<BTreeMap<(u8, u8, u8), Fake>>);

impl Bus {
    /// Adds a function.
    pub fn add(&self, bus: u8, device: u8, function: u8, fake: Fake) {
        self.0.lock().insert((bus, device, function), fake);
    }
}

impl ConfigSpace for Bus {
    fn read(&self, at: PciAddress, offset: u16) -> u32 {
        let all = self.0.lock();
        all.get(&(at.bus, at.device, at.function)).map_or(u32::MAX, |f| f.read(at, offset))
    }

    fn write(&self, at: PciAddress, offset: u16, value: u32) {
        if let Some(f) = self.0.lock().get(&(at.bus, at.device, at.function)) {
            f.write(at, offset, value);
        }
    }
}

/// Registers that are plain words.
#[derive(Default)]
pub struct Words(IrqLock<BTreeMap<usize, u32>>);

impl Words {
    /// The words of a range, counted in words.
    #[must_use]
    pub fn all(&self, range: Range<usize>) -> Vec<u32> {
        range.map(|n| self.read(n * 4, 4) as u32).collect()
    }
}

impl Registers for Words {
    fn read(&self, offset: usize, _size: usize) -> u64 {
        self.0.lock().get(&offset).copied().unwrap_or(0).into()
    }

    fn write(&self, offset: usize, _size: usize, value: u64) {
        self.0.lock().insert(offset, value as u32);
    }
}
