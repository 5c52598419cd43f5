//! Calls at random, from several threads at once: the kernel goes on, every call comes back,
//! and no frame stays behind.
//!
//! Calls and arguments come from a seed. What would end the test itself is left out: the
//! table of forms says which numbers may vary, and pointers stay in memory that is the
//! caller's own, or nobody's.

use super::arena::{Arena, put};
use super::fixture::{Fixture, unlimit};
use super::{arguments, forms, raw};
use crate::account::{self, Account};
use crate::delivery::{Action, sigaction};
use crate::failed;
use crate::memory::free_kib;
use linux_abi::{Answer, Arg, Form, SYSCALLS};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that call.
const WORKERS: usize = 4;
/// Calls of each in a round.
const CALLS: usize = 400;
/// Rounds of the bounded run, after two that warm up.
const ROUNDS: usize = 3;
/// A call that waits is ended by a signal after this.
const WAIT: Duration = Duration::from_millis(3);
/// So many of these without a call of any thread that came back are a hang.
const HANG: usize = 3_000;

/// Where relative paths begin.
const CWD: &str = "/tmp/calls-cwd";

/// The xorshift64* generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A number that some call will not like.
fn odd_number(random: &mut Random) -> usize {
    match random.below(6) {
        0 => random.below(64),
        1 => 1 << random.below(64),
        2 => (1 << random.below(64)) - 1,
        3 => usize::MAX - random.below(4096),
        4 => random.next() as u32 as usize,
        _ => random.next() as usize,
    }
}

/// A descriptor that may be anything but the test's console.
fn odd_file(random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.pick(&[usize::MAX, 4095, 4096, i32::MAX as usize, 0x8000_0000]),
        _ => 3 + random.below(40),
    }
}

/// An address where nothing is, or that is no address.
fn odd_address(random: &mut Random, arena: &Arena, slot: usize) -> usize {
    let slot = arena.slot(slot);
    match random.below(8) {
        0 => slot.end() - random.below(64),
        1 => slot.end(),
        2 => arena.no_access(),
        3 => arena.read_only() + random.below(4096),
        4 => random.below(0x1_0000),
        5 => (1 << 47) - random.below(64),
        6 => 1 << 63 | random.next() as usize,
        _ => slot.start() + random.below(4096),
    }
}

/// `form`'s arguments, some of them as they should not be.
fn vary(random: &mut Random, form: &Form, good: [usize; 6], arena: &Arena) -> [usize; 6] {
    let mut args = good;
    for (i, arg) in form.args.iter().enumerate() {
        let keep = !random.one_in(4);
        // What must not be made well is made badly.
        let must = form.answer == Answer::NotMade && arg.is_pointer();
        if keep && !must {
            if let Arg::InAny(bytes) = arg
                && random.one_in(2)
            {
                let noise: Vec<u8> = bytes.iter().map(|_| random.next() as u8).collect();
                put(args[i], &noise);
            }
            continue;
        }
        args[i] = match arg {
            Arg::Is(_) => continue,
            Arg::Any(_) => odd_number(random),
            Arg::File | Arg::Dir | Arg::Made => odd_file(random),
            Arg::Address => odd_address(random, arena, i),
            Arg::Pages => arena.pages() + random.below(4) * 4096 + random.pick(&[0, 0, 0, 1, 2048]),
            // No more than is the caller's own, or more than anybody has.
            Arg::Len(right) => random.pick(&[0, 1, *right as usize, 4096, 1 << 48, usize::MAX]),
            // What lies elsewhere in the slot is not what the call may be given.
            Arg::In(_) | Arg::InOrNull(_) | Arg::VectorIn | Arg::VectorOut => {
                random.pick(&[1, arena.slot(i).end(), arena.no_access(), usize::MAX])
            }
            _ if must => random.pick(&[1, arena.slot(i).end(), arena.no_access(), usize::MAX]),
            _ => odd_address(random, arena, i),
        };
    }
    args
}

/// What the workers of a round share.
struct Round {
    calls: AtomicUsize,
    running: AtomicUsize,
    tids: [AtomicU32; WORKERS],
    /// What each does now: number and arguments.
    now: [[AtomicUsize; 7]; WORKERS],
    begin: Barrier,
}

