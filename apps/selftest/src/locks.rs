//! Locks of files' ranges, by the process and by open files; sets of files in sets.

use crate::calls::raw;
use crate::events::{EVENT, add, call, close, post, take, wait};
use crate::{Test, failed, same};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("locks: ranges of open files", open_files),
    ("locks: ranges of the process", process),
    ("locks: waiting for a range", waits),
    ("events: sets in sets", nested),
    ("events: exclusive waits", exclusive),
];

const GETLK: usize = 5;
const SETLK: usize = 6;
const OFD_GETLK: usize = 36;
const OFD_SETLK: usize = 37;
const OFD_SETLKW: usize = 38;
const READ: u16 = 0;
const WRITE: u16 = 1;
const UNLOCK: u16 = 2;
const EAGAIN: isize = -11;

/// A `struct flock` from the start of the file, as words.
fn range(kind: u16, start: u64, len: u64) -> [u64; 4] {
    [u64::from(kind), start, len, 0]
}

fn lock(file: &File, command: usize, words: &mut [u64; 4]) -> isize {
    let at = words.as_mut_ptr().expose_provenance();
    raw::named("fcntl", &[file.as_raw_fd() as usize, command, at])
}

/// What `fcntl` gives for one lock.
fn ask(file: &File, command: usize, kind: u16, start: u64, len: u64) -> isize {
    lock(file, command, &mut range(kind, start, len))
}

fn open(name: &str) -> Result<File, String> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.open(name).map_err(failed("open"))
}

fn open_files() -> Result<(), String> {
    const NAME: &str = "/tmp/locked";
    let (a, b) = (open(NAME)?, open(NAME)?);
    same!(ask(&a, OFD_SETLK, WRITE, 10, 10), 0);
    same!(ask(&b, OFD_SETLK, READ, 0, 11), EAGAIN);
    same!(ask(&b, OFD_SETLK, WRITE, 0, 10), 0);
    same!(ask(&b, OFD_SETLK, WRITE, 20, 0), 0);
    let mut found = range(READ, 5, 10);
    same!(lock(&b, OFD_GETLK, &mut found), 0);
    // A write lock from 10 on, 10 bytes, of nobody with a number.
    same!(found, [1, 10, 10, u64::from(u32::MAX)]);
    same!(lock(&a, OFD_GETLK, &mut found), -22);
    let mut found = range(WRITE, 10, 10);
    same!(lock(&a, OFD_GETLK, &mut found), 0);
    same!(found[0], u64::from(UNLOCK));
    // A duplicate is the same open file.
    let twin = a.try_clone().map_err(failed("dup"))?;
    same!(ask(&twin, OFD_SETLK, READ, 0, 30), EAGAIN);
    same!(ask(&twin, OFD_SETLK, READ, 12, 4), 0);
    same!(ask(&b, OFD_SETLK, READ, 12, 4), 0);
    same!(ask(&b, OFD_SETLK, READ, 12, 5), EAGAIN);
    drop(a);
    same!(ask(&b, OFD_SETLK, READ, 10, 1), EAGAIN);
    drop(twin);
    same!(ask(&b, OFD_SETLK, WRITE, 0, 0), 0);
    // From the end, and backwards.
    b.set_len(100).map_err(failed("set_len"))?;
    let mut back = [u64::from(WRITE) | 2 << 16, 0, (-10_i64).cast_unsigned(), 0];
    same!(lock(&b, OFD_SETLK, &mut back), 0);
    let mut before = [u64::from(WRITE) | 2 << 16, (-101_i64).cast_unsigned(), 1, 0];
    same!(lock(&b, OFD_SETLK, &mut before), -22);
    let mut named = [u64::from(WRITE), 0, 0, 1];
    same!(lock(&b, OFD_SETLK, &mut named), -22);
    let reader = File::open(NAME).map_err(failed("open"))?;
    same!(ask(&reader, OFD_SETLK, WRITE, 200, 1), -9);
    std::fs::remove_file(NAME).map_err(failed("unlink"))
}

