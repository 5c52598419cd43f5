//! Threads: start and join, mutexes, condition variables, channels, sleeps, thread-locals.

// A poisoned lock is a failed test.
#![allow(clippy::unwrap_used)]

use crate::{Test, failed, same};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    ("threads: join", join),
    ("threads: thread-locals and names", locals),
    ("threads: mutex under contention", mutex),
    ("threads: condition variable with a time-out", condvar),
    ("threads: channels", channels),
    ("threads: sixty-four at once", many),
    ("threads: busy ones share the CPU", share),
    ("threads: sleep", sleep),
    ("threads: floating point survives switches", floats),
    ("threads: a panic stays in its thread", panic),
];

fn join() -> Result<(), String> {
    let sum: usize =
        (0..20).map(|i| thread::spawn(move || i * i)).map(|t| t.join().unwrap_or(usize::MAX)).sum();
    same!(sum, 2470);
    Ok(())
}

fn locals() -> Result<(), String> {
    thread_local!(static VALUE: Cell<usize> = const { Cell::new(1) });
    VALUE.set(5);
    let other = thread::Builder::new()
        .name("other".into())
        .spawn(|| (VALUE.get(), thread::current().name().map(str::to_owned)))
        .map_err(failed("spawn"))?;
    same!(other.join().map_err(|_| "panicked")?, (1, Some("other".to_owned())));
    same!(VALUE.get(), 5);
    Ok(())
}

fn mutex() -> Result<(), String> {
    let total = Arc::new(Mutex::new(0_usize));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let total = total.clone();
            thread::spawn(move || {
                for _ in 0..2000 {
                    *total.lock().unwrap() += 1;
                }
            })
        })
        .collect();
    for t in threads {
        t.join().map_err(|_| "panicked")?;
    }
    same!(*total.lock().unwrap(), 16000);
    Ok(())
}

fn condvar() -> Result<(), String> {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let (lock, condvar) = &*pair;
    let begin = Instant::now();
    let guard = lock.lock().unwrap();
    let (guard, result) = condvar.wait_timeout(guard, Duration::from_millis(20)).unwrap();
    same!((result.timed_out(), *guard), (true, false));
    same!(begin.elapsed() >= Duration::from_millis(20), true);
    drop(guard);
    let other = pair.clone();
    let t = thread::spawn(move || {
        *other.0.lock().unwrap() = true;
        other.1.notify_all();
    });
    let mut guard = lock.lock().unwrap();
    while !*guard {
        guard = condvar.wait(guard).unwrap();
    }
    drop(guard);
    t.join().map_err(|_| "panicked".to_owned())
}

fn channels() -> Result<(), String> {
    let (to, from) = mpsc::sync_channel(4);
    for i in 0..4 {
        let to = to.clone();
        thread::spawn(move || (0..500).for_each(|n| to.send(i * 500 + n).unwrap()));
    }
    drop(to);
    let mut all: Vec<usize> = from.iter().collect();
    all.sort_unstable();
    same!(all == (0..2000).collect::<Vec<_>>(), true);
    Ok(())
}

fn many() -> Result<(), String> {
    let barrier = Arc::new(Barrier::new(64));
    let leaders = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..64)
        .map(|_| {
            let (barrier, leaders) = (barrier.clone(), leaders.clone());
            thread::Builder::new().stack_size(64 << 10).spawn(move || {
                if barrier.wait().is_leader() {
                    leaders.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for t in threads {
        t.map_err(failed("spawn"))?.join().map_err(|_| "panicked")?;
    }
    same!(leaders.load(Ordering::Relaxed), 1);
    Ok(())
}

/// Two threads that never wait both get on.
fn share() -> Result<(), String> {
    let turns = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let threads: Vec<_> = (0..2)
        .map(|i| {
            let turns = turns.clone();
            thread::spawn(move || {
                // Each goes on until the other has been seen to run as well.
                while turns[1 - i].load(Ordering::Relaxed) < 1000 {
                    turns[i].fetch_add(1, Ordering::Relaxed);
                }
                turns[i].fetch_add(1000, Ordering::Relaxed);
            })
        })
        .collect();
    for t in threads {
        t.join().map_err(|_| "panicked")?;
    }
    Ok(())
}

fn sleep() -> Result<(), String> {
    let begin = Instant::now();
    thread::sleep(Duration::from_millis(30));
    same!(begin.elapsed() >= Duration::from_millis(30), true);
    Ok(())
}

fn floats() -> Result<(), String> {
    let threads: Vec<_> = (1..5)
        .map(|i| {
            thread::spawn(move || {
                let mut x = f64::from(i);
                for n in 0..20_000 {
                    x = x * 1.000_001 + 0.5;
                    if n % 1000 == 0 {
                        thread::yield_now();
                    }
                }
                x
            })
        })
        .collect();
    for (i, t) in (1..5).zip(threads) {
        let mut x = f64::from(i);
        for _ in 0..20_000 {
            x = x * 1.000_001 + 0.5;
        }
        same!(t.join().map_err(|_| "panicked")?.to_bits(), x.to_bits());
    }
    Ok(())
}

fn panic() -> Result<(), String> {
    let t = thread::spawn(|| -> () { std::panic::panic_any(7_u8) });
    let payload = t.join().err().and_then(|p| p.downcast::<u8>().ok());
    same!(payload, Some(Box::new(7)));
    Ok(())
}

/// Two threads that compute, the same amount each and nothing in common.
pub fn spin() {
    println!("spin: begin");
    let threads: Vec<_> = (1..=2_u64)
        .map(|seed| {
            thread::spawn(move || {
                let step = |x: u64, _| x.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (x >> 29);
                std::hint::black_box((0..std::hint::black_box(200_000_000_u64)).fold(seed, step))
            })
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
    println!("spin: end");
}
