//! Locks that know about interrupts.
//!
//! [`IrqLock`] keeps interrupts off on this CPU while it is held, so that an interrupt
//! handler on the same CPU can never spin on it. It is what data shared between threads and
//! hard interrupt handlers lives in.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// Interrupts off on this CPU until it is dropped. Nests.
#[derive(Debug)]
pub struct IrqGuard {
    /// The CPU's interrupt flag as it was.
    saved: usize,
    /// Restoring on another CPU would be wrong: keep it on one thread.
    _not_send: PhantomData<*mut ()>,
}

impl IrqGuard {
    /// Turns interrupts off.
    #[must_use]
    pub fn new() -> Self {
        Self { saved: imp::save_and_disable(), _not_send: PhantomData }
    }
}

impl Default for IrqGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for IrqGuard {
    fn drop(&mut self) {
        imp::restore(self.saved);
    }
}

/// Whether this CPU takes interrupts now.
#[must_use]
pub fn interrupts_enabled() -> bool {
    imp::enabled()
}

/// A lock's word, and what does not depend on what it protects: one copy of the code.
#[derive(Debug)]
struct Raw {
    locked: AtomicBool,
    #[cfg(debug_assertions)]
    class: Class,
}

impl Raw {
    #[track_caller]
    const fn new() -> Self {
        Self {
            locked: AtomicBool::new(false),
            #[cfg(debug_assertions)]
            class: Class::here(),
        }
    }

    fn try_take(&self) -> bool {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Turns interrupts off and takes the lock; what [`Self::release`] needs.
    #[inline(never)]
    fn acquire(&self) -> usize {
        let saved = imp::save_and_disable();
        #[cfg(debug_assertions)]
        check::acquiring(self.class, self.address(), false);
        while !self.try_take() {
            while self.locked.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        }
        saved
    }

    /// As [`Self::acquire`], if the lock is free.
    #[inline(never)]
    fn try_acquire(&self) -> Option<usize> {
        let saved = imp::save_and_disable();
        if self.try_take() {
            #[cfg(debug_assertions)]
            check::acquiring(self.class, self.address(), true);
            return Some(saved);
        }
        imp::restore(saved);
        None
    }

    #[inline(never)]
    fn release(&self, saved: usize) {
        #[cfg(debug_assertions)]
        check::released(self.address());
        self.locked.store(false, Ordering::Release);
        imp::restore(saved);
    }

    #[cfg(debug_assertions)]
    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }
}

/// A spin lock that keeps interrupts off while it is held.
#[derive(Debug)]
pub struct IrqLock<T: ?Sized> {
    raw: Raw,
    data: UnsafeCell<T>,
}

// SAFETY: the lock hands the data to one holder at a time, on whatever CPU.
unsafe impl<T: ?Sized + Send> Sync for IrqLock<T> {}
// SAFETY: the data moves with the lock.
unsafe impl<T: ?Sized + Send> Send for IrqLock<T> {}

/// Access to the data of an [`IrqLock`].
#[derive(Debug)]
pub struct IrqLockGuard<'a, T: ?Sized> {
    lock: &'a IrqLock<T>,
    /// The CPU's interrupt flag as it was.
    saved: usize,
    /// Restoring on another CPU would be wrong: keep it on one thread.
    _not_send: PhantomData<*mut ()>,
}

impl<T> IrqLock<T> {
    /// A free lock around `value`. Locks made at the same place in the source are one class
    /// to the order checker of debug kernels.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { raw: Raw::new(), data: UnsafeCell::new(value) }
    }

    /// The data of a lock that nobody else has.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: Default> Default for IrqLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> IrqLock<T> {
    /// Turns interrupts off and waits for the lock.
    pub fn lock(&self) -> IrqLockGuard<'_, T> {
        let saved = self.raw.acquire();
        IrqLockGuard { lock: self, saved, _not_send: PhantomData }
    }

    /// Takes the lock if it is free: for panics and other places that must not wait.
    pub fn try_lock(&self) -> Option<IrqLockGuard<'_, T>> {
        let saved = self.raw.try_acquire()?;
        Some(IrqLockGuard { lock: self, saved, _not_send: PhantomData })
    }
}

impl<T: ?Sized> Deref for IrqLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for IrqLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for IrqLockGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.release(self.saved);
    }
}

/// Where a lock was made: locks of one place are used in the same way.
#[cfg(debug_assertions)]
pub type ClassLocation = &'static core::panic::Location<'static>;

#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug)]
struct Class(ClassLocation);

#[cfg(debug_assertions)]
impl Class {
    #[track_caller]
    const fn here() -> Self {
        Self(core::panic::Location::caller())
    }
}

/// What a lock whose waiters sleep tells the order checker of debug kernels; elsewhere nothing.
#[derive(Debug)]
pub struct SleepWatch {
    #[cfg(debug_assertions)]
    class: Class,
}

