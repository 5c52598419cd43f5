//! Reading and writing, and what is done with descriptors.

use super::{Errno, Outcome, layout, locks, process, syscall};
use crate::arch::calls;
use crate::fs::file::{OpenFile, Stream, flags};
use crate::fs::{cache, pipe};
use crate::process::current;
use crate::signal::number;
use crate::user;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use driver_api::Error;
use driver_api::vfs::FileType;

/// Most that one call moves (`MAX_RW_COUNT` of Linux).
const MAX_COUNT: usize = 0x7fff_f000;
/// Most elements of a vector (`UIO_MAXIOV`).
const MAX_VECTOR: usize = 1024;
/// Up to this length the bytes pass through the kernel stack.
const SMALL: usize = 256;
/// Larger ones through the heap, so much at once.
const LARGE: usize = 16384;
/// And to and from a disk, where each piece is a request.
const DISK: usize = 256 << 10;

/// Calls `with` with a buffer of `len` bytes, less if that is a lot.
fn with_buffer(file: &OpenFile, len: usize, with: impl FnOnce(&mut [u8]) -> Outcome) -> Outcome {
    if len <= SMALL {
        return with(&mut [0; SMALL]);
    }
    let mut buffer = Vec::new();
    let len = len.min(if file.bytes().is_some() { DISK } else { LARGE });
    buffer.try_reserve_exact(len).map_err(|_| Error::NoMemory)?;
    buffer.resize(len, 0);
    with(&mut buffer)
}

/// Where a transfer is in the file.
#[derive(Clone, Copy)]
enum Position {
    /// At the file's own.
    Own,
    /// Here.
    At(u64),
}

/// Reads into the app's memory, up to `len` bytes.
fn read_to(file: &OpenFile, to: usize, len: usize, at: Position) -> Outcome {
    let len = len.min(MAX_COUNT);
    with_buffer(file, len, |buffer| {
        let mut done = 0;
        loop {
            let want = (len - done).min(buffer.len());
            let Some(part) = buffer.get_mut(..want) else { break };
            let result = match at {
                Position::Own => file.read(part),
                Position::At(offset) => file.read_at(offset.saturating_add(done as u64), part),
            };
            let n = match result {
                Ok(n) => n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e.into()),
            };
            let target = to.checked_add(done).ok_or(Error::Fault)?;
            if let Err(e) = user::write(target, part.get(..n).unwrap_or(&[])) {
                return if done > 0 { Ok(done) } else { Err(e.into()) };
            }
            done += n;
            // What comes from a stream is not waited for again.
            if n < want || done == len || !file.seekable() {
                break;
            }
        }
        Ok(done)
    })
}

