//! What a thread that runs the app has besides its kernel stack.

use alloc::boxed::Box;
use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};

use driver_api::sync::IrqLock;

use crate::arch;
use crate::mm::PhysAddr;

/// The user side of a thread: what a switch saves and loads, and what `process` keeps.
pub struct UserContext {
    root: PhysAddr,
    asid: u16,
    /// The TLS register while the thread does not run.
    tls: AtomicUsize,
    fpu: IrqLock<arch::context::FpuState>,
    own: Box<dyn Any + Send + Sync>,
}

impl UserContext {
    /// For the address space with the root table `root`; `tls` is the first value of the
    /// TLS register, `own` what [`Self::own`] gives back. `None` without memory.
    #[must_use]
    pub fn new(
        root: PhysAddr,
        asid: u16,
        tls: usize,
        own: Box<dyn Any + Send + Sync>,
    ) -> Option<Box<Self>> {
        let fpu = IrqLock::new(arch::context::FpuState::new()?);
        Some(Box::new(Self { root, asid, tls: AtomicUsize::new(tls), fpu, own }))
    }

    /// What `process` keeps for the thread, if it is a `T`.
    #[must_use]
    pub fn own<T: Any>(&self) -> Option<&T> {
        self.own.downcast_ref()
    }

    /// Calls `f` with the FPU state as of now. For the thread itself.
    pub fn with_fpu<R>(&self, f: impl FnOnce(&mut arch::context::FpuState) -> R) -> R {
        let mut fpu = self.fpu.lock();
        fpu.save();
        let result = f(&mut fpu);
        fpu.restore();
        result
    }

    /// The thread stops running. Interrupts are off.
    pub(super) fn save(&self) {
        self.tls.store(arch::context::user_tls(), Ordering::Relaxed);
        self.fpu.lock().save();
    }

    /// The thread begins to run. Interrupts are off.
    pub(super) fn load(&self) {
        arch::paging::activate_user(self.root, self.asid);
        arch::context::set_user_tls(self.tls.load(Ordering::Relaxed));
        self.fpu.lock().restore();
    }
}
