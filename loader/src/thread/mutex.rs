//! A lock whose waiters sleep.

use core::ops::{Deref, DerefMut};

use driver_api::sync::IrqLock;

use super::wait::{Wait, WaitQueue};

/// Protects `T` for threads; never taken in an interrupt.
pub struct Mutex<T: ?Sized> {
    locked: IrqLock<bool>,
    waiters: WaitQueue,
    /// Never contended: whoever takes it has set `locked` first.
    data: spin::Mutex<T>,
}

/// Access to what a [`Mutex`] protects.
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// `None` only while it is being dropped.
    data: Option<spin::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self {
            locked: IrqLock::new(false),
            waiters: WaitQueue::new(),
            data: spin::Mutex::new(value),
        }
    }

    /// The value, for the last owner.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let (mut locked, _) = self.waiters.wait_while(&self.locked, Wait::FOREVER, |l| *l);
        *locked = true;
        drop(locked);
        MutexGuard { mutex: self, data: Some(self.data.lock()) }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let mut locked = self.locked.lock();
        if *locked {
            return None;
        }
        *locked = true;
        drop(locked);
        Some(MutexGuard { mutex: self, data: Some(self.data.lock()) })
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
        *self.mutex.locked.lock() = false;
        self.mutex.waiters.wake_one();
    }
}
