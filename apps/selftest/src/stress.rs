//! Much of everything, and nothing left behind: after each test as much memory is free as
//! before it.

// A poisoned lock is a failed test.
#![allow(clippy::unwrap_used)]

use crate::account::{self, Account};
use crate::calls::raw;
use crate::memory::{free_kib, meminfo_kib};
use crate::{Test, failed, same};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

pub const TESTS: &[Test] = &[
    ("stress: sixty-four threads with mutex, condition variable and channel", threads),
    ("stress: mappings made and removed by four threads", mappings),
    ("stress: ten thousand files", files),
    ("stress: memory filled with files to the limit, a hundred times", fill_files),
    ("stress: memory filled with pages to the limit, a hundred times", fill_pages),
    ("stress: memory filled with names to the limit", fill_names),
];

const PAGE: usize = 4096;

/// How often memory is filled and released.
const FILLS: usize = 100;
/// How many files are made and removed.
const FILES: usize = 10_000;

/// Runs `warm` twice, so that what is kept for ever is there (room for timers, the C
/// library's heap), then `body`, after which no frame and no object may be missing.
fn nothing_stays(
    warm: impl Fn() -> Result<(), String>,
    body: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    account::prepare()?;
    warm()?;
    warm()?;
    let before = Account::settled()?;
    body()?;
    Account::come_back(&before)
}

/// `body`, so many times.
fn times(n: usize, body: impl Fn() -> Result<(), String>) -> impl Fn() -> Result<(), String> {
    move || (0..n).try_for_each(|_| body())
}

fn threads() -> Result<(), String> {
    let run = || {
        let turn = Arc::new((Mutex::new(0_usize), Condvar::new()));
        let (to, from) = mpsc::sync_channel(8);
        let threads: Vec<_> = (0..64)
            .map(|me| {
                let (turn, to) = (turn.clone(), to.clone());
                thread::Builder::new().stack_size(64 << 10).spawn(move || {
                    for round in 0..10 {
                        // One after the other, in order: each waits for its turn.
                        let mut now = turn.0.lock().unwrap();
                        while *now != round * 64 + me {
                            now = turn.1.wait(now).unwrap();
                        }
                        *now += 1;
                        drop(now);
                        turn.1.notify_all();
                        to.send(me).unwrap();
                    }
                })
            })
            .collect();
        drop(to);
        same!(from.iter().sum::<usize>(), 10 * 64 * 63 / 2);
        for thread in threads {
            thread.map_err(failed("spawn"))?.join().map_err(|_| "panicked")?;
        }
        same!(*turn.0.lock().unwrap(), 640);
        Ok(())
    };
    nothing_stays(run, times(5, run))
}

fn mappings() -> Result<(), String> {
    fn storm(me: usize) -> Result<(), String> {
        let mut held = Vec::new();
        for n in 0..300 {
            let len = (1 + (n * 7 + me) % 9) * PAGE;
            let at = raw::named("mmap", &[0, len, 3, 0x22, usize::MAX, 0]);
            let at = usize::try_from(at).map_err(|_| format!("mmap: {at}"))?;
            for page in (0..len).step_by(PAGE) {
                let byte: *mut u8 = std::ptr::with_exposed_provenance_mut(at + page);
                // SAFETY: the mapping is this thread's alone, and was just made.
                unsafe {
                    same!(byte.read_volatile(), 0);
                    byte.write_volatile(me as u8 + 1);
                }
            }
            held.push((at, len));
            if n % 3 == 2 {
                // The one in the middle, so that holes appear and areas are split.
                let (at, len) = held.swap_remove(held.len() / 2);
                let half = (len / 2) & !(PAGE - 1);
                if half > 0 {
                    same!(raw::named("munmap", &[at, half]), 0);
                }
                same!(raw::named("munmap", &[at + half, len - half]), 0);
            }
        }
        for (at, len) in held {
            let byte: *const u8 = std::ptr::with_exposed_provenance((at + len - 1) & !(PAGE - 1));
            // SAFETY: it is mapped until the next line.
            same!(unsafe { byte.read_volatile() }, me as u8 + 1);
            same!(raw::named("munmap", &[at, len]), 0);
        }
        Ok(())
    }
    let run = || {
        let all: Vec<_> = (0..4).map(|me| thread::spawn(move || storm(me))).collect();
        all.into_iter().try_for_each(|t| t.join().map_err(|_| "panicked".to_owned())?)
    };
    nothing_stays(run, times(3, run))
}

