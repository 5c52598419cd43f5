//! The clocks and timers of the CPU that runs.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use driver_api::sync::IrqLock;

use super::scale::{NS, Scale};
use super::timers::{Timers, Token};
use crate::percpu::PerCpu;
use crate::thread::{Thread, WaitId};
use crate::{arch, percpu};

/// `Scale::mult` of the counter; 0 until [`init`].
static MULT: AtomicU64 = AtomicU64::new(0);
/// The counter at boot.
static START: AtomicU64 = AtomicU64::new(0);
static WALL: IrqLock<Wall> = IrqLock::new(Wall::Unread);

/// What is known of the wall clock.
#[derive(Clone, Copy)]
enum Wall {
    /// The machine's clock has not been asked: that takes dozens of accesses, and not every
    /// program wants to know.
    Unread,
    /// The machine has none, and nobody has set it.
    Missing,
    /// Wall clock minus time since boot, in ns.
    Offset(i64),
}

impl Wall {
    /// With the time at this moment, in ns since 1970.
    fn at(unix: u64) -> Self {
        Self::Offset((unix as i64).saturating_sub(now_ns() as i64))
    }
}

/// Notes when the kernel began: the first thing that `kmain` does.
pub(crate) fn start() {
    START.store(arch::clock::counter(), Ordering::Relaxed);
}

/// Starts the clock, whose counter has `hz` ticks a second.
pub(crate) fn init(hz: u64) {
    MULT.store(Scale::of(hz).mult(), Ordering::Relaxed);
}

/// Nanoseconds since boot. Never goes back. 0 until the clock's frequency is known.
#[must_use]
pub fn now_ns() -> u64 {
    let ticks = arch::clock::counter().wrapping_sub(START.load(Ordering::Relaxed));
    Scale::from_mult(MULT.load(Ordering::Relaxed)).ns(ticks)
}

/// Nanoseconds since 1970 (UTC); `None` on a machine without a clock that nobody has set.
#[must_use]
pub fn wall_ns() -> Option<u64> {
    let mut wall = WALL.lock();
    if let Wall::Unread = *wall {
        let read = arch::clock::wall_clock_s();
        *wall = read.map_or(Wall::Missing, |s| Wall::at(s.saturating_mul(NS)));
    }
    match *wall {
        Wall::Offset(offset) => Some((now_ns() as i64).saturating_add(offset).max(0) as u64),
        Wall::Unread | Wall::Missing => None,
    }
}

/// Sets the wall clock.
pub fn set_wall_ns(unix: u64) {
    *WALL.lock() = Wall::at(unix);
}

/// What a timer does when it expires.
enum Expiry {
    /// Ends a wait.
    Wake(Arc<Thread>, WaitId),
    /// Calls back.
    Call(Arc<dyn TimerCallback>),
}

/// Something that is told when a timer expires.
pub trait TimerCallback: Send + Sync {
    /// Called in interrupt context: it neither sleeps nor allocates. `now` is in ns since
    /// boot.
    fn expired(self: Arc<Self>, now: u64);
}

/// The timers of one CPU and its next event.
pub struct CpuTimers {
    timers: IrqLock<Timers<Expiry>>,
    /// End of the running thread's time slice; `u64::MAX` while nobody else wants the CPU.
    slice_end: AtomicU64,
    /// What the event timer is set to; `u64::MAX`: nothing.
    programmed: AtomicU64,
}

impl CpuTimers {
    /// No timers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            timers: IrqLock::new(Timers::new()),
            slice_end: AtomicU64::new(u64::MAX),
            programmed: AtomicU64::new(u64::MAX),
        }
    }
}

impl Default for CpuTimers {
    fn default() -> Self {
        Self::new()
    }
}

/// A timer that was set.
#[derive(Clone, Copy)]
pub struct TimerId {
    cpu: &'static PerCpu,
    token: Token,
}

fn set(deadline: u64, what: Expiry) -> TimerId {
    percpu::with(|cpu| {
        let token = cpu.timers.timers.lock().set(deadline, what);
        program(cpu);
        TimerId { cpu, token }
    })
}

/// Sets the time-out of a wait. Every thread has room for one ([`reserve`]).
pub(crate) fn wake_at(deadline: u64, thread: Arc<Thread>, wait: WaitId) -> TimerId {
    set(deadline, Expiry::Wake(thread, wait))
}

