//! Locks that know about interrupts.
//!
//! [`IrqLock`] keeps interrupts off on this CPU while it is held, so that an interrupt
//! handler on the same CPU can never spin on it. It is what data shared between threads and
//! hard interrupt handlers lives in.

use core::ops::{Deref, DerefMut};

/// Interrupts off on this CPU until it is dropped. Nests.
#[derive(Debug)]
pub struct IrqGuard {
    /// The CPU's interrupt flag as it was.
    saved: usize,
    /// Restoring on another CPU would be wrong: keep it on one thread.
    _not_send: core::marker::PhantomData<*mut ()>,
}

impl IrqGuard {
    /// Turns interrupts off.
    #[must_use]
    pub fn new() -> Self {
        Self { saved: imp::save_and_disable(), _not_send: core::marker::PhantomData }
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

/// A spin lock that keeps interrupts off while it is held.
#[derive(Debug, Default)]
pub struct IrqLock<T: ?Sized> {
    inner: spin::Mutex<T>,
}

/// Access to the data of an [`IrqLock`].
#[derive(Debug)]
pub struct IrqLockGuard<'a, T: ?Sized> {
    // Fields drop in order: first the lock is released, then interrupts come back.
    data: spin::MutexGuard<'a, T>,
    _irq: IrqGuard,
}

impl<T> IrqLock<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { inner: spin::Mutex::new(value) }
    }
}

impl<T: ?Sized> IrqLock<T> {
    /// Turns interrupts off and waits for the lock.
    pub fn lock(&self) -> IrqLockGuard<'_, T> {
        let irq = IrqGuard::new();
        IrqLockGuard { data: self.inner.lock(), _irq: irq }
    }

    /// Takes the lock if it is free: for panics and other places that must not wait.
    pub fn try_lock(&self) -> Option<IrqLockGuard<'_, T>> {
        let irq = IrqGuard::new();
        self.inner.try_lock().map(|data| IrqLockGuard { data, _irq: irq })
    }
}

impl<T: ?Sized> Deref for IrqLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: ?Sized> DerefMut for IrqLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
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
