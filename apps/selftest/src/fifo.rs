//! Named pipes, as `fifo(7)` has them.

use crate::calls::raw;
use crate::events::{call, close};
use crate::{Test, failed, same};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("fifo: opening waits for the other end", waits),
    ("fifo: opening without waiting", at_once),
    ("fifo: what is in it, and when that is gone", contents),
    ("fifo: a signal ends the wait for the other end", interrupted),
];

const RDONLY: usize = 0;
const WRONLY: usize = 1;
const RDWR: usize = 2;
const NONBLOCK: usize = 0o4000;
const EAGAIN: isize = -11;
const EINTR: isize = -4;
const ENXIO: isize = -6;

/// Makes a named pipe and calls `f` with its path.
fn with_pipe(f: impl FnOnce(&str) -> Result<(), String>) -> Result<(), String> {
    const PATH: &str = "/tmp/named-pipe";
    let path = CString::new(PATH).map_err(failed("path"))?;
    let at = path.as_ptr().expose_provenance();
    // AT_FDCWD, S_IFIFO
    call("mknodat", &[-100_isize as usize, at, 0o10_644, 0])?;
    same!(fs::metadata(PATH).map_err(failed("stat"))?.file_type().is_fifo(), true);
    let result = f(PATH);
    fs::remove_file(PATH).map_err(failed("unlink"))?;
    result
}

fn open(path: &str, how: usize) -> isize {
    CString::new(path).map_or(-1, |path| {
        raw::named("openat", &[-100_isize as usize, path.as_ptr().expose_provenance(), how, 0])
    })
}

fn opened(path: &str, how: usize) -> Result<usize, String> {
    let fd = open(path, how);
    usize::try_from(fd).map_err(|_| format!("open of {path} as {how:o} gave {fd}"))
}

fn read(fd: usize, len: usize) -> (isize, Vec<u8>) {
    let mut bytes = vec![0; len];
    let n = raw::named("read", &[fd, bytes.as_mut_ptr().expose_provenance(), len]);
    bytes.truncate(usize::try_from(n).unwrap_or(0));
    (n, bytes)
}

fn write(fd: usize, bytes: &[u8]) -> isize {
    raw::named("write", &[fd, bytes.as_ptr().expose_provenance(), bytes.len()])
}

/// What `poll` says of it now: `POLLIN` 1, `POLLOUT` 4, `POLLERR` 8, `POLLHUP` 16.
fn poll(fd: usize) -> Result<u16, String> {
    let mut file = [fd as u64 | 5 << 32];
    let now = [0_u64; 2];
    let [at, now] = [file.as_mut_ptr().expose_provenance(), now.as_ptr().expose_provenance()];
    call("ppoll", &[at, 1, now, 0, 8])?;
    Ok((file[0] >> 48) as u16)
}

fn waits() -> Result<(), String> {
    with_pipe(|path| {
        for writer_first in [true, false] {
            let began = Arc::new(AtomicBool::new(false));
            let done = Arc::new(AtomicBool::new(false));
            let (told, ended, own) = (began.clone(), done.clone(), path.to_owned());
            let other = thread::spawn(move || {
                told.store(true, Ordering::SeqCst);
                let file = if writer_first {
                    OpenOptions::new().write(true).open(&own)
                } else {
                    File::open(&own)
                };
                ended.store(true, Ordering::SeqCst);
                let mut file = file.map_err(failed("open"))?;
                let mut text = String::new();
                if writer_first {
                    file.write_all(b"hello").map_err(failed("write"))?;
                } else {
                    file.read_to_string(&mut text).map_err(failed("read"))?;
                }
                Ok::<_, String>(text)
            });
            while !began.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(5));
            same!(done.load(Ordering::SeqCst), false);
            let mut text = String::new();
            if writer_first {
                let mut file = File::open(path).map_err(failed("open"))?;
                file.read_to_string(&mut text).map_err(failed("read"))?;
            } else {
                let mut file = OpenOptions::new().write(true).open(path).map_err(failed("open"))?;
                file.write_all(b"hello").map_err(failed("write"))?;
            }
            let others = other.join().map_err(|_| "panicked")??;
            same!(text + &others, "hello");
        }
        Ok(())
    })
}