fn process() -> Result<(), String> {
    const NAME: &str = "/tmp/locked-too";
    let (a, b) = (open(NAME)?, open(NAME)?);
    same!(ask(&a, SETLK, WRITE, 0, 0), 0);
    // It is the same process by whatever descriptor, and not an open file.
    same!(ask(&b, SETLK, WRITE, 0, 0), 0);
    same!(ask(&b, OFD_SETLK, READ, 5, 1), EAGAIN);
    let mut found = range(READ, 5, 1);
    same!(lock(&b, OFD_GETLK, &mut found), 0);
    same!(found, [1, 0, 0, 1]);
    same!(ask(&a, SETLK, UNLOCK, 5, 1), 0);
    same!(ask(&b, OFD_SETLK, READ, 5, 1), 0);
    let mut found = range(WRITE, 0, 0);
    same!(lock(&a, GETLK, &mut found), 0);
    same!(found, [0, 5, 1, u64::from(u32::MAX)]);
    // A close of any descriptor of the file gives all of the process's locks up.
    same!(ask(&b, OFD_SETLK, READ, 6, 1), EAGAIN);
    drop(open(NAME)?);
    same!(ask(&b, OFD_SETLK, READ, 6, 1), 0);
    std::fs::remove_file(NAME).map_err(failed("unlink"))
}

fn waits() -> Result<(), String> {
    const NAME: &str = "/tmp/locked-long";
    for close in [false, true] {
        let (held, other) = (open(NAME)?, open(NAME)?);
        same!(ask(&held, OFD_SETLK, WRITE, 0, 10), 0);
        let given = AtomicBool::new(false);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let got = ask(&other, OFD_SETLKW, WRITE, 5, 1);
                (got, given.load(Ordering::SeqCst))
            });
            thread::sleep(Duration::from_millis(5));
            given.store(true, Ordering::SeqCst);
            if close {
                drop(held);
            } else {
                same!(ask(&held, OFD_SETLK, UNLOCK, 0, 0), 0);
            }
            same!(waiter.join().map_err(|_| "panicked")?, (0, true));
            Ok::<_, String>(())
        })?;
    }
    std::fs::remove_file(NAME).map_err(failed("unlink"))
}

fn nested() -> Result<(), String> {
    const ELOOP: isize = -40;
    let sets: Vec<usize> = (0..6).map(|_| call("epoll_create1", &[0])).collect::<Result<_, _>>()?;
    let event = call("eventfd2", &[0, 0])?;
    for pair in sets[..5].windows(2) {
        add(pair[0], pair[1], 1, pair[1] as u64)?;
    }
    add(sets[4], event, 1, 7)?;
    let plain = [1_u8; 16];
    let put = |set, fd| raw::named("epoll_ctl", &[set, 1, fd, plain.as_ptr().expose_provenance()]);
    same!(put(sets[5], sets[0]), ELOOP);
    same!(put(sets[4], sets[0]), ELOOP);
    same!(put(sets[4], sets[5]), ELOOP);
    same!(wait(sets[0], 0)?, []);
    // What happens at the bottom is seen at the top, by one who waits as well.
    let poster = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        post(event, 1)
    });
    same!(wait(sets[0], -1)?, [(1, sets[1] as u64)]);
    poster.join().map_err(|_| "panicked")??;
    same!(wait(sets[4], 0)?, [(1, 7)]);
    same!(take(event)?, 1);
    same!(wait(sets[0], 0)?, []);
    close(&[sets[4]])?;
    same!(put(sets[5], sets[0]), 0);
    close(&[event, sets[0], sets[1], sets[2], sets[3], sets[5]])
}

fn exclusive() -> Result<(), String> {
    const EXCLUSIVE: u32 = 1 << 28;
    let event = call("eventfd2", &[0, 0])?;
    let sets = [call("epoll_create1", &[0])?, call("epoll_create1", &[0])?];
    for set in sets {
        add(set, event, 1 | EXCLUSIVE, 3)?;
    }
    let mut change = [0_u8; EVENT];
    change[..4].copy_from_slice(&(1 | EXCLUSIVE).to_le_bytes());
    let at = change.as_ptr().expose_provenance();
    same!(raw::named("epoll_ctl", &[sets[0], 3, event, at]), -22);
    same!(raw::named("epoll_ctl", &[sets[0], 1, sets[1], at]), -22);
    let waiters = sets.map(|set| thread::spawn(move || wait(set, 2000)));
    thread::sleep(Duration::from_millis(3));
    post(event, 1)?;
    let mut told = 0;
    for waiter in waiters {
        told += waiter.join().map_err(|_| "panicked")??.len();
    }
    same!(told >= 1, true);
    // A one-shot wait is told once, until it is renewed.
    let set = call("epoll_create1", &[0])?;
    add(set, event, 1 | 1 << 30, 4)?;
    same!((wait(set, 0)?.len(), wait(set, 0)?.len()), (1, 0));
    change[..4].copy_from_slice(&(1_u32 | 1 << 30).to_le_bytes());
    call("epoll_ctl", &[set, 3, event, change.as_ptr().expose_provenance()])?;
    same!((wait(set, 0)?.len(), wait(set, 0)?.len()), (1, 0));
    close(&[event, sets[0], sets[1], set])
}
