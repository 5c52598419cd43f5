//! Event counters, sets of files, timers, CPU time, signals to busy threads.

use crate::calls::raw;
use crate::{Test, same};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    ("events: counters and sets", sets),
    ("events: a set wakes who waits with it", wakes),
    ("events: timers to read from", timer_files),
    ("events: timers that send signals", signal_timers),
    ("events: a signal is waited for", awaited),
    ("events: a busy thread gets its signal", busy),
    ("events: time that a thread has run", cpu_time),
];

pub const EVENT: usize = if cfg!(target_arch = "x86_64") { 12 } else { 16 };

/// A call that must not fail.
pub fn call(name: &str, args: &[usize]) -> Result<usize, String> {
    let result = raw::named(name, args);
    usize::try_from(result).map_err(|_| format!("{name}{args:x?} gave {result}"))
}

pub fn add(set: usize, fd: usize, events: u32, data: u64) -> Result<(), String> {
    let mut event = [0_u8; EVENT];
    event[..4].copy_from_slice(&events.to_le_bytes());
    event[EVENT - 8..].copy_from_slice(&data.to_le_bytes());
    call("epoll_ctl", &[set, 1, fd, event.as_ptr().expose_provenance()]).map(|_| ())
}

/// What a set tells within `ms` (-1: whenever it is).
pub fn wait(set: usize, ms: isize) -> Result<Vec<(u32, u64)>, String> {
    let mut events = [0_u8; 4 * EVENT];
    let at = events.as_mut_ptr().expose_provenance();
    let n = call("epoll_pwait", &[set, at, 4, ms.cast_unsigned(), 0, 8])?;
    let word = |e: &[u8]| u32::from_le_bytes([e[0], e[1], e[2], e[3]]);
    let data = |e: &[u8]| e[EVENT - 8..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    Ok(events.chunks(EVENT).take(n).map(|e| (word(e), data(e))).collect())
}

pub fn post(fd: usize, n: u64) -> Result<(), String> {
    call("write", &[fd, (&raw const n).expose_provenance(), 8]).map(|_| ())
}

pub fn take(fd: usize) -> Result<u64, String> {
    let mut n = 0_u64;
    call("read", &[fd, (&raw mut n).expose_provenance(), 8])?;
    Ok(n)
}

pub fn close(fds: &[usize]) -> Result<(), String> {
    fds.iter().try_for_each(|fd| call("close", &[*fd]).map(|_| ()))
}

fn sets() -> Result<(), String> {
    let set = call("epoll_create1", &[0])?;
    // EFD_NONBLOCK
    let (a, b) = (call("eventfd2", &[0, 0o4000])?, call("eventfd2", &[5, 0o4001])?);
    add(set, a, 1, 10)?;
    add(set, b, 1, 11)?;
    same!(raw::named("epoll_ctl", &[set, 1, set, [0_u8; 16].as_ptr().expose_provenance()]), -22);
    same!(wait(set, 0)?, [(1, 11)]);
    post(a, 3)?;
    let mut both = wait(set, -1)?;
    both.sort_unstable();
    same!(both, [(1, 10), (1, 11)]);
    same!((take(a)?, take(b)?, take(b)?), (3, 1, 1));
    let mut n = 0_u64;
    same!(raw::named("read", &[a, (&raw mut n).expose_provenance(), 8]), -11);
    close(&[a, b])?;
    same!(wait(set, 0)?, []);
    close(&[set])
}

fn wakes() -> Result<(), String> {
    let (set, event) = (call("epoll_create1", &[0])?, call("eventfd2", &[0, 0])?);
    // EPOLLIN | EPOLLET
    add(set, event, 1 | 1 << 31, 1)?;
    let other = thread::spawn(move || {
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(1));
            post(event, 1)?;
        }
        Ok::<_, String>(())
    });
    let mut sum = 0;
    while sum < 20 {
        same!(wait(set, -1)?, [(1, 1)]);
        sum += take(event)?;
    }
    other.join().map_err(|_| "panicked")??;
    close(&[event, set])
}

/// A `struct itimerspec`: value, then every interval.
pub fn setting(value: Duration, interval: Duration) -> [u64; 4] {
    let parts = |d: Duration| [d.as_secs(), u64::from(d.subsec_nanos())];
    let ([a, b], [c, d]) = (parts(interval), parts(value));
    [a, b, c, d]
}

fn timer_files() -> Result<(), String> {
    let ms = Duration::from_millis;
    let (fd, set) = (call("timerfd_create", &[1, 0])?, call("epoll_create1", &[0])?);
    add(set, fd, 1, 2)?;
    same!(wait(set, 0)?, []);
    // Far enough away to be still to come, whatever the host does before the question.
    let far = setting(Duration::from_secs(1000), ms(0));
    call("timerfd_settime", &[fd, 0, far.as_ptr().expose_provenance(), 0])?;
    let mut left = [0_u64; 4];
    call("timerfd_gettime", &[fd, left.as_mut_ptr().expose_provenance()])?;
    let left = Duration::new(left[2], left[3] as u32);
    same!(left > Duration::ZERO && left <= Duration::from_secs(1000), true);
    let begin = Instant::now();
    let once = setting(ms(15), ms(0));
    call("timerfd_settime", &[fd, 0, once.as_ptr().expose_provenance(), 0])?;
    same!(wait(set, -1)?, [(1, 2)]);
    same!(begin.elapsed() >= ms(15), true);
    same!(take(fd)?, 1);
    let often = setting(ms(2), ms(2));
    call("timerfd_settime", &[fd, 0, often.as_ptr().expose_provenance(), 0])?;
    thread::sleep(ms(9));
    same!(take(fd)? >= 4, true);
    same!(take(fd)? >= 1, true);
    close(&[fd, set])
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: i32) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" {
    pub fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
}

