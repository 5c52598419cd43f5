//! Clocks of CPU time, and what expires by them.
//!
//! Such a clock goes when threads run and stands when they do not, so no device can be set to
//! its times. A thread of the kernel looks after the timers that are set: at the moment at
//! which one could expire at the earliest, if all CPUs worked for it, and then again. It is
//! there while there are such timers.

use super::timers::{Action, Clock, Timer};
use super::{Errno, Outcome, time::read_timespec, time::write_timespec};
use crate::process::{self, PID, UserThread};
use crate::signal::number;
use crate::sync::{Mutex, Wait, WaitQueue, Woken};
use crate::thread::{self, CpuTime, Priority};
use crate::{percpu, time};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use driver_api::sync::IrqLock;
use driver_api::{Error, Result};

/// Nanoseconds in a second.
const NS: u64 = 1_000_000_000;
/// How long the look after a timer may be late, in ns, while its clock goes, and while it
/// stands (the latter is a tick of Linux's).
const WHILE_GOING: u64 = 500_000;
const WHILE_STANDING: u64 = 10_000_000;
/// `CLOCK_PROCESS_CPUTIME_ID`, `CLOCK_THREAD_CPUTIME_ID`.
const PROCESS: u32 = 2;
const THREAD: u32 = 3;

/// Whose time a clock shows.
#[derive(Clone)]
enum Whose {
    Process,
    Thread(Weak<UserThread>),
}

/// A clock of CPU time.
#[derive(Clone)]
pub struct CpuClock {
    whose: Whose,
    /// Without the kernel's time.
    user_only: bool,
}

impl CpuClock {
    /// Of the process.
    #[must_use]
    pub const fn process(user_only: bool) -> Self {
        Self { whose: Whose::Process, user_only }
    }

    /// The clock with the number `id`; `None` when it is none of CPU time. The numbers of
    /// others' clocks are negative: the inverted number of the process or thread (0: the
    /// one that asks), 4 for a thread, and the kind (0 both, 1 user, 2 both), as Linux's
    /// `include/linux/posix-timers.h` makes them.
    ///
    /// # Errors
    /// `EINVAL`: there is no such process, thread or kind.
    pub fn numbered(id: u32) -> core::result::Result<Option<Self>, Errno> {
        let own = || Whose::Thread(Arc::downgrade(&process::current()));
        let whose = match (id, id.cast_signed() >> 3) {
            (PROCESS, _) => Whose::Process,
            (THREAD, _) => own(),
            (_, inverted) if inverted < 0 => match (!inverted, id & 4 != 0) {
                (0, true) => own(),
                (tid, true) => {
                    let thread = super::signals::thread(tid).map_err(|_| Errno::EINVAL)?;
                    Whose::Thread(Arc::downgrade(&thread))
                }
                (pid, false) if pid == 0 || pid.cast_unsigned() == PID => Whose::Process,
                _ => return Err(Errno::EINVAL),
            },
            _ => return Ok(None),
        };
        match id & 3 {
            _ if id == PROCESS || id == THREAD => Ok(Some(Self { whose, user_only: false })),
            3 => Err(Errno::EINVAL),
            kind => Ok(Some(Self { whose, user_only: kind == 1 })),
        }
    }

    /// What it says, in ns; `None` when its thread has ended.
    #[must_use]
    pub fn now(&self) -> Option<u64> {
        let time: CpuTime = match &self.whose {
            Whose::Process => process::cpu_time(process::get()?),
            Whose::Thread(thread) => thread.upgrade()?.cpu_time()?,
        };
        Some(if self.user_only { time.user } else { time.total() })
    }

    /// How fast it can go at most, in seconds a second.
    fn speed(&self) -> u64 {
        match self.whose {
            Whose::Process => percpu::count() as u64,
            Whose::Thread(_) => 1,
        }
    }

    /// Whether it is the clock of the thread that asks, which stands while that one waits.
    fn is_own(&self) -> bool {
        let own = Arc::downgrade(&process::current());
        matches!(&self.whose, Whose::Thread(thread) if thread.ptr_eq(&own))
    }
}

/// What the clock with the number `id` says, in ns; `None` when it is none of CPU time.
#[must_use]
pub fn read(id: u32) -> Option<u64> {
    CpuClock::numbered(id).ok()??.now()
}

/// The timers that are looked after, and whether somebody does.
struct Watched {
    timers: Vec<Weak<Timer>>,
    watcher: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { timers: Vec::new(), watcher: false });
/// A timer was set, stopped, or is gone.
static POKED: IrqLock<bool> = IrqLock::new(false);
static BELL: WaitQueue = WaitQueue::new();