fn at_once() -> Result<(), String> {
    with_pipe(|path| {
        same!(open(path, WRONLY | NONBLOCK), ENXIO);
        let reader = opened(path, RDONLY | NONBLOCK)?;
        // No writer has been there: nothing to read, but nobody has hung up.
        same!((read(reader, 4).0, poll(reader)?), (0, 0));
        let writer = opened(path, WRONLY | NONBLOCK)?;
        same!((read(reader, 4).0, poll(reader)?, poll(writer)?), (EAGAIN, 0, 4));
        same!((write(writer, b"ab"), poll(reader)?), (2, 1));
        close(&[writer])?;
        same!((poll(reader)?, read(reader, 4), poll(reader)?), (17, (2, b"ab".to_vec()), 16));
        same!(read(reader, 4).0, 0);
        // Another writer, and the next thing is nothing again.
        let writer = opened(path, WRONLY)?;
        same!((poll(reader)?, read(reader, 4).0), (0, EAGAIN));
        close(&[reader])?;
        same!(poll(writer)? & 8, 8);
        close(&[writer])?;
        same!(open(path, WRONLY | NONBLOCK), ENXIO);
        // Both ends at once wait for nobody; nor does who comes then.
        let both = opened(path, RDWR)?;
        let (reader, writer) = (opened(path, RDONLY)?, opened(path, WRONLY)?);
        same!(
            (write(both, b"xyz"), read(reader, 2), read(both, 2)),
            (3, (2, b"xy".to_vec()), (1, b"z".to_vec()))
        );
        // It has no position and no length.
        same!(raw::named("lseek", &[both, 0, 0]), -29);
        same!(raw::named("ftruncate", &[both, 0]), -22);
        close(&[both, reader, writer])?;
        // A place only.
        let place = opened(path, 0o10_000_000)?;
        same!(read(place, 1).0, -9);
        close(&[place])
    })
}

fn contents() -> Result<(), String> {
    with_pipe(|path| {
        let both = opened(path, RDWR | NONBLOCK)?;
        let page = [7; 4096];
        let full = (0..).take_while(|_| write(both, &page) == 4096).count();
        same!((full, write(both, b"x")), (16, EAGAIN));
        // Another name of it leads to the same pipe.
        fs::hard_link(path, "/tmp/another-name").map_err(failed("link"))?;
        let reader = opened("/tmp/another-name", RDONLY | NONBLOCK)?;
        same!(read(reader, 5), (5, vec![7; 5]));
        fs::remove_file("/tmp/another-name").map_err(failed("unlink"))?;
        close(&[both, reader])?;
        // With the last end its contents go.
        let reader = opened(path, RDONLY | NONBLOCK)?;
        same!(read(reader, 5).0, 0);
        close(&[reader])?;
        // One that is written to from several threads comes whole.
        let writers: Vec<_> = (1..=4_u8)
            .map(|byte| {
                let path = path.to_owned();
                thread::spawn(move || {
                    let mut file =
                        OpenOptions::new().write(true).open(path).map_err(failed("open"))?;
                    (0..50).try_for_each(|_| file.write_all(&[byte; 100])).map_err(failed("write"))
                })
            })
            .collect();
        let mut file = File::open(path).map_err(failed("open"))?;
        let mut sums = [0; 5];
        let mut part = [0; 100];
        // A writer that comes late would find nobody: this end stays until all have come.
        let keep = opened(path, WRONLY)?;
        for _ in 0..200 {
            file.read_exact(&mut part).map_err(failed("read"))?;
            same!(part.iter().all(|b| *b == part[0]), true);
            sums[usize::from(part[0])] += 1;
        }
        close(&[keep])?;
        for writer in writers {
            writer.join().map_err(|_| "panicked")??;
        }
        same!((sums, file.read(&mut part).map_err(failed("read"))?), ([0, 50, 50, 50, 50], 0));
        Ok(())
    })
}

extern "C" fn nothing(_signal: i32, _info: usize, _context: usize) {}

fn interrupted() -> Result<(), String> {
    use crate::delivery::{Action, sigaction};
    const USR1: usize = 10;
    let action = Action { handler: nothing as *const (), mask: [0; 16], flags: 4, restorer: 0 };
    // SAFETY: the handler does nothing.
    same!(unsafe { sigaction(USR1 as i32, &raw const action, std::ptr::null_mut()) }, 0);
    with_pipe(|path| {
        for how in [RDONLY, WRONLY] {
            let own = raw::named("gettid", &[]) as usize;
            let done = Arc::new(AtomicBool::new(false));
            let told = done.clone();
            // One that comes before the wait interrupts nothing, so others follow.
            let other = thread::spawn(move || {
                while !told.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(5));
                    raw::named("tgkill", &[1, own, USR1]);
                }
            });
            let result = open(path, how);
            done.store(true, Ordering::SeqCst);
            other.join().map_err(|_| "panicked")?;
            same!(result, EINTR);
        }
        // It has left nothing behind.
        same!(open(path, WRONLY | NONBLOCK), ENXIO);
        Ok(())
    })
}
