//! Waiting: for somebody's wake-up, for a time, for an interruption.

use alloc::sync::Arc;

use driver_api::sync::{IrqLock, IrqLockGuard};

use super::list::{List, Waiting};
use super::sched::{self, PreemptGuard};
use super::state::{WaitId, Woken};
use super::task::Thread;
use crate::time;

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Until when at most, in ns since boot.
    pub deadline: Option<u64>,
    /// Whether `Thread::interrupt` ends it.
    pub interruptible: bool,
}

impl Wait {
    /// Until woken.
    pub const FOREVER: Self = Self { deadline: None, interruptible: false };
    /// Until woken or interrupted.
    pub const INTERRUPTIBLE: Self = Self { deadline: None, interruptible: true };
}

/// Threads that wait for the same thing, in the order in which they came.
pub struct WaitQueue {
    waiting: IrqLock<List<Thread, Waiting>>,
}

impl WaitQueue {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { waiting: IrqLock::new(List::new()) }
    }

    /// Waits until woken, whatever happened before the call. For conditions use
    /// [`Self::wait_while`], which cannot miss one.
    pub fn wait(&self, how: Wait) -> Woken {
        self.block(how, || {})
    }

    /// Releases `guard`, a guard of `lock`, waits, and takes the lock again. Whoever changes
    /// what `lock` protects and then wakes this queue is not missed. Like a condition
    /// variable's wait.
    pub fn wait_guard<'a, T>(
        &self,
        lock: &'a IrqLock<T>,
        guard: IrqLockGuard<'a, T>,
        how: Wait,
    ) -> (IrqLockGuard<'a, T>, Woken) {
        let woken = self.block(how, || drop(guard));
        (lock.lock(), woken)
    }

    /// Waits as long as `condition` says true of what `lock` protects, but not after the
    /// deadline or an interruption. Returns the lock held.
    pub fn wait_while<'a, T>(
        &self,
        lock: &'a IrqLock<T>,
        how: Wait,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (IrqLockGuard<'a, T>, Woken) {
        let mut guard = lock.lock();
        let mut woken = Woken::Woken;
        while condition(&mut guard) {
            if woken != Woken::Woken {
                return (guard, woken);
            }
            (guard, woken) = self.wait_guard(lock, guard, how);
        }
        (guard, Woken::Woken)
    }

    /// Waits; `release` is called when a wake-up can no longer be missed.
    fn block(&self, how: Wait, release: impl FnOnce()) -> Woken {
        debug_assert!(sched::may_sleep(), "waiting where nothing may sleep");
        // A question, not a wait: what most programs ask of `poll` when they start.
        if how.deadline.is_some_and(|at| at <= time::now_ns()) {
            release();
            return Woken::TimedOut;
        }
        let thread = sched::current();
        // A thread that is preempted on its way into the wait would have to be queued as one
        // that can go on, while its waker queues it as well.
        let guard = PreemptGuard::new();
        let wait = {
            let mut waiting = self.waiting.lock();
            waiting.push(thread.arc());
            thread.state.begin_wait(how.interruptible)
        };
        release();
        let woken = finish(&thread.arc(), wait, how, guard);
        if woken != Woken::Woken {
            // Whoever wakes by this queue has taken the thread out of it; others have not.
            self.waiting.lock().remove(&thread);
        }
        woken
    }

    /// Wakes the one that has waited longest; `false` when nobody waits. From any context.
    pub fn wake_one(&self) -> bool {
        self.wake_n(1) == 1
    }

    /// Wakes all; how many. From any context.
    pub fn wake_all(&self) -> usize {
        self.wake_n(usize::MAX)
    }

    /// Wakes up to `n`, longest waiting first; how many. From any context.
    pub fn wake_n(&self, n: usize) -> usize {
        let mut woken = 0;
        while woken < n {
            let (thread, won) = {
                let mut waiting = self.waiting.lock();
                let Some(thread) = waiting.pop() else { break };
                // One that just timed out, or was interrupted, does not count. Under the
                // lock, which that one takes as well before it can wait again.
                let won = thread.state.wake(None, Woken::Woken);
                (thread, won)
            };
            if won {
                sched::enqueue(thread);
                woken += 1;
            }
        }
        if woken > 0 {
            sched::resched_if_due();
        }
        woken
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives the CPU up until the wait, which has begun, ends.
fn finish(thread: &Arc<Thread>, wait: WaitId, how: Wait, guard: PreemptGuard) -> Woken {
    let timer = how.deadline.map(|at| time::wake_at(at, Arc::clone(thread), wait));
    if how.interruptible && thread.state.interrupted() {
        // It came before the wait began. If a wake-up came first, that one counts.
        if thread.state.wake(Some(wait), Woken::Interrupted) {
            sched::enqueue(Arc::clone(thread));
        }
    }
    sched::schedule_after(guard);
    let woken = thread.state.woken();
    if let Some(timer) = timer
        && woken != Woken::TimedOut
    {
        time::cancel(timer);
    }
    woken
}

/// Waits until `deadline`, in ns since boot, or an interruption if `interruptible`.
pub fn sleep_until(deadline: u64, interruptible: bool) -> Woken {
    let thread = sched::current();
    debug_assert!(sched::may_sleep(), "sleeping where nothing may sleep");
    let how = Wait { deadline: Some(deadline), interruptible };
    let guard = PreemptGuard::new();
    let wait = thread.state.begin_wait(interruptible);
    finish(&thread.arc(), wait, how, guard)
}

/// Waits `ns` nanoseconds.
pub fn sleep_ns(ns: u64) {
    let _ = sleep_until(time::now_ns().saturating_add(ns), false);
}
