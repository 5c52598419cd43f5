//! Kernel threads: a preemptive scheduler with a run queue per CPU, wait queues, time-outs.
//!
//! A thread runs until it waits, ends, or its time slice is over while another is ready;
//! with nobody else ready there is no tick. [`list`], [`share`] and [`state`] are the pure parts;
//! the rest needs the hardware.

pub mod list;
pub mod share;
pub mod state;

pub use share::{Policy, Share};
pub use state::{WaitId, Woken};

#[cfg(target_os = "none")]
mod mutex;
#[cfg(target_os = "none")]
mod sched;
#[cfg(target_os = "none")]
mod task;
#[cfg(target_os = "none")]
mod times;
#[cfg(target_os = "none")]
mod user;
#[cfg(target_os = "none")]
mod wait;

#[cfg(target_os = "none")]
pub use mutex::{Mutex, MutexGuard};
#[cfg(target_os = "none")]
pub(crate) use sched::give_idle;
#[cfg(target_os = "none")]
pub use sched::{
    CpuSched, PreemptGuard, current, exit, idle, may_sleep, need_resched, preempt, slice_over,
    try_current, yield_now,
};
#[cfg(target_os = "none")]
pub use task::{Priority, SpawnError, Thread, spawn, spawn_user};
#[cfg(target_os = "none")]
pub(crate) use task::{adopt_boot_cpu, begin_first, make_idle};
#[cfg(target_os = "none")]
pub use times::{CpuTime, cross, enter_kernel, leave_kernel};
#[cfg(target_os = "none")]
pub use user::UserContext;
#[cfg(target_os = "none")]
pub use wait::{Wait, WaitQueue, sleep_ns, sleep_until};
