//! What a thread is doing, in one word, so that exactly one of several wakers wins.

use core::sync::atomic::{AtomicU64, Ordering};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Somebody woke the thread.
    Woken,
    /// The deadline passed.
    TimedOut,
    /// The thread was interrupted (a signal, the end of the process).
    Interrupted,
}

/// What the scheduler finds when it leaves a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It could go on: it goes to the end of the run queue.
    Runnable,
    /// It waits, has been woken already (and is in a run queue), or has ended.
    Away,
    /// It has ended.
    Dead,
}

// Bits 1:0 what it does, 3:2 why it was woken, 4 whether a wait may be interrupted, 5
// whether an interruption is pending; from bit 8 the number of the wait.
const PHASE: u64 = 3;
const RUNNING: u64 = 0;
const READY: u64 = 1;
const BLOCKED: u64 = 2;
const DEAD: u64 = 3;
const REASON: u64 = 3 << 2;
const INTERRUPTIBLE: u64 = 1 << 4;
const PENDING: u64 = 1 << 5;
const WAIT: u64 = 1 << 8;

/// The word.
pub struct State(AtomicU64);

/// The number of a wait: a time-out of an earlier one does not end a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitId(u64);

impl State {
    /// Ready to run for the first time, and in a run queue (or running, for the boot
    /// thread, once [`Self::enter`] was called).
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(READY))
    }

    fn update(&self, f: impl Fn(u64) -> Option<u64>) -> Result<u64, u64> {
        self.0.try_update(Ordering::AcqRel, Ordering::Acquire, f)
    }

    /// The running thread is about to wait. From now on it can be woken; it still has to
    /// give the CPU up.
    pub fn begin_wait(&self, interruptible: bool) -> WaitId {
        let flag = if interruptible { INTERRUPTIBLE } else { 0 };
        let next = |w: u64| {
            (w & !(PHASE | REASON | INTERRUPTIBLE | 0xc0)).wrapping_add(WAIT) | BLOCKED | flag
        };
        let old = self.0.update(Ordering::AcqRel, Ordering::Acquire, next);
        WaitId(next(old) / WAIT)
    }

    /// Ends a wait. `true` for the one caller that did; it puts the thread into a run
    /// queue. `wait`: only that wait, not a later one.
    pub fn wake(&self, wait: Option<WaitId>, why: Woken) -> bool {
        let reason = match why {
            Woken::Woken => 1 << 2,
            Woken::TimedOut => 2 << 2,
            Woken::Interrupted => 3 << 2,
        };
        self.update(|w| {
            let allowed = w & PHASE == BLOCKED
                && wait.is_none_or(|id| id.0 == w / WAIT)
                && (why != Woken::Interrupted || w & INTERRUPTIBLE != 0);
            allowed.then_some(w & !PHASE | READY | reason)
        })
        .is_ok()
    }

    /// Why the last wait ended.
    #[must_use]
    pub fn woken(&self) -> Woken {
        match (self.0.load(Ordering::Acquire) & REASON) >> 2 {
            2 => Woken::TimedOut,
            3 => Woken::Interrupted,
            _ => Woken::Woken,
        }
    }

    /// Notes an interruption. `true` when a wait was ended by it (the caller puts the
    /// thread into a run queue); otherwise the next interruptible wait ends at once.
    pub fn interrupt(&self) -> bool {
        self.0.fetch_or(PENDING, Ordering::AcqRel);
        self.wake(None, Woken::Interrupted)
    }

    /// Whether an interruption is pending.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.0.load(Ordering::Acquire) & PENDING != 0
    }

    /// Forgets a pending interruption; whether there was one.
    pub fn take_interrupt(&self) -> bool {
        self.0.fetch_and(!PENDING, Ordering::AcqRel) & PENDING != 0
    }

    /// The scheduler leaves the thread. It is not preempted between [`Self::begin_wait`] and
    /// giving the CPU up, so one that waits has prepared everything.
    pub fn leave(&self) -> Left {
        let old = self.0.update(Ordering::AcqRel, Ordering::Acquire, |w| {
            if w & PHASE == RUNNING { w | READY } else { w }
        });
        match old & PHASE {
            RUNNING => Left::Runnable,
            DEAD => Left::Dead,
            _ => Left::Away,
        }
    }

    /// The scheduler lets the thread run, which no CPU does any more.
    pub fn enter(&self) {
        let run = |w: u64| if w & PHASE == READY { w & !PHASE | RUNNING } else { w };
        self.0.update(Ordering::AcqRel, Ordering::Acquire, run);
    }

    /// The thread ends.
    pub fn die(&self) {
        self.0.fetch_or(DEAD, Ordering::AcqRel);
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.load(Ordering::Acquire) & PHASE == DEAD
    }

    /// Whether it waits.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.0.load(Ordering::Acquire) & PHASE == BLOCKED
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> State {
        let s = State::new();
        s.enter();
        s
    }

    #[test]
    fn one_waker_wins() {
        let s = running();
        assert!(!s.wake(None, Woken::Woken), "not waiting");
        let id = s.begin_wait(false);
        assert!(s.wake(Some(id), Woken::TimedOut));
        assert!(!s.wake(None, Woken::Woken), "woken already");
        assert_eq!(s.leave(), Left::Away, "its waker has queued it");
        s.enter();
        assert_eq!(s.woken(), Woken::TimedOut);
        assert_eq!(s.leave(), Left::Runnable);
    }

    #[test]
    fn an_old_time_out_does_not_end_a_new_wait() {
        let s = running();
        let first = s.begin_wait(false);
        assert!(s.wake(None, Woken::Woken));
        s.enter();
        let second = s.begin_wait(false);
        assert_ne!(first, second);
        assert!(!s.wake(Some(first), Woken::TimedOut));
        assert!(s.wake(Some(second), Woken::TimedOut));
    }

    #[test]
    fn interruptions_end_only_waits_that_allow_it_and_stay_pending() {
        let s = running();
        s.begin_wait(false);
        assert!(!s.interrupt());
        assert!(s.is_blocked() && s.interrupted());
        assert!(s.wake(None, Woken::Woken));
        s.enter();
        s.begin_wait(true);
        assert!(s.interrupted(), "still pending: the waiter sees it before it sleeps");
        assert!(s.interrupt());
        s.enter();
        assert_eq!(s.woken(), Woken::Interrupted);
        assert!(s.take_interrupt() && !s.take_interrupt());
    }

    #[test]
    fn the_dead_stay_dead() {
        let s = running();
        s.die();
        assert_eq!(s.leave(), Left::Dead);
        assert!(!s.wake(None, Woken::Woken) && s.is_dead());
    }

    #[test]
    fn racing_wakers_in_threads() {
        for _ in 0..200 {
            let s = running();
            s.begin_wait(true);
            let s = &s;
            let won: usize = std::thread::scope(|scope| {
                [Woken::Woken, Woken::TimedOut, Woken::Interrupted]
                    .map(|why| scope.spawn(move || s.wake(None, why)))
                    .into_iter()
                    .map(|waker| usize::from(waker.join().unwrap()))
                    .sum()
            });
            assert_eq!(won, 1);
        }
    }
}
