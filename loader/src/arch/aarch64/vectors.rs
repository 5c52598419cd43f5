//! The exception vectors, and the ways into and out of the kernel.
//!
//! Every exception saves a [`TrapFrame`] on the kernel stack of the thread it hits (from EL0
//! that stack is empty, from EL1 it goes below what is there). Interrupts are then handled on
//! the CPU's interrupt stack; on their way out a thread is preempted on its own stack again.
//!
//! Stack overflow: before anything is written below the stack pointer of EL1, `AT S1E1W` asks
//! the MMU whether the frame's lowest byte can be written. When it cannot, the stack pointer
//! has run into a guard page: the frame goes to the CPU's overflow stack, and the kernel
//! panics. TPIDRRO_EL0 is the one scratch register; it is zero whenever EL0 runs.

use core::arch::global_asm;
use core::mem::offset_of;

use super::percpu::ArchPerCpu;
use super::trap::TrapFrame;

global_asm!(
    r#"
    .macro save_registers
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    stp     x18, x19, [sp, #16 * 9]
    stp     x20, x21, [sp, #16 * 10]
    stp     x22, x23, [sp, #16 * 11]
    stp     x24, x25, [sp, #16 * 12]
    stp     x26, x27, [sp, #16 * 13]
    stp     x28, x29, [sp, #16 * 14]
    str     x30, [sp, #16 * 15]
    str     x0, [sp, #{orig_x0}]
    mrs     x1, elr_el1
    mrs     x2, spsr_el1
    stp     x1, x2, [sp, #{pc}]
    mrs     x3, esr_el1
    str     x3, [sp, #{esr}]
    .endm

    // From EL0. The frame record ends the chain of frame pointers.
    .macro enter_from_user
    sub     sp, sp, #{frame_len}
    save_registers
    mrs     x0, sp_el0
    str     x0, [sp, #{sp}]
    stp     xzr, xzr, [sp, #{record}]
    add     x29, sp, #{record}
    mov     x0, sp
    .endm

    // From EL1. The frame record continues the interrupted chain.
    .macro enter_from_kernel
    sub     sp, sp, #{frame_len}
    msr     tpidrro_el0, x0
    mov     x0, sp
    at      s1e1w, x0
    isb
    mrs     x0, par_el1
    tbnz    x0, #0, stack_overflow
    mrs     x0, tpidrro_el0
    msr     tpidrro_el0, xzr
    save_registers
    add     x0, sp, #{frame_len}
    str     x0, [sp, #{sp}]
    stp     x29, x1, [sp, #{record}]
    add     x29, sp, #{record}
    mov     x0, sp
    .endm

    // Restores all but x0, x1 and the stack pointers from the frame at \base; ends with
    // x0, x1. \base is x0 or sp.
    .macro restore_registers base
    ldp     x1, x2, [\base, #{pc}]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldp     x2, x3, [\base, #16 * 1]
    ldp     x4, x5, [\base, #16 * 2]
    ldp     x6, x7, [\base, #16 * 3]
    ldp     x8, x9, [\base, #16 * 4]
    ldp     x10, x11, [\base, #16 * 5]
    ldp     x12, x13, [\base, #16 * 6]
    ldp     x14, x15, [\base, #16 * 7]
    ldp     x16, x17, [\base, #16 * 8]
    ldp     x18, x19, [\base, #16 * 9]
    ldp     x20, x21, [\base, #16 * 10]
    ldp     x22, x23, [\base, #16 * 11]
    ldp     x24, x25, [\base, #16 * 12]
    ldp     x26, x27, [\base, #16 * 13]
    ldp     x28, x29, [\base, #16 * 14]
    ldr     x30, [\base, #16 * 15]
    ldp     x0, x1, [\base, #16 * 0]
    .endm

    // Calls \handler(frame) on the CPU's interrupt stack. x0 is the frame.
    .macro on_interrupt_stack handler
    mov     x19, sp
    mrs     x1, tpidr_el1
    ldr     x1, [x1, #{irq_stack}]
    mov     sp, x1
    bl      \handler
    mov     sp, x19
    mov     x0, sp
    .endm

    .macro vector target
    .balign 128
    b       \target
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .global aarch64_vectors
aarch64_vectors:
    // From EL1 with SP_EL0, which the kernel never uses.
    vector  unexpected
    vector  unexpected
    vector  unexpected
    vector  unexpected
    // From EL1 with SP_EL1.
    vector  kernel_sync
    vector  kernel_irq
    vector  unexpected
    vector  kernel_serror
    // From EL0, AArch64.
    vector  user_sync
    vector  user_irq
    vector  user_unexpected
    vector  user_serror
    // From EL0, AArch32: never entered.
    vector  user_unexpected
    vector  user_unexpected
    vector  user_unexpected
    vector  user_unexpected

kernel_sync:
    enter_from_kernel
    bl      {kernel_sync}
leave_to_kernel:
    restore_registers sp
    add     sp, sp, #{frame_len}
    eret

kernel_irq:
    enter_from_kernel
    on_interrupt_stack {irq}
    bl      {kernel_irq_exit}
    b       leave_to_kernel

kernel_serror:
    enter_from_kernel
    bl      {serror}
    brk     #0

unexpected:
    enter_from_kernel
    bl      {unexpected}
    brk     #0

user_sync:
    enter_from_user
    bl      {user_sync}
leave_to_user:
    ldr     x0, [sp, #{sp}]
    msr     sp_el0, x0
    restore_registers sp
    add     sp, sp, #{frame_len}
    eret

user_irq:
    enter_from_user
    on_interrupt_stack {irq}
    bl      {user_irq_exit}
    b       leave_to_user

user_serror:
    enter_from_user
    bl      {serror}
    brk     #0

user_unexpected:
    enter_from_user
    bl      {unexpected}
    brk     #0

    // x0 is in TPIDRRO_EL0, sp in a guard page. There is no way back, so SP_EL0 may go.
stack_overflow:
    msr     sp_el0, x1
    add     x1, sp, #{frame_len}
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{overflow_stack}]
    sub     x0, x0, #{frame_len}
    mov     sp, x0
    str     x1, [sp, #{sp}]
    mrs     x0, tpidrro_el0
    mrs     x1, sp_el0
    save_registers
    stp     x29, x1, [sp, #{record}]
    add     x29, sp, #{record}
    mov     x0, sp
    bl      {overflow}
    brk     #0

    // aarch64_resume_user(frame, kernel stack top) -> !
    .global aarch64_resume_user
aarch64_resume_user:
    msr     daifset, #0xf
    mov     sp, x1
    ldr     x1, [x0, #{sp}]
    msr     sp_el0, x1
    restore_registers x0
    eret
"#,
    frame_len = const size_of::<TrapFrame>(),
    sp = const offset_of!(TrapFrame, sp),
    pc = const offset_of!(TrapFrame, pc),
    orig_x0 = const offset_of!(TrapFrame, orig_x0),
    esr = const offset_of!(TrapFrame, esr),
    record = const offset_of!(TrapFrame, record),
    irq_stack = const offset_of!(ArchPerCpu, irq_stack_top),
    overflow_stack = const offset_of!(ArchPerCpu, overflow_stack_top),
    kernel_sync = sym super::trap::kernel_sync,
    user_sync = sym super::trap::user_sync,
    serror = sym super::trap::serror,
    unexpected = sym super::trap::unexpected,
    overflow = sym super::trap::stack_overflow,
    irq = sym super::irq::interrupt,
    kernel_irq_exit = sym super::trap::kernel_irq_exit,
    user_irq_exit = sym super::trap::user_irq_exit,
);

unsafe extern "C" {
    /// Loads `frame` and enters EL0, leaving `top` as the kernel stack pointer.
    fn aarch64_resume_user(frame: *const TrapFrame, top: usize) -> !;
}

/// Enters user mode with `frame`; the next exception's frame is pushed at `top`.
///
/// # Safety
/// `top` is the top of the current thread's kernel stack, of which nothing is used any more;
/// `frame` is one of user mode.
pub unsafe fn resume_user(frame: &TrapFrame, top: usize) -> ! {
    // SAFETY: the caller's contract.
    unsafe { aarch64_resume_user(frame, top) }
}
