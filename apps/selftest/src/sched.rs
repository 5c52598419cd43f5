//! Who runs where and how long: threads bound to CPUs, policies, nice values.

use crate::calls::raw;
use crate::events::{call, clock};
use crate::{Test, same};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("sched: a thread goes where it is bound to", bound),
    ("sched: a busy thread is sent elsewhere", sent),
    ("sched: bound threads wake up where they may", wakes),
    ("sched: a thread that waits for its turn is sent elsewhere", queued),
    ("sched: policies", policies),
    ("sched: attributes", attributes),
    ("sched: nice values", nice),
    ("sched: who is nicer gets less", shares),
];

const EPERM: isize = -1;
const ESRCH: isize = -3;
const E2BIG: isize = -7;
const EFAULT: isize = -14;
const EINVAL: isize = -22;

/// The CPUs that a thread may run on.
fn affinity(tid: usize) -> Result<u64, String> {
    let mut mask = 0_u64;
    same!(call("sched_getaffinity", &[tid, 8, (&raw mut mask).expose_provenance()])?, 8);
    Ok(mask)
}

fn bind(tid: usize, mask: u64) -> isize {
    raw::named("sched_setaffinity", &[tid, 8, (&raw const mask).expose_provenance()])
}

/// The CPU that runs this.
fn cpu() -> usize {
    let mut cpu = u32::MAX;
    raw::named("getcpu", &[(&raw mut cpu).expose_provenance(), 0, 0]);
    cpu as usize
}

fn tid() -> usize {
    raw::named("gettid", &[]) as usize
}

/// Calls `f` with the number of CPUs, and lets the thread run on all afterwards.
fn with_cpus(f: impl FnOnce(usize) -> Result<(), String>) -> Result<(), String> {
    let all = affinity(0)?;
    same!(all.count_ones(), all.trailing_ones());
    let result = f(all.count_ones() as usize);
    same!((bind(0, all), affinity(0)?), (0, all));
    result
}

/// A thread that writes down where it runs, over and over, until it is told to end.
struct Busy {
    tid: usize,
    seen: Arc<Seen>,
    thread: thread::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    cpu: AtomicUsize,
    turns: AtomicUsize,
    tid: AtomicUsize,
    end: AtomicBool,
}

impl Busy {
    fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let own = seen.clone();
        let thread = thread::spawn(move || {
            own.tid.store(tid(), Ordering::SeqCst);
            while !own.end.load(Ordering::SeqCst) {
                own.cpu.store(cpu(), Ordering::SeqCst);
                own.turns.fetch_add(1, Ordering::SeqCst);
                for n in 0..200_u64 {
                    black_box(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                }
            }
        });
        while seen.turns.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        Self { tid: seen.tid.load(Ordering::SeqCst), seen, thread }
    }

    /// Where it has been in `n` looks from now on, a bit each.
    fn places(&self, n: usize) -> u64 {
        let (mut places, mut turns) = (0, self.seen.turns.load(Ordering::SeqCst));
        // One look may have been under way.
        for look in 0..=n {
            while self.seen.turns.load(Ordering::SeqCst) == turns {
                thread::yield_now();
            }
            turns = self.seen.turns.load(Ordering::SeqCst);
            if look > 0 {
                places |= 1 << self.seen.cpu.load(Ordering::SeqCst);
            }
        }
        places
    }

    fn end(self) -> Result<(), String> {
        self.seen.end.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| "panicked".to_owned())
    }
}