/// Writes from the app's memory.
fn write_from(file: &OpenFile, from: usize, len: usize, at: Position) -> Outcome {
    let len = len.min(MAX_COUNT);
    let outcome = with_buffer(file, len, |buffer| {
        let mut done = 0;
        loop {
            let want = (len - done).min(buffer.len());
            let Some(part) = buffer.get_mut(..want) else { break };
            let source = from.checked_add(done).ok_or(Error::Fault)?;
            if let Err(e) = user::read(source, part) {
                return if done > 0 { Ok(done) } else { Err(e.into()) };
            }
            let result = match at {
                Position::Own => file.write(part),
                Position::At(offset) => file.write_at(offset.saturating_add(done as u64), part),
            };
            match result {
                Ok(n) => {
                    done += n;
                    if n < want || done == len {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    });
    if outcome == Err(Error::BrokenPipe.into()) {
        current().send(number::PIPE);
    }
    outcome
}

/// Reads into the elements of a `struct iovec` array, or writes from them, until one is not used
/// up. Other writes may come between them.
fn vectored(fd: i32, vector: usize, count: usize, start: Position, writes: bool) -> Outcome {
    let file = process()?.file(fd)?;
    if count > MAX_VECTOR {
        return Err(Errno::EINVAL);
    }
    let element = |i: usize| -> Result<(usize, usize), Errno> {
        let at = vector.checked_add(i * 16).ok_or(Error::Fault)?;
        let (base, len) = (user::read_u64(at)? as usize, user::read_u64(at + 8)? as usize);
        if len > isize::MAX as usize { Err(Errno::EINVAL) } else { Ok((base, len)) }
    };
    let mut total = 0;
    // What is wrong anywhere is said before anything is moved.
    for i in 0..2 * count {
        let (base, len) = element(i % count)?;
        if len == 0 || i < count {
            continue;
        }
        let at = match start {
            Position::Own => Position::Own,
            Position::At(offset) => Position::At(offset.saturating_add(total as u64)),
        };
        let transfer = if writes { write_from } else { read_to };
        match transfer(&file, base, len, at) {
            Ok(n) => {
                total += n;
                if n < len {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(total)
}

/// A file offset from a call: never negative.
fn offset(raw: i64) -> Result<u64, Error> {
    u64::try_from(raw).map_err(|_| Error::Invalid)
}

/// A transfer at `raw` without moving the position; -1 means at the position (`preadv2`).
fn position(raw: i64) -> Result<Position, Error> {
    if raw == -1 { Ok(Position::Own) } else { Ok(Position::At(offset(raw)?)) }
}

/// `F_*` of `fcntl` (`asm-generic/fcntl.h`, `linux/fcntl.h`).
mod f {
    pub const DUPFD: u32 = 0;
    pub const GETFD: u32 = 1;
    pub const SETFD: u32 = 2;
    pub const GETFL: u32 = 3;
    pub const SETFL: u32 = 4;
    pub const DUPFD_CLOEXEC: u32 = 1030;
    pub const GETPIPE_SZ: u32 = 1032;
}

/// Numbers for `fstat` of pipes.
static PIPES: AtomicU64 = AtomicU64::new(1);

fn make_pipe(to: usize, how: u32) -> Outcome {
    if how & !(flags::CLOEXEC | flags::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let (read, write) = pipe::pipe(PIPES.fetch_add(1, Ordering::Relaxed))?;
    let read: Arc<dyn Stream> = read;
    let write: Arc<dyn Stream> = write;
    let status = how & flags::NONBLOCK;
    let read = OpenFile::new(None, Some(read), status);
    let write = OpenFile::new(None, Some(write), status | flags::WRONLY);
    let cloexec = how & flags::CLOEXEC != 0;
    let process = process()?;
    let (a, b) = {
        let mut files = process.files.lock();
        let a = files.add(read, cloexec, 0)?;
        match files.add(write, cloexec, 0) {
            Ok(b) => (a, b),
            Err(e) => {
                let _ = files.remove(a);
                return Err(e.into());
            }
        }
    };
    let pair = u64::from(a.cast_unsigned()) | u64::from(b.cast_unsigned()) << 32;
    if let Err(e) = user::write_u64(to, pair) {
        let mut files = process.files.lock();
        let closed = (files.remove(a), files.remove(b));
        drop(files);
        drop(closed);
        return Err(e.into());
    }
    Ok(0)
}

fn duplicate(old: i32, new: i32, cloexec: bool) -> Outcome {
    let process = process()?;
    let replaced = {
        let mut files = process.files.lock();
        let file = files.get(old)?;
        files.replace(new, file, cloexec)?
    };
    // Closed without the lock.
    if let Some(file) = replaced {
        locks::closed(&file);
    }
    Ok(new as usize)
}

syscall! {
    /// `read(2)`.
    fn read(fd: i32, to: usize, len: usize) {
        read_to(&*process()?.file(fd)?, to, len, Position::Own)
    }

    /// `write(2)`.
    fn write(fd: i32, from: usize, len: usize) {
        write_from(&*process()?.file(fd)?, from, len, Position::Own)
    }

    /// `pread64(2)`.
    fn pread64(fd: i32, to: usize, len: usize, at: i64) {
        read_to(&*process()?.file(fd)?, to, len, Position::At(offset(at)?))
    }

    /// `pwrite64(2)`.
    fn pwrite64(fd: i32, from: usize, len: usize, at: i64) {
        write_from(&*process()?.file(fd)?, from, len, Position::At(offset(at)?))
    }

    /// `readv(2)`.
    fn readv(fd: i32, vector: usize, count: usize) {
        vectored(fd, vector, count, Position::Own, false)
    }

    /// `writev(2)`. Other writes may come between the parts.
    fn writev(fd: i32, vector: usize, count: usize) {
        vectored(fd, vector, count, Position::Own, true)
    }

    /// `preadv(2)`.
    fn preadv(fd: i32, vector: usize, count: usize, at: i64) {
        vectored(fd, vector, count, Position::At(offset(at)?), false)
    }

    /// `pwritev(2)`. Other writes may come between the parts.
    fn pwritev(fd: i32, vector: usize, count: usize, at: i64) {
        vectored(fd, vector, count, Position::At(offset(at)?), true)
    }

    /// `preadv2(2)`, without flags.
    fn preadv2(fd: i32, vector: usize, count: usize, at: i64, _high: usize, how: u32) {
        if how != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        vectored(fd, vector, count, position(at)?, false)
    }

    /// `pwritev2(2)`, without flags. Other writes may come between the parts.
    fn pwritev2(fd: i32, vector: usize, count: usize, at: i64, _high: usize, how: u32) {
        if how != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        vectored(fd, vector, count, position(at)?, true)
    }

    /// `lseek(2)`, without holes (`SEEK_HOLE` finds the end).
    fn lseek(fd: i32, by: i64, whence: u32) {
        let file = process()?.file(fd)?;
        if !file.seekable() || file.flags() & flags::PATH != 0 {
            return Err(Error::NotSeekable.into());
        }
        let size = match file.bytes() {
            Some(bytes) => bytes.size(),
            None => file.metadata()?.size,
        };
        let size = size.cast_signed();
        file.with_offset(|position| {
            let target = match whence {
                0 => Some(by),
                1 => position.cast_signed().checked_add(by),
                2 => size.checked_add(by),
                3 | 4 if !(0..size).contains(&by) => return Err(Errno(linux_abi::errno::ENXIO)),
                3 => Some(by),
                4 => Some(size),
                _ => None,
            };
            let target = target.filter(|t| *t >= 0).ok_or(Errno::EINVAL)?;
            *position = target.cast_unsigned();
            Ok(target as usize)
        })
    }

    /// `close(2)`.
    fn close(fd: i32) {
        let file = process()?.files.lock().remove(fd)?;
        locks::closed(&file);
        Ok(0)
    }

    /// `close_range(2)`.
    fn close_range(first: u32, last: u32, how: u32) {
        // CLOSE_RANGE_UNSHARE (2) has nothing to unshare from; CLOSE_RANGE_CLOEXEC is 4.
        if first > last || how & !6 != 0 {
            return Err(Errno::EINVAL);
        }
        let process = process()?;
        let range = first..=last;
        let fds: Vec<i32> = process.files.lock().iter().map(|(fd, _)| fd)
            .filter(|fd| range.contains(&fd.cast_unsigned())).collect();
        for fd in fds {
            if how & 4 != 0 {
                let _ = process.files.lock().set_cloexec(fd, true);
            } else {
                let closed = process.files.lock().remove(fd);
                if let Ok(file) = closed {
                    locks::closed(&file);
                }
            }
        }
        Ok(0)
    }

    /// `dup(2)`.
    fn dup(fd: i32) {
        let mut files = process()?.files.lock();
        let file = files.get(fd)?;
        Ok(files.add(file, false, 0)? as usize)
    }

    /// `dup2(2)`.
    fn dup2(old: i32, new: i32) {
        if old == new {
            process()?.file(old)?;
            return Ok(new as usize);
        }
        duplicate(old, new, false)
    }

    /// `dup3(2)`.
    fn dup3(old: i32, new: i32, how: u32) {
        if old == new || how & !flags::CLOEXEC != 0 {
            return Err(Errno::EINVAL);
        }
        duplicate(old, new, how & flags::CLOEXEC != 0)
    }

    /// `fcntl(2)`: descriptors, status flags, locks of ranges (in kernels with `flock`); without
    /// owners of signals, leases and seals.
    fn fcntl(fd: i32, command: u32, arg: usize) {
        let process = process()?;
        let file = process.file(fd)?;
        match command {
            f::DUPFD | f::DUPFD_CLOEXEC => {
                let cloexec = command == f::DUPFD_CLOEXEC;
                let from = i32::try_from(arg).map_err(|_| Error::Invalid)?;
                Ok(process.files.lock().add(file, cloexec, from)? as usize)
            }
            f::GETFD => Ok(usize::from(process.files.lock().entry(fd)?.cloexec)),
            f::SETFD => {
                process.files.lock().set_cloexec(fd, arg & 1 != 0)?;
                Ok(0)
            }
            f::GETFL => Ok(layout::open_flags_out(file.flags()) as usize),
            f::SETFL => {
                file.set_flags(layout::open_flags_in(arg as u32));
                Ok(0)
            }
            _ if locks::is_lock(command) => {
                let lock = calls::record_locks().ok_or(Errno(linux_abi::errno::ENOLCK))?;
                let result = lock(&file, command, arg);
                usize::try_from(result).map_err(|_| Errno(-result as i32))
            }
            f::GETPIPE_SZ if matches!(file.metadata()?.kind, FileType::Fifo) => Ok(65536),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `ioctl(2)`.
    fn ioctl(fd: i32, request: u32, arg: usize) {
        let process = process()?;
        let file = process.file(fd)?;
        match request {
            // FIONBIO, FIOCLEX, FIONCLEX
            0x5421 => {
                let on = user::read_u32(arg)? != 0;
                let old = file.flags() & !flags::NONBLOCK;
                file.set_flags(if on { old | flags::NONBLOCK } else { old });
                Ok(0)
            }
            0x5451 | 0x5450 => {
                process.files.lock().set_cloexec(fd, request == 0x5451)?;
                Ok(0)
            }
            _ => match &file.stream {
                Some(stream) => Ok(stream.ioctl(request, arg)?),
                None => Err(Error::BadRequest.into()),
            },
        }
    }

    /// `pipe(2)`.
    fn pipe(to: usize) {
        make_pipe(to, 0)
    }

    /// `pipe2(2)`, without `O_DIRECT`.
    fn pipe2(to: usize, how: u32) {
        make_pipe(to, how)
    }

    /// `fsync(2)`.
    fn fsync(fd: i32) {
        process()?.file(fd)?.sync()?;
        Ok(0)
    }

    /// `fdatasync(2)`.
    fn fdatasync(fd: i32) {
        process()?.file(fd)?.sync()?;
        Ok(0)
    }

    /// `ftruncate(2)`.
    fn ftruncate(fd: i32, size: i64) {
        let file = process()?.file(fd)?;
        let path = file.path.as_ref().filter(|_| file.may_write() && file.stream.is_none());
        let path = path.ok_or(Error::Invalid)?;
        cache::truncate(path, offset(size)?)?;
        Ok(0)
    }

    /// `fallocate(2)`: extends the file; holes are not punched.
    fn fallocate(fd: i32, mode: u32, at: i64, len: i64) {
        let file = process()?.file(fd)?;
        // FALLOC_FL_KEEP_SIZE alone needs nothing: memory comes when it is written.
        if mode & !1 != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset(at)?.checked_add(offset(len)?).filter(|_| len > 0).ok_or(Error::Invalid)?;
        if !file.may_write() {
            return Err(Error::BadFile.into());
        }
        let path = file.path.as_ref().filter(|_| file.stream.is_none()).ok_or(Error::NoDevice)?;
        if mode & 1 == 0 && path.inode().metadata().size < end {
            cache::truncate(path, end)?;
        }
        Ok(0)
    }
}