fn worker(mut random: Random, round: &Round, me: usize) -> Result<(), String> {
    let (mut fixture, arena) = (Fixture::new(&format!("random-{me}"))?, Arena::new()?);
    let all: Vec<(usize, &Form)> = forms().collect();
    // Numbers that no call has, or that the kernel has none for.
    let unknown: Vec<usize> = SYSCALLS
        .iter()
        .filter(|s| !all.iter().any(|(_, f)| f.name == s.name))
        .filter(|s| linux_abi::NOT_MADE.iter().all(|(name, _)| *name != s.name))
        .filter_map(|s| super::number(s.name))
        .chain([511, 1000, usize::MAX, 1 << 31, 1 << 32])
        .collect();
    round.tids[me].store(raw::named("gettid", &[]) as u32, Ordering::SeqCst);
    round.begin.wait();
    for n in 0..CALLS {
        if n % 16 == 0 {
            arena.reset()?;
        }
        round.calls.fetch_add(1, Ordering::Relaxed);
        if random.one_in(50) {
            raw::call(random.pick(&unknown), [odd_number(&mut random); 6]);
            continue;
        }
        let (number, form) = random.pick(&all);
        // Another worker may have closed what this one needs: then so be it.
        let Ok(good) = arguments(form, &mut fixture, &arena) else { continue };
        let args = vary(&mut random, form, good, &arena);
        for (slot, word) in round.now[me].iter().zip([number].iter().chain(&args)) {
            slot.store(*word, Ordering::Relaxed);
        }
        let result = raw::call(number, args);
        if result > 0 && matches!(form.name, "mmap" | "mremap") && !arena.contains(result as usize)
        {
            let len = if form.name == "mmap" { args[1] } else { args[2] };
            raw::named("munmap", &[result as usize, len]);
        }
    }
    // Before anything is allocated again: what others mapped into holes is gone with them.
    arena.reset()?;
    round.running.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

/// One round: all workers from their start to their end. What comes to the names `there` in the
/// root folder is removed.
fn round(seed: u64, there: &BTreeSet<OsString>) -> Result<(), String> {
    let round = Arc::new(Round {
        calls: AtomicUsize::new(0),
        running: AtomicUsize::new(WORKERS),
        tids: [const { AtomicU32::new(0) }; WORKERS],
        now: [const { [const { AtomicUsize::new(0) }; 7] }; WORKERS],
        begin: Barrier::new(WORKERS + 1),
    });
    let workers: Vec<_> = (0..WORKERS)
        .map(|me| {
            let round = round.clone();
            let random =
                Random(((seed << 8) | (me as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            thread::spawn(move || {
                let result = worker(random, &round, me);
                if result.is_err() {
                    round.running.fetch_sub(1, Ordering::SeqCst);
                }
                result
            })
        })
        .collect();
    // Names that are found in memory by chance are made here, and go with it.
    std::fs::create_dir_all(CWD)
        .and_then(|()| std::env::set_current_dir(CWD))
        .map_err(failed(CWD))?;
    round.begin.wait();
    let (mut last, mut same) = (0, 0);
    while round.running.load(Ordering::SeqCst) > 0 {
        thread::sleep(WAIT);
        for tid in &round.tids {
            raw::named("tgkill", &[1, tid.load(Ordering::SeqCst) as usize, SIGUSR1]);
        }
        let calls = round.calls.load(Ordering::SeqCst);
        same = if calls == last { same + 1 } else { 0 };
        last = calls;
        if same == HANG {
            let now = round.now.each_ref().map(|c| c.each_ref().map(|w| w.load(Ordering::Relaxed)));
            return Err(format!("calls {now:x?} do not come back; seed {seed}"));
        }
    }
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")??;
    }
    // What outlives the threads that made it: a limit, timers (64 at most), descriptors, files.
    unlimit();
    (0..64).for_each(|timer| _ = raw::named("timer_delete", &[timer]));
    raw::named("close_range", &[3, 4095, 0]);
    let _ = std::env::set_current_dir("/");
    let remove = |path: &Path| {
        let _ = std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_file(path));
    };
    for entry in std::fs::read_dir("/tmp").map_err(|e| e.to_string())?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("calls-") {
            remove(&entry.path());
        }
    }
    // Calls have chosen another folder before they used a relative path.
    names()?.difference(there).for_each(|name| remove(&Path::new("/").join(name)));
    Ok(())
}

const SIGUSR1: usize = 10;
static HANDLED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: i32) {
    HANDLED.store(true, Ordering::Relaxed);
}

/// A handler without `SA_RESTART` for every signal that may have one.
fn handle_signals() {
    let handler = note as extern "C" fn(i32) as *const ();
    let action = Action { handler, mask: [0; 16], flags: 0, restorer: 0 };
    // SIGSEGV, SIGBUS, SIGILL and SIGFPE stay as they are: they would be the test's own.
    for signal in (1..32).filter(|s| ![4, 7, 8, 9, 11, 19].contains(s)) {
        // SAFETY: the handler only stores a flag, and the structure is the C library's.
        unsafe { sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// The names in the root folder.
fn names() -> Result<BTreeSet<OsString>, String> {
    let names = std::fs::read_dir("/").map_err(failed("/"))?;
    Ok(names.flatten().map(|entry| entry.file_name()).collect())
}

/// Rounds until `done` says so; how many calls, or what went wrong. Those before `warm` says
/// so fill what stays: room for timers and the C library's heap.
fn rounds(
    seed: u64,
    mut warm: impl FnMut(usize) -> bool,
    mut done: impl FnMut(usize) -> bool,
) -> Result<usize, String> {
    handle_signals();
    account::prepare()?;
    let there = names()?;
    let mut n = 0;
    while !warm(n) {
        round((seed << 20) + n as u64, &there)?;
        n += 1;
    }
    let before = Account::settled()?;
    n = 0;
    while !done(n) {
        round(seed + n as u64, &there)?;
        n += 1;
        Account::come_back(&before).map_err(|e| format!("after {n} rounds {e}"))?;
    }
    Ok(n * WORKERS * CALLS)
}

/// The run that is part of all tests.
pub fn bounded() -> Result<(), String> {
    rounds(1, |n| n == 2, |n| n == ROUNDS).map(|_| ())
}

/// `selftest random SEED SECONDS`.
pub fn for_seconds(seed: u64, seconds: u64) -> Result<(), String> {
    let begin = Instant::now();
    let after = |part| Duration::from_secs(seconds) * part / 4;
    let calls = rounds(seed, |_| begin.elapsed() >= after(1), |_| begin.elapsed() >= after(4))?;
    println!("random: {calls} calls, {} KiB free", free_kib());
    Ok(())
}
