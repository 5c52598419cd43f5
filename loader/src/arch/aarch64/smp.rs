//! The other CPUs: found in the device tree, started through PSCI.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use driver_api::sync::IrqLock;
use driver_api::{Error, Result};

use super::{clock, cpu, head, irq, paging, percpu, platform, power};
use crate::mm::stack::KernelStack;
use crate::percpu::PerCpu;

/// How long a CPU may take from CPU_ON to its first Rust code, in ns. QEMU needs well below
/// a millisecond; firmware of real machines some.
const START_TIMEOUT_NS: u64 = 1_000_000_000;

/// What a starting CPU needs once its MMU is on: `head` reads the first three words.
#[repr(C)]
pub(super) struct Start {
    /// The kernel's root table.
    pub(super) root: AtomicU64,
    /// Where its stack ends.
    pub(super) stack_top: AtomicUsize,
    /// Its block.
    pub(super) percpu: AtomicUsize,
    /// What it then calls.
    entry: AtomicUsize,
    /// It has read all of this.
    running: AtomicBool,
}

/// One CPU starts at a time, see [`STARTING`].
pub(super) static START: Start = Start {
    root: AtomicU64::new(0),
    stack_top: AtomicUsize::new(0),
    percpu: AtomicUsize::new(0),
    entry: AtomicUsize::new(0),
    running: AtomicBool::new(false),
};

/// Held while a CPU starts.
static STARTING: IrqLock<()> = IrqLock::new(());

/// How many usable CPUs the device tree describes besides the one that booted.
#[must_use]
pub fn others() -> usize {
    let boot = cpu::id() as u64;
    let mut count = 0;
    platform::each_cpu(&mut |id| count += usize::from(id != boot));
    count
}

/// MPIDR affinity of the `nth` of [`others`].
fn other(nth: usize) -> Option<u64> {
    let boot = cpu::id() as u64;
    let (mut found, mut left) = (None, nth);
    platform::each_cpu(&mut |id| {
        if id == boot || found.is_some() {
            return;
        }
        if left == 0 {
            found = Some(id);
        }
        left = left.saturating_sub(1);
    });
    found
}

/// Starts the `nth` of [`others`], from the boot CPU: with `cpu` installed, on the stack that
/// ends at `stack_top`, its interrupt controller and timer ready, interrupts off, it calls
/// `entry`. Returns when it is about to.
///
/// # Errors
/// `NoDevice`: there is no such CPU, or no PSCI; `NoMemory` for its stacks; `Busy`: firmware
/// says that it runs already; `Io`: firmware refuses; `TimedOut`: it does not come. After an
/// error of the last three kinds nothing given here may be used again.
pub fn start(
    nth: usize,
    cpu: &'static PerCpu,
    stack_top: usize,
    entry: extern "C" fn() -> !,
) -> Result<()> {
    let id = other(nth).ok_or(Error::NoDevice)?;
    let interrupts = KernelStack::new().ok_or(Error::NoMemory)?;
    let overflow = KernelStack::new().ok_or(Error::NoMemory)?;
    cpu.arch.irq_stack_top.store(interrupts.top(), Ordering::Relaxed);
    cpu.arch.overflow_stack_top.store(overflow.top(), Ordering::Relaxed);

    let _starting = STARTING.lock();
    START.root.store(crate::mm::kernel::root().0, Ordering::Relaxed);
    START.stack_top.store(stack_top, Ordering::Relaxed);
    START.percpu.store(core::ptr::from_ref(cpu).expose_provenance(), Ordering::Relaxed);
    START.entry.store(entry as usize, Ordering::Relaxed);
    START.running.store(false, Ordering::Release);
    // The CPU reads it through the caches, coherently; but not before this is done.
    paging::publish();
    // From here on the CPU may use its stacks, whatever firmware says.
    core::mem::forget((interrupts, overflow));
    power::cpu_on(id, head::secondary_entry(crate::mm::image::load_base()))?;

    let hz = u128::from(clock::hz());
    let limit = (u128::from(START_TIMEOUT_NS) * hz / 1_000_000_000) as u64;
    let begin = clock::counter();
    while !START.running.load(Ordering::Acquire) {
        if clock::counter().wrapping_sub(begin) > limit {
            return Err(Error::TimedOut);
        }
        cpu::relax();
    }
    Ok(())
}

/// Entered by `head` on the new CPU's own stack, with the kernel's tables active.
pub(super) extern "C" fn secondary(cpu: &'static PerCpu) -> ! {
    percpu::install(cpu);
    super::cpu::init_this_cpu();
    clock::stop_oneshot();
    let entry = START.entry.load(Ordering::Relaxed);
    if let Err(error) = irq::init_this_cpu() {
        log::error!("CPU {:#x} has no interrupts: {error:?}", super::cpu::id());
    }
    START.running.store(true, Ordering::Release);
    // SAFETY: `start` stored a function of this type.
    let entry: extern "C" fn() -> ! = unsafe { core::mem::transmute(entry) };
    entry()
}

/// Interrupts `cpu`, so that it looks at what it has to do (`thread::need_resched`).
pub fn notify(cpu: &PerCpu) {
    irq::send(cpu);
}
