//! Signals in detail: to the process and to threads, with values, alternate stacks, masks while
//! waiting, calls that go on and calls that do not.

use crate::calls::raw;
use crate::events::{call, close, setting};
use crate::{Test, same};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("signals: the process's are any thread's", shared),
    ("signals: with values, each is delivered", queued),
    ("signals: handlers in handlers", nested),
    ("signals: alternate stacks", stacks),
    ("signals: waits with another mask", suspended),
    ("signals: calls that go on, and calls that do not", interrupted),
    ("signals: two timers, one signal", timers),
];

pub const USR1: usize = 10;
pub const USR2: usize = 12;
pub const RT: usize = 40;
pub const ONSTACK: i32 = 0x0800_0000;
const RESTART: i32 = 0x1000_0000;
const NODEFER: i32 = 0x4000_0000;
const RESETHAND: i32 = i32::MIN;
const EINTR: isize = -4;
pub const EAGAIN: isize = -11;

/// `struct sigaction` of musl and glibc.
#[repr(C)]
pub struct Action {
    /// The handler, of either type.
    pub handler: *const (),
    /// Signals that are blocked meanwhile.
    pub mask: [u64; 16],
    /// `SA_*`.
    pub flags: i32,
    /// The C library's own affair.
    pub restorer: usize,
}

unsafe extern "C" {
    pub fn sigaction(signal: i32, new: *const Action, old: *mut Action) -> i32;
}

/// What handlers have seen: number, code, value, and whether on the alternate stack.
static SEEN: Mutex<Vec<[i32; 4]>> = Mutex::new(Vec::new());
/// Where the alternate stack of the test is.
pub static STACK: AtomicUsize = AtomicUsize::new(0);
pub const STACK_LEN: usize = 64 << 10;
/// How often [`see`] has run.
static RAN: AtomicUsize = AtomicUsize::new(0);
/// How many handlers [`again`] still begins.
static LEFT: AtomicUsize = AtomicUsize::new(0);

pub extern "C" fn see(signal: i32, info: *const [i32; 32], _context: usize) {
    let local = 0_u8;
    let at = (&raw const local).expose_provenance();
    let on = at.wrapping_sub(STACK.load(Ordering::SeqCst)) < STACK_LEN;
    // SAFETY: the kernel's `siginfo`: 128 bytes.
    let info = unsafe { &*info };
    RAN.fetch_add(1, Ordering::SeqCst);
    // The tests block what comes while they look, and nothing here allocates: there is room.
    if let Ok(mut seen) = SEEN.try_lock() {
        seen.push([signal, info[2], info[6], i32::from(on)]);
    }
}

extern "C" fn again(signal: i32, info: *const [i32; 32], context: usize) {
    if LEFT.load(Ordering::SeqCst) > 0 {
        LEFT.fetch_sub(1, Ordering::SeqCst);
        raw::named("tgkill", &[1, raw::named("gettid", &[]) as usize, signal as usize]);
    }
    see(signal, info, context);
}

pub fn handle(
    signal: usize,
    handler: extern "C" fn(i32, *const [i32; 32], usize),
    flags: i32,
    mask: u64,
) -> Result<(), String> {
    let mut masks = [0; 16];
    masks[0] = mask;
    // SA_SIGINFO
    let action =
        Action { handler: handler as *const (), mask: masks, flags: flags | 4, restorer: 0 };
    SEEN.lock().map_err(|e| e.to_string())?.reserve(64);
    // SAFETY: the handlers only write down what they see.
    same!(unsafe { sigaction(signal as i32, &raw const action, std::ptr::null_mut()) }, 0);
    Ok(())
}

pub fn seen() -> Vec<[i32; 4]> {
    SEEN.lock().map(|mut seen| seen.drain(..).collect()).unwrap_or_default()
}

pub const fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

/// Blocks (0) or unblocks (1).
pub fn mask(how: usize, set: u64) -> Result<(), String> {
    call("rt_sigprocmask", &[how, (&raw const set).expose_provenance(), 0, 8]).map(|_| ())
}

pub fn tid() -> usize {
    raw::named("gettid", &[]) as usize
}

/// Waits for a signal of `set`, up to `ms`.
pub fn wait(set: u64, ms: u64) -> isize {
    let time = [ms / 1000, ms % 1000 * 1_000_000];
    let [set, time] = [(&raw const set).expose_provenance(), time.as_ptr().expose_provenance()];
    raw::named("rt_sigtimedwait", &[set, 0, time, 8])
}

