//! Tests that need the machine: the scheduler, timers and memory as they really run. Debug
//! kernels hold them; `osier.selftest=1` runs them instead of a program.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use driver_api::sync::IrqLock;

use crate::cmdline::SelfTest;
use crate::drivers;
use crate::end::{End, finish};
use crate::lockcheck::mistakes_are_found;
use crate::log::direct;
use crate::mm::room::{room, room_to_map};
use crate::mm::{frames, heap};
use crate::thread::{
    self, Mutex, PreemptGuard, Priority, SpawnError, Thread, Wait, WaitQueue, Woken,
};
use crate::{entropy, percpu, time};

/// What went wrong.
pub(crate) type Failure = &'static str;
/// A test: its name, and what it does.
pub(crate) type Test = (&'static str, fn() -> Result<(), Failure>);

const MS: u64 = 1_000_000;

const TESTS: &[Test] = &[
    ("heap", heap_keeps_contents),
    ("frames", memory_filled_and_released),
    ("threads", threads_run_and_end),
    ("preemption", spinning_threads_are_preempted),
    ("no-preemption", a_guard_keeps_the_cpu),
    ("priority", interrupt_threads_go_first),
    ("timeout", a_wait_times_out),
    ("wake", wake_ups_are_counted),
    ("interrupt", interruptions_end_waits),
    ("sleepers", sleepers_wake_in_order),
    ("mutex", a_mutex_excludes),
    ("lock-order", mistakes_are_found),
    ("storm", wake_ups_and_time_outs_race),
    ("exhaustion", threads_until_memory_is_out),
    ("entropy", random_bytes_differ),
];

/// Runs all tests and ends the machine: exit status 0, or a panic with the names of those
/// that failed.
pub fn run(what: SelfTest) -> ! {
    let tests = match what {
        SelfTest::Kernel => TESTS,
        SelfTest::Block => drivers::tests::BLOCK,
        SelfTest::Net => drivers::tests::NET,
        SelfTest::Entropy => drivers::tests::ENTROPY,
    };
    if what == SelfTest::Net {
        drivers::tests::prepare();
    }
    let mut failed = 0;
    for (name, test) in tests {
        // Threads that have ended give their stacks back when the next one runs.
        thread::sleep_ns(MS);
        let before = heap_in_use();
        let result = test();
        // Another CPU may still be leaving a thread that has ended.
        let patience = time::now_ns() + 2000 * MS;
        while heap_in_use() > before && time::now_ns() < patience {
            thread::sleep_ns(MS);
        }
        let after = heap_in_use();
        let leak = after > before;
        match result {
            Ok(()) if leak => {
                direct(format_args!(
                    "selftest {name}: FAILED: {before} bytes of heap became {after}\n"
                ));
                failed += 1;
            }
            Ok(()) => direct(format_args!("selftest {name}: ok\n")),
            Err(why) => {
                direct(format_args!("selftest {name}: FAILED: {why}\n"));
                failed += 1;
            }
        }
    }
    direct(format_args!("selftest: {} passed, {failed} failed\n", tests.len() - failed));
    if failed > 0 {
        panic!("{failed} self-tests failed");
    }
    finish(End::Exit(0))
}

/// Bytes of the heap in use, but for what may stay grown: the timers' room.
fn heap_in_use() -> usize {
    heap::stats().used.saturating_sub(time::held_bytes())
}

pub(crate) fn ensure(condition: bool, why: Failure) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(why) }
}

/// Looks, and sleeps a little in between, until `done`. The clock goes on when the host takes the
/// CPU away from the machine, so what others do in the meantime is waited for and not timed; the
/// bound is for what never comes.
fn comes_about(why: Failure, mut done: impl FnMut() -> bool) -> Result<(), Failure> {
    for _ in 0..30_000 {
        if done() {
            return Ok(());
        }
        thread::sleep_ns(MS);
    }
    Err(why)
}

/// A spawn that must succeed here.
pub(crate) fn go(name: &str, f: impl FnOnce() + Send + 'static) -> Result<Arc<Thread>, Failure> {
    thread::spawn(name, Priority::Normal, f).map_err(|_| "no memory for a thread")
}

