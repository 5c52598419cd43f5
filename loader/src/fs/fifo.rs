//! Named pipes (`fifo(7)`): pipes that are found by their file.
//!
//! A pipe is there while it is open anywhere; who opens its file then gets an end of the same.

use super::file::{Stream, flags};
use super::pipe::{Pipe, ReadEnd, State, WriteEnd};
use super::poll::{self, Events};
use crate::sync::{Mutex, Wait, Woken};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use driver_api::vfs::{Inode, Metadata};
use driver_api::{Error, Result};

/// As [`open`].
pub type Open = fn(&Arc<dyn Inode>, u32) -> Result<Arc<dyn Stream>>;

/// [`open`], once there may be files of such pipes: a kernel in which none are made does not
/// hold it.
static OPEN: driver_api::Once<Open> = driver_api::Once::new();

/// From now on there may be files of named pipes.
pub fn enable() {
    OPEN.call_once(|| open);
}

/// What opens them.
#[must_use]
pub fn opener() -> Option<Open> {
    OPEN.get().copied()
}

/// A pipe that is open, and its file.
type Opened = (Weak<dyn Inode>, Arc<Pipe>);

static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

/// An open end, or both.
struct Fifo {
    pipe: Arc<Pipe>,
    read: Option<ReadEnd>,
    write: Option<WriteEnd>,
    /// How many writers had come when it was opened: before the next one nobody has hung up.
    writers_before: u64,
}

/// Opens the pipe of `inode` with the access mode of `how`. Waits for the first at the other end,
/// unless `how` has `O_NONBLOCK`, or both ends are opened.
///
/// # Errors
/// `NoDevice` for writing to nobody without waiting; `Restart` when a signal came first;
/// `NoMemory`.
fn open(inode: &Arc<dyn Inode>, how: u32) -> Result<Arc<dyn Stream>> {
    let (read, write) = (how & flags::WRONLY == 0, how & flags::ACCMODE != 0);
    let waits = how & flags::NONBLOCK == 0 && read != write;
    let (fifo, readers_before, alone) = {
        let mut opened = OPENED.lock();
        let known =
            opened.iter().find(|(other, _)| core::ptr::addr_eq(other.as_ptr(), &raw const **inode));
        let pipe = if let Some((_, pipe)) = known {
            pipe.clone()
        } else {
            if write && !read && !waits {
                return Err(Error::NoDevice);
            }
            opened.try_reserve(1).map_err(|_| Error::NoMemory)?;
            let pipe = Arc::new(Pipe::new(0, 0)?);
            opened.push((Arc::downgrade(inode), pipe.clone()));
            pipe
        };
        let mut state = pipe.state.lock();
        if write && !read && !waits && state.readers == 0 {
            return Err(Error::NoDevice);
        }
        let (readers_before, writers_before) = (state.readers_came, state.writers_came);
        // Asked now: who is there may have gone before this one would wait.
        let alone = if read { state.writers == 0 } else { state.readers == 0 };
        if read {
            state.readers += 1;
            state.readers_came += 1;
        }
        if write {
            state.writers += 1;
            state.writers_came += 1;
        }
        drop(state);
        let (read, write) =
            (read.then(|| ReadEnd(pipe.clone())), write.then(|| WriteEnd(pipe.clone())));
        (Arc::new(Fifo { pipe, read, write, writers_before }), readers_before, alone)
    };
    // Those who wait for this end to come.
    fifo.pipe.readable.wake_all();
    fifo.pipe.writable.wake_all();
    poll::changed();
    if waits && alone && fifo.wait_for_other(readers_before) != Woken::Woken {
        fifo.closed(read, write);
        return Err(Error::Restart);
    }
    Ok(fifo)
}

impl Fifo {
    /// Waits for the first at the other end, when there is one end here. Who has come and gone
    /// since this was opened has been there; so many readers had come then.
    fn wait_for_other(&self, readers_before: u64) -> Woken {
        let (queue, state) = (&self.pipe.readable, &self.pipe.state);
        let no_writer =
            |state: &mut State| state.writers == 0 && state.writers_came == self.writers_before;
        if self.read.is_some() {
            return queue.wait_while(state, Wait::INTERRUPTIBLE, no_writer).1;
        }
        let no_reader =
            |state: &mut State| state.readers == 0 && state.readers_came == readers_before;
        self.pipe.writable.wait_while(state, Wait::INTERRUPTIBLE, no_reader).1
    }
}

