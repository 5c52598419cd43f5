//! Kernel threads: a preemptive scheduler with a run queue per CPU, wait queues, time-outs.
//!
//! The contract (bodies follow):
//!
//! ```text
//! spawn(name: &str, Priority, entry: impl FnOnce() + Send + 'static) -> Result<Arc<Thread>, SpawnError>
//! current() -> Running<Thread>      derefs to &Thread; not Send. current().arc() -> Arc<Thread>
//! yield_now(); exit() -> !; sleep_ns(u64); preempt(); need_resched() -> bool
//! PreemptGuard::new()               no preemption on this CPU until it is dropped
//! WaitQueue::new() (const)
//!   .wait(&self, how: Wait) -> Woken            Wait { deadline: Option<u64 ns since boot>, interruptible: bool }
//!   .wait_while(&self, &IrqLock<T>, how, |&mut T| -> bool) -> (IrqLockGuard<T>, Woken)   waits while it says true
//!   .wake_one() -> bool; .wake_all() -> usize; .wake_n(n) -> usize        from any context
//! enum Woken { Woken, TimedOut, Interrupted }
//! Thread::interrupt()               ends an interruptible wait, or the next one (signals)
//! Thread { id, name, user: spin::Once<UserContext> }
//! UserContext::new(root: PhysAddr, asid: u16, own: Box<dyn Any + Send + Sync>)   what the switch loads and saves:
//!                                   page-table root, TLS register, FPU; `own` is process's
//! Mutex<T>                          sleeping lock
//! ```

use crate::arch;
