//! Waiting until one of several files can be used.
//!
//! Whatever changes what a file's `poll` says calls [`changed`]; who waits looks again. One
//! queue serves all files: with one process the waiters are few, and a look costs less than
//! a registration with every file.

use crate::sync::{Wait, WaitQueue, Woken};
use driver_api::sync::IrqLock;

/// What can be done with a file, in the bits of `poll` (`asm-generic/poll.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Events(pub u16);

impl Events {
    /// A read does not wait (`POLLIN`).
    pub const READ: Self = Self(1);
    /// A write does not wait (`POLLOUT`).
    pub const WRITE: Self = Self(4);
    /// An error is pending (`POLLERR`).
    pub const ERROR: Self = Self(8);
    /// The other end is gone (`POLLHUP`).
    pub const HANG_UP: Self = Self(16);
    /// Not a descriptor (`POLLNVAL`).
    pub const INVALID: Self = Self(32);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `other` is in it.
    #[must_use]
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What a waiter for `wanted` is told: errors and hang-ups always, the rest if wanted.
    /// The kernel's other names for the same are answered too (`POLLRDNORM`, `POLLWRNORM`).
    #[must_use]
    pub const fn answer(self, wanted: u16) -> u16 {
        let mut all = self.0;
        if all & 1 != 0 {
            all |= 0x40;
        }
        if all & 4 != 0 {
            all |= 0x100;
        }
        all & (wanted | Self::ERROR.0 | Self::HANG_UP.0 | Self::INVALID.0)
    }
}

static CHANGES: IrqLock<u64> = IrqLock::new(0);
static WAITERS: WaitQueue = WaitQueue::new();

/// How often [`changed`] was called.
#[must_use]
pub fn changes() -> u64 {
    *CHANGES.lock()
}

/// Something can be done with a file that could not before. From any context.
pub fn changed() {
    *CHANGES.lock() += 1;
    WAITERS.wake_all();
}

/// Calls `look` until it finds something, or until `deadline` (ns since boot) or a signal.
/// `None`: the deadline has passed, which 0 always has. `Err`: a signal came.
///
/// # Errors
/// [`Interrupted`].
pub fn wait<T>(
    deadline: Option<u64>,
    mut look: impl FnMut() -> Option<T>,
) -> Result<Option<T>, Interrupted> {
    let mut last = deadline == Some(0);
    loop {
        let seen = *CHANGES.lock();
        let found = look();
        if found.is_some() || last {
            return Ok(found);
        }
        let how = Wait { deadline, interruptible: true };
        let (_, woken) = WAITERS.wait_while(&CHANGES, how, |now| *now == seen);
        match woken {
            Woken::Woken => {}
            Woken::TimedOut => last = true,
            Woken::Interrupted => return Err(Interrupted),
        }
    }
}

/// A signal ended the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(Events::READ.answer(1), 1);
        assert_eq!(Events::READ.answer(4), 0);
        assert_eq!(Events::WRITE.answer(0x104), 0x104);
        assert_eq!(Events::HANG_UP.answer(0), 16);
        assert_eq!(Events::INVALID.answer(1), 32);
    }

    #[test]
    fn what_is_ready_needs_no_wait() {
        assert_eq!(wait(None, || Some(3)), Ok(Some(3)));
    }
}
