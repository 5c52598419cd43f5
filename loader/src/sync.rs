//! What threads wait with.
//!
//! In the kernel a thread that waits sleeps ([`crate::thread`]). On the host, where there is
//! no scheduler, locks spin and a wait ends at once as interrupted.

#[cfg(target_os = "none")]
pub use crate::thread::{Mutex, Wait, WaitQueue, Woken};

#[cfg(not(target_os = "none"))]
pub use host::{Mutex, Wait, WaitQueue, Woken};

#[cfg(not(target_os = "none"))]
mod host {
    use driver_api::sync::{IrqLock, IrqLockGuard};

    pub use crate::thread::Woken;
    pub use spin::Mutex;

    /// See `thread::Wait`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Wait {
        /// Until when at most.
        pub deadline: Option<u64>,
        /// Whether a signal ends it.
        pub interruptible: bool,
    }

    impl Wait {
        /// Until woken or interrupted.
        pub const INTERRUPTIBLE: Self = Self { deadline: None, interruptible: true };
    }

    /// See `thread::WaitQueue`.
    #[derive(Debug, Default)]
    pub struct WaitQueue;

    impl WaitQueue {
        /// Nobody waits.
        #[must_use]
        pub const fn new() -> Self {
            Self
        }

        /// Ends at once.
        pub fn wait_while<'a, T>(
            &self,
            lock: &'a IrqLock<T>,
            _how: Wait,
            mut condition: impl FnMut(&mut T) -> bool,
        ) -> (IrqLockGuard<'a, T>, Woken) {
            let mut guard = lock.lock();
            let woken = if condition(&mut guard) { Woken::Interrupted } else { Woken::Woken };
            (guard, woken)
        }

        /// Nobody waits.
        pub fn wake_all(&self) -> usize {
            0
        }

        /// Nobody waits.
        pub fn wake_one(&self) -> bool {
            false
        }
    }
}