/// Pseudo-random numbers (xorshift64), the same in every run.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn heap_keeps_contents() -> Result<(), Failure> {
    let mut rng = Rng(1);
    let mut held: Vec<Vec<u8>> = Vec::new();
    for round in 0..2000_usize {
        if held.len() > 60 || (held.len() > 20 && rng.next().is_multiple_of(2)) {
            let at = rng.next() as usize % held.len();
            let block = held.swap_remove(at);
            let byte = block.first().copied().unwrap_or(0);
            ensure(block.iter().all(|b| *b == byte), "a block was overwritten")?;
        } else {
            let len = 1 + (rng.next() as usize % if round % 10 == 0 { 20_000 } else { 700 });
            let mut block = Vec::new();
            block.try_reserve_exact(len).map_err(|_| "no memory")?;
            block.resize(len, round as u8);
            held.push(block);
        }
    }
    Ok(())
}

fn memory_filled_and_released() -> Result<(), Failure> {
    let before = frames::stats().free;
    for _ in 0..3 {
        // The frames themselves hold the list of frames: nothing else is needed.
        let mut taken = 0;
        let mut head: Option<frames::OwnedFrame> = None;
        while let Some(mut frame) = frames::OwnedFrame::new() {
            ensure(frame.bytes().iter().all(|b| *b == 0), "a frame was not zeroed")?;
            let link = head.take().map_or(0, |h| h.into_raw().0);
            frame.bytes_mut()[..8].copy_from_slice(&link.to_le_bytes());
            head = Some(frame);
            taken += 1;
        }
        ensure(taken + frames::stats().reserve >= before, "not all frames could be had")?;
        // Or it would be chance whether a program that fills memory is told by a mapping that
        // fails or ended by a page that cannot be had.
        ensure(room(0).is_err() && room_to_map().is_ok(), "a mapping goes before the pages")?;
        ensure(
            heap::stats().held > 0 && Vec::<u8>::with_capacity(100).capacity() >= 100,
            "no heap",
        )?;
        while let Some(frame) = head {
            let link = frame.bytes().first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
            head = (link != 0).then(|| frames::adopt(crate::mm::PhysAddr(link)));
        }
        ensure(frames::stats().free == before, "frames were lost")?;
    }
    Ok(())
}

fn threads_run_and_end() -> Result<(), Failure> {
    let before = frames::stats().free;
    for _ in 0..5 {
        let count = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let count = Arc::clone(&count);
                go("counter", move || {
                    for _ in 0..50 {
                        count.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                    }
                })
            })
            .collect::<Result<_, _>>()?;
        threads.iter().for_each(|t| t.join());
        ensure(count.load(Ordering::Relaxed) == 800, "a thread did not finish")?;
    }
    // Tables of the stack window stay, once made; so does a slab per class.
    comes_about("stacks were not given back", || frames::stats().free + 24 >= before)
}

fn spinning_threads_are_preempted() -> Result<(), Failure> {
    static FLAGS: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
    /// Many slices of time, counted by the spinning itself: while the host has the CPU, nobody
    /// spins.
    const TURNS: u32 = 20_000_000;
    let threads: Vec<_> = (0..3)
        .map(|i| {
            go("spin", move || {
                FLAGS[i].store(true, Ordering::Release);
                // Nobody gives the CPU up: only the tick lets all three get here.
                for _ in 0..TURNS {
                    if FLAGS.iter().all(|f| f.load(Ordering::Acquire)) {
                        break;
                    }
                    core::hint::spin_loop();
                }
            })
        })
        .collect::<Result<_, _>>()?;
    threads.iter().for_each(|t| t.join());
    ensure(FLAGS.iter().all(|f| f.load(Ordering::Relaxed)), "a spinning thread kept the CPU")
}

fn a_guard_keeps_the_cpu() -> Result<(), Failure> {
    /// Where each of the others ran first; 0: nowhere yet.
    static RAN: [AtomicUsize; 6] = [const { AtomicUsize::new(0) }; 6];
    let here = || percpu::with(|cpu| cpu.index.load(Ordering::Relaxed)) + 1;
    let guard = PreemptGuard::new();
    let mine = here();
    let others: Vec<_> = (0..RAN.len())
        .map(|i| go("other", move || RAN[i].store(here(), Ordering::Release)))
        .collect::<Result<_, _>>()?;
    let end = time::now_ns() + 20 * MS;
    while time::now_ns() < end {
        core::hint::spin_loop();
    }
    let early = RAN.iter().any(|r| r.load(Ordering::Acquire) == mine);
    let moved = here() != mine;
    drop(guard);
    others.iter().for_each(|t| t.join());
    ensure(!early && !moved, "another thread ran here in spite of the guard")?;
    ensure(RAN.iter().all(|r| r.load(Ordering::Relaxed) != 0), "another thread never ran")
}

