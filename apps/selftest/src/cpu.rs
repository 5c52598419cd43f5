//! CPU time: the program's own and the kernel's apart, clocks and timers that go by it.
//!
//! No test says how long something takes: each works until a clock of CPU time has gone so
//! far, and asks what the others say then.

use crate::calls::raw;
use crate::events::{SIGALRM, call, clock, setting, signal};
use crate::{Test, same};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("cpu: the program's time and the kernel's", apart),
    ("cpu: interval timers by CPU time", intervals),
    ("cpu: the clock of another thread, and a timer on it", others),
    ("cpu: a sleep by the process's time", sleeps),
    ("cpu: the limit of CPU time", limited),
];

const PROCESS: usize = 2;
const THREAD: usize = 3;
const MS: Duration = Duration::from_millis(1);

/// User and system time: of the process (0) or the thread (1).
fn usage(who: usize) -> Result<(Duration, Duration), String> {
    let mut raw = [0_u64; 18];
    call("getrusage", &[who, raw.as_mut_ptr().expose_provenance()])?;
    let time = |at: usize| Duration::new(raw[at], raw[at + 1] as u32 * 1000);
    Ok((time(0), time(2)))
}

/// Work of the program's own.
fn compute() {
    for n in 0..20_000_u64 {
        black_box(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

/// Work of the kernel's.
fn ask(bytes: &mut [u8]) -> Result<(), String> {
    call("getrandom", &[bytes.as_mut_ptr().expose_provenance(), bytes.len(), 0]).map(|_| ())
}

/// Tries until most of the time was the one that is meant. A host that takes the CPU away counts
/// for whoever ran; were the times one, no try would do.
fn mostly(whose: &str, mut tried: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    for _ in 0..50 {
        if tried()? {
            return Ok(());
        }
    }
    Err(format!("work of {whose} own is never mostly {whose} time"))
}

fn apart() -> Result<(), String> {
    let mut bytes = vec![0; 1 << 16];
    for who in [1, 0] {
        mostly("the program's", || {
            let before = usage(who)?;
            while usage(who)?.0 - before.0 < 20 * MS {
                compute();
            }
            let after = usage(who)?;
            Ok(after.1 - before.1 < after.0 - before.0)
        })?;
        mostly("the kernel's", || {
            let before = usage(who)?;
            while usage(who)?.1 - before.1 < 20 * MS {
                ask(&mut bytes)?;
            }
            let after = usage(who)?;
            Ok(after.0 - before.0 < after.1 - before.1)
        })?;
    }
    // `times` counts hundredths of the same; it was asked later.
    let (user, system) = usage(0)?;
    let mut ticks = [0_u64; 4];
    call("times", &[ticks.as_mut_ptr().expose_provenance()])?;
    let least = [user, system].map(|t| u64::try_from(t.as_millis() / 10).unwrap_or(0));
    same!(ticks[0] >= least[0] && ticks[1] >= least[1] && ticks[2..] == [0, 0], true);
    // Together they are what the clock says.
    let total = clock(PROCESS)?;
    same!(total >= user + system - MS / 1000 * 2, true);
    Ok(())
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: i32) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

fn intervals() -> Result<(), String> {
    const SIGVTALRM: i32 = 26;
    const SIGPROF: i32 = 27;
    let none = [0_u64; 4];
    // Seconds and microseconds, interval first.
    let often = [0_u64, 4000, 0, 4000];
    let mut bytes = vec![0; 1 << 12];
    for (which, number) in [(1, SIGVTALRM), (2, SIGPROF)] {
        // SAFETY: the handler only counts.
        unsafe { signal(number, count) };
        COUNT.store(0, Ordering::SeqCst);
        let before = usage(0)?;
        call("setitimer", &[which, often.as_ptr().expose_provenance(), 0])?;
        while COUNT.load(Ordering::SeqCst) < 3 {
            compute();
            ask(&mut bytes)?;
        }
        let mut old = [0_u64; 4];
        let at = old.as_mut_ptr().expose_provenance();
        call("getitimer", &[which, at])?;
        same!((old[0], old[1], old[2], (1..=4000).contains(&old[3])), (0, 4000, 0, true));
        call("setitimer", &[which, none.as_ptr().expose_provenance(), at])?;
        let after = usage(0)?;
        let user = after.0 - before.0;
        let all = user + (after.1 - before.1);
        // Three times 4 ms of the time that is meant, and getrusage cuts to microseconds.
        let meant = if which == 1 { user } else { all };
        same!(meant + MS / 100 >= 12 * MS, true);
    }
    same!(raw::named("setitimer", &[3, often.as_ptr().expose_provenance(), 0]), -22);
    // The one that always goes is another.
    let mut real = [1_u64; 4];
    call("getitimer", &[0, real.as_mut_ptr().expose_provenance()])?;
    same!(real[2..], [0, 0]);
    Ok(())
}

/// A thread that computes until told to end, and its number.
struct Busy {
    tid: u32,
    end: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Busy {
    fn start() -> Self {
        let (tid, end) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (own, told) = (tid.clone(), end.clone());
        let thread = thread::spawn(move || {
            own.store(raw::named("gettid", &[]) as u32, Ordering::SeqCst);
            while !told.load(Ordering::SeqCst) {
                compute();
            }
        });
        while tid.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        Self { tid: tid.load(Ordering::SeqCst), end, thread }
    }

    fn end(self) -> Result<(), String> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| "panicked".to_owned())
    }
}

/// The number of a clock as Linux makes it: of a thread or the process, kind 1 user time alone,
/// kind 2 all.
fn number(id: u32, of_thread: bool, kind: u32) -> usize {
    (!id << 3 | u32::from(of_thread) << 2 | kind) as usize
}

fn others() -> Result<(), String> {
    // SAFETY: the handler only counts.
    unsafe { signal(SIGALRM, count) };
    let busy = Busy::start();
    let (all, user) = (number(busy.tid, true, 2), number(busy.tid, true, 1));
    call("clock_getres", &[all, 0])?;
    let begin = clock(all)?;
    COUNT.store(0, Ordering::SeqCst);
    let mut id = 0_u32;
    let id_at = (&raw mut id).expose_provenance();
    call("timer_create", &[all, 0, id_at])?;
    let once = setting(10 * MS, Duration::ZERO);
    call("timer_settime", &[id as usize, 0, once.as_ptr().expose_provenance(), 0])?;
    while COUNT.load(Ordering::SeqCst) == 0 {
        thread::sleep(MS);
    }
    let now = clock(all)?;
    same!(now - begin >= 10 * MS, true);
    same!(clock(user)? <= clock(all)?, true);
    call("timer_delete", &[id as usize])?;
    busy.end()?;
    // The thread is gone, and its clock with it.
    same!(raw::named("clock_getres", &[all, 0]), -22);
    // The process's and the thread's own, by their long numbers.
    let before = clock(PROCESS)?;
    same!(clock(number(1, false, 2))? >= before, true);
    same!(clock(number(0, true, 2))? <= clock(THREAD)?, true);
    for bad in [number(1, false, 3), number(99, false, 2), number(9999, true, 2)] {
        same!(raw::named("clock_getres", &[bad, 0]), -22);
    }
    Ok(())
}

fn sleeps() -> Result<(), String> {
    let time = |d: Duration| [d.as_secs(), u64::from(d.subsec_nanos())];
    let short = time(10 * MS);
    let short = short.as_ptr().expose_provenance();
    // A thread that waits for itself to run.
    same!(raw::named("clock_nanosleep", &[THREAD, 0, short, 0]), -22);
    let busy = Busy::start();
    let begin = clock(PROCESS)?;
    call("clock_nanosleep", &[PROCESS, 0, short, 0])?;
    let after = clock(PROCESS)?;
    same!(after - begin >= 10 * MS, true);
    // TIMER_ABSTIME: what has passed, and what comes.
    for until in [begin, after + 5 * MS] {
        let at = time(until);
        call("clock_nanosleep", &[PROCESS, 1, at.as_ptr().expose_provenance(), 0])?;
        same!(clock(PROCESS)? >= until, true);
    }
    busy.end()
}

fn limited() -> Result<(), String> {
    const SIGXCPU: i32 = 24;
    const UNLIMITED: u64 = u64::MAX;
    // SAFETY: the handler only counts.
    unsafe { signal(SIGXCPU, count) };
    COUNT.store(0, Ordering::SeqCst);
    let mut old = [0_u64; 2];
    let seconds = clock(PROCESS)?.as_secs() + 1;
    let new = [seconds, UNLIMITED];
    let at = old.as_mut_ptr().expose_provenance();
    call("prlimit64", &[0, 0, new.as_ptr().expose_provenance(), at])?;
    same!(old, [UNLIMITED; 2]);
    while COUNT.load(Ordering::SeqCst) == 0 {
        compute();
    }
    same!(clock(PROCESS)? >= Duration::from_secs(seconds), true);
    let crossed = [2_u64, 1];
    same!(raw::named("prlimit64", &[0, 0, crossed.as_ptr().expose_provenance(), 0]), -22);
    let none = [UNLIMITED; 2];
    call("prlimit64", &[0, 0, none.as_ptr().expose_provenance(), at])?;
    same!(old, new);
    Ok(())
}
