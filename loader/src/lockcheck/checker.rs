//! The checker: what each CPU holds, and what to do when the order is wrong.

use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use driver_api::Once;
use driver_api::sync::check::{self, LockChecker};

use crate::arch;
use crate::percpu::MAX_CPUS;

use super::graph::{Graph, MAX_CLASSES};

/// How many locks a CPU may hold at once; further ones are not watched.
const MAX_HELD: usize = 8;

/// The classes seen, by where their locks are made.
static CLASSES: [Once<&'static Location<'static>>; MAX_CLASSES] =
    [const { Once::new() }; MAX_CLASSES];
static ORDER: Graph = Graph::new();

/// What a CPU holds: address and class of each lock. Only that CPU, with interrupts off,
/// uses it.
struct Held {
    addresses: [AtomicUsize; MAX_HELD],
    classes: [AtomicUsize; MAX_HELD],
}

static HELD: [Held; MAX_CPUS] = [const {
    Held {
        addresses: [const { AtomicUsize::new(0) }; MAX_HELD],
        classes: [const { AtomicUsize::new(0) }; MAX_HELD],
    }
}; MAX_CPUS];

/// Something was found: what follows (the panic's own locks) is not watched.
static OFF: AtomicBool = AtomicBool::new(false);

struct Checker;
static CHECKER: Checker = Checker;

/// Begins to watch.
pub(crate) fn init() {
    check::install(&CHECKER);
}

fn held() -> Option<&'static Held> {
    HELD.get(arch::percpu::current().index.load(Ordering::Relaxed))
}

/// Number of the class made at `location`; `None` when there are too many.
fn class(location: &'static Location<'static>) -> Option<usize> {
    CLASSES.iter().position(|slot| {
        let there = slot.call_once(|| location);
        // One place may have several copies of its location, in several parts of the code.
        let numbers = (there.line(), there.column()) == (location.line(), location.column());
        core::ptr::eq(*there, location) || numbers && there.file() == location.file()
    })
}

impl LockChecker for Checker {
    fn acquiring(&self, location: &'static Location<'static>, address: usize, tried: bool) {
        if OFF.load(Ordering::Relaxed) {
            return;
        }
        let (Some(held), Some(wanted)) = (held(), class(location)) else { return };
        for (a, c) in held.addresses.iter().zip(&held.classes) {
            let (at, before) = (a.load(Ordering::Relaxed), c.load(Ordering::Relaxed));
            if at == 0 || tried {
                continue;
            }
            if at == address {
                found(location, before, "is waited for by the CPU that holds it");
            }
            if !ORDER.note(before, wanted) {
                found(location, before, "is taken in the wrong order after one from");
            }
        }
        let free = held.addresses.iter().position(|a| a.load(Ordering::Relaxed) == 0);
        if let Some(i) = free {
            held.classes[i].store(wanted, Ordering::Relaxed);
            held.addresses[i].store(address, Ordering::Relaxed);
        }
    }

    fn released(&self, address: usize) {
        let Some(held) = held() else { return };
        if let Some(a) = held.addresses.iter().find(|a| a.load(Ordering::Relaxed) == address) {
            a.store(0, Ordering::Relaxed);
        }
    }
}

fn found(location: &Location<'_>, before: usize, what: &str) -> ! {
    OFF.store(true, Ordering::Relaxed);
    match CLASSES[before].get() {
        Some(other) => panic!("lock from {location} {what} {other}"),
        None => panic!("lock from {location} {what} another"),
    }
}

/// The thread is about to give the CPU up, interrupts off: it must hold no `IrqLock`, for
/// whoever wants it would spin until the thread runs again.
pub(crate) fn about_to_wait() {
    if OFF.load(Ordering::Relaxed) {
        return;
    }
    let Some(held) = held() else { return };
    for (a, c) in held.addresses.iter().zip(&held.classes) {
        if a.load(Ordering::Relaxed) != 0
            && let Some(place) = CLASSES[c.load(Ordering::Relaxed)].get()
        {
            OFF.store(true, Ordering::Relaxed);
            panic!("a thread waits while it holds the lock from {place}");
        }
    }
}