pub fn pending() -> Result<u64, String> {
    let mut set = 0_u64;
    call("rt_sigpending", &[(&raw mut set).expose_provenance(), 8])?;
    Ok(set)
}

fn shared() -> Result<(), String> {
    handle(USR1, see, 0, 0)?;
    let join = |t: thread::JoinHandle<(u64, isize)>| t.join().map_err(|_| "panicked".to_owned());
    mask(0, bit(USR1))?;
    // All block it: whoever waits for it has it, whenever it came.
    call("kill", &[1, USR1])?;
    let other = || thread::spawn(|| (pending().unwrap_or(0), wait(bit(USR1), 2000)));
    same!(join(other())?, (bit(USR1), USR1 as isize));
    same!(pending()?, 0);
    // Or who unblocks it.
    call("kill", &[1, USR1])?;
    thread::spawn(|| mask(1, bit(USR1))).join().map_err(|_| "panicked")??;
    // SI_USER
    same!(seen().iter().map(|s| (s[0], s[1])).collect::<Vec<_>>(), [(USR1 as i32, 0)]);
    // One that is for a thread is for no other.
    call("tgkill", &[1, tid(), USR1])?;
    same!(join(thread::spawn(|| (pending().unwrap_or(9), wait(bit(USR1), 1))))?, (0, EAGAIN));
    same!(pending()?, bit(USR1));
    mask(1, bit(USR1))?;
    // SI_TKILL
    same!(seen().iter().map(|s| (s[0], s[1])).collect::<Vec<_>>(), [(USR1 as i32, -6)]);
    for (args, errno) in [([1, 9999, USR1], -3), ([2, tid(), 0], -3), ([1, 0, 0], -22)] {
        same!(raw::named("tgkill", &args), errno);
    }
    same!(raw::named("tgkill", &[1, tid(), 65]), -22);
    Ok(())
}

/// Sends a signal with a value, to the process or to the thread.
pub fn send(signal: usize, value: i32, to_thread: bool) -> isize {
    // SI_QUEUE
    let mut info = [0_i32; 32];
    (info[2], info[6]) = (-1, value);
    let at = info.as_ptr().expose_provenance();
    if to_thread {
        raw::named("rt_tgsigqueueinfo", &[1, tid(), signal, at])
    } else {
        raw::named("rt_sigqueueinfo", &[1, signal, at])
    }
}

fn queued() -> Result<(), String> {
    for signal in [USR1, RT, RT + 1] {
        handle(signal, see, 0, u64::MAX)?;
    }
    let set = bit(USR1) | bit(RT) | bit(RT + 1);
    for to_thread in [false, true] {
        mask(0, set)?;
        for (signal, value) in [(RT + 1, 1), (RT, 2), (RT, 3), (USR1, 4), (USR1, 5), (RT + 1, 6)] {
            same!(send(signal, value, to_thread), 0);
        }
        // The lowest number first, each in the order in which it was sent; of those without
        // a queue the first alone.
        same!(wait(bit(USR1), 0), USR1 as isize);
        mask(1, set)?;
        let values: Vec<_> = seen().iter().map(|s| (s[0] as usize, s[1], s[2])).collect();
        same!(values, [(RT, -1, 2), (RT, -1, 3), (RT + 1, -1, 1), (RT + 1, -1, 6)]);
    }
    // There is an end to what is kept.
    mask(0, bit(RT))?;
    let mut sent = 0;
    while send(RT, sent, true) == 0 && sent < 5000 {
        sent += 1;
    }
    same!((send(RT, 0, true), (100..5000).contains(&sent)), (EAGAIN, true));
    for _ in 0..sent {
        same!(wait(bit(RT), 0), RT as isize);
    }
    same!((wait(bit(RT), 0), pending()?), (EAGAIN, 0));
    mask(1, bit(RT))?;
    same!((send(65, 0, false), send(0, 0, false)), (-22, 0));
    same!(seen().is_empty(), true);
    Ok(())
}