fn bound() -> Result<(), String> {
    with_cpus(|cpus| {
        for at in (0..cpus).chain((0..cpus).rev()) {
            same!((bind(0, 1 << at), cpu(), affinity(0)?), (0, at, 1 << at));
            thread::yield_now();
            thread::sleep(Duration::from_millis(1));
            same!(cpu(), at);
            // Threads that it starts are bound as it is.
            let other = thread::spawn(|| (cpu(), affinity(0)));
            same!(other.join().map_err(|_| "panicked")?, (at, Ok(1 << at)));
        }
        // CPUs that are not there do not count, unless there are no others.
        let at = cpus - 1;
        same!((bind(0, 1 << at | 1 << 63), affinity(0)?), (0, 1 << at));
        same!((bind(0, 0), bind(0, 1 << 63), affinity(0)?), (EINVAL, EINVAL, 1 << at));
        let mask = 1_u64;
        let mask = (&raw const mask).expose_provenance();
        same!(raw::named("sched_setaffinity", &[9999, 8, mask]), ESRCH);
        same!(raw::named("sched_setaffinity", &[usize::MAX, 8, mask]), ESRCH);
        same!(raw::named("sched_setaffinity", &[0, 8, 8]), EFAULT);
        same!(raw::named("sched_setaffinity", &[0, 0, mask]), EINVAL);
        // A mask of another length.
        let long = [1_u64, 0, u64::MAX];
        same!(raw::named("sched_setaffinity", &[0, 1, mask]), 0);
        same!(raw::named("sched_setaffinity", &[0, 24, long.as_ptr().expose_provenance()]), 0);
        same!((affinity(0)?, cpu()), (1, 0));
        same!(raw::named("sched_getaffinity", &[9999, 8, mask]), ESRCH);
        same!(raw::named("sched_getaffinity", &[0, 4, mask]), EINVAL);
        Ok(())
    })
}

fn sent() -> Result<(), String> {
    with_cpus(|cpus| {
        let busy = Busy::start();
        for at in (0..cpus).cycle().take(40) {
            same!((bind(busy.tid, 1 << at), affinity(busy.tid)?), (0, 1 << at));
            same!(busy.places(3), 1 << at);
        }
        same!((bind(busy.tid, u64::MAX), busy.places(1) < 1 << cpus), (0, true));
        busy.end()
    })
}

