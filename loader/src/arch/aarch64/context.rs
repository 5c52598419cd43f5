//! Switching between threads, and the register state that only user mode has.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicUsize, Ordering};

use super::signal::FpuRegisters;

/// Bytes that [`switch`] saves: x19-x30.
const SAVED: usize = 96;

global_asm!(
    r#"
    .section .text.context, "ax"
    // aarch64_switch(save: *mut usize, load: usize)
aarch64_switch:
    stp     x29, x30, [sp, #-{saved}]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mov     x9, sp
    stlr    x9, [x0]
    mov     sp, x1
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #{saved}
    ret

aarch64_thread_start:
    mov     x0, x20
    mov     x29, xzr
    mov     x30, xzr
    br      x19

    // aarch64_fpu_save(state), aarch64_fpu_restore(state)
    .arch_extension fp
    .arch_extension simd
aarch64_fpu_save:
    stp     q0, q1, [x0, #32 * 0]
    stp     q2, q3, [x0, #32 * 1]
    stp     q4, q5, [x0, #32 * 2]
    stp     q6, q7, [x0, #32 * 3]
    stp     q8, q9, [x0, #32 * 4]
    stp     q10, q11, [x0, #32 * 5]
    stp     q12, q13, [x0, #32 * 6]
    stp     q14, q15, [x0, #32 * 7]
    stp     q16, q17, [x0, #32 * 8]
    stp     q18, q19, [x0, #32 * 9]
    stp     q20, q21, [x0, #32 * 10]
    stp     q22, q23, [x0, #32 * 11]
    stp     q24, q25, [x0, #32 * 12]
    stp     q26, q27, [x0, #32 * 13]
    stp     q28, q29, [x0, #32 * 14]
    stp     q30, q31, [x0, #32 * 15]
    mrs     x1, fpcr
    mrs     x2, fpsr
    add     x0, x0, #0x200
    stp     x1, x2, [x0]
    ret
aarch64_fpu_restore:
    ldp     q0, q1, [x0, #32 * 0]
    ldp     q2, q3, [x0, #32 * 1]
    ldp     q4, q5, [x0, #32 * 2]
    ldp     q6, q7, [x0, #32 * 3]
    ldp     q8, q9, [x0, #32 * 4]
    ldp     q10, q11, [x0, #32 * 5]
    ldp     q12, q13, [x0, #32 * 6]
    ldp     q14, q15, [x0, #32 * 7]
    ldp     q16, q17, [x0, #32 * 8]
    ldp     q18, q19, [x0, #32 * 9]
    ldp     q20, q21, [x0, #32 * 10]
    ldp     q22, q23, [x0, #32 * 11]
    ldp     q24, q25, [x0, #32 * 12]
    ldp     q26, q27, [x0, #32 * 13]
    ldp     q28, q29, [x0, #32 * 14]
    ldp     q30, q31, [x0, #32 * 15]
    add     x0, x0, #0x200
    ldp     x1, x2, [x0]
    msr     fpcr, x1
    msr     fpsr, x2
    ret
    .arch_extension nosimd
    .arch_extension nofp
"#,
    saved = const SAVED,
);

unsafe extern "C" {
    fn aarch64_switch(save: *mut usize, load: usize);
    fn aarch64_thread_start();
    fn aarch64_fpu_save(state: *mut FpuRegisters);
    fn aarch64_fpu_restore(state: *const FpuRegisters);
}

/// Saves the callee-saved registers on the stack, stores its pointer in `save`, and goes on
/// where `load` was stored. Called with interrupts off; `load` is a stack pointer that this
/// function or [`initial_stack`] made and that is used once.
pub fn switch(save: &AtomicUsize, load: usize) {
    // SAFETY: the scheduler's contract above; the asm follows the procedure call standard.
    unsafe { aarch64_switch(save.as_ptr(), load) }
}

/// Prepares the stack that ends at `top` (16-byte aligned) so that the first [`switch`] to
/// the returned pointer calls `entry(arg)`, interrupts off.
#[must_use]
pub fn initial_stack(top: usize, entry: extern "C" fn(usize) -> !, arg: usize) -> usize {
    let mut frame = [0_usize; SAVED / 8];
    frame[1] = aarch64_thread_start as *const () as usize; // x30
    frame[2] = entry as usize; // x19
    frame[3] = arg; // x20
    let sp = (top & !15) - SAVED;
    // SAFETY: the top of a fresh stack, which nobody else uses.
    unsafe { (sp as *mut [usize; SAVED / 8]).write(frame) };
    sp
}

/// Tells where the kernel stack of the thread that runs ends: the next entry from user mode
/// begins there.
pub fn set_kernel_stack(top: usize) {
    super::percpu::current().arch.kernel_stack_top.store(top, Ordering::Relaxed);
}

/// The app's thread pointer, TPIDR_EL0.
#[must_use]
pub fn user_tls() -> usize {
    super::cpu::mrs!("tpidr_el0") as usize
}

/// Sets the app's thread pointer.
pub fn set_user_tls(value: usize) {
    // SAFETY: the kernel does not use TPIDR_EL0.
    unsafe { asm!("msr tpidr_el0, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

/// Floating-point and SIMD state of user mode: q0-q31, FPCR, FPSR. The kernel itself has
/// none, so it is saved on a switch between threads only. SVE and SME stay off.
pub struct FpuState(FpuRegisters);

impl FpuState {
    /// What a program starts with: all zero, round to nearest. Never fails on this arch.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self(FpuRegisters::new()))
    }

    /// The registers, as they were saved last.
    pub fn registers(&mut self) -> &mut FpuRegisters {
        &mut self.0
    }

    /// Saves the state of the thread that runs. Interrupts are off.
    pub fn save(&mut self) {
        // SAFETY: writes `self.0` alone.
        unsafe { aarch64_fpu_save(&mut self.0) }
    }

    /// Loads the state of the thread that is about to run. Interrupts are off.
    pub fn restore(&self) {
        // SAFETY: reads `self.0`; the registers are user mode's.
        unsafe { aarch64_fpu_restore(&self.0) }
    }
}
