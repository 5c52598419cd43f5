//! Event counters (`eventfd(2)`).

use super::file::Stream;
use super::poll::{self, Events};
use crate::sync::{Wait, WaitQueue, Woken};
use driver_api::sync::IrqLock;
use driver_api::{Error, Result};

/// Highest count: one more would be `u64::MAX`, which cannot be written.
const MAX: u64 = u64::MAX - 1;

/// A counter that is read to zero, or one by one, and added to.
pub struct EventFd {
    count: IrqLock<u64>,
    /// `EFD_SEMAPHORE`: a read takes one.
    one_by_one: bool,
    changed: WaitQueue,
}

impl EventFd {
    /// A counter at `count`.
    #[must_use]
    pub const fn new(count: u64, one_by_one: bool) -> Self {
        Self { count: IrqLock::new(count), one_by_one, changed: WaitQueue::new() }
    }

    /// Waits as long as `busy` says so, unless `nonblock`, then changes the count.
    fn change(
        &self,
        nonblock: bool,
        busy: impl Fn(u64) -> bool,
        change: impl FnOnce(&mut u64),
    ) -> Result<()> {
        let (mut count, woken) =
            self.changed.wait_while(&self.count, Wait::INTERRUPTIBLE, |c| busy(*c) && !nonblock);
        if woken != Woken::Woken {
            return Err(Error::Restart);
        }
        if busy(*count) {
            return Err(Error::WouldBlock);
        }
        change(&mut count);
        drop(count);
        self.changed.wake_all();
        poll::changed();
        Ok(())
    }
}

impl Stream for EventFd {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize> {
        let Some(to) = buf.first_chunk_mut::<8>() else { return Err(Error::Invalid) };
        let one = self.one_by_one;
        let mut taken = 0;
        self.change(
            nonblock,
            |count| count == 0,
            |count| {
                taken = if one { 1 } else { *count };
                *count -= taken;
            },
        )?;
        *to = taken.to_le_bytes();
        Ok(8)
    }

    fn write(&self, buf: &[u8], nonblock: bool) -> Result<usize> {
        let add = buf.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
        let add = add.filter(|n| *n <= MAX).ok_or(Error::Invalid)?;
        self.change(nonblock, |count| count > MAX - add, |count| *count += add)?;
        Ok(8)
    }

    fn poll(&self) -> Events {
        let count = *self.count.lock();
        let read = if count > 0 { Events::READ } else { Events::default() };
        if count < MAX { read.with(Events::WRITE) } else { read }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read_whole_or_one_by_one() {
        let mut buf = [0; 8];
        let counter = EventFd::new(3, false);
        assert_eq!(counter.write(&2_u64.to_le_bytes(), true), Ok(8));
        assert_eq!(counter.read(&mut buf, true), Ok(8));
        assert_eq!(u64::from_le_bytes(buf), 5);
        assert_eq!(counter.read(&mut buf, true), Err(Error::WouldBlock));
        assert_eq!(counter.poll(), Events::WRITE);
        let semaphore = EventFd::new(2, true);
        for _ in 0..2 {
            assert_eq!(semaphore.read(&mut buf, true), Ok(8));
            assert_eq!(u64::from_le_bytes(buf), 1);
        }
        assert_eq!(semaphore.read(&mut buf, true), Err(Error::WouldBlock));
    }

    #[test]
    fn what_does_not_fit_waits_and_what_makes_no_sense_fails() {
        let counter = EventFd::new(1, false);
        assert_eq!(counter.write(&MAX.to_le_bytes(), true), Err(Error::WouldBlock));
        assert_eq!(counter.write(&(MAX - 1).to_le_bytes(), true), Ok(8));
        assert_eq!(counter.poll(), Events::READ);
        assert_eq!(counter.write(&u64::MAX.to_le_bytes(), true), Err(Error::Invalid));
        assert_eq!(counter.write(b"short", true), Err(Error::Invalid));
        assert_eq!(counter.read(&mut [0; 7], true), Err(Error::Invalid));
    }
}
