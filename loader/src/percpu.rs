//! What each CPU has of its own.
//!
//! The block of the CPU that runs is found through a register (`arch::percpu::current`).
//! Its fields are atomics or locked, because other CPUs may look (cross-CPU wake-ups); only
//! the CPU itself writes the counters.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use driver_api::sync::{IrqGuard, IrqLock};

use crate::arch;
use crate::mm::frame_cache::FrameCache;

/// One CPU's block.
#[repr(C)]
pub struct PerCpu {
    /// The arch's part. First, so that entry code reaches it at fixed offsets.
    pub arch: arch::percpu::ArchPerCpu,
    /// Index of the CPU: 0 is the one that booted.
    pub index: AtomicUsize,
    /// How many reasons there are not to preempt the thread that runs.
    pub preempt_off: AtomicU32,
    /// Depth of hard interrupt handlers: nothing may sleep while it is not 0.
    pub in_interrupt: AtomicU32,
    /// A better thread is runnable: switch as soon as preemption is allowed.
    pub resched: AtomicBool,
    /// Scheduler state.
    pub sched: crate::thread::CpuSched,
    /// Free frames of its own. Any CPU may take them when there are no others.
    pub frames: IrqLock<FrameCache>,
    /// Timers.
    pub timers: crate::time::CpuTimers,
}

impl PerCpu {
    /// The block of CPU `index`, nothing running yet.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self {
            arch: arch::percpu::ArchPerCpu::new(),
            index: AtomicUsize::new(index),
            preempt_off: AtomicU32::new(0),
            in_interrupt: AtomicU32::new(0),
            resched: AtomicBool::new(false),
            sched: crate::thread::CpuSched::new(),
            frames: IrqLock::new(FrameCache::new()),
            timers: crate::time::CpuTimers::new(),
        }
    }
}

/// The block of the CPU that booted. The arch's entry code installs it.
pub static BOOT_CPU: PerCpu = PerCpu::new(0);

/// Calls `f` with the block of the CPU that runs; interrupts are off meanwhile, so that the
/// thread stays on it.
pub fn with<R>(f: impl FnOnce(&'static PerCpu) -> R) -> R {
    let _irq = IrqGuard::new();
    f(arch::percpu::current())
}

/// Whether a hard interrupt handler runs on this CPU.
#[must_use]
pub fn in_interrupt() -> bool {
    with(|cpu| cpu.in_interrupt.load(Ordering::Relaxed) != 0)
}

/// How many CPUs there can be.
pub const MAX_CPUS: usize = 64;

/// The blocks of the CPUs after the first, as they come up.
static OTHERS: [driver_api::Once<&'static PerCpu>; MAX_CPUS - 1] =
    [const { driver_api::Once::new() }; MAX_CPUS - 1];

/// The CPU of `cpu` is up: others may look at it from now on.
pub(crate) fn register(cpu: &'static PerCpu) {
    if let Some(slot) = OTHERS.iter().find(|o| o.get().is_none()) {
        slot.call_once(|| cpu);
    }
}

/// How many CPUs are up.
#[must_use]
pub fn count() -> usize {
    all().count()
}

/// Whether there is more than one CPU.
#[must_use]
pub fn several() -> bool {
    OTHERS.first().is_some_and(|other| other.get().is_some())
}

/// All CPUs that are up, by index.
pub fn all() -> impl Iterator<Item = &'static PerCpu> {
    core::iter::once(&BOOT_CPU).chain(OTHERS.iter().map_while(|o| o.get().copied()))
}
