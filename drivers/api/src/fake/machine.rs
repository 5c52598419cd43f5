//! The kernel's services, as a test scripts them.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread_local;
use std::vec::Vec;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Arena, Registers};
use crate::block::BlockDevice;
use crate::dma::DmaArena;
use crate::entropy::EntropySource;
use crate::net::NetDevice;
use crate::paged::FileSystemType;
use crate::pci::Host;
use crate::wait::WaitPlace;
use crate::{
    BusAddress, Console, Error, IrqHandler, IrqLine, IrqReturn, Kernel, Mmio, MsiMessage, Pio,
    Resource, Result, Services, Trigger, Wake, Worker,
};

/// Where messages go to; the data is the number of the handler.
const MSI_ADDRESS: u64 = 0xfee0_0000;
/// A line that stays high after so many calls of its handlers is a storm.
const STORM: usize = 100;
/// What does not come after so many looks never comes.
const PATIENCE: usize = 10_000_000;

struct Line {
    line: IrqLine,
    trigger: Trigger,
    handler: &'static dyn IrqHandler,
    masked: bool,
}

struct Running {
    worker: Arc<dyn Worker>,
    woken: Arc<Flag>,
    deadline: Option<u64>,
}

/// Whether a worker was woken.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waiting on the host: devices and workers go on meanwhile.
struct Place(&'static Machine);

impl WaitPlace for Place {
    fn wait_until(&self, ready: &mut dyn FnMut() -> bool) {
        for _ in 0..PATIENCE {
            if ready() {
                return;
            }
            self.0.run_workers();
            std::thread::yield_now();
        }
        panic!("nobody makes it ready");
    }

    fn wake(&self) {}
}

/// What happens while a driver sleeps.
type OnSleep = Box<dyn FnMut(u64) + Send>;

#[derive(Default)]
struct State {
    now: u64,
    cpus: usize,
    registers: BTreeMap<u64, (u64, Arc<dyn Registers>)>,
    ports: BTreeMap<u16, (u16, Arc<dyn Registers>)>,
    devices: Vec<(String, Vec<Resource>)>,
    described: Vec<(String, Vec<u8>)>,
    hosts: Vec<Host>,
    lines: Vec<Line>,
    messages: Vec<(usize, &'static dyn IrqHandler)>,
    no_messages: bool,
    workers: Vec<Running>,
    on_sleep: Option<OnSleep>,
    blocks: Vec<(BusAddress, Arc<dyn BlockDevice>)>,
    nets: Vec<(BusAddress, Arc<dyn NetDevice>)>,
    entropy: Vec<Arc<dyn EntropySource>>,
    file_systems: Vec<&'static dyn FileSystemType>,
}

/// A machine.
pub struct Machine {
    arena: &'static Arena,
    state: Mutex<State>,
    /// Itself: it is never dropped.
    this: OnceLock<&'static Machine>,
}

thread_local! {
    static INSTALLED: Cell<Option<&'static Machine>> = const { Cell::new(None) };
}

/// The machine of this test's thread.
#[must_use]
pub fn installed() -> Option<&'static Machine> {
    INSTALLED.get()
}

impl Machine {
    /// A machine without devices. Lives as long as the test's process.
    #[must_use]
    pub fn leaked() -> &'static Self {
        let state = State { cpus: 1, ..State::default() };
        let (arena, state) = (Arena::leaked(), Mutex::new(state));
        let machine = Box::leak(Box::new(Self { arena, state, this: OnceLock::new() }));
        machine.this.get_or_init(|| machine)
    }

    /// A machine without devices that [`crate::services`] returns in this thread.
    pub fn install() -> &'static Self {
        let machine = Self::leaked();
        INSTALLED.set(Some(machine));
        machine
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its DMA memory.
    #[must_use]
    pub fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// Puts registers at a physical address.
    pub fn set_registers(&self, base: u64, len: u64, model: Arc<dyn Registers>) {
        self.state().registers.insert(base, (len, model));
    }

    /// Puts registers at I/O ports.
    pub fn set_ports(&self, base: u16, len: u16, model: Arc<dyn Registers>) {
        self.state().ports.insert(base, (len, model));
    }

    /// Adds a device to what the platform describes.
    pub fn describe(&self, compatible: &str, resources: &[Resource]) {
        self.state().devices.push((compatible.to_string(), resources.to_vec()));
    }

    /// Adds a word `KEY=VALUE` to the command line.
    pub fn describe_by_word(&self, key: &str, value: &str) {
        self.state().described.push((key.to_string(), value.as_bytes().to_vec()));
    }

    /// Sets the PCI host bridges.
    pub fn set_pci_hosts(&self, hosts: Vec<Host>) {
        self.state().hosts = hosts;
    }

    /// The PCI host bridges.
    #[must_use]
    pub fn pci_hosts(&self) -> Vec<Host> {
        self.state().hosts.clone()
    }

    /// How many CPUs it has.
    pub fn set_cpus(&self, cpus: usize) {
        self.state().cpus = cpus;
    }

    /// Has no message-signalled interrupts from now on.
    pub fn without_messages(&self) {
        self.state().no_messages = true;
    }

    /// Calls `f` with the time whenever a driver sleeps: devices act meanwhile.
    pub fn on_sleep(&self, f: impl FnMut(u64) + Send + 'static) {
        self.state().on_sleep = Some(Box::new(f));
    }

    /// Lets time pass.
    pub fn advance(&self, ns: u64) {
        self.state().now += ns;
    }

    /// A device has pulled `line`. Edge: every handler is called once. Level: until
    /// `is_high` says that it was let go or the line is masked.
    ///
    /// # Panics
    /// When nobody handles it, or it never goes low.
    pub fn pull_line(&self, line: IrqLine, is_high: impl Fn() -> bool) {
        for _ in 0..STORM {
            let handlers: Vec<_> = {
                let state = self.state();
                let ours = state.lines.iter().filter(|l| l.line == line && !l.masked);
                ours.map(|l| (l.handler, l.trigger)).collect()
            };
            let Some(&(_, trigger)) = handlers.first() else { return };
            let answers: Vec<_> = handlers.iter().map(|(h, _)| h.handle()).collect();
            assert!(answers.iter().any(|a| *a != IrqReturn::NotMine), "{line:?}: nobody's");
            if answers.contains(&IrqReturn::Deferred) {
                self.mask(line, true);
            }
            if trigger == Trigger::Edge || !is_high() {
                return;
            }
        }
        panic!("{line:?} never goes low");
    }

    fn mask(&self, line: IrqLine, masked: bool) {
        let mut state = self.state();
        state.lines.iter_mut().filter(|l| l.line == line).for_each(|l| l.masked = masked);
    }

    /// Whether `line` has a handler and is not masked.
    #[must_use]
    pub fn line_is_open(&self, line: IrqLine) -> bool {
        self.state().lines.iter().any(|l| l.line == line && !l.masked)
    }

    /// A device has written `message`. `false` when it is none that was given out.
    pub fn send_message(&self, message: MsiMessage) -> bool {
        let handler = {
            let state = self.state();
            let at = usize::try_from(message.data).ok();
            at.filter(|_| message.address == MSI_ADDRESS)
                .and_then(|at| state.messages.get(at).map(|(_, h)| *h))
        };
        handler.is_some_and(|h| h.handle() == IrqReturn::Handled)
    }

    /// The CPU that the message with this data goes to.
    #[must_use]
    pub fn message_cpu(&self, data: u32) -> Option<usize> {
        self.state().messages.get(data as usize).map(|(cpu, _)| *cpu)
    }

    /// Runs every worker that was woken or whose time has come, until none is left.
    ///
    /// # Panics
    /// When they never come to rest.
    pub fn run_workers(&self) {
        for _ in 0..STORM {
            let due: Vec<_> = {
                let state = self.state();
                let now = state.now;
                let is_due = |r: &Running| {
                    r.woken.0.swap(false, Ordering::AcqRel) || r.deadline.is_some_and(|d| d <= now)
                };
                let all = state.workers.iter().enumerate();
                all.filter(|(_, r)| is_due(r)).map(|(i, r)| (i, Arc::clone(&r.worker))).collect()
            };
            if due.is_empty() {
                return;
            }
            for (i, worker) in due {
                let deadline = worker.work();
                if let Some(running) = self.state().workers.get_mut(i) {
                    running.deadline = deadline;
                }
            }
        }
        panic!("a worker never comes to rest");
    }

    /// When the next worker wants to run by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.state().workers.iter().filter_map(|r| r.deadline).min()
    }

    /// The block devices that were added, by address.
    #[must_use]
    pub fn blocks(&self) -> Vec<(BusAddress, Arc<dyn BlockDevice>)> {
        let mut all = self.state().blocks.clone();
        all.sort_by_key(|(at, _)| *at);
        all
    }

    /// The network cards that were added, by address.
    #[must_use]
    pub fn nets(&self) -> Vec<(BusAddress, Arc<dyn NetDevice>)> {
        let mut all = self.state().nets.clone();
        all.sort_by_key(|(at, _)| *at);
        all
    }

    /// The kinds of file systems that were added.
    #[must_use]
    pub fn file_systems(&self) -> Vec<&'static dyn FileSystemType> {
        self.state().file_systems.clone()
    }

    /// The sources of randomness that were added.
    #[must_use]
    pub fn entropy(&self) -> Vec<Arc<dyn EntropySource>> {
        self.state().entropy.clone()
    }
}

