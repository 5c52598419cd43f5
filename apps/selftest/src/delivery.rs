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
    ("signals: real-time ones, each by whoever sends it", real_time),
    ("signals: what is ignored is forgotten", forgotten),
    ("signals: as many as there is room for", full),
    ("signals: a stack that is given up meanwhile", disarmed),
    ("signals: of a timer that is gone", outlived),
];

const USR1: usize = 10;
const USR2: usize = 12;
const RT: usize = 40;
const ONSTACK: i32 = 0x0800_0000;
const RESTART: i32 = 0x1000_0000;
const NODEFER: i32 = 0x4000_0000;
const RESETHAND: i32 = i32::MIN;
const EINTR: isize = -4;
const EAGAIN: isize = -11;

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
static STACK: AtomicUsize = AtomicUsize::new(0);
const STACK_LEN: usize = 64 << 10;
/// How often [`see`] has run.
static RAN: AtomicUsize = AtomicUsize::new(0);
/// How many handlers [`again`] still begins.
static LEFT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn see(signal: i32, info: *const [i32; 32], _context: usize) {
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

fn handle(
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

fn seen() -> Vec<[i32; 4]> {
    SEEN.lock().map(|mut seen| seen.drain(..).collect()).unwrap_or_default()
}

const fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

/// Blocks (0) or unblocks (1).
fn mask(how: usize, set: u64) -> Result<(), String> {
    call("rt_sigprocmask", &[how, (&raw const set).expose_provenance(), 0, 8]).map(|_| ())
}

fn tid() -> usize {
    raw::named("gettid", &[]) as usize
}

/// Waits for a signal of `set`, up to `ms`.
fn wait(set: u64, ms: u64) -> isize {
    let time = [ms / 1000, ms % 1000 * 1_000_000];
    let [set, time] = [(&raw const set).expose_provenance(), time.as_ptr().expose_provenance()];
    raw::named("rt_sigtimedwait", &[set, 0, time, 8])
}

fn pending() -> Result<u64, String> {
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
fn send(signal: usize, value: i32, to_thread: bool) -> isize {
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

/// Waits for a signal of `set`: its number, code, sender, user and value; `None` if there is none.
fn next(set: u64) -> Option<[i32; 5]> {
    let mut info = [0_i32; 32];
    let none = [0_u64; 2];
    let [set, info_at, none] = [
        (&raw const set).expose_provenance(),
        info.as_mut_ptr().expose_provenance(),
        none.as_ptr().expose_provenance(),
    ];
    let signal = raw::named("rt_sigtimedwait", &[set, info_at, none, 8]);
    (signal > 0).then(|| [signal as i32, info[2], info[4], info[5], info[6]])
}

fn real_time() -> Result<(), String> {
    const KILL: i32 = 0;
    const TKILL: i32 = -6;
    const QUEUE: i32 = -1;
    let set = bit(RT) | bit(RT + 1) | bit(64);
    mask(0, set)?;
    /// How it is sent, the code that it has then, and whether it is the thread's own.
    type Way = (fn(usize) -> isize, i32, bool);
    let ways: [Way; 5] = [
        (|signal| raw::named("kill", &[1, signal]), KILL, false),
        (|signal| raw::named("kill", &[0, signal]), KILL, false),
        (|signal| send(signal, 0, false), QUEUE, false),
        (|signal| raw::named("tkill", &[tid(), signal]), TKILL, true),
        (|signal| raw::named("tgkill", &[1, tid(), signal]), TKILL, true),
    ];
    let order = [RT + 1, RT, 64, RT, RT + 1, RT];
    for signal in order {
        for (way, ..) in ways {
            same!(way(signal), 0);
        }
    }
    same!(pending()?, set);
    // The thread's own first, then the process's; the lowest first, and each in its order.
    for own in [true, false] {
        for signal in [RT, RT + 1, 64] {
            for _ in order.iter().filter(|s| **s == signal) {
                for (_, code, _) in ways.iter().filter(|way| way.2 == own) {
                    let sender = if *code == QUEUE { 0 } else { 1 };
                    same!(next(set), Some([signal as i32, *code, sender, 0, 0]));
                }
            }
        }
    }
    same!((next(set), pending()?), (None, 0));
    // Handlers run for each as well.
    handle(RT, see, 0, u64::MAX)?;
    for (way, ..) in ways {
        same!(way(RT), 0);
    }
    mask(1, set)?;
    let codes: Vec<_> = seen().iter().map(|s| s[1]).collect();
    same!(codes, [TKILL, TKILL, KILL, KILL, QUEUE]);
    // Threads that take them at the same time take each once.
    mask(0, set)?;
    let taken = Arc::new(AtomicUsize::new(0));
    let takers: Vec<_> = (0..3)
        .map(|_| {
            let taken = taken.clone();
            thread::spawn(move || {
                while taken.load(Ordering::SeqCst) < 300 {
                    taken.fetch_add(usize::from(wait(set, 10) > 0), Ordering::SeqCst);
                }
            })
        })
        .collect();
    for _ in 0..300 {
        call("kill", &[1, RT])?;
    }
    takers.into_iter().try_for_each(|t| t.join().map_err(|_| "panicked"))?;
    same!((taken.load(Ordering::SeqCst), next(set), pending()?), (300, None, 0));
    // One of the others is one, and the first.
    mask(0, bit(USR1))?;
    for value in [7, 8] {
        same!(send(USR1, value, false), 0);
        call("kill", &[1, USR1])?;
    }
    same!((next(bit(USR1)), next(bit(USR1))), (Some([USR1 as i32, QUEUE, 0, 0, 7]), None));
    call("kill", &[1, USR1])?;
    same!(send(USR1, 9, false), 0);
    same!((next(bit(USR1)), next(bit(USR1))), (Some([USR1 as i32, KILL, 1, 0, 0]), None));
    // Everyone else is nobody; the group is the process.
    let kill = |pid: isize| raw::named("kill", &[pid.cast_unsigned(), 0]);
    same!((kill(-1), kill(-2), kill(2), kill(-1 << 31)), (-3, -3, -3, -3));
    mask(1, set | bit(USR1))
}

/// `SIG_DFL` (0) or `SIG_IGN` (1).
fn set_action(signal: usize, handler: usize) -> Result<(), String> {
    let action = Action {
        handler: std::ptr::without_provenance(handler),
        mask: [0; 16],
        flags: 0,
        restorer: 0,
    };
    // SAFETY: no code is named that could run.
    same!(unsafe { sigaction(signal as i32, &raw const action, std::ptr::null_mut()) }, 0);
    Ok(())
}

fn forgotten() -> Result<(), String> {
    // SIGCHLD, which is ignored by default.
    const CHLD: usize = 17;
    let set = bit(USR1) | bit(RT) | bit(CHLD) | bit(USR2);
    mask(0, set)?;
    // Another thread has some of its own.
    let gate = Arc::new(std::sync::Barrier::new(2));
    let (there, told) = (Arc::new(AtomicUsize::new(0)), gate.clone());
    let number = there.clone();
    let other = thread::spawn(move || {
        number.store(tid(), Ordering::SeqCst);
        told.wait();
        told.wait();
        pending()
    });
    gate.wait();
    let other_tid = there.load(Ordering::SeqCst);
    for signal in [USR1, RT, CHLD] {
        handle(signal, see, 0, 0)?;
        for _ in 0..3 {
            call("kill", &[1, signal])?;
            call("tgkill", &[1, tid(), signal])?;
            call("tgkill", &[1, other_tid, signal])?;
            same!((send(signal, 1, false), send(signal, 2, true)), (0, 0));
        }
    }
    call("kill", &[1, USR2])?;
    same!(pending()?, set);
    set_action(USR1, 1)?;
    same!(pending()?, set & !bit(USR1));
    set_action(RT, 1)?;
    set_action(CHLD, 0)?;
    // What is not ignored stays, and an action of another kind changes nothing.
    set_action(USR2, 0)?;
    same!(pending()?, bit(USR2));
    gate.wait();
    same!(other.join().map_err(|_| "panicked")?, Ok(bit(USR2)));
    // Nothing of it comes back.
    for signal in [USR1, RT, CHLD, USR2] {
        handle(signal, see, 0, 0)?;
    }
    mask(1, set & !bit(USR2))?;
    same!(seen(), Vec::<[i32; 4]>::new());
    call("kill", &[1, RT])?;
    same!(seen().iter().map(|s| (s[0], s[1])).collect::<Vec<_>>(), [(RT as i32, 0)]);
    mask(1, bit(USR2))?;
    same!(seen().iter().map(|s| (s[0], s[1])).collect::<Vec<_>>(), [(USR2 as i32, 0)]);
    // One that is ignored and blocked stays pending: what is done with it may change.
    mask(0, bit(USR1))?;
    set_action(USR1, 1)?;
    call("kill", &[1, USR1])?;
    let mut old = [0_u64; 4];
    call("rt_sigaction", &[USR1, 0, old.as_mut_ptr().expose_provenance(), 8])?;
    same!((old[0], pending()?), (1, bit(USR1)));
    handle(USR1, see, 0, 0)?;
    mask(1, bit(USR1))?;
    same!(seen().len(), 1);
    Ok(())
}

fn full() -> Result<(), String> {
    let mut limit = [0_u64; 2];
    // RLIMIT_SIGPENDING
    call("prlimit64", &[0, 11, 0, limit.as_mut_ptr().expose_provenance()])?;
    let set = bit(RT) | bit(RT + 1) | bit(USR1);
    mask(0, set)?;
    let sent = (0..=limit[0]).take_while(|n| send(RT, *n as i32, false) == 0).count();
    same!((sent as u64, send(RT, 0, false), send(RT + 1, 0, true)), (limit[0], EAGAIN, EAGAIN));
    same!(raw::named("tgkill", &[1, tid(), RT + 1]), EAGAIN);
    // `kill` never fails for that: its merge. Those before lose what came with them alone.
    same!((raw::named("kill", &[1, RT]), raw::named("kill", &[1, RT + 1])), (0, 0));
    same!((raw::named("kill", &[1, RT + 1]), send(USR1, 5, false)), (0, 0));
    same!(next(set).map(|s| s[..2].to_vec()), Some(vec![USR1 as i32, 0]));
    for n in 0..limit[0] {
        same!(next(set).map(|s| (s[0], s[4])), Some((RT as i32, n as i32)));
    }
    same!(next(set), Some([RT as i32 + 1, 0, 1, 0, 0]));
    same!((next(set), send(RT, 6, false), pending()?), (None, 0, bit(RT)));
    set_action(RT, 1)?;
    same!(pending()?, 0);
    mask(1, set)
}

/// What a handler is told about the alternate stack, and what setting another gives.
static TOLD: Mutex<[u64; 4]> = Mutex::new([0; 4]);

extern "C" fn tell(signal: i32, info: *const [i32; 32], context: usize) {
    let mut old = [0_u64; 3];
    let none = [0_u64, 2, 0];
    let [none, at] = [none.as_ptr().expose_provenance(), old.as_mut_ptr().expose_provenance()];
    let result = raw::named("sigaltstack", &[none, at]);
    if let Ok(mut told) = TOLD.try_lock() {
        *told = [old[0], old[1], old[2], result.cast_unsigned() as u64];
    }
    see(signal, info, context);
}

fn disarmed() -> Result<(), String> {
    const DISARM: u64 = 1 << 31;
    let stack = vec![0_u64; STACK_LEN / 8];
    let base = stack.as_ptr().expose_provenance();
    STACK.store(base, Ordering::SeqCst);
    let mut before = [0_u64; 3];
    let new = [base as u64, DISARM, STACK_LEN as u64];
    let [new_at, before_at] =
        [new.as_ptr().expose_provenance(), before.as_mut_ptr().expose_provenance()];
    call("sigaltstack", &[new_at, before_at])?;
    for _ in 0..2 {
        handle(USR1, tell, ONSTACK, 0)?;
        call("tgkill", &[1, tid(), USR1])?;
        same!(seen().iter().map(|s| s[3]).collect::<Vec<_>>(), [1]);
        // There was none meanwhile, and that could be said; afterwards it is back.
        same!(TOLD.lock().map(|t| (t[1], t[2], t[3])).map_err(|e| e.to_string())?, (2, 0, 0));
        let mut now = [0_u64; 3];
        call("sigaltstack", &[0, now.as_mut_ptr().expose_provenance()])?;
        same!(now, new);
    }
    let back = [before[0], before[1] & 2, before[2]];
    call("sigaltstack", &[back.as_ptr().expose_provenance(), 0])?;
    STACK.store(0, Ordering::SeqCst);
    Ok(())
}

fn outlived() -> Result<(), String> {
    mask(0, bit(RT) | bit(USR1))?;
    for (value, signal) in [(11_u64, RT), (12, USR1)] {
        let mut id = 0_u32;
        // SIGEV_SIGNAL
        let event = [value, signal as u64, 0, 0, 0, 0, 0, 0];
        let at = event.as_ptr().expose_provenance();
        call("timer_create", &[1, at, (&raw mut id).expose_provenance()])?;
        let once = setting(Duration::from_millis(1), Duration::ZERO);
        call("timer_settime", &[id as usize, 0, once.as_ptr().expose_provenance(), 0])?;
        while pending()? & bit(signal) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        call("timer_delete", &[id as usize])?;
        same!(raw::named("timer_delete", &[id as usize]), -22);
        // SI_TIMER: as in Linux, what it has sent is delivered all the same.
        same!(next(bit(signal)).map(|s| (s[1], s[4])), Some((-2, value as i32)));
        same!(next(bit(signal)), None);
    }
    mask(1, bit(RT) | bit(USR1))
}
