//! What a CPU finds through GS.
//!
//! In the kernel GS points to this CPU's [`PerCpu`], whose first field is [`ArchPerCpu`]; in user mode to whatever the app set
//! (`arch_prctl`, `wrgsbase`). `swapgs` on every way in and out exchanges them. The entries
//! that may interrupt that exchange itself (NMI, #DF, #MC) do not trust GS at all: the word
//! above each of their stacks holds the address of the block.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use x86_64::registers::model_specific::Msr;

use super::cpu::{GDT_ENTRIES, Tss};
use crate::percpu::PerCpu;

/// IA32_GS_BASE and IA32_KERNEL_GS_BASE (Intel SDM vol. 4, table 2-2).
pub(super) const GS_BASE: u32 = 0xc000_0101;
pub(super) const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// Offsets that the assembly of `trap` uses.
pub(super) const KERNEL_STACK: usize = core::mem::offset_of!(ArchPerCpu, kernel_stack);
pub(super) const USER_RSP: usize = core::mem::offset_of!(ArchPerCpu, user_rsp);
const SELF: usize = core::mem::offset_of!(ArchPerCpu, this);

/// The arch's own part of a CPU's data. Written by its CPU alone (or before that CPU runs).
#[repr(C, align(64))]
pub struct ArchPerCpu {
    /// Its own address, which is that of the [`PerCpu`] around it.
    this: AtomicPtr<PerCpu>,
    /// Top of the current thread's kernel stack.
    kernel_stack: AtomicUsize,
    /// The app's stack pointer while SYSCALL's entry has no register free.
    user_rsp: AtomicUsize,
    /// The local APIC's id.
    pub(super) apic_id: AtomicU32,
    /// The last request to drop all translations that was served.
    pub(super) flushed: AtomicU64,
    /// The app's root table that CR3 holds; 0: the kernel's own.
    pub(super) user_root: AtomicU64,
    /// How often something had been taken from the app's half when this CPU began to use it.
    pub(super) user_flushes: AtomicU64,
    /// It does not use the app's half now.
    pub(super) without_user: AtomicBool,
    /// Where interrupts run.
    pub(super) irq_stack: [AtomicUsize; 2],
    pub(super) tss: UnsafeCell<Tss>,
    pub(super) gdt: UnsafeCell<[u64; GDT_ENTRIES]>,
}

// SAFETY: the cells are written by `cpu::load_tables` before their CPU uses them, and then
// only by that CPU with interrupts off; the rest are atomics.
unsafe impl Sync for ArchPerCpu {}

impl ArchPerCpu {
    /// The part of a CPU that does not run yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            kernel_stack: AtomicUsize::new(0),
            user_rsp: AtomicUsize::new(0),
            apic_id: AtomicU32::new(0),
            flushed: AtomicU64::new(0),
            user_root: AtomicU64::new(0),
            user_flushes: AtomicU64::new(0),
            without_user: AtomicBool::new(true),
            irq_stack: [const { AtomicUsize::new(0) }; 2],
            tss: UnsafeCell::new(Tss::new()),
            gdt: UnsafeCell::new([0; GDT_ENTRIES]),
        }
    }
}

impl Default for ArchPerCpu {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes `block` this CPU's.
pub fn install(block: &'static PerCpu) {
    let address = core::ptr::from_ref(block).cast_mut();
    block.arch.this.store(address, Ordering::Relaxed);
    // SAFETY: GS is the kernel's way to this CPU's block, and `block` lives for ever; the
    // app's GS base begins as 0.
    unsafe {
        Msr::new(GS_BASE).write(address as u64);
        Msr::new(KERNEL_GS_BASE).write(0);
    }
}

/// This CPU's block. The thread that asks may be moved to another CPU at once, unless it
/// keeps interrupts or preemption off.
#[must_use]
pub fn current() -> &'static PerCpu {
    let block: *const PerCpu;
    // SAFETY: the entry code installed a block that lives for ever before any other code ran
    // on this CPU. One instruction, so that the address is that of the CPU that executes it.
    unsafe {
        core::arch::asm!("mov {}, gs:[{}]", out(reg) block, const SELF,
            options(nostack, preserves_flags, readonly));
        &*block
    }
}

/// Sets the stack that the next entry from user mode finds, in both places it is looked for.
pub(super) fn set_kernel_stack(top: usize) {
    let block = &current().arch;
    block.kernel_stack.store(top, Ordering::Relaxed);
    // SAFETY: this CPU's own TSS; the CPU reads RSP0 on an entry from user mode, which does
    // not happen meanwhile.
    unsafe { (*block.tss.get()).set_rsp0(top as u64) };
}

/// The stack set by [`set_kernel_stack`].
pub(super) fn kernel_stack() -> usize {
    current().arch.kernel_stack.load(Ordering::Relaxed)
}