/// Looks after `timer` from now on, which is on a clock of CPU time.
///
/// # Errors
/// `NoMemory`.
pub(super) fn watch(timer: &Arc<Timer>) -> Result<()> {
    let mut watched = WATCHED.lock();
    watched.timers.try_reserve(1).map_err(|_| Error::NoMemory)?;
    if !watched.watcher {
        thread::spawn("cpu-timers", Priority::Interrupt, look_after)
            .map_err(|_| Error::NoMemory)?;
        watched.watcher = true;
    }
    watched.timers.push(Arc::downgrade(timer));
    Ok(())
}

/// Lets the timers be looked at now.
pub fn poke() {
    *POKED.lock() = true;
    BELL.wake_one();
}

/// The thread that looks after timers.
fn look_after() {
    loop {
        *POKED.lock() = false;
        let mut timers: Vec<Arc<Timer>> = Vec::new();
        {
            let mut watched = WATCHED.lock();
            watched.timers.retain(|t| t.strong_count() > 0);
            if watched.timers.is_empty() {
                *watched = Watched { timers: Vec::new(), watcher: false };
                return;
            }
            if timers.try_reserve(watched.timers.len()).is_ok() {
                timers.extend(watched.timers.iter().filter_map(Weak::upgrade));
            } else {
                drop(watched);
                thread::sleep_ns(WHILE_STANDING);
                continue;
            }
        }
        let next = timers.iter().filter_map(look).min();
        // One of them may be the last of its kind: then this pokes.
        drop(timers);
        let how = Wait { deadline: next, interruptible: false };
        let _ = BELL.wait_while(&POKED, how, |poked| !*poked);
    }
}

/// Lets `timer` expire if it is due; when to look again, in ns since boot.
fn look(timer: &Arc<Timer>) -> Option<u64> {
    let Clock::Cpu(clock) = &timer.clock else { return None };
    let now = clock.now()?;
    timer.expire(now);
    let (next, goes) = timer.look(now)?;
    let pause = if goes { WHILE_GOING } else { WHILE_STANDING };
    let soonest = next.saturating_sub(now) / clock.speed().max(1);
    Some(time::now_ns().saturating_add(soonest.max(pause)))
}

/// `clock_nanosleep` by a clock of CPU time; `None` when `id` is none.
pub fn sleep(id: u32, absolute: bool, request: usize, left: usize) -> Option<Outcome> {
    let clock = match CpuClock::numbered(id) {
        Ok(clock) => clock?,
        Err(e) => return Some(Err(e)),
    };
    Some(sleep_by(clock, absolute, request, left))
}

fn sleep_by(clock: CpuClock, absolute: bool, request: usize, left: usize) -> Outcome {
    // Who waits for itself to run waits for ever.
    if clock.is_own() {
        return Err(Errno::EINVAL);
    }
    let wanted = read_timespec(request)?;
    if wanted == 0 {
        return Ok(0);
    }
    let timer = Timer::new(Clock::Cpu(clock), Action::Wake)?;
    timer.set((wanted, 0), absolute);
    let woken = timer.wait(Wait::INTERRUPTIBLE);
    let (rest, _) = timer.set((0, 0), false);
    if woken == Woken::Woken {
        return Ok(0);
    }
    if left != 0 && !absolute {
        write_timespec(left, rest)?;
    }
    Err(Errno::EINTR)
}

/// The process's limit of CPU time, in seconds, soft and hard; and what watches over it.
struct Limit {
    soft: u64,
    hard: u64,
    timers: Option<[Arc<Timer>; 2]>,
}

/// `RLIM_INFINITY`.
const UNLIMITED: u64 = u64::MAX;

static LIMIT: Mutex<Limit> = Mutex::new(Limit { soft: UNLIMITED, hard: UNLIMITED, timers: None });

/// `RLIMIT_CPU`, soft and hard.
#[must_use]
pub fn limit() -> (u64, u64) {
    let limit = LIMIT.lock();
    (limit.soft, limit.hard)
}

/// Sets it: from the soft limit on the process gets `SIGXCPU` every second, at the hard one
/// `SIGKILL`.
///
/// # Errors
/// `NoMemory`.
pub fn set_limit(soft: u64, hard: u64) -> Result<()> {
    let mut limit = LIMIT.lock();
    if limit.timers.is_none() && (soft, hard) != (UNLIMITED, UNLIMITED) {
        let timer =
            |signal| Timer::new(Clock::Cpu(CpuClock::process(false)), Action::Process(signal, 0));
        limit.timers = Some([timer(number::XCPU)?, timer(number::KILL)?]);
    }
    if let Some([warns, ends]) = &limit.timers {
        // As in Linux, a limit of 0 seconds is one of 1.
        let at = |seconds: u64| match seconds {
            UNLIMITED => 0,
            seconds => seconds.max(1).saturating_mul(NS),
        };
        warns.set((at(soft), NS), true);
        ends.set((at(hard), 0), true);
    }
    (limit.soft, limit.hard) = (soft, hard);
    Ok(())
}
