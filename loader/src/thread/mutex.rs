//! A lock whose waiters sleep.

use core::ops::{Deref, DerefMut};

use driver_api::sync::{IrqLock, SleepWatch};

use super::wait::{Wait, WaitQueue};

/// What does not depend on what is protected: one copy of the code.
struct Raw {
    locked: IrqLock<bool>,
    waiters: WaitQueue,
    watch: SleepWatch,
}

impl Raw {
    #[inline(never)]
    fn acquire(&self) {
        self.watch.acquiring(false);
        let (mut locked, _) = self.waiters.wait_while(&self.locked, Wait::FOREVER, |l| *l);
        *locked = true;
    }

    #[inline(never)]
    fn try_acquire(&self) -> bool {
        let taken = !core::mem::replace(&mut *self.locked.lock(), true);
        if taken {
            self.watch.acquiring(true);
        }
        taken
    }

    #[inline(never)]
    fn release(&self) {
        self.watch.released();
        *self.locked.lock() = false;
        self.waiters.wake_one();
    }
}

/// Protects `T` for threads; never taken in an interrupt.
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    /// Never contended: whoever takes it has `raw`.
    data: spin::Mutex<T>,
}

/// Access to what a [`Mutex`] protects.
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// `None` only while it is being dropped.
    data: Option<spin::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A free lock around `value`. Locks made at the same place in the source are one class to
    /// the order checker of debug kernels.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        let watch = SleepWatch::new();
        let raw = Raw { locked: IrqLock::new(false), waiters: WaitQueue::new(), watch };
        Self { raw, data: spin::Mutex::new(value) }
    }

    /// The value, for the last owner.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.acquire();
        MutexGuard { mutex: self, data: self.data.try_lock() }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_acquire().then(|| MutexGuard { mutex: self, data: self.data.try_lock() })
    }

    /// The value, when nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.data {
            Some(data) => data,
            None => unreachable!(),
        }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.data {
            Some(data) => data,
            None => unreachable!(),
        }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.data = None;
        self.mutex.raw.release();
    }
}
