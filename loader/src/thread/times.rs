//! How a thread's CPU time divides into the app's own and the kernel's for it.
//!
//! Each way from user mode into the kernel notes how long the thread had run, each way back
//! counts what came since then as the kernel's. Interrupts count as what they interrupted.
//! Only kernels with a call that tells the two apart do this (`arch::calls::splits_times`);
//! in others all time is the app's.

use core::sync::atomic::{AtomicU64, Ordering};

use super::task::Thread;
use crate::arch::calls;
use crate::percpu::{self, PerCpu};
use crate::time;

/// What [`Times::entered`] is while the thread runs the app's code.
const OUTSIDE: u64 = u64::MAX;

/// A thread's part of this.
pub(super) struct Times {
    /// How long the kernel has run for it, in ns, but for what it does now.
    system: AtomicU64,
    /// How long it had run when it entered the kernel, in ns. Threads begin in the kernel.
    entered: AtomicU64,
}

impl Times {
    /// Of a thread that has not run yet.
    pub(super) const fn new() -> Self {
        Self { system: AtomicU64::new(0), entered: AtomicU64::new(0) }
    }
}

/// How long the thread that runs on `cpu`, which asks, has run, in ns.
fn ran(cpu: &PerCpu, thread: &Thread) -> u64 {
    let turn = time::now_ns().saturating_sub(super::sched::since(cpu));
    thread.ran_ns.load(Ordering::Relaxed) + turn
}

/// The thread that runs has come from user mode.
#[inline]
pub fn enter_kernel() {
    calls::cross(true);
}

/// It is about to go back there.
#[inline]
pub fn leave_kernel() {
    calls::cross(false);
}

/// Notes that the thread that runs has entered the kernel, or leaves it.
pub fn cross(enters: bool) {
    percpu::with(|cpu| {
        let Some(thread) = super::sched::running(cpu) else { return };
        let (times, ran) = (&thread.times, ran(cpu, &thread));
        let entered = times.entered.load(Ordering::Relaxed);
        if enters {
            times.entered.store(entered.min(ran), Ordering::Relaxed);
        } else if entered != OUTSIDE {
            times.entered.store(OUTSIDE, Ordering::Relaxed);
            times.system.fetch_add(ran.saturating_sub(entered), Ordering::Relaxed);
        }
    });
}

/// CPU time in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// The app's own.
    pub user: u64,
    /// The kernel's for it.
    pub system: u64,
}

impl CpuTime {
    /// Both.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.user.saturating_add(self.system)
    }
}

impl core::ops::Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }
}

impl Thread {
    /// How long it has run on a CPU.
    #[must_use]
    pub fn cpu_time(&self) -> CpuTime {
        let total = self.cpu_ns();
        if !calls::splits_times() {
            return CpuTime { user: total, system: 0 };
        }
        let entered = self.times.entered.load(Ordering::Relaxed);
        let now = if entered == OUTSIDE { 0 } else { total.saturating_sub(entered) };
        // It may run elsewhere meanwhile: never more than all.
        let system = self.times.system.load(Ordering::Relaxed).saturating_add(now).min(total);
        CpuTime { user: total - system, system }
    }
}
