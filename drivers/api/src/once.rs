//! A value that is made once and then read by everybody.
//!
//! As `spin::Once`, but for panics: here none is caught, so that what the kernel's many of them
//! have in common is one function instead of one for each type.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

/// What a [`Once`] goes through.
const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const DONE: u8 = 2;

/// A value that is made once, from whatever CPU.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by the one who turned EMPTY into BUSY, and read after DONE;
// then it is shared, and may be dropped on any CPU.
unsafe impl<T: Send + Sync> Sync for Once<T> {}
// SAFETY: the value moves with it.
unsafe impl<T: Send> Send for Once<T> {}

/// Whether the caller is to make the value; else it is there.
#[inline(never)]
fn begin(state: &AtomicU8) -> bool {
    loop {
        match state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => return true,
            Err(DONE) => return false,
            Err(_) => core::hint::spin_loop(),
        }
    }
}

impl<T> Once<T> {
    /// Without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The value, if it was made.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: DONE is stored after the value was written, which nobody does again.
        (self.state.load(Ordering::Acquire) == DONE)
            .then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value, made by `make` if there is none. Others who come meanwhile wait, turning:
    /// `make` is short and neither sleeps, nor panics, nor asks for this very value.
    pub fn call_once(&self, make: impl FnOnce() -> T) -> &T {
        if begin(&self.state) {
            let value = make();
            // SAFETY: only the one whom `begin` chose is here, and nobody reads before DONE.
            unsafe { (*self.value.get()).write(value) };
            self.state.store(DONE, Ordering::Release);
        }
        // SAFETY: written above, or by another before DONE was seen.
        unsafe { (*self.value.get()).assume_init_ref() }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() == DONE {
            // SAFETY: DONE: the value is there, and this is its end.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use alloc::sync::Arc;
    use core::sync::atomic::AtomicUsize;

    #[test]
    fn one_of_many_makes_it_and_all_see_it() {
        let (once, made) = (Once::new(), AtomicUsize::new(0));
        assert_eq!(once.get(), None);
        std::thread::scope(|s| {
            for n in 0..8 {
                let (once, made) = (&once, &made);
                s.spawn(move || {
                    let value = *once.call_once(|| {
                        made.fetch_add(1, Ordering::Relaxed);
                        n
                    });
                    assert_eq!(once.get(), Some(&value));
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn it_drops_what_it_has() {
        let value = Arc::new(());
        let once = Once::new();
        once.call_once(|| value.clone());
        drop(once);
        drop(Once::<Arc<()>>::new());
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
