//! The other CPUs: started at boot, each with its block and its idle thread.

use alloc::boxed::Box;

use crate::mm::frames;
use crate::percpu::{self, MAX_CPUS, PerCpu};
use crate::{arch, thread};

/// Frames that a CPU costs besides its stacks, at most: its block, its tables, its idle
/// thread.
const SPARE: u64 = 32;

/// Starts every CPU that the platform describes. Called once, in a thread, before others
/// that set timers exist. A CPU that does not start is left out, with a warning.
pub(crate) fn start_others() {
    let there = arch::smp::others();
    for nth in 0..there.min(MAX_CPUS - 1) {
        if !frames::available(SPARE) {
            log::warn!("no memory for CPU {}", nth + 1);
            return;
        }
        let Ok(idle) = thread::make_idle() else {
            log::warn!("no memory for CPU {}", nth + 1);
            return;
        };
        let Some(stack) = idle.stack() else { return };
        // For ever: a CPU is never taken away, and one that failed to start may still come.
        let cpu: &'static PerCpu = Box::leak(Box::new(PerCpu::new(percpu::count())));
        crate::time::prepare_cpu(cpu);
        thread::give_idle(cpu, idle);
        match arch::smp::start(nth, cpu, stack.end, secondary) {
            Ok(()) => percpu::register(cpu),
            Err(e) => log::warn!("CPU {} did not start: {e:?}", nth + 1),
        }
    }
    if there > 0 {
        log::info!("{} of {} CPUs run", percpu::count(), there + 1);
    }
}

/// Where a CPU begins, on its idle thread's stack, with its block installed.
extern "C" fn secondary() -> ! {
    arch::cpu::enable_interrupts();
    thread::idle()
}
