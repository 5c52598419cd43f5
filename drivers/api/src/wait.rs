//! Waiting in threads, for drivers that call rather than are called: file systems.

use alloc::sync::Arc;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::Services;
use crate::sync::SleepWatch;

/// Where threads wait for something that others do ([`Services::wait_place`]).
pub trait WaitPlace: Send + Sync {
    /// Waits until `ready` says so. It is asked at once and after each [`Self::wake`], with
    /// interrupts off: it looks, and does nothing that takes long.
    fn wait_until(&self, ready: &mut dyn FnMut() -> bool);

    /// Makes all who wait here ask again. From threads.
    fn wake(&self);
}

/// A lock that may be held while its owner sleeps. Only for threads.
pub struct SleepLock<T> {
    locked: AtomicBool,
    watch: SleepWatch,
    place: Arc<dyn WaitPlace>,
    /// Never contended: whoever takes it has set `locked`.
    data: spin::Mutex<T>,
}

/// Access to what a [`SleepLock`] protects.
pub struct SleepGuard<'a, T> {
    lock: &'a SleepLock<T>,
    /// `None` only while it is being dropped.
    data: Option<spin::MutexGuard<'a, T>>,
}

impl<T> SleepLock<T> {
    /// A free lock around `value`. Locks made at the same place in the source are one class to
    /// the order checker of debug kernels.
    #[track_caller]
    #[must_use]
    pub fn new(services: &dyn Services, value: T) -> Self {
        Self {
            locked: AtomicBool::new(false),
            watch: SleepWatch::new(),
            place: services.wait_place(),
            data: spin::Mutex::new(value),
        }
    }

    fn take(&self) -> bool {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Waits for the lock.
    pub fn lock(&self) -> SleepGuard<'_, T> {
        self.watch.acquiring(false);
        if !self.take() {
            self.place.wait_until(&mut || self.take());
        }
        SleepGuard { lock: self, data: self.data.try_lock() }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<SleepGuard<'_, T>> {
        let taken = self.take();
        if taken {
            self.watch.acquiring(true);
        }
        taken.then(|| SleepGuard { lock: self, data: self.data.try_lock() })
    }
}

impl<T> Deref for SleepGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.data {
            Some(data) => data,
            None => unreachable!(),
        }
    }
}

impl<T> DerefMut for SleepGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.data {
            Some(data) => data,
            None => unreachable!(),
        }
    }
}

impl<T> Drop for SleepGuard<'_, T> {
    fn drop(&mut self) {
        self.data = None;
        self.lock.watch.released();
        self.lock.locked.store(false, Ordering::Release);
        self.lock.place.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Machine;

    #[test]
    fn one_holder_at_a_time() {
        let lock = SleepLock::new(Machine::leaked(), 0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..1000).for_each(|_| *lock.lock() += 1));
            }
        });
        let held = lock.lock();
        assert_eq!(*held, 4000);
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }
}