fn interrupt_threads_go_first() -> Result<(), Failure> {
    static ORDER: AtomicUsize = AtomicUsize::new(0);
    let record = |digit: usize| {
        move || {
            let _ = ORDER.update(Ordering::Relaxed, Ordering::Relaxed, |o| o * 10 + digit);
        }
    };
    if percpu::count() > 1 {
        return Ok(()); // both may run at once, in any order
    }
    let guard = PreemptGuard::new();
    let normal = go("normal", record(2))?;
    let urgent =
        thread::spawn("urgent", Priority::Interrupt, record(1)).map_err(|_| "no memory")?;
    drop(guard);
    normal.join();
    urgent.join();
    ensure(ORDER.load(Ordering::Relaxed) == 12, "the order was another")
}

fn a_wait_times_out() -> Result<(), Failure> {
    let queue = WaitQueue::new();
    // A host that takes the CPU away makes one late, and not every time.
    for _ in 0..20 {
        let start = time::now_ns();
        let how = Wait { deadline: Some(start + 5 * MS), interruptible: false };
        ensure(queue.wait(how) == Woken::TimedOut, "something else woke it")?;
        let took = time::now_ns() - start;
        ensure(took >= 5 * MS, "too early")?;
        ensure(!queue.wake_one(), "it is still in the queue")?;
        if took < 1000 * MS {
            return Ok(());
        }
    }
    Err("always a second too late")
}

