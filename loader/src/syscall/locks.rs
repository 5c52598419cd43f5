//! Locks of files: of whole ones (`flock`), and of ranges (`fcntl`).

use super::{Errno, Outcome, process, syscall};
use crate::fs::file::OpenFile;
use crate::fs::flock::{Key, Locks};
use crate::fs::poll;
use crate::fs::record_locks::{Lock, Owner, RecordLocks};
use crate::process::PID;
use crate::sync::Mutex;
use crate::user;
use alloc::sync::Arc;
use driver_api::{Error, Once, Result};

/// The locks of `flock`.
static WHOLE: Mutex<Locks> = Mutex::new(Locks::new());
/// Those of `fcntl`.
static RECORDS: Mutex<RecordLocks> = Mutex::new(RecordLocks::new());

/// What is done when a descriptor is closed, from the first lock of the process on: a kernel
/// whose program takes none holds nothing of it.
static CLOSED: Once<fn(&OpenFile)> = Once::new();

/// A descriptor of `file` is closed.
pub(super) fn closed(file: &OpenFile) {
    if let Some(release) = CLOSED.get() {
        release(file);
    }
}

/// The locks that the process has of `file` go.
fn release(file: &OpenFile) {
    if key(file).is_ok_and(|key| RECORDS.lock().release(key)) {
        poll::changed();
    }
}

fn key(file: &OpenFile) -> Result<Key> {
    let path = file.path.as_ref().ok_or(Error::BadFile)?;
    Ok((path.mount.id, path.inode().metadata().ino))
}

/// Calls `try_lock` until it no longer says that something is in the way; once, unless it may
/// `wait`.
fn get(wait: bool, try_lock: impl Fn() -> Result<bool>) -> Result<()> {
    let attempt = || match try_lock() {
        Ok(false) => None,
        other => Some(other),
    };
    let locked = if wait {
        match poll::wait(None, attempt) {
            Ok(Some(locked)) => locked,
            _ => return Err(Error::Restart),
        }
    } else {
        attempt().ok_or(Error::WouldBlock)?
    };
    // A lock that became a lesser one may be what others wait for.
    poll::changed();
    locked.map(|_| ())
}

fn lock_file(fd: i32, operation: u32) -> Outcome {
    let file = process()?.file(fd)?;
    let key = key(&file)?;
    // LOCK_NB is 4.
    let exclusive = match operation & !4 {
        1 => false,
        2 => true,
        8 => {
            WHOLE.lock().unlock(&file);
            poll::changed();
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL),
    };
    get(operation & 4 == 0, || WHOLE.lock().lock(key, &file, exclusive))?;
    file.set_locked();
    Ok(0)
}

/// Commands of `fcntl` (`asm-generic/fcntl.h`): `F_GETLK`, `F_SETLK`, `F_SETLKW`; and the first
/// of the same three for locks of open files.
const GET: u32 = 5;
const SET: u32 = 6;
const OPEN_FILES: u32 = 36 - GET;

/// Whether `command` of `fcntl` is about locks.
pub(super) const fn is_lock(command: u32) -> bool {
    matches!(command, 5..=7 | 36..=38)
}

/// `F_RDLCK` is 0.
const WRITE: u16 = 1;
const UNLOCK: u16 = 2;
/// The last byte that a file can have.
const LAST: u64 = i64::MAX as u64;

/// `fcntl` about a lock, as the `struct flock` at `at` describes it: type, whence, start,
/// length, process.
pub(super) fn record_lock(file: &Arc<OpenFile>, command: u32, at: usize) -> Outcome {
    let mut raw: [u8; 32] = user::read_array(at)?;
    let [kind, whence] = [0, 2].map(|at| {
        raw.get(at..).and_then(|r| r.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
    });
    let [_, start, len, pid] = raw.as_chunks::<8>().0 else { return Err(Errno::EINVAL) };
    let (start, len) = (i64::from_le_bytes(*start), i64::from_le_bytes(*len));
    let own = command < OPEN_FILES;
    let command = if own { command } else { command - OPEN_FILES };
    if kind > UNLOCK
        || kind == UNLOCK && command == GET
        || !own && pid.first_chunk() != Some(&[0; 4])
    {
        return Err(Errno::EINVAL);
    }
    let base = match whence {
        0 => 0,
        1 => file.with_offset(|position| *position).cast_signed(),
        2 => file.metadata()?.size.cast_signed(),
        _ => return Err(Errno::EINVAL),
    };
    let (start, last) = range(base, start, len)?;
    let owner = if own { Owner::Process } else { Owner::file(file) };
    let wanted = Lock { key: key(file)?, owner, exclusive: kind == WRITE, start, last };
    if command == GET {
        match RECORDS.lock().conflict(&wanted) {
            None => raw[0] = UNLOCK as u8,
            Some(held) => {
                let len = if held.last == LAST { 0 } else { held.last - held.start + 1 };
                // An open file has no number: -1.
                let pid =
                    if matches!(held.owner, Owner::Process) { PID.into() } else { u32::MAX.into() };
                let words = [u64::from(held.exclusive), held.start, len, pid];
                for (to, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                    *to = word.to_le_bytes();
                }
            }
        }
        user::write(at, &raw)?;
        return Ok(0);
    }
    if kind == UNLOCK {
        RECORDS.lock().unlock(wanted)?;
        poll::changed();
        return Ok(0);
    }
    if !(if kind == WRITE { file.may_write() } else { file.may_read() }) {
        return Err(Error::BadFile.into());
    }
    get(command != SET, || RECORDS.lock().lock(wanted.clone()))?;
    if own {
        CLOSED.call_once(|| release);
    } else {
        file.set_locked();
    }
    Ok(0)
}

/// First and last byte of `len` bytes (0: all that ever come; negative: before it) at `start`
/// from `base` on.
fn range(base: i64, start: i64, len: i64) -> core::result::Result<(u64, u64), Errno> {
    let overflow = Errno(linux_abi::errno::EOVERFLOW);
    let start = base.checked_add(start).ok_or(overflow)?;
    let end = start.checked_add(len).ok_or(overflow)?;
    let (first, last) = match len {
        0 => (start, i64::MAX),
        1.. => (start, end - 1),
        _ => (end, start.saturating_sub(1)),
    };
    if first < 0 || last < first {
        return Err(Errno::EINVAL);
    }
    Ok((first.cast_unsigned(), last.cast_unsigned()))
}

syscall! {
    /// `flock(2)`.
    fn flock(fd: i32, operation: u32) {
        lock_file(fd, operation)
    }
}
