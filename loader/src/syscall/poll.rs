//! Waiting for files.

use super::time::{deadline_after, read_timespec};
use super::{Errno, Outcome, process, syscall};
use crate::fs::poll::{self, Events};
use crate::fs::table::MAX_FILES;
use crate::process::current;
use crate::signal::Set;
use crate::{time, user};
use alloc::vec::Vec;
use driver_api::Error;

/// What can be done with `fd`.
fn events(fd: i32) -> Events {
    match process().and_then(|p| p.file(fd)) {
        Ok(file) => file.poll(),
        Err(_) => Events::INVALID,
    }
}

fn poll(fds: usize, count: usize, deadline: Option<u64>) -> Outcome {
    if count > MAX_FILES {
        return Err(Errno::EINVAL);
    }
    let mut raw = Vec::new();
    raw.try_reserve_exact(count * 8).map_err(|_| Error::NoMemory)?;
    raw.resize(count * 8, 0);
    user::read(fds, &mut raw)?;
    let ready = poll::wait(deadline, || {
        let mut ready = 0;
        // `struct pollfd`: the descriptor, what is asked, what is answered.
        for raw in raw.as_chunks_mut::<8>().0 {
            let entry = u64::from_le_bytes(*raw);
            let (fd, wanted) = (entry as i32, (entry >> 32) as u16);
            let found = if fd < 0 { 0 } else { events(fd).answer(wanted) };
            ready += usize::from(found != 0);
            *raw = (entry << 16 >> 16 | u64::from(found) << 48).to_le_bytes();
        }
        (ready > 0).then_some(ready)
    });
    let ready = match ready {
        Ok(ready) => ready.unwrap_or(0),
        Err(poll::Interrupted) => return Err(Errno::EINTR),
    };
    user::write(fds, &raw)?;
    Ok(ready)
}

/// Runs `f` with other signals blocked, if the app gave a mask.
pub(super) fn with_mask(mask: usize, size: usize, f: impl FnOnce() -> Outcome) -> Outcome {
    if mask == 0 {
        return f();
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = Set(user::read_u64(mask)? & !Set::UNBLOCKABLE.0);
    let thread = current();
    let old = thread.set_blocked(mask);
    let outcome = f();
    if outcome == Err(Errno::EINTR) {
        // The signal that came is delivered under the given mask, which the frame of its
        // handler then puts back to the old one.
        thread.restore_blocked_later(old);
    } else {
        thread.set_blocked(old);
    }
    outcome
}

/// Where nothing was ready in time, a signal that came meanwhile counts, as in Linux.
fn or_interrupted(outcome: Outcome) -> Outcome {
    if outcome == Ok(0) && current().ready() { Err(Errno::EINTR) } else { outcome }
}

/// A bit set of descriptors of `select`.
fn read_set(at: usize, count: usize) -> Result<Vec<u64>, Error> {
    let mut words = Vec::new();
    for i in 0..count.div_ceil(64) {
        words.push(if at == 0 {
            0
        } else {
            user::read_u64(at.checked_add(i * 8).ok_or(Error::Fault)?)?
        });
    }
    Ok(words)
}

fn write_set(at: usize, words: &[u64]) -> Result<(), Error> {
    if at != 0 {
        for (i, word) in words.iter().enumerate() {
            user::write_u64(at.checked_add(i * 8).ok_or(Error::Fault)?, *word)?;
        }
    }
    Ok(())
}

fn select(count: i32, sets: [usize; 3], deadline: Option<u64>) -> Outcome {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?.min(MAX_FILES);
    // Read, write, except: what counts as ready for each (Linux's POLLIN_SET and so on).
    let kinds = [
        Events::READ.with(Events::HANG_UP).with(Events::ERROR),
        Events::WRITE.with(Events::ERROR),
        Events::default(),
    ];
    let wanted = [read_set(sets[0], count)?, read_set(sets[1], count)?, read_set(sets[2], count)?];
    let bit = |set: &[u64], fd: usize| set.get(fd / 64).is_some_and(|w| w >> (fd % 64) & 1 != 0);
    let mut found = wanted.clone();
    let ready = poll::wait(deadline, || {
        let mut ready = 0;
        found.iter_mut().for_each(|set| set.fill(0));
        for fd in 0..count {
            if !wanted.iter().any(|set| bit(set, fd)) {
                continue;
            }
            let events = events(fd as i32);
            if events == Events::INVALID {
                return Some(Err(Error::BadFile));
            }
            for ((set, out), kind) in wanted.iter().zip(&mut found).zip(kinds) {
                if bit(set, fd)
                    && events.any(kind)
                    && let Some(word) = out.get_mut(fd / 64)
                {
                    *word |= 1 << (fd % 64);
                    ready += 1;
                }
            }
        }
        (ready > 0).then_some(Ok(ready))
    });
    let ready = match ready {
        Ok(ready) => ready.unwrap_or(Ok(0))?,
        Err(poll::Interrupted) => return Err(Errno::EINTR),
    };
    for (at, words) in sets.into_iter().zip(&found) {
        write_set(at, words)?;
    }
    Ok(ready)
}

syscall! {
    /// `poll(2)`.
    fn poll(fds: usize, count: usize, timeout_ms: i32) {
        let deadline = match u64::try_from(timeout_ms) {
            Ok(0) => Some(0),
            Ok(ms) => Some(time::now_ns().saturating_add(ms * 1_000_000)),
            Err(_) => None,
        };
        poll(fds, count, deadline)
    }

    /// `ppoll(2)`. The time left is not written back.
    fn ppoll(fds: usize, count: usize, timeout: usize, mask: usize, size: usize) {
        let deadline = deadline_after(timeout)?;
        with_mask(mask, size, || or_interrupted(poll(fds, count, deadline)))
    }

    /// `select(2)`. The time left is not written back.
    fn select(count: i32, read: usize, write: usize, except: usize, timeout: usize) {
        let deadline = if timeout == 0 {
            None
        } else {
            let secs = user::read_u64(timeout)?;
            let micros = user::read_u64(timeout.checked_add(8).ok_or(Error::Fault)?)?;
            // Neither is negative.
            if (secs | micros).cast_signed() < 0 {
                return Err(Errno::EINVAL);
            }
            let ns = secs.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000));
            Some(time::now_ns().saturating_add(ns))
        };
        select(count, [read, write, except], deadline)
    }

    /// `pselect6(2)`. The time left is not written back.
    fn pselect6(count: i32, read: usize, write: usize, except: usize, timeout: usize, mask: usize) {
        let deadline = if timeout == 0 {
            None
        } else {
            Some(time::now_ns().saturating_add(read_timespec(timeout)?))
        };
        // The mask's address and its size, in the app's memory.
        let (at, size) = if mask == 0 {
            (0, 8)
        } else {
            (user::read_u64(mask)?, user::read_u64(mask.checked_add(8).ok_or(Error::Fault)?)?)
        };
        let sets = [read, write, except];
        with_mask(at as usize, size as usize, || or_interrupted(select(count, sets, deadline)))
    }
}