impl Kernel for Machine {
    fn find_device(&self, compatible: &str, index: usize, out: &mut [Resource]) -> Option<usize> {
        let state = self.state();
        let (_, resources) = state.devices.iter().filter(|(c, _)| c == compatible).nth(index)?;
        Some(out.iter_mut().zip(resources).map(|(slot, r)| *slot = *r).count())
    }

    fn map_mmio(&self, base: u64, len: u64) -> Result<Mmio> {
        let state = self.state();
        let (start, (there, model)) =
            state.registers.range(..=base).next_back().ok_or(Error::Invalid)?;
        let offset = base - start;
        if len == 0 || offset.checked_add(len).is_none_or(|end| end > *there) {
            return Err(Error::Invalid);
        }
        Ok(Mmio::model(Arc::clone(model), offset as usize, len as usize))
    }

    fn claim_pio(&self, base: u16, len: u16) -> Result<Pio> {
        let state = self.state();
        let (_, (there, model)) = state.ports.get_key_value(&base).ok_or(Error::Unsupported)?;
        if len > *there {
            Err(Error::Invalid)
        } else {
            Ok(Pio::model(Arc::clone(model), base, len))
        }
    }

    fn attach_irq(
        &self,
        line: IrqLine,
        trigger: Trigger,
        handler: &'static dyn IrqHandler,
    ) -> Result<()> {
        let mut state = self.state();
        let taken = |l: &Line| l.line == line && (trigger == Trigger::Edge || l.trigger != trigger);
        if state.lines.iter().any(taken) {
            return Err(Error::Busy);
        }
        state.lines.push(Line { line, trigger, handler, masked: false });
        Ok(())
    }