fn nested() -> Result<(), String> {
    let own = || raw::named("tgkill", &[1, tid(), USR1]);
    // Blocked while it is handled, then handled again.
    for (flags, times) in [(0, 3), (NODEFER, 3)] {
        LEFT.store(2, Ordering::SeqCst);
        handle(USR1, again, flags, 0)?;
        same!(own(), 0);
        same!(seen().len(), times);
    }
    handle(USR2, see, RESETHAND, 0)?;
    same!(raw::named("tgkill", &[1, tid(), USR2]), 0);
    let mut action = [0_u64; 4];
    call("rt_sigaction", &[USR2, 0, action.as_mut_ptr().expose_provenance(), 8])?;
    same!((seen().len(), action[0]), (1, 0));
    // Those that are said with the handler are blocked as well.
    handle(USR2, see, 0, 0)?;
    handle(USR1, both, 0, bit(USR2))?;
    same!(own(), 0);
    same!(seen().iter().map(|s| s[0] as usize).collect::<Vec<_>>(), [USR1, USR2]);
    for args in [[9, 0, 0, 8], [USR1, 0, 0, 4], [0, 0, 0, 8], [65, 0, 0, 8]] {
        let bad = raw::named("rt_sigaction", &args);
        same!(bad, if args[0] == 9 { 0 } else { -22 });
    }
    Ok(())
}

extern "C" fn both(signal: i32, info: *const [i32; 32], context: usize) {
    raw::named("tgkill", &[1, tid(), USR2]);
    see(signal, info, context);
}

fn stacks() -> Result<(), String> {
    let stack = vec![0_u64; STACK_LEN / 8];
    let base = stack.as_ptr().expose_provenance();
    STACK.store(base, Ordering::SeqCst);
    let set = |base: usize, flags: u64, len: usize| {
        let new = [base as u64, flags, len as u64];
        raw::named("sigaltstack", &[new.as_ptr().expose_provenance(), 0])
    };
    let mut old = [0_u64; 3];
    call("sigaltstack", &[0, old.as_mut_ptr().expose_provenance()])?;
    // Too small, and flags that do not exist.
    same!((set(base, 0, 100), set(base, 4, STACK_LEN)), (-12, -22));
    same!(set(base, 0, STACK_LEN), 0);
    for (flags, on) in [(ONSTACK, 1), (0, 0)] {
        handle(USR1, see, flags, 0)?;
        same!(raw::named("tgkill", &[1, tid(), USR1]), 0);
        same!(seen().iter().map(|s| s[3]).collect::<Vec<_>>(), [on]);
    }
    // While it is in use it cannot be changed.
    handle(USR1, change, ONSTACK, 0)?;
    same!(raw::named("tgkill", &[1, tid(), USR1]), 0);
    same!(seen().iter().map(|s| (s[1], s[3])).collect::<Vec<_>>(), [(-1, 1)]);
    same!(set(old[0] as usize, old[1] & 2, old[2] as usize), 0);
    STACK.store(0, Ordering::SeqCst);
    Ok(())
}

/// Tries to give the stack up that it runs on.
extern "C" fn change(signal: i32, info: *const [i32; 32], context: usize) {
    let none = [0_u64, 2, 0];
    let result = raw::named("sigaltstack", &[none.as_ptr().expose_provenance(), 0]);
    // SAFETY: as in `see`.
    let mut copy = unsafe { *info };
    copy[2] = result as i32;
    see(signal, &raw const copy, context);
}

fn suspended() -> Result<(), String> {
    handle(USR1, see, RESTART, 0)?;
    mask(0, bit(USR1) | bit(USR2))?;
    let none = 0_u64;
    let at = (&raw const none).expose_provenance();
    let own = tid();
    // It waits until a handler has run, and then what was blocked is blocked again.
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        raw::named("tgkill", &[1, own, USR1])
    });
    same!(raw::named("rt_sigsuspend", &[at, 8]), EINTR);
    same!((seen().len(), other.join().map_err(|_| "panicked")?), (1, 0));
    for _ in 0..2 {
        call("kill", &[1, USR1])?;
        same!((pending()?, seen().len()), (bit(USR1), 0));
        same!((raw::named("rt_sigsuspend", &[at, 8]), seen().len()), (EINTR, 1));
    }
    // Even if there is no time to wait.
    call("kill", &[1, USR1])?;
    let now = [0_u64; 2];
    let now = now.as_ptr().expose_provenance();
    same!((raw::named("ppoll", &[0, 0, now, at, 8]), seen().len()), (EINTR, 1));
    same!((raw::named("ppoll", &[0, 0, now, at, 8]), pending()?), (0, 0));
    mask(1, bit(USR1) | bit(USR2))
}