pub const SIGALRM: i32 = 14;

fn signal_timers() -> Result<(), String> {
    COUNT.store(0, Ordering::SeqCst);
    // SAFETY: the handler only counts.
    unsafe { signal(SIGALRM, count) };
    // Every 2 ms: seconds and microseconds, interval first.
    let often = [0_u64, 2000, 0, 2000];
    call("setitimer", &[0, often.as_ptr().expose_provenance(), 0])?;
    while COUNT.load(Ordering::SeqCst) < 5 {
        std::hint::spin_loop();
    }
    let mut old = [0_u64; 4];
    let none = [0_u64; 4];
    let at = old.as_mut_ptr().expose_provenance();
    call("setitimer", &[0, none.as_ptr().expose_provenance(), at])?;
    same!((old[0], old[1], old[2]), (0, 2000, 0));
    let after = COUNT.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(8));
    // One may have been under way.
    same!(COUNT.load(Ordering::SeqCst) <= after + 1, true);
    Ok(())
}

/// Makes the thread block SIGUSR2 until dropped.
fn block(signal: u32, how: usize) -> Result<(), String> {
    let set = 1_u64 << (signal - 1);
    let at = (&raw const set).expose_provenance();
    call("rt_sigprocmask", &[how, at, 0, 8]).map(|_| ())
}

fn awaited() -> Result<(), String> {
    const SIGUSR2: u32 = 12;
    block(SIGUSR2, 0)?;
    let set = 1_u64 << (SIGUSR2 - 1);
    let set = (&raw const set).expose_provenance();
    let short = [0_u64, 3_000_000];
    let short = short.as_ptr().expose_provenance();
    same!(raw::named("rt_sigtimedwait", &[set, 0, short, 8]), -11);
    // A timer for this thread: value 77, SIGUSR2, SIGEV_THREAD_ID.
    let tid = call("gettid", &[])? as u64;
    let event = [77_u64, u64::from(SIGUSR2) | 4 << 32, tid, 0, 0, 0, 0, 0];
    let mut id = 0_u32;
    let id_at = (&raw mut id).expose_provenance();
    call("timer_create", &[1, event.as_ptr().expose_provenance(), id_at])?;
    let once = setting(Duration::from_millis(4), Duration::ZERO);
    call("timer_settime", &[id as usize, 0, once.as_ptr().expose_provenance(), 0])?;
    let mut info = [0_u64; 16];
    let got = call("rt_sigtimedwait", &[set, info.as_mut_ptr().expose_provenance(), 0, 8])?;
    same!(got, SIGUSR2 as usize);
    // si_code SI_TIMER, si_timerid and si_overrun, si_value.
    same!((info[1] as i32, info[2], info[3]), (-2, u64::from(id), 77));
    call("timer_delete", &[id as usize])?;
    same!(raw::named("timer_delete", &[id as usize]), -22);
    block(SIGUSR2, 1)
}

static SEEN: AtomicBool = AtomicBool::new(false);

extern "C" fn see(_signal: i32) {
    SEEN.store(true, Ordering::SeqCst);
}

/// A thread that makes no system call, on a CPU of its own where there is one.
fn busy() -> Result<(), String> {
    const SIGUSR1: i32 = 10;
    // SAFETY: the handler only stores.
    unsafe { signal(SIGUSR1, see) };
    for _ in 0..5 {
        SEEN.store(false, Ordering::SeqCst);
        let tid = Arc::new(AtomicU32::new(0));
        let own = tid.clone();
        let other = thread::spawn(move || {
            own.store(raw::named("gettid", &[]) as u32, Ordering::SeqCst);
            while !SEEN.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        });
        while tid.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(2));
        call("tgkill", &[1, tid.load(Ordering::SeqCst) as usize, SIGUSR1 as usize])?;
        other.join().map_err(|_| "panicked")?;
    }
    Ok(())
}

/// What a CPU-time clock says.
pub fn clock(id: usize) -> Result<Duration, String> {
    let mut time = [0_u64; 2];
    call("clock_gettime", &[id, time.as_mut_ptr().expose_provenance()])?;
    Ok(Duration::new(time[0], time[1] as u32))
}

fn cpu_time() -> Result<(), String> {
    let (process, own) = (clock(2)?, clock(3)?);
    // Asleep it does not run. While it does, a host that takes the CPU away counts for it; but were
    // its sleep counted, no try would do.
    let mut tries = 0;
    loop {
        let before = clock(3)?;
        thread::sleep(Duration::from_millis(40));
        if clock(3)? - before < Duration::from_millis(40) {
            break;
        }
        tries += 1;
        same!(tries < 50, true);
    }
    let other = thread::spawn(|| {
        let mut now = clock(3)?;
        let begin = now;
        while now - begin < Duration::from_millis(20) {
            now = clock(3)?;
        }
        Ok::<_, String>(())
    });
    other.join().map_err(|_| "panicked")??;
    // What ended threads have run still counts for the process, and for no other thread.
    // The process's time begins before and ends after the thread's.
    let own = clock(3)? - own;
    let process = clock(2)? - process;
    same!(process >= Duration::from_millis(20), true);
    same!(process >= own, true);
    let mut usage = [0_u64; 18];
    call("getrusage", &[0, usage.as_mut_ptr().expose_provenance()])?;
    same!(Duration::new(usage[0], usage[1] as u32 * 1000) >= process, true);
    Ok(())
}