    fn set_console(&self, _console: &'static dyn Console) {}

    fn now_ns(&self) -> u64 {
        self.state().now
    }
}

impl Services for Machine {
    fn dma(&self) -> &'static dyn DmaArena {
        self.arena
    }

    fn cpus(&self) -> usize {
        self.state().cpus
    }

    fn cpu(&self) -> usize {
        0
    }

    fn attach_msi(&self, cpu: usize, handler: &'static dyn IrqHandler) -> Result<MsiMessage> {
        let mut state = self.state();
        if state.no_messages {
            return Err(Error::Unsupported);
        }
        let data = state.messages.len() as u32;
        state.messages.push((cpu, handler));
        Ok(MsiMessage { address: MSI_ADDRESS, data })
    }

    fn irq_done(&self, line: IrqLine) {
        self.mask(line, false);
    }

    fn start_worker(&self, _name: &str, worker: Arc<dyn Worker>) -> Result<Arc<dyn Wake>> {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let running = Running { worker, woken: Arc::clone(&woken), deadline: None };
        self.state().workers.push(running);
        Ok(woken)
    }

    fn sleep_ns(&self, ns: u64) {
        self.advance(ns);
        let now = self.now_ns();
        // Taken out meanwhile: what it does may use the machine.
        let taken = self.state().on_sleep.take();
        if let Some(mut f) = taken {
            f(now);
            self.state().on_sleep.get_or_insert(f);
        }
    }

