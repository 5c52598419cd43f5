//! This CPU's block, found through TPIDR_EL1.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use driver_api::Mmio;
use driver_api::Once;

use crate::percpu::PerCpu;

/// The arch's part of [`PerCpu`], at its offset 0: read by the vectors.
#[repr(C)]
pub struct ArchPerCpu {
    /// Top of the stack that interrupts are handled on.
    pub irq_stack_top: AtomicUsize,
    /// Top of the stack that a kernel stack overflow is reported on.
    pub overflow_stack_top: AtomicUsize,
    /// Top of the kernel stack of the thread that runs.
    pub kernel_stack_top: AtomicUsize,
    /// Affinity of MPIDR_EL1.
    pub mpidr: AtomicU64,
    /// GICv2: this CPU's bit in the distributor's target registers.
    pub gic_target: AtomicU32,
    /// GICv3: its redistributor.
    pub redistributor: Once<Mmio>,
}

impl ArchPerCpu {
    /// No stacks yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            irq_stack_top: AtomicUsize::new(0),
            overflow_stack_top: AtomicUsize::new(0),
            kernel_stack_top: AtomicUsize::new(0),
            mpidr: AtomicU64::new(0),
            gic_target: AtomicU32::new(0),
            redistributor: Once::new(),
        }
    }
}

impl Default for ArchPerCpu {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(core::mem::offset_of!(PerCpu, arch) == 0);

/// Makes `cpu` the block of the CPU that calls.
pub fn install(cpu: &'static PerCpu) {
    cpu.arch.mpidr.store(super::cpu::id() as u64, Ordering::Relaxed);
    // SAFETY: TPIDR_EL1 is the kernel's alone, and a `PerCpu` is for ever.
    unsafe {
        asm!("msr tpidr_el1, {}", in(reg) core::ptr::from_ref(cpu),
            options(nostack, preserves_flags));
    }
}

/// The block of the CPU that runs. The caller sees to it that it stays on that CPU.
#[must_use]
pub fn current() -> &'static PerCpu {
    let cpu: *const PerCpu;
    // SAFETY: reads the register that `install` wrote before anything else ran.
    unsafe {
        asm!("mrs {}, tpidr_el1", out(reg) cpu, options(nomem, nostack, preserves_flags));
        &*cpu
    }
}

/// Top of the kernel stack of the thread that runs.
pub(super) fn kernel_stack_top() -> usize {
    current().arch.kernel_stack_top.load(Ordering::Relaxed)
}
