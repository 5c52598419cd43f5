//! The checker: what each CPU holds, and what to do when the order is wrong.

use core::fmt;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use driver_api::Once;
use driver_api::sync::check::{self, LockChecker};
use driver_api::sync::interrupts_enabled;

use crate::percpu::MAX_CPUS;
use crate::{arch, thread};

use super::graph::{Graph, MAX_CLASSES};

/// How many locks a CPU, or a thread, may hold at once; further ones are not watched.
const MAX_HELD: usize = 8;

/// The classes seen, by where their locks are made.
static CLASSES: [Once<&'static Location<'static>>; MAX_CLASSES] =
    [const { Once::new() }; MAX_CLASSES];
static ORDER: Graph = Graph::new();

/// What a CPU or a thread holds: address and class of each lock. Only that CPU, with interrupts
/// off, or that thread uses it.
pub(crate) struct Held {
    addresses: [AtomicUsize; MAX_HELD],
    classes: [AtomicUsize; MAX_HELD],
}

impl Held {
    /// Nothing is held.
    pub const fn new() -> Self {
        Self {
            addresses: [const { AtomicUsize::new(0) }; MAX_HELD],
            classes: [const { AtomicUsize::new(0) }; MAX_HELD],
        }
    }

    /// Address and class of each.
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = self.addresses.iter().zip(&self.classes);
        all.map(|(a, c)| (a.load(Ordering::Relaxed), c.load(Ordering::Relaxed)))
            .filter(|(address, _)| *address != 0)
    }

    /// Another lock is waited for, or was taken at the first try: looks at those held before, and
    /// notes it.
    fn add(&self, location: &'static Location<'static>, address: usize, tried: bool) {
        let Some(wanted) = class(location) else { return };
        for (at, before) in self.iter().filter(|_| !tried) {
            if at == address {
                found(location, before, "is waited for by who holds it");
            }
            if !ORDER.note(before, wanted) {
                found(location, before, "is taken in the wrong order after one from");
            }
        }
        let free = self.addresses.iter().position(|a| a.load(Ordering::Relaxed) == 0);
        if let Some(i) = free {
            self.classes[i].store(wanted, Ordering::Relaxed);
            self.addresses[i].store(address, Ordering::Relaxed);
        }
    }

    fn remove(&self, address: usize) {
        if let Some(a) = self.addresses.iter().find(|a| a.load(Ordering::Relaxed) == address) {
            a.store(0, Ordering::Relaxed);
        }
    }
}

/// What each CPU holds of `IrqLock`s. What a thread holds of locks that are slept for is its own.
static HELD: [Held; MAX_CPUS] = [const { Held::new() }; MAX_CPUS];

/// Something was found: what follows (the panic's own locks) is not watched.
static OFF: AtomicBool = AtomicBool::new(false);
/// What is found is counted instead, in [`CAUGHT`].
static CATCHING: AtomicBool = AtomicBool::new(false);
static CAUGHT: AtomicUsize = AtomicUsize::new(0);

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
        if let Some(held) = held().filter(|_| !OFF.load(Ordering::Relaxed)) {
            held.add(location, address, tried);
        }
    }

    fn released(&self, address: usize) {
        if let Some(held) = held() {
            held.remove(address);
        }
    }

    fn acquiring_sleeping(
        &self,
        location: &'static Location<'static>,
        address: usize,
        tried: bool,
    ) {
        if OFF.load(Ordering::Relaxed) {
            return;
        }
        // Whether it has to wait is chance; that it may is not. An `IrqLock` that is held keeps
        // interrupts off, so that no order of the two kinds has to be noted.
        if !tried && !interrupts_enabled() {
            report(format_args!("lock from {location}, which may sleep, with interrupts off"));
        }
        // Before there are threads nobody waits.
        if let Some(thread) = thread::try_current() {
            thread.held.add(location, address, tried);
        }
    }

    fn released_sleeping(&self, address: usize) {
        if let Some(thread) = thread::try_current() {
            thread.held.remove(address);
        }
    }
}

fn found(location: &Location<'_>, before: usize, what: &str) {
    match CLASSES[before].get() {
        Some(other) => report(format_args!("lock from {location} {what} {other}")),
        None => report(format_args!("lock from {location} {what} another")),
    }
}

fn report(what: fmt::Arguments<'_>) {
    if CATCHING.load(Ordering::Relaxed) {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
        return;
    }
    OFF.store(true, Ordering::Relaxed);
    panic!("{what}");
}

/// How many mistakes are found while `f` makes some: for the test of the checker itself.
pub(crate) fn catch(f: impl FnOnce()) -> usize {
    CAUGHT.store(0, Ordering::Relaxed);
    CATCHING.store(true, Ordering::Relaxed);
    f();
    CATCHING.store(false, Ordering::Relaxed);
    CAUGHT.load(Ordering::Relaxed)
}

/// The thread is about to give the CPU up, interrupts off: it must hold no `IrqLock`, for
/// whoever wants it would spin until the thread runs again.
pub(crate) fn about_to_wait() {
    if OFF.load(Ordering::Relaxed) {
        return;
    }
    let first = held().and_then(|held| held.iter().next());
    if let Some(place) = first.and_then(|(_, class)| CLASSES[class].get()) {
        report(format_args!("a thread waits while it holds the lock from {place}"));
    }
}
