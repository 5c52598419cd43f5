//! Pipes.

use super::file::{self, Stream};
use super::poll::{self, Events};
use crate::sync::{Wait, WaitQueue, Woken};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use driver_api::sync::IrqLock;
use driver_api::vfs::{DeviceNumber, FileType, Metadata};
use driver_api::{Error, Result};

/// How much a pipe holds (Linux's default).
const CAPACITY: usize = 65536;
/// Writes up to this length are not torn (`PIPE_BUF`).
const ATOMIC: usize = 4096;

pub(super) struct State {
    bytes: VecDeque<u8>,
    pub(super) readers: usize,
    pub(super) writers: usize,
    /// How many there have been, for those who wait for one to come (`fifo`).
    pub(super) readers_came: u64,
    pub(super) writers_came: u64,
}

pub(super) struct Pipe {
    pub(super) state: IrqLock<State>,
    pub(super) readable: WaitQueue,
    pub(super) writable: WaitQueue,
    ino: u64,
}

/// The end to read from.
pub struct ReadEnd(pub(super) Arc<Pipe>);
/// The end to write to.
pub struct WriteEnd(pub(super) Arc<Pipe>);

/// A new pipe; `ino` is the number that `fstat` gives.
///
/// # Errors
/// `NoMemory`.
pub fn pipe(ino: u64) -> Result<(Arc<ReadEnd>, Arc<WriteEnd>)> {
    let pipe = Arc::new(Pipe::new(ino, 1)?);
    Ok((Arc::new(ReadEnd(pipe.clone())), Arc::new(WriteEnd(pipe))))
}

impl Pipe {
    /// One with so many ends of each kind.
    pub(super) fn new(ino: u64, ends: usize) -> Result<Self> {
        let mut bytes = VecDeque::new();
        // All at once: `push` under the lock may not allocate.
        bytes.try_reserve_exact(CAPACITY).map_err(|_| Error::NoMemory)?;
        let (readers, writers) = (ends, ends);
        let state = State { bytes, readers, writers, readers_came: 0, writers_came: 0 };
        let (readable, writable) = (WaitQueue::new(), WaitQueue::new());
        Ok(Self { state: IrqLock::new(state), readable, writable, ino })
    }

    fn metadata(&self) -> Metadata {
        file::nameless(self.ino, FileType::Fifo, DeviceNumber::default())
    }

    fn available(&self) -> usize {
        self.state.lock().bytes.len()
    }
}

impl State {
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.bytes.len());
        for (slot, byte) in buf.iter_mut().zip(self.bytes.drain(..n)) {
            *slot = byte;
        }
        n
    }
}

impl Stream for ReadEnd {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let empty = |s: &mut State| s.bytes.is_empty() && s.writers > 0 && !nonblock;
        let (mut state, woken) =
            self.0.readable.wait_while(&self.0.state, Wait::INTERRUPTIBLE, empty);
        if woken != Woken::Woken {
            return Err(Error::Restart);
        }
        if state.bytes.is_empty() && state.writers > 0 {
            return Err(Error::WouldBlock);
        }
        let n = state.take(buf);
        drop(state);
        if n > 0 {
            self.0.writable.wake_all();
            poll::changed();
        }
        Ok(n)
    }

    fn poll(&self) -> Events {
        let state = self.0.state.lock();
        let read = if state.bytes.is_empty() { Events::default() } else { Events::READ };
        if state.writers == 0 { read.with(Events::HANG_UP) } else { read }
    }

    fn metadata(&self) -> Option<Metadata> {
        Some(self.0.metadata())
    }

    /// `FIONREAD`.
    fn ioctl(&self, request: u32, arg: usize) -> Result<usize> {
        if request != super::tty::FIONREAD {
            return Err(Error::BadRequest);
        }
        crate::user::write_u32(arg, self.0.available() as u32)?;
        Ok(0)
    }

    fn closed(&self, _read: bool, _write: bool) {
        self.0.state.lock().readers -= 1;
        self.0.writable.wake_all();
        poll::changed();
    }
}

impl Stream for WriteEnd {
    fn write(&self, buf: &[u8], nonblock: bool) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() || buf.is_empty() {
            let rest = buf.get(done..).unwrap_or(&[]);
            let wanted = if rest.len() <= ATOMIC { rest.len() } else { 1 };
            let full =
                |s: &mut State| s.readers > 0 && CAPACITY - s.bytes.len() < wanted && !nonblock;
            let (mut state, woken) =
                self.0.writable.wait_while(&self.0.state, Wait::INTERRUPTIBLE, full);
            if state.readers == 0 {
                return if done > 0 { Ok(done) } else { Err(Error::BrokenPipe) };
            }
            let room = CAPACITY - state.bytes.len();
            if woken != Woken::Woken || room < wanted {
                let why = if woken == Woken::Woken { Error::WouldBlock } else { Error::Restart };
                return if done > 0 { Ok(done) } else { Err(why) };
            }
            if rest.is_empty() {
                return Ok(0);
            }
            // A page at a time, for interrupts are off meanwhile.
            let n = room.min(rest.len()).min(ATOMIC);
            state.bytes.extend(rest.iter().take(n));
            drop(state);
            done += n;
            self.0.readable.wake_all();
            poll::changed();
        }
        Ok(done)
    }

    fn poll(&self) -> Events {
        let state = self.0.state.lock();
        if state.readers == 0 {
            return Events::WRITE.with(Events::ERROR);
        }
        if CAPACITY - state.bytes.len() >= ATOMIC { Events::WRITE } else { Events::default() }
    }

    fn metadata(&self) -> Option<Metadata> {
        Some(self.0.metadata())
    }

    fn closed(&self, _read: bool, _write: bool) {
        self.0.state.lock().writers -= 1;
        self.0.readable.wake_all();
        poll::changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn bytes_go_through_in_order() {
        let (r, w) = pipe(1).unwrap();
        assert_eq!(r.poll(), Events::default());
        assert_eq!(w.write(b"hello", false), Ok(5));
        assert_eq!(r.poll(), Events::READ);
        let mut buf = [0; 3];
        assert_eq!(r.read(&mut buf, false), Ok(3));
        assert_eq!(&buf, b"hel");
        assert_eq!(r.read(&mut buf, false), Ok(2));
        assert_eq!(r.read(&mut buf, true), Err(Error::WouldBlock));
        assert_eq!(r.read(&mut buf, false), Err(Error::Restart), "the host has no scheduler");
        w.closed(false, true);
        assert_eq!(r.read(&mut buf, false), Ok(0));
        assert_eq!(r.poll(), Events::HANG_UP);
    }

    #[test]
    fn a_full_pipe_takes_small_writes_whole_or_not_at_all() {
        let (r, w) = pipe(1).unwrap();
        assert_eq!(w.write(&vec![1; CAPACITY - 10], true), Ok(CAPACITY - 10));
        assert_eq!(w.write(&[2; 11], true), Err(Error::WouldBlock));
        assert_eq!(w.write(&[2; 10], true), Ok(10));
        assert_eq!(w.poll(), Events::default());
        let mut buf = vec![0; CAPACITY];
        assert_eq!(r.read(&mut buf, true), Ok(CAPACITY));
        assert_eq!(buf[CAPACITY - 11..CAPACITY - 9], [1, 2]);
        assert_eq!(w.write(&vec![3; CAPACITY + 5], true), Ok(CAPACITY));
        r.closed(true, false);
        assert_eq!(w.write(b"x", false), Err(Error::BrokenPipe));
        assert!(w.poll().any(Events::ERROR));
    }
}
