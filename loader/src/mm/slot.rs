//! What a CPU runs now: a slot that owns it, and borrows that the running code takes.

use alloc::sync::Arc;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Owns the `T` (a thread) that the slot's CPU runs.
pub struct RunningSlot<T>(AtomicPtr<T>);

/// The `T` on which the code that holds this runs. It stays on its thread.
pub struct Running<T> {
    value: ManuallyDrop<Arc<T>>,
    /// It is alive as long as the thread that asked, so it must not leave that thread.
    _not_send: PhantomData<*mut ()>,
}

impl<T> RunningSlot<T> {
    /// Nothing runs.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// What runs; `None` before the first [`Self::replace`]. Interrupts are off, and the
    /// slot is that of the CPU that asks, so that the answer is the asking code's own.
    #[must_use]
    pub fn get(&self) -> Option<Running<T>> {
        let p = self.0.load(Ordering::Relaxed);
        if p.is_null() {
            return None;
        }
        // SAFETY: the pointer came from `Arc::into_raw` in `replace`, and the slot owns that
        // reference. It leaves the slot only when its CPU switches to another `T`; whoever
        // asked does not run then, and the scheduler keeps a `T` that is to run again in
        // the slot of its CPU, so the reference counted for the slot outlives every use of
        // the (uncounted) one made here.
        let value = ManuallyDrop::new(unsafe { Arc::from_raw(p) });
        Some(Running { value, _not_send: PhantomData })
    }

    /// Makes `next` what runs and returns what ran. Interrupts are off.
    pub fn replace(&self, next: Arc<T>) -> Option<Arc<T>> {
        let old = self.0.swap(Arc::into_raw(next).cast_mut(), Ordering::Relaxed);
        // SAFETY: as for `get`; the slot's own reference moves out with the pointer.
        (!old.is_null()).then(|| unsafe { Arc::from_raw(old) })
    }
}

impl<T> Default for RunningSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Running<T> {
    /// A reference of its own, that may go anywhere.
    #[must_use]
    pub fn arc(&self) -> Arc<T> {
        Arc::clone(&self.value)
    }
}

impl<T> Deref for Running<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