/// Calls `callback` back at `deadline` (ns since boot), in interrupt context. The caller
/// holds a [`TimerRoom`] for it.
#[must_use]
pub fn call_at(deadline: u64, callback: Arc<dyn TimerCallback>) -> TimerId {
    set(deadline, Expiry::Call(callback))
}

/// Takes a timer back; `false` when it has expired, or is about to.
pub fn cancel(id: TimerId) -> bool {
    // The event stays programmed: it then finds nothing to do, which costs less than
    // programming the device now.
    let what = id.cpu.timers.timers.lock().cancel(id.token);
    what.is_some()
}

/// Room for one timer that is set at a time, on every CPU.
pub struct TimerRoom(());

impl TimerRoom {
    /// Asks for it; `None` without memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut done = 0;
        let ok = percpu::all().all(|cpu| {
            let ok = cpu.timers.timers.lock().reserve();
            done += usize::from(ok);
            ok
        });
        if !ok {
            percpu::all().take(done).for_each(|cpu| cpu.timers.timers.lock().unreserve());
        }
        ok.then_some(Self(()))
    }
}

/// Bytes of memory that the timers of all CPUs hold. They grow with the greatest number of
/// threads that there was, and stay.
#[must_use]
pub fn held_bytes() -> usize {
    percpu::all().map(|cpu| cpu.timers.timers.lock().held_bytes()).sum()
}

/// Promises on a new CPU what is promised on the others.
pub(crate) fn prepare_cpu(cpu: &PerCpu) {
    let promised = percpu::BOOT_CPU.timers.timers.lock().promised();
    let mut timers = cpu.timers.timers.lock();
    while timers.promised() < promised && timers.reserve() {}
}

impl Drop for TimerRoom {
    fn drop(&mut self) {
        percpu::all().for_each(|cpu| cpu.timers.timers.lock().unreserve());
    }
}

/// Sets the event timer of `cpu`, the one that runs, to its next event.
fn program(cpu: &PerCpu) {
    let timers = &cpu.timers;
    let first = timers.timers.lock().next().unwrap_or(u64::MAX);
    let next = first.min(timers.slice_end.load(Ordering::Relaxed));
    let programmed = timers.programmed.load(Ordering::Relaxed);
    if next == u64::MAX {
        if programmed != u64::MAX {
            timers.programmed.store(u64::MAX, Ordering::Relaxed);
            arch::clock::stop_oneshot();
        }
    } else if next != programmed {
        timers.programmed.store(next, Ordering::Relaxed);
        // At least a microsecond: 0 would mean "never" to some timers.
        arch::clock::set_oneshot(next.saturating_sub(now_ns()).max(1000));
    }
}

/// Begins or ends (`None`) the time slice of the thread that runs on `cpu`, the CPU that
/// asks. Interrupts are off.
pub(crate) fn set_slice(cpu: &PerCpu, len: Option<u64>) {
    let end = len.map_or(u64::MAX, |len| now_ns().saturating_add(len));
    let old = cpu.timers.slice_end.swap(end, Ordering::Relaxed);
    // A slice that ends early needs no new event: the old one finds nothing to do. So a
    // system without contention never touches the device.
    if end < old {
        program(cpu);
    }
}

/// Whether a slice is running on `cpu`.
pub(crate) fn has_slice(cpu: &PerCpu) -> bool {
    cpu.timers.slice_end.load(Ordering::Relaxed) != u64::MAX
}

/// The event timer fired: called by the arch on the interrupt stack, interrupts off.
pub fn timer_interrupt() {
    let cpu = arch::percpu::current();
    cpu.in_interrupt.fetch_add(1, Ordering::Relaxed);
    cpu.timers.programmed.store(u64::MAX, Ordering::Relaxed);
    let now = now_ns();
    loop {
        let expired = cpu.timers.timers.lock().expired(now);
        match expired {
            Some(Expiry::Wake(thread, wait)) => thread.time_out(wait),
            Some(Expiry::Call(callback)) => callback.expired(now),
            None => break,
        }
    }
    if cpu.timers.slice_end.load(Ordering::Relaxed) <= now {
        cpu.timers.slice_end.store(u64::MAX, Ordering::Relaxed);
        crate::thread::slice_over(cpu);
    }
    program(cpu);
    cpu.in_interrupt.fetch_sub(1, Ordering::Relaxed);
}