fn wakes() -> Result<(), String> {
    with_cpus(|cpus| {
        // Others who look for work, on all CPUs.
        let busy: Vec<_> = (0..cpus).map(|_| Busy::start()).collect();
        let pairs: Vec<_> = (0..cpus)
            .map(|at| {
                thread::spawn(move || {
                    if bind(0, 1 << at) != 0 {
                        return Err(format!("no thread can be bound to {at}"));
                    }
                    let (to, from) = mpsc::sync_channel(0);
                    let (back, end) = mpsc::sync_channel(0);
                    let other = thread::spawn(move || {
                        let mut places = 0_u64;
                        for () in from {
                            places |= 1 << cpu();
                            let _ = back.send(());
                        }
                        places
                    });
                    let mut places = 0_u64;
                    for n in 0..200 {
                        to.send(()).map_err(|e| e.to_string())?;
                        end.recv().map_err(|e| e.to_string())?;
                        places |= 1 << cpu();
                        if n % 50 == 0 {
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                    drop(to);
                    places |= other.join().map_err(|_| "panicked")?;
                    Ok(places == 1 << at)
                })
            })
            .collect();
        let pairs: Vec<_> = pairs.into_iter().map(thread::JoinHandle::join).collect();
        busy.into_iter().try_for_each(Busy::end)?;
        for pair in pairs {
            same!(pair.map_err(|_| "panicked")?, Ok(true));
        }
        Ok(())
    })
}

fn queued() -> Result<(), String> {
    with_cpus(|cpus| {
        // Three wait for each other's turn on one CPU, with which they go from CPU to CPU.
        same!(bind(0, 1), 0);
        let busy: Vec<_> = (0..3).map(|_| Busy::start()).collect();
        for at in (0..cpus).cycle().take(20) {
            for thread in &busy {
                same!(bind(thread.tid, 1 << at), 0);
            }
            for thread in &busy {
                same!(thread.places(2), 1 << at);
            }
        }
        busy.into_iter().try_for_each(Busy::end)
    })
}

const OTHER: usize = 0;
const BATCH: usize = 3;
const IDLE: usize = 5;
const RESET_ON_FORK: usize = 0x4000_0000;

fn policies() -> Result<(), String> {
    let set = |tid: usize, policy: usize, priority: u32| {
        raw::named("sched_setscheduler", &[tid, policy, (&raw const priority).expose_provenance()])
    };
    let get = |tid: usize| raw::named("sched_getscheduler", &[tid]);
    for policy in [BATCH, IDLE, OTHER] {
        same!((set(0, policy, 0), get(0), get(tid())), (0, policy as isize, policy as isize));
        let other = thread::spawn(move || raw::named("sched_getscheduler", &[0]));
        same!(other.join().map_err(|_| "panicked")?, policy as isize);
        same!(set(0, policy, 1), EINVAL);
    }
    // SCHED_FIFO and SCHED_RR: nobody has the right to them.
    for policy in [1, 2] {
        same!((set(0, policy, 1), set(0, policy, 99)), (EPERM, EPERM));
        same!((set(0, policy, 0), set(0, policy, 100)), (EINVAL, EINVAL));
    }
    same!((set(0, 4, 0), set(0, 7, 0), set(0, usize::MAX, 0)), (EINVAL, EINVAL, EINVAL));
    same!((set(9999, OTHER, 0), get(9999), get(usize::MAX)), (ESRCH, ESRCH, EINVAL));
    same!(raw::named("sched_setscheduler", &[0, 0, 0]), EINVAL);
    same!(raw::named("sched_setscheduler", &[0, 0, 8]), EFAULT);
    // Another thread's, and what its threads have then.
    let busy = Busy::start();
    same!((set(busy.tid, IDLE | RESET_ON_FORK, 0), get(0)), (0, OTHER as isize));
    same!(get(busy.tid), (IDLE | RESET_ON_FORK) as isize);
    busy.end()?;
    for (policy, min, max) in
        [(0, 0, 0), (1, 1, 99), (2, 1, 99), (3, 0, 0), (5, 0, 0), (6, 0, 0), (4, -22, -22)]
    {
        same!(raw::named("sched_get_priority_min", &[policy]), min);
        same!(raw::named("sched_get_priority_max", &[policy]), max);
    }
    let mut priority = 1_u32;
    let at = (&raw mut priority).expose_provenance();
    same!(raw::named("sched_setparam", &[0, at]), EINVAL);
    same!((raw::named("sched_getparam", &[0, at]), priority), (0, 0));
    same!(raw::named("sched_setparam", &[0, at]), 0);
    same!(
        (raw::named("sched_setparam", &[9999, at]), raw::named("sched_setparam", &[0, 0])),
        (ESRCH, EINVAL)
    );
    let mut time = [9_u64; 2];
    let at = time.as_mut_ptr().expose_provenance();
    same!((raw::named("sched_rr_get_interval", &[0, at]), time), (0, [0, 4_000_000]));
    same!(raw::named("sched_rr_get_interval", &[9999, at]), ESRCH);
    Ok(())
}

/// `struct sched_attr`: policy, flags and nice value, and a priority.
fn attribute(policy: u32, flags: u32, nice: i32, priority: u32) -> [u32; 16] {
    let mut all = [0; 16];
    all[..6].copy_from_slice(&[48, policy, flags, 0, nice.cast_unsigned(), priority]);
    all
}

fn attributes() -> Result<(), String> {
    let set = |attribute: [u32; 16]| {
        raw::named("sched_setattr", &[0, attribute.as_ptr().expose_provenance(), 0])
    };
    let get = |len: usize| {
        let mut raw = [u32::MAX; 16];
        let result =
            raw::named("sched_getattr", &[0, raw.as_mut_ptr().expose_provenance(), len, 0]);
        (result, raw)
    };
    same!(set(attribute(BATCH as u32, 1, 7, 0)), 0);
    let (result, found) = get(64);
    same!((result, &found[..6]), (0, &[56, BATCH as u32, 1, 0, 7, 0][..]));
    same!((found[13], found[14]), (0, u32::MAX));
    let (result, found) = get(48);
    same!((result, found[0], found[11], found[12]), (0, 48, 0, u32::MAX));
    same!((get(47).0, get(4097).0), (EINVAL, EINVAL));
    // What a thread starts does without what is reset.
    let other = thread::spawn(|| raw::named("sched_getscheduler", &[0]));
    same!(other.join().map_err(|_| "panicked")?, BATCH as isize);
    // SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS; nice values beyond the last.
    same!((set(attribute(0, 8, 99, 0)), &get(48).1[1..5]), (0, &[BATCH as u32, 0, 0, 19][..]));
    same!((set(attribute(0, 16, 3, 0)), &get(48).1[1..5]), (0, &[0, 0, 0, 19][..]));
    same!((set(attribute(0, 0, 0, 0)), get(48).1[4]), (0, 0));
    same!((set(attribute(1, 0, 0, 5)), set(attribute(1, 0, 0, 0))), (EPERM, EINVAL));
    same!((set(attribute(0, 0, 0, 1)), set(attribute(0, 0x80, 0, 0))), (EINVAL, EINVAL));
    let mut long = attribute(0, 0, 0, 0);
    long[0] = 64;
    same!(set(long), 0);
    long[15] = 1;
    same!(set(long), E2BIG);
    // It is said how long they may be.
    let mut short = [47_u32; 16];
    same!(raw::named("sched_setattr", &[0, short.as_mut_ptr().expose_provenance(), 0]), E2BIG);
    same!(short[0], 56);
    same!(raw::named("sched_setattr", &[0, 8, 0]), EFAULT);
    Ok(())
}

fn nice() -> Result<(), String> {
    // As `getpriority` encodes them: 20 less the value.
    let get = |which: usize, who: usize| raw::named("getpriority", &[which, who]);
    let set = |which: usize, who: usize, nice: i32| {
        raw::named("setpriority", &[which, who, nice as usize])
    };
    same!((get(0, 0), get(1, 0), get(2, 0)), (20, 20, 20));
    let busy = Busy::start();
    // Each thread has its own; of several the best is told.
    same!((set(0, busy.tid, 5), get(0, busy.tid), get(0, 0), get(1, 0)), (0, 15, 20, 20));
    same!((set(0, 0, 30), get(0, 0), get(1, 0)), (0, 1, 15));
    let other = thread::spawn(move || raw::named("getpriority", &[0, 0]));
    same!(other.join().map_err(|_| "panicked")?, 1);
    // The first user may have more as well.
    same!((set(0, 0, -30), get(0, 0), get(2, 0)), (0, 40, 40));
    same!((set(1, 1, 3), get(0, 0), get(0, busy.tid)), (0, 17, 17));
    same!((set(2, 0, 0), get(0, 0), get(0, busy.tid)), (0, 20, 20));
    busy.end()?;
    same!((get(0, 9999), get(1, 9999), get(2, 9999)), (ESRCH, ESRCH, ESRCH));
    same!((get(3, 0), set(3, 0, 0), set(0, 9999, 0)), (EINVAL, EINVAL, ESRCH));
    Ok(())
}

/// Works until a clock of the thread's own says so, beside another thread; what that one's says.
fn beside(set: impl FnOnce(usize) -> isize) -> Result<(Duration, Duration), String> {
    const OWN: usize = 3;
    let (own, other) = (clock(OWN)?, Busy::start());
    // The number of a clock of all CPU time of a thread.
    let number = (!(other.tid as u32) << 3 | 6) as usize;
    same!(set(other.tid), 0);
    let before = clock(number)?;
    let mut worked = Duration::ZERO;
    while worked < Duration::from_millis(80) {
        for n in 0..2000_u64 {
            black_box(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        worked = clock(OWN)?.saturating_sub(own);
    }
    let others = clock(number)? - before;
    other.end()?;
    Ok((worked, others))
}

fn shares() -> Result<(), String> {
    with_cpus(|_| {
        same!(bind(0, 1), 0);
        let nicer = |tid| raw::named("setpriority", &[0, tid, 10]);
        let idle = |tid| {
            let none = 0_u32;
            raw::named("sched_setscheduler", &[tid, IDLE, (&raw const none).expose_provenance()])
        };
        // A ninth and a sixteenth are meant. A host that takes the CPU away counts for whoever
        // ran; without shares, half of the time would be the other's whatever the host does.
        let less = |set: &dyn Fn(usize) -> isize| {
            for _ in 0..50 {
                let (own, others) = beside(set)?;
                if others * 3 < own {
                    return Ok(());
                }
            }
            Err("who is nicer has as much".to_owned())
        };
        less(&nicer)?;
        less(&idle)
    })
}