    fn wait_place(&self) -> Arc<dyn WaitPlace> {
        match self.this.get() {
            Some(machine) => Arc::new(Place(machine)),
            None => panic!("a machine that was not made by Machine::leaked"),
        }
    }

    fn described_devices(&self, key: &str) -> Vec<Vec<u8>> {
        let state = self.state();
        state.described.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    fn add_block(&self, at: BusAddress, device: Arc<dyn BlockDevice>) {
        self.state().blocks.push((at, device));
    }

    fn add_net(&self, at: BusAddress, device: Arc<dyn NetDevice>) {
        self.state().nets.push((at, device));
    }

    fn add_file_system(&self, kind: &'static dyn FileSystemType) {
        self.state().file_systems.push(kind);
    }

    fn add_entropy(&self, source: Arc<dyn EntropySource>) {
        self.state().entropy.push(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::IrqLock;

    struct Device {
        high: AtomicBool,
        calls: IrqLock<u32>,
        answer: IrqReturn,
    }

    impl IrqHandler for Device {
        fn handle(&self) -> IrqReturn {
            *self.calls.lock() += 1;
            if self.answer == IrqReturn::Handled {
                self.high.store(false, Ordering::Relaxed);
            }
            self.answer
        }
    }

    fn device(answer: IrqReturn) -> &'static Device {
        let device = Device { high: AtomicBool::new(true), calls: IrqLock::new(0), answer };
        Box::leak(Box::new(device))
    }

    #[test]
    fn a_level_line_is_masked_until_its_work_is_done() {
        let machine = Machine::leaked();
        let line = IrqLine(5);
        let slow = device(IrqReturn::Deferred);
        machine.attach_irq(line, Trigger::LevelHigh, slow).unwrap();
        machine.pull_line(line, || slow.high.load(Ordering::Relaxed));
        assert_eq!(*slow.calls.lock(), 1, "it was masked after the first call");
        assert!(!machine.line_is_open(line));
        machine.irq_done(line);
        assert!(machine.line_is_open(line));
    }

    #[test]
    fn shared_lines_ask_every_handler_and_edges_are_not_shared() {
        let machine = Machine::leaked();
        let line = IrqLine(5);
        let (first, second) = (device(IrqReturn::NotMine), device(IrqReturn::Handled));
        machine.attach_irq(line, Trigger::LevelLow, first).unwrap();
        machine.attach_irq(line, Trigger::LevelLow, second).unwrap();
        machine.pull_line(line, || second.high.load(Ordering::Relaxed));
        assert_eq!((*first.calls.lock(), *second.calls.lock()), (1, 1));
        assert_eq!(machine.attach_irq(line, Trigger::Edge, first), Err(Error::Busy));
        assert_eq!(machine.attach_irq(line, Trigger::LevelHigh, first), Err(Error::Busy));
    }

    #[test]
    #[should_panic(expected = "never goes low")]
    fn a_storm_is_noticed() {
        let machine = Machine::leaked();
        machine.attach_irq(IrqLine(1), Trigger::LevelHigh, device(IrqReturn::Handled)).unwrap();
        machine.pull_line(IrqLine(1), || true);
    }

    #[test]
    fn workers_run_when_woken_and_when_their_time_has_come() {
        struct Count(IrqLock<u32>);
        impl Worker for Count {
            fn work(&self) -> Option<u64> {
                let mut calls = self.0.lock();
                *calls += 1;
                (*calls < 3).then_some(1000)
            }
        }
        let machine = Machine::leaked();
        let worker = Arc::new(Count(IrqLock::new(0)));
        let wake = machine.start_worker("w", worker.clone()).unwrap();
        machine.run_workers();
        assert_eq!((*worker.0.lock(), machine.next_deadline()), (1, Some(1000)));
        machine.run_workers();
        assert_eq!(*worker.0.lock(), 1, "too early");
        wake.wake();
        wake.wake();
        machine.run_workers();
        assert_eq!(*worker.0.lock(), 2);
        machine.advance(1000);
        machine.run_workers();
        assert_eq!((*worker.0.lock(), machine.next_deadline()), (3, None));
    }
}
