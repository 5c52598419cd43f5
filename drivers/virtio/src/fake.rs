//! The device's side, scripted by a test: a transport whose registers are fields, and rings
//! into which anything can be written.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::fake::{Arena, Machine, Registers};
use driver_api::sync::IrqLock;
use driver_api::{BusAddress, Error, Mmio, Result, Wake};

use crate::device::Device;
use crate::feature;
use crate::transport::{Rings, Transport, status};

#[derive(Default)]
struct State {
    status: u8,
    offered: u64,
    chosen: u64,
    sizes: Vec<u16>,
    queues: BTreeMap<u16, (u16, Rings)>,
    /// How far the device has read the available rings.
    taken: BTreeMap<u16, u16>,
    used: BTreeMap<u16, u16>,
    notified: VecDeque<u16>,
    wakes: Vec<Arc<dyn Wake>>,
    attached: u32,
    generation: u32,
    restless: bool,
    deaf: bool,
    refuses: bool,
    may_cut: bool,
    cut: bool,
    resets: u32,
}

/// Plain bytes as the device's own registers.
#[derive(Default)]
struct Config(IrqLock<BTreeMap<usize, u8>>);

impl Registers for Config {
    fn read(&self, offset: usize, size: usize) -> u64 {
        let bytes = self.0.lock();
        (0..size)
            .rev()
            .fold(0, |n, i| n << 8 | u64::from(bytes.get(&(offset + i)).copied().unwrap_or(0)))
    }

    fn write(&self, offset: usize, size: usize, value: u64) {
        let mut bytes = self.0.lock();
        for (i, byte) in value.to_le_bytes().iter().take(size).enumerate() {
            bytes.insert(offset + i, *byte);
        }
    }
}

/// A chain as the device sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceChain {
    /// Its first descriptor.
    pub head: u16,
    /// Address, length, whether the device may write.
    pub parts: Vec<(u64, u32, bool)>,
}

/// A device that does what the test says.
pub struct Fake {
    arena: &'static Arena,
    id: u32,
    state: IrqLock<State>,
    config: Arc<Config>,
    registers: Mmio,
}

struct Carried(Arc<Fake>);

/// A device with the id `id` and queues of the sizes `sizes`, and the driver's view of it.
#[must_use]
pub fn device(machine: &'static Machine, id: u32, sizes: &[u16]) -> (Arc<Fake>, Device) {
    let config = Arc::new(Config::default());
    let registers = Mmio::model(config.clone(), 0, 256);
    let state = State {
        offered: feature::VERSION_1,
        sizes: sizes.to_vec(),
        status: status::DRIVER_OK, // firmware has used it
        ..State::default()
    };
    let arena = machine.arena();
    let fake = Arc::new(Fake { arena, id, state: IrqLock::new(state), config, registers });
    let device = Device::new(machine, Box::new(Carried(fake.clone())));
    (fake, device)
}

impl Fake {
    /// Offers these features, and no others.
    pub fn offer(&self, features: u64) {
        self.state.lock().offered = features;
    }

    /// The features that the driver chose.
    pub fn chosen(&self) -> u64 {
        self.state.lock().chosen
    }

    /// The status.
    pub fn status(&self) -> u8 {
        self.state.lock().status
    }

    /// Asks for a reset.
    pub fn break_down(&self) {
        self.state.lock().status |= status::NEEDS_RESET;
    }

    /// Does not settle features.
    pub fn refuse_features(&self) {
        self.state.lock().refuses = true;
    }

    /// Does not answer resets any more.
    pub fn deafen(&self) {
        self.state.lock().deaf = true;
    }

    /// Can be kept from memory by its bus.
    pub fn allow_cut_off(&self) {
        self.state.lock().may_cut = true;
    }

    /// Was kept from memory.
    pub fn was_cut_off(&self) -> bool {
        self.state.lock().cut
    }

    /// Its own registers change all the time.
    pub fn restless(&self) {
        self.state.lock().restless = true;
    }

    /// How often it was reset.
    pub fn resets(&self) -> u32 {
        self.state.lock().resets
    }

    /// Sets the size of a queue.
    pub fn set_queue_size(&self, queue: usize, size: u16) {
        if let Some(slot) = self.state.lock().sizes.get_mut(queue) {
            *slot = size;
        }
    }

    /// Sets the 32 bits of its own registers at `offset`, and says that they have changed.
    pub fn set_config(&self, offset: usize, value: u32) {
        self.config.write(offset, 4, value.into());
        self.state.lock().generation += 1;
    }

