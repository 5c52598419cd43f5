//! Signals that wait: real-time ones, those that are ignored, those of timers that are gone; and
//! alternate stacks that are given up meanwhile.

use crate::calls::raw;
use crate::delivery::{
    Action, EAGAIN, ONSTACK, RT, STACK, STACK_LEN, USR1, USR2, bit, handle, mask, pending, see,
    seen, send, sigaction, tid, wait,
};
use crate::events::{call, setting};
use crate::{Test, same};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("signals: real-time ones, each by whoever sends it", real_time),
    ("signals: what is ignored is forgotten", forgotten),
    ("signals: as many as there is room for", full),
    ("signals: a stack that is given up meanwhile", disarmed),
    ("signals: of a timer that is gone", outlived),
];

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
