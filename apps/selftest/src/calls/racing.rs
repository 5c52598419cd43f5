//! Calls whose memory another thread takes away and gives back meanwhile.

use super::arena::{Arena, Slot, map, put};
use super::fixture::Fixture;
use super::{BAD_ADDRESS, Hex, arguments, content, forms, is_right, raw};
use linux_abi::{Answer, Arg};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// How often each pointer of each form is raced for.
const ROUNDS: usize = 3;

/// What is taken away now: an address, 0 for nothing, 1 for the end.
static TARGET: AtomicUsize = AtomicUsize::new(0);
/// Whether pages go (and come back as zeroes), or are only forbidden.
static UNMAP: AtomicBool = AtomicBool::new(false);
/// How often memory may still go: each call allows for some, for on a machine with more
/// CPUs than its host has each time costs a turn of the host's scheduler.
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// What is allowed for one call.
const FOR_A_CALL: usize = 1;
/// Rounds that the other thread went through.
static TURNS: AtomicUsize = AtomicUsize::new(0);

/// Lets the other thread go on. With one CPU it needs that CPU; with more, giving one up
/// would only send the thread from CPU to CPU.
fn pause() {
    static CPUS: OnceLock<usize> = OnceLock::new();
    if *CPUS.get_or_init(|| thread::available_parallelism().map_or(1, |n| n.get())) == 1 {
        raw::named("sched_yield", &[]);
    } else {
        std::hint::spin_loop();
    }
}

fn take_away() {
    loop {
        let at = TARGET.load(Ordering::SeqCst);
        match at {
            1 => return,
            _ if at == 0 || LEFT.load(Ordering::SeqCst) == 0 => {
                pause();
            }
            _ if UNMAP.load(Ordering::SeqCst) => {
                raw::named("munmap", &[at, Slot::len()]);
                let _ = map(at, Slot::len(), 3);
            }
            _ => {
                raw::named("mprotect", &[at, Slot::len(), 0]);
                pause();
                raw::named("mprotect", &[at, Slot::len(), 3]);
            }
        }
        LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| Some(n.saturating_sub(1))).ok();
        TURNS.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until the other thread does what was said last.
fn settle() {
    let turns = TURNS.load(Ordering::SeqCst);
    while TURNS.load(Ordering::SeqCst) < turns + 2 {
        pause();
    }
}

pub fn racing() -> Result<(), String> {
    let (mut fixture, arena) = (Fixture::new("racing")?, Arena::new()?);
    TARGET.store(0, Ordering::SeqCst);
    let other = thread::spawn(take_away);
    let result = race(&mut fixture, &arena);
    TARGET.store(1, Ordering::SeqCst);
    other.join().map_err(|_| "panicked")?;
    result
}

fn race(fixture: &mut Fixture, arena: &Arena) -> Result<(), String> {
    let mut pointers = 0;
    for (number, form) in forms() {
        arena.reset()?;
        if form.answer == Answer::NotMade {
            continue;
        }
        for (i, arg) in form.args.iter().enumerate().filter(|(_, a)| a.is_pointer()) {
            // Every other pointer one way, the rest the other: each kind of argument comes
            // many times.
            pointers += 1;
            let unmap = pointers % 2 == 0;
            UNMAP.store(unmap, Ordering::SeqCst);
            let args = arguments(form, fixture, arena)?;
            let bytes = content(*arg, fixture, arena, i);
            TARGET.store(arena.slot(i).start(), Ordering::SeqCst);
            let mut wrong = None;
            for _ in 0..ROUNDS {
                // Forbidden memory keeps its contents, so only two answers are right, once
                // the files are as the form needs them; zeroes make others right.
                LEFT.store(FOR_A_CALL, Ordering::SeqCst);
                let result = raw::call(number, args);
                let known = is_right(form, result)
                    || BAD_ADDRESS.contains(&result)
                    || (-133..0).contains(&result) && (unmap || needs_files(form.args));
                if !known {
                    wrong = Some(result);
                    break;
                }
                if result >= 0 && !names_result(form.name) {
                    fixture.undo(form, result, args);
                }
            }
            TARGET.store(0, Ordering::SeqCst);
            settle();
            if let Some(result) = wrong {
                return Err(format!(
                    "{}{:?} gave {result} while argument {i} ({} bytes) went away",
                    form.name,
                    Hex(&args),
                    bytes.len()
                ));
            }
        }
        // Pipes whose numbers could not be seen.
        raw::named("close_range", &[20, 4095, 0]);
    }
    put(arena.slot(0).start(), &[0]);
    Ok(())
}

/// Whether a second such call differs from the first: it made or took a name.
fn needs_files(args: &[Arg]) -> bool {
    args.iter().any(|a| matches!(a, Arg::NewPath | Arg::DirPath | Arg::Path))
}

/// Whether what the call made can only be undone by reading the memory that goes away.
fn names_result(name: &str) -> bool {
    matches!(name, "pipe" | "pipe2" | "timer_create")
}