    /// Interrupts for queue `queue`.
    pub fn interrupt(&self, queue: usize) {
        let wake = self.state.lock().wakes.get(queue).cloned();
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    /// Interrupts because its own registers have changed.
    pub fn interrupt_config(&self) {
        let wakes = self.state.lock().wakes.clone();
        wakes.iter().for_each(|w| w.wake());
    }

    /// The queue of the oldest notification.
    pub fn notification(&self) -> Option<u16> {
        self.state.lock().notified.pop_front()
    }

    fn rings(&self, queue: u16) -> Option<(u16, Rings)> {
        self.state.lock().queues.get(&queue).copied()
    }

    fn half(&self, bus: u64) -> u16 {
        let mut bytes = [0; 2];
        assert!(self.arena.device_read(bus, &mut bytes), "{bus:#x} cannot be read");
        u16::from_le_bytes(bytes)
    }

    /// The next chain of queue `queue`, as a device takes it.
    pub fn take(&self, queue: u16) -> Option<DeviceChain> {
        let (size, rings) = self.rings(queue)?;
        let taken = self.state.lock().taken.get(&queue).copied().unwrap_or(0);
        if self.half(rings.available + 2) == taken {
            return None;
        }
        self.state.lock().taken.insert(queue, taken.wrapping_add(1));
        let head = self.half(rings.available + 4 + 2 * u64::from(taken % size));
        let mut parts = Vec::new();
        let mut next = Some(head);
        while let Some(n) = next {
            assert!(n < size && parts.len() < usize::from(size), "the driver's chain is wrong");
            let mut d = [0; 16];
            assert!(self.arena.device_read(rings.descriptors + 16 * u64::from(n), &mut d));
            let word = |at: usize| d.get(at..at + 8).and_then(|b| b.first_chunk().copied());
            let (bus, rest) = (word(0).map(u64::from_le_bytes)?, word(8).map(u64::from_le_bytes)?);
            let flags = (rest >> 32) as u16;
            parts.push((bus, rest as u32, flags & 2 != 0));
            next = (flags & 1 != 0).then_some((rest >> 48) as u16);
        }
        Some(DeviceChain { head, parts })
    }

    /// Puts an element into the used ring, whatever it says, and interrupts.
    pub fn give(&self, queue: u16, id: u32, written: u32) {
        let Some((size, rings)) = self.rings(queue) else { return };
        let used = self.state.lock().used.get(&queue).copied().unwrap_or(0);
        let element = u64::from(written) << 32 | u64::from(id);
        self.arena
            .device_write(rings.used + 4 + 8 * u64::from(used % size), &element.to_le_bytes());
        self.set_used(queue, used.wrapping_add(1));
        self.interrupt(queue.into());
    }

    /// Sets the index of the used ring, whatever it says.
    pub fn set_used(&self, queue: u16, index: u16) {
        let Some((_, rings)) = self.rings(queue) else { return };
        self.state.lock().used.insert(queue, index);
        self.arena.device_write(rings.used + 2, &index.to_le_bytes());
    }

    /// Says whether it wants to be notified.
    pub fn set_quiet(&self, queue: u16, quiet: bool) {
        let Some((_, rings)) = self.rings(queue) else { return };
        self.arena.device_write(rings.used, &u16::from(quiet).to_le_bytes());
    }

    /// The bytes that the device reads of a chain.
    pub fn read(&self, chain: &DeviceChain) -> Vec<u8> {
        let mut all = Vec::new();
        for &(bus, len, _) in chain.parts.iter().filter(|p| !p.2) {
            let mut bytes = alloc::vec![0; len as usize];
            assert!(self.arena.device_read(bus, &mut bytes), "{bus:#x} cannot be read");
            all.extend(bytes);
        }
        all
    }

    /// Writes `bytes` to what the device may write of a chain, from the front; how many fit.
    pub fn write(&self, chain: &DeviceChain, bytes: &[u8]) -> u32 {
        let mut left = bytes;
        for &(bus, len, _) in chain.parts.iter().filter(|p| p.2) {
            let (now, later) = left.split_at(left.len().min(len as usize));
            assert!(self.arena.device_write(bus, now), "{bus:#x} cannot be written");
            left = later;
        }
        (bytes.len() - left.len()) as u32
    }

    /// Bytes that the device may write of a chain.
    #[must_use]
    pub fn writable(chain: &DeviceChain) -> usize {
        chain.parts.iter().filter(|p| p.2).map(|p| p.1 as usize).sum()
    }
}

impl Transport for Carried {
    fn address(&self) -> BusAddress {
        BusAddress::Mmio(0xa00_0000)
    }

    fn device_id(&self) -> u32 {
        self.0.id
    }

    fn status(&self) -> u8 {
        self.0.state.lock().status
    }

    fn set_status(&self, status: u8) {
        let mut state = self.0.state.lock();
        if status == 0 {
            if state.deaf {
                state.status |= status::NEEDS_RESET;
                return;
            }
            state.resets += 1;
            state.queues.clear();
            state.taken.clear();
            state.used.clear();
            state.chosen = 0;
        }
        let mask = if state.refuses { !status::FEATURES_OK } else { u8::MAX };
        state.status = status & mask;
    }

    fn device_features(&self) -> u64 {
        self.0.state.lock().offered
    }

    fn set_driver_features(&self, features: u64) {
        self.0.state.lock().chosen = features;
    }

    fn queue_size(&self, queue: u16) -> u16 {
        self.0.state.lock().sizes.get(usize::from(queue)).copied().unwrap_or(0)
    }

    fn set_queue(&self, queue: u16, size: u16, rings: &Rings) -> Result<()> {
        let mut state = self.0.state.lock();
        if state.status & status::DRIVER_OK != 0 {
            return Err(Error::Io);
        }
        state.queues.insert(queue, (size, *rings));
        Ok(())
    }

    fn notify(&self, queue: u16) {
        self.0.state.lock().notified.push_back(queue);
    }

    fn generation(&self) -> u32 {
        let mut state = self.0.state.lock();
        state.generation += u32::from(state.restless);
        state.generation
    }

    fn config(&self) -> &Mmio {
        &self.0.registers
    }

    fn attach(&self, wakes: &[Arc<dyn Wake>]) -> Result<()> {
        let mut state = self.0.state.lock();
        state.wakes = wakes.to_vec();
        state.attached += 1;
        Ok(())
    }

    fn reattach(&self) {
        self.0.state.lock().attached += 1;
    }

    fn cut_off(&self) -> bool {
        let mut state = self.0.state.lock();
        state.cut |= state.may_cut;
        state.may_cut
    }
}