#[cfg_attr(not(debug_assertions), allow(clippy::unused_self))] // nobody is told
impl SleepWatch {
    /// For a lock that is made where the caller is called: all those are one class.
    #[track_caller]
    #[must_use]
    #[allow(clippy::new_without_default)] // the place where it is called matters
    pub const fn new() -> Self {
        Self {
            #[cfg(debug_assertions)]
            class: Class::here(),
        }
    }

    /// The thread is about to wait for the lock; or, if `tried`, has just taken it without.
    pub fn acquiring(&self, tried: bool) {
        #[cfg(debug_assertions)]
        check::acquiring_sleeping(self.class, core::ptr::from_ref(self).addr(), tried);
        #[cfg(not(debug_assertions))]
        let _ = tried;
    }

    /// The thread is about to release the lock.
    pub fn released(&self) {
        #[cfg(debug_assertions)]
        check::released_sleeping(core::ptr::from_ref(self).addr());
    }
}

/// The hook of the order checker, in debug builds.
#[cfg(debug_assertions)]
pub mod check {
    use super::{Class, ClassLocation};

    /// Told of every lock that is taken and released.
    pub trait LockChecker: Sync {
        /// An `IrqLock` of `class` at `address` is about to be waited for, with interrupts off on
        /// this CPU; or, if `tried`, was just taken without waiting.
        fn acquiring(&self, class: ClassLocation, address: usize, tried: bool);
        /// The `IrqLock` at `address` is about to be released, with interrupts off.
        fn released(&self, address: usize);
        /// As [`Self::acquiring`], of a lock that threads sleep for, in a thread.
        fn acquiring_sleeping(&self, class: ClassLocation, address: usize, tried: bool);
        /// As [`Self::released`], of such a lock.
        fn released_sleeping(&self, address: usize);
    }

    static CHECKER: crate::once::Once<&'static dyn LockChecker> = crate::once::Once::new();

    /// Installs the checker, once.
    pub fn install(checker: &'static dyn LockChecker) {
        CHECKER.call_once(|| checker);
    }

    pub(super) fn acquiring(class: Class, address: usize, tried: bool) {
        if let Some(checker) = CHECKER.get() {
            checker.acquiring(class.0, address, tried);
        }
    }

    pub(super) fn released(address: usize) {
        if let Some(checker) = CHECKER.get() {
            checker.released(address);
        }
    }

    pub(super) fn acquiring_sleeping(class: Class, address: usize, tried: bool) {
        if let Some(checker) = CHECKER.get() {
            checker.acquiring_sleeping(class.0, address, tried);
        }
    }

    pub(super) fn released_sleeping(address: usize) {
        if let Some(checker) = CHECKER.get() {
            checker.released_sleeping(address);
        }
    }
}

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod imp {
    /// RFLAGS.IF (Intel SDM vol. 1, 3.4.3).
    const IF: usize = 1 << 9;

    pub fn save_and_disable() -> usize {
        let flags: usize;
        // SAFETY: reads RFLAGS through the stack and clears IF; no memory of Rust's changes.
        // Not `nomem`: the compiler must not move accesses out of the section.
        unsafe { core::arch::asm!("pushfq", "pop {}", "cli", out(reg) flags) };
        flags
    }

    pub fn restore(saved: usize) {
        if saved & IF != 0 {
            // SAFETY: interrupts were on before the matching `save_and_disable`.
            unsafe { core::arch::asm!("sti", options(nostack)) };
        }
    }

    pub fn enabled() -> bool {
        let flags: usize;
        // SAFETY: reads RFLAGS through the stack.
        unsafe { core::arch::asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
        flags & IF != 0
    }
}

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod imp {
    /// DAIF.I (Arm ARM, C5.2.2): IRQs are masked.
    const I: usize = 1 << 7;

    pub fn save_and_disable() -> usize {
        let daif: usize;
        // SAFETY: reads DAIF and masks IRQs. Not `nomem`: the compiler must not move
        // accesses out of the section.
        unsafe { core::arch::asm!("mrs {}, daif", "msr daifset, #2", out(reg) daif) };
        daif
    }

    pub fn restore(saved: usize) {
        if saved & I == 0 {
            // SAFETY: IRQs were unmasked before the matching `save_and_disable`.
            unsafe { core::arch::asm!("msr daifclr, #2", options(nostack)) };
        }
    }

    pub fn enabled() -> bool {
        let daif: usize;
        // SAFETY: reads DAIF.
        unsafe { core::arch::asm!("mrs {}, daif", out(reg) daif, options(nostack)) };
        daif & I == 0
    }
}

/// On the host there are no interrupts to keep off.
#[cfg(not(target_os = "none"))]
mod imp {
    pub fn save_and_disable() -> usize {
        0
    }

    pub fn restore(_saved: usize) {}

    pub fn enabled() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let lock = IrqLock::new(0_u64);
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
        assert_eq!(lock.into_inner(), 4000);
    }
}