impl Stream for Fifo {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize> {
        self.read.as_ref().ok_or(Error::BadFile)?.read(buf, nonblock)
    }

    fn write(&self, buf: &[u8], nonblock: bool) -> Result<usize> {
        self.write.as_ref().ok_or(Error::BadFile)?.write(buf, nonblock)
    }

    fn poll(&self) -> Events {
        let mut events = self.read.as_ref().map_or(Events::default(), Stream::poll);
        if self.pipe.state.lock().writers_came == self.writers_before {
            events = Events(events.0 & !Events::HANG_UP.0);
        }
        self.write.as_ref().map_or(events, |end| events.with(end.poll()))
    }

    fn metadata(&self) -> Option<Metadata> {
        None
    }

    fn ioctl(&self, request: u32, arg: usize) -> Result<usize> {
        self.read.as_ref().ok_or(Error::BadRequest)?.ioctl(request, arg)
    }

    fn closed(&self, read: bool, write: bool) {
        // With the table, so that nobody finds a pipe that is about to go.
        let mut opened = OPENED.lock();
        if let Some(end) = &self.read {
            end.closed(read, write);
        }
        if let Some(end) = &self.write {
            end.closed(read, write);
        }
        let state = self.pipe.state.lock();
        if state.readers == 0 && state.writers == 0 {
            drop(state);
            opened.retain(|(_, pipe)| !Arc::ptr_eq(pipe, &self.pipe));
            if opened.is_empty() {
                *opened = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_api::vfs::{FileType, NewInode, Timestamp};
    use ramfs::RamFs;

    fn inode() -> Arc<dyn Inode> {
        let now = Timestamp::default();
        let new = NewInode::plain(FileType::Fifo, 0o644, now);
        RamFs::new(0o755, now).root().create(b"f", &new).unwrap()
    }

    fn close(stream: &Arc<dyn Stream>) {
        stream.closed(true, true);
    }

    #[test]
    fn ends_of_one_file_are_of_one_pipe() {
        let (one, other) = (inode(), inode());
        let nonblock = flags::NONBLOCK;
        assert_eq!(open(&one, nonblock | flags::WRONLY).err(), Some(Error::NoDevice));
        let reader = open(&one, nonblock).unwrap();
        assert_eq!(open(&other, nonblock | flags::WRONLY).err(), Some(Error::NoDevice));
        // Nobody has hung up who has not been there, but there is an end.
        assert_eq!(reader.poll(), Events::default());
        let mut buf = [0; 4];
        assert_eq!(reader.read(&mut buf, true), Ok(0));
        let writer = open(&one, nonblock | flags::WRONLY).unwrap();
        assert_eq!(reader.read(&mut buf, true), Err(Error::WouldBlock));
        assert_eq!(writer.write(b"abc", true), Ok(3));
        assert_eq!(writer.read(&mut buf, true), Err(Error::BadFile));
        assert_eq!(reader.poll(), Events::READ);
        close(&writer);
        assert_eq!(reader.poll(), Events::READ.with(Events::HANG_UP));
        assert_eq!(reader.read(&mut buf, true), Ok(3));
        assert_eq!(reader.read(&mut buf, true), Ok(0));
        close(&reader);
        assert_eq!(open(&one, nonblock | flags::WRONLY).err(), Some(Error::NoDevice));
    }

    #[test]
    fn both_ends_wait_for_nobody_and_contents_go_with_the_last() {
        let file = inode();
        let both = open(&file, flags::RDWR).unwrap();
        assert_eq!(both.poll(), Events::WRITE);
        assert_eq!(both.write(b"x", true), Ok(1));
        assert_eq!(both.poll(), Events::READ.with(Events::WRITE));
        let writer = open(&file, flags::WRONLY).unwrap();
        close(&both);
        assert!(writer.poll().any(Events::ERROR));
        close(&writer);
        let again = open(&file, flags::RDWR).unwrap();
        assert_eq!(again.read(&mut [0; 4], true), Err(Error::WouldBlock));
        close(&again);
        assert_eq!(open(&file, 0).err(), Some(Error::Restart), "the host has no scheduler");
        assert!(
            !OPENED.lock().iter().any(|(i, _)| core::ptr::addr_eq(i.as_ptr(), &raw const *file))
        );
    }
}