fn files() -> Result<(), String> {
    let run = |files: usize| {
        let dir = std::path::Path::new("/tmp/stress");
        fs::create_dir(dir).map_err(failed("mkdir"))?;
        for n in 0..files {
            let file = File::create(dir.join(format!("file-{n}")));
            if n % 100 == 0 {
                file.and_then(|mut f| f.write_all(b"x")).map_err(failed("write"))?;
            } else {
                file.map_err(failed("create"))?;
            }
        }
        same!(fs::read_dir(dir).map_err(failed("readdir"))?.count(), files);
        // Not in the order in which they came.
        for n in (0..files).map(|n| n * 2731 % files) {
            fs::remove_file(dir.join(format!("file-{n}"))).map_err(failed("remove"))?;
        }
        fs::remove_dir(dir).map_err(failed("rmdir"))
    };
    nothing_stays(|| run(200), || run(FILES))
}

fn fill_files() -> Result<(), String> {
    let block = vec![0x77; 256 << 10];
    let run = || {
        let mut file = File::create("/tmp/full").map_err(failed("create"))?;
        let mut written = 0_usize;
        let end = loop {
            match file.write(&block) {
                Ok(n) => written += n,
                Err(e) => break e,
            }
        };
        same!(end.kind(), ErrorKind::StorageFull);
        same!(written > 4 << 20, true);
        reserve_is_left()?;
        drop(file);
        fs::remove_file("/tmp/full").map_err(failed("remove"))
    };
    nothing_stays(run, times(FILLS, run))
}

fn fill_pages() -> Result<(), String> {
    let run = || {
        // All but what page tables take.
        let len = (meminfo_kib("MemAvailable:")? as usize - 512) << 10;
        let at = raw::named("mmap", &[0, len, 3, 0x22, usize::MAX, 0]);
        let at = usize::try_from(at).map_err(|_| format!("mmap: {at}"))?;
        for page in (0..len).step_by(PAGE) {
            let byte: *mut u8 = std::ptr::with_exposed_provenance_mut(at + page);
            // SAFETY: the mapping is this thread's alone.
            unsafe { byte.write_volatile(page as u8) };
        }
        same!(meminfo_kib("MemAvailable:")? < 1024, true);
        same!(raw::named("munmap", &[at, len]), 0);
        Ok(())
    };
    nothing_stays(run, times(FILLS, run))
}

/// What the app asks for leaves the kernel's own memory alone.
fn reserve_is_left() -> Result<(), String> {
    same!(free_kib() > 128, true);
    Ok(())
}

/// Names cost memory too: symbolic links, long ones so that they are not too many.
fn fill_names() -> Result<(), String> {
    let dir = std::path::Path::new("/tmp/names");
    let target = "x".repeat(1000);
    let run = |most: usize| {
        fs::create_dir(dir).map_err(failed("mkdir"))?;
        let mut made = 0;
        while made < most {
            match std::os::unix::fs::symlink(&target, dir.join(format!("name-{made}"))) {
                Ok(_) => made += 1,
                Err(e) => {
                    same!(
                        [ErrorKind::StorageFull, ErrorKind::OutOfMemory].contains(&e.kind()),
                        true
                    );
                    break;
                }
            }
        }
        reserve_is_left()?;
        for n in (0..made).rev() {
            fs::remove_file(dir.join(format!("name-{n}"))).map_err(failed("remove"))?;
        }
        fs::remove_dir(dir).map_err(failed("rmdir"))?;
        Ok(made)
    };
    nothing_stays(
        || run(200).map(|_| ()),
        || {
            let made = run(usize::MAX)?;
            same!(made > FILES, true);
            Ok(())
        },
    )
}