/// What `f` gives while the thread gets a signal with a handler of these flags, and whether the
/// handler ran. One that comes before `f` waits interrupts nothing, so another follows, but never
/// so many that there is no room for what is seen.
fn with_signal(flags: i32, f: impl Fn() -> isize) -> Result<(isize, bool), String> {
    handle(USR1, see, flags, 0)?;
    let (own, done) = (tid(), Arc::new(AtomicBool::new(false)));
    let told = done.clone();
    let other = thread::spawn(move || {
        for _ in 0..60 {
            thread::sleep(Duration::from_millis(10));
            if told.load(Ordering::SeqCst) {
                break;
            }
            raw::named("tgkill", &[1, own, USR1]);
        }
    });
    let result = f();
    done.store(true, Ordering::SeqCst);
    other.join().map_err(|_| "panicked")?;
    Ok((result, !seen().is_empty()))
}

fn interrupted() -> Result<(), String> {
    let event = call("eventfd2", &[0, 0])?;
    let mut value = 0_u64;
    let at = (&raw mut value).expose_provenance();
    same!(with_signal(0, || raw::named("read", &[event, at, 8]))?, (EINTR, true));
    // Something to read comes when a handler has run, however late that is.
    let before = RAN.load(Ordering::SeqCst);
    let poster = thread::spawn(move || {
        while RAN.load(Ordering::SeqCst) == before {
            thread::sleep(Duration::from_millis(5));
        }
        crate::events::post(event, 5)
    });
    same!(with_signal(RESTART, || raw::named("read", &[event, at, 8]))?, (8, true));
    poster.join().map_err(|_| "panicked")??;
    // Waits with a time-out, which is far away, are never made again.
    let long = [1000_u64, 0];
    let long = long.as_ptr().expose_provenance();
    let word = 0_u32;
    let word = (&raw const word).expose_provenance();
    let mut files = [event as u64 | 1 << 32];
    let files = files.as_mut_ptr().expose_provenance();
    same!(with_signal(RESTART, || raw::named("ppoll", &[files, 1, long, 0, 8]))?, (EINTR, true));
    same!(with_signal(RESTART, || raw::named("futex", &[word, 128, 0, long]))?, (EINTR, true));
    let mut left = [9_u64; 2];
    let left_at = left.as_mut_ptr().expose_provenance();
    same!(with_signal(RESTART, || raw::named("nanosleep", &[long, left_at]))?, (EINTR, true));
    same!((1..1000).contains(&left[0]) && left[1] < 1_000_000_000, true);
    // One that is ignored interrupts nothing: SIGCHLD.
    let own = tid();
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        raw::named("tgkill", &[1, own, 17])
    });
    let short = [0_u64, 20_000_000];
    same!(raw::named("nanosleep", &[short.as_ptr().expose_provenance(), 0]), 0);
    other.join().map_err(|_| "panicked")?;
    close(&[event])
}

fn timers() -> Result<(), String> {
    handle(RT, see, 0, u64::MAX)?;
    mask(0, bit(RT))?;
    let mut ids = [0_u32; 2];
    for (value, id) in (7_u64..).zip(&mut ids) {
        // SIGEV_SIGNAL
        let event = [value, RT as u64, 0, 0, 0, 0, 0, 0];
        let event = event.as_ptr().expose_provenance();
        call("timer_create", &[1, event, (&raw mut *id).expose_provenance()])?;
        let often = setting(Duration::from_millis(1), Duration::from_millis(1));
        call("timer_settime", &[*id as usize, 0, often.as_ptr().expose_provenance(), 0])?;
    }
    // A CPU that looks after a timer may be one that the host has taken away: it comes later then.
    let mut values = Vec::new();
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(12));
        mask(1, bit(RT))?;
        values.extend(seen().iter().map(|s| (s[1], s[2])));
        mask(0, bit(RT))?;
        values.sort_unstable();
        values.dedup();
        if values.len() > 1 {
            break;
        }
    }
    // SI_TIMER, from both.
    same!(values, [(-2, 7), (-2, 8)]);
    // What has expired many times is one signal, and it is said how many it stands for.
    let mut most = 0;
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(12));
        same!([RT as isize, EAGAIN].contains(&wait(bit(RT), 0)), true);
        let overruns = ids.map(|id| raw::named("timer_getoverrun", &[id as usize]));
        most = overruns.into_iter().fold(most, isize::max);
        if most >= 4 {
            break;
        }
    }
    same!(most >= 4, true);
    for id in ids {
        call("timer_delete", &[id as usize])?;
    }
    while wait(bit(RT), 0) > 0 {}
    mask(1, bit(RT))?;
    seen();
    Ok(())
}
