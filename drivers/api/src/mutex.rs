//! A lock for file systems and other drivers whose callers are threads.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU8, Ordering};

use crate::sync::SleepWatch;

/// Nobody has it.
const FREE: u8 = 0;
/// Somebody has it, and nobody waits.
const TAKEN: u8 = 1;
/// Somebody has it, and others may wait.
const WANTED: u8 = 2;

/// A lock's byte, and what does not depend on what it protects: one copy of the code.
struct Raw {
    state: AtomicU8,
    watch: SleepWatch,
}

impl Raw {
    #[inline(never)]
    fn acquire(&self) {
        self.watch.acquiring(false);
        if !self.take() {
            // Who has waited does not know whether others still do.
            imp::osier_lock_wait(&mut || self.state.swap(WANTED, Ordering::Acquire) == FREE);
        }
    }

    fn try_acquire(&self) -> bool {
        let taken = self.take();
        if taken {
            self.watch.acquiring(true);
        }
        taken
    }

    fn take(&self) -> bool {
        self.state.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(never)]
    fn release(&self) {
        self.watch.released();
        if self.state.swap(FREE, Ordering::Release) == WANTED {
            imp::osier_lock_wake();
        }
    }
}

/// Protects `T` for threads; those who wait sleep, all in one place. It takes a byte and needs
/// nothing to be made, so that each inode may have one. Never taken in an interrupt, nor with
/// interrupts off. For what is held while a device works see [`crate::wait::SleepLock`].
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    data: UnsafeCell<T>,
}

// SAFETY: the lock hands the data to one holder at a time, on whatever CPU.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: the data moves with the lock.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

/// Access to what a [`Mutex`] protects.
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    /// What it lends is not to be shared where the data is not.
    _data: PhantomData<&'a mut T>,
}

impl<T> Mutex<T> {
    /// A free lock around `value`. Locks made at the same place in the source are one class to
    /// the order checker of debug kernels.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        let raw = Raw { state: AtomicU8::new(FREE), watch: SleepWatch::new() };
        Self { raw, data: UnsafeCell::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.acquire();
        MutexGuard { lock: self, _data: PhantomData }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_acquire().then(|| MutexGuard { lock: self, _data: PhantomData })
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.release();
    }
}

#[cfg(target_os = "none")]
mod imp {
    unsafe extern "Rust" {
        /// Waits until `ready` says so; it is asked at once and after each wake-up. In the
        /// kernel (`loader/src/drivers/locks.rs`).
        pub safe fn osier_lock_wait(ready: &mut dyn FnMut() -> bool);
        /// Makes all who wait ask again. In the kernel, as above.
        pub safe fn osier_lock_wake();
    }
}

/// On the host threads take turns.
#[cfg(not(target_os = "none"))]
mod imp {
    pub fn osier_lock_wait(ready: &mut dyn FnMut() -> bool) {
        while !ready() {
            std::thread::yield_now();
        }
    }

    pub fn osier_lock_wake() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let lock = Mutex::new(0_u64);
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