fn wake_ups_are_counted() -> Result<(), Failure> {
    static QUEUE: WaitQueue = WaitQueue::new();
    static TICKETS: IrqLock<u32> = IrqLock::new(0);
    static DONE: AtomicU32 = AtomicU32::new(0);
    let threads: Vec<_> = (0..10)
        .map(|_| {
            go("waiter", || {
                let (mut tickets, _) = QUEUE.wait_while(&TICKETS, Wait::FOREVER, |t| *t == 0);
                *tickets -= 1;
                drop(tickets);
                DONE.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect::<Result<_, _>>()?;
    comes_about("they do not wait", || threads.iter().all(|t| t.is_blocked()))?;
    ensure(DONE.load(Ordering::Relaxed) == 0, "it went on without a ticket")?;
    for _ in 0..4 {
        *TICKETS.lock() += 1;
        ensure(QUEUE.wake_one(), "nobody waits")?;
    }
    comes_about("four tickets, fewer threads", || DONE.load(Ordering::Relaxed) == 4)?;
    let waiting = threads.iter().filter(|t| t.is_blocked()).count();
    ensure(waiting == 6, "four tickets, another number of threads")?;
    *TICKETS.lock() += 6;
    ensure(QUEUE.wake_all() == 6, "six waited")?;
    threads.iter().for_each(|t| t.join());
    ensure(DONE.load(Ordering::Relaxed) == 10 && *TICKETS.lock() == 0, "not all went on")
}

fn interruptions_end_waits() -> Result<(), Failure> {
    static QUEUE: WaitQueue = WaitQueue::new();
    static OTHER: WaitQueue = WaitQueue::new();
    static SEEN: IrqLock<Vec<Woken>> = IrqLock::new(Vec::new());
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let thread = go("interrupted", || {
        for first in [true, false] {
            let woken = QUEUE.wait(Wait::INTERRUPTIBLE);
            SEEN.lock().push(woken);
            thread::current().take_interrupt();
            TAKEN.store(true, Ordering::Release);
            if first {
                let _ = OTHER.wait(Wait::FOREVER);
            }
        }
    })?;
    comes_about("it does not wait", || thread.is_blocked())?;
    thread.interrupt();
    let waits_again = || TAKEN.load(Ordering::Acquire) && thread.is_blocked();
    comes_about("the interruption was lost", waits_again)?;
    // This one comes while it waits uninterruptibly, and ends the next wait at once.
    thread.interrupt();
    ensure(OTHER.wake_one(), "it ended a wait that nothing interrupts")?;
    thread.join();
    let seen = core::mem::take(&mut *SEEN.lock());
    ensure(seen == [Woken::Interrupted, Woken::Interrupted], "a wait ended otherwise")
}

fn sleepers_wake_in_order() -> Result<(), Failure> {
    // Each time later, until all of them sleep before the first is to wake, whatever the host does.
    for ms in [10, 20, 50, 100, 200, 500, 1000, 2000] {
        if let Some(order) = order_of_waking(time::now_ns() + ms * MS)? {
            ensure(!order.contains(&99), "somebody woke early")?;
            // With several CPUs each goes on when its own gets to it.
            let sorted = order.is_sorted() || percpu::count() > 1;
            return ensure(order.len() == 12 && sorted, "they woke in another order");
        }
    }
    Err("they never all slept in time")
}

/// Twelve threads sleep until `start` and 3 ms more each. The order in which they went on, with
/// 99 for one that was early; `None` when not all of them slept at `start`.
fn order_of_waking(start: u64) -> Result<Option<Vec<u64>>, Failure> {
    static ORDER: IrqLock<Vec<u64>> = IrqLock::new(Vec::new());
    let threads: Vec<_> = (0..12_u64)
        .map(|i| {
            let turn = i * 7 % 12;
            go("sleeper", move || {
                let _ = thread::WaitQueue::new()
                    .wait(Wait { deadline: Some(start + turn * 3 * MS), interruptible: false });
                let early = time::now_ns() < start + turn * 3 * MS;
                ORDER.lock().push(if early { 99 } else { turn });
            })
        })
        .collect::<Result<_, _>>()?;
    while !threads.iter().all(|t| t.is_blocked() || t.has_ended()) {
        thread::yield_now();
    }
    let in_time = time::now_ns() < start;
    threads.iter().for_each(|t| t.join());
    let order = core::mem::take(&mut *ORDER.lock());
    Ok(in_time.then_some(order))
}

fn a_mutex_excludes() -> Result<(), Failure> {
    let mutex = Arc::new(Mutex::new((0_u64, 0_u64)));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let mutex = Arc::clone(&mutex);
            go("locker", move || {
                for i in 0..100 {
                    let mut pair = mutex.lock();
                    pair.0 += 1;
                    if i % 10 == 0 {
                        thread::yield_now(); // with the lock held
                    }
                    pair.1 += 1;
                }
            })
        })
        .collect::<Result<_, _>>()?;
    threads.iter().for_each(|t| t.join());
    let pair = *mutex.lock();
    ensure(pair == (800, 800), "increments were lost")
}

fn wake_ups_and_time_outs_race() -> Result<(), Failure> {
    static QUEUE: WaitQueue = WaitQueue::new();
    static WOKEN: AtomicU32 = AtomicU32::new(0);
    let threads: Vec<_> = (0..6_u64)
        .map(|i| {
            go("racer", move || {
                let mut rng = Rng(i + 1);
                for _ in 0..60 {
                    let deadline = Some(time::now_ns() + rng.next() % (200_000));
                    let woken = QUEUE.wait(Wait { deadline, interruptible: false });
                    WOKEN.fetch_add(u32::from(woken == Woken::Woken), Ordering::Relaxed);
                }
            })
        })
        .collect::<Result<_, _>>()?;
    let mut sent = 0;
    while threads.iter().any(|t| !t.has_ended()) {
        sent += u32::from(QUEUE.wake_one());
        thread::sleep_ns(50_000);
    }
    threads.iter().for_each(|t| t.join());
    ensure(WOKEN.load(Ordering::Relaxed) == sent, "a wake-up was lost, or counted twice")?;
    ensure(!QUEUE.wake_one(), "somebody is still in the queue")
}

fn threads_until_memory_is_out() -> Result<(), Failure> {
    static STOP: IrqLock<bool> = IrqLock::new(false);
    static QUEUE: WaitQueue = WaitQueue::new();
    let before = frames::stats().free;
    let mut threads = Vec::new();
    let error = loop {
        let spawned = thread::spawn("many", Priority::Normal, || {
            let _ = QUEUE.wait_while(&STOP, Wait::FOREVER, |stop| !*stop);
        });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(e) => break e,
        }
    };
    *STOP.lock() = true;
    thread::sleep_ns(MS);
    QUEUE.wake_all();
    threads.iter().for_each(|t| t.join());
    drop(threads);
    ensure(error == SpawnError::NoMemory, "another error")?;
    // What stays: page tables of the window, slabs kept, room for timers.
    comes_about("stacks were not given back", || frames::stats().free + 256 >= before)
}

fn random_bytes_differ() -> Result<(), Failure> {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    entropy::fill(&mut a).map_err(|_| "not seeded")?;
    entropy::fill(&mut b).map_err(|_| "not seeded")?;
    ensure(a != b && a != [0; 32], "the same bytes twice")
}
