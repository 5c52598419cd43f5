//! The ways from user mode and from interrupted code into the kernel, and back.
//!
//! All save the same [`TrapFrame`]. Exceptions and system calls run on the thread's kernel
//! stack, with interrupts on where the interrupted code had them on. Interrupts run on the
//! CPU's interrupt stack with interrupts off; before the kernel may switch threads on the way
//! out, the frame moves to the interrupted thread's own stack, because the next interrupt
//! reuses the interrupt stack from its top. NMI, double fault and machine check have stacks
//! of their own and trust nothing, not even GS.

use core::arch::global_asm;

use super::cpu::{KERNEL_SS, USER_CS, USER_SS};
pub use super::frame::TrapFrame;
use super::frame::{FRAME, RFLAGS_IF, RFLAGS_RESERVED, RFLAGS_RF, RFLAGS_TF, SYSCALL_VECTOR};
use super::{frame, idt, percpu, uaccess};
use crate::trap::{Access, Exception};

/// Vectors of exceptions (Intel SDM vol. 3, table 6-1).
mod vector {
    pub const DIVIDE: usize = 0;
    pub const DEBUG: usize = 1;
    pub const NMI: usize = 2;
    pub const BREAKPOINT: usize = 3;
    pub const OVERFLOW: usize = 4;
    pub const BOUND: usize = 5;
    pub const INVALID_OPCODE: usize = 6;
    pub const DEVICE_NOT_AVAILABLE: usize = 7;
    pub const DOUBLE_FAULT: usize = 8;
    pub const STACK: usize = 12;
    pub const GENERAL_PROTECTION: usize = 13;
    pub const PAGE_FAULT: usize = 14;
    pub const X87: usize = 16;
    pub const ALIGNMENT: usize = 17;
    pub const MACHINE_CHECK: usize = 18;
    pub const SIMD: usize = 19;
}

/// Bits of a page fault's error code (Intel SDM vol. 3, 4.7).
mod page_fault {
    pub const WRITE: usize = 1 << 1;
    pub const USER: usize = 1 << 2;
    pub const RESERVED: usize = 1 << 3;
    pub const FETCH: usize = 1 << 4;
}

unsafe extern "C" {
    /// The entry points of all vectors, [`STUB_SIZE`] bytes each.
    pub(super) safe static x64_vector_stubs: u8;
    /// What SYSCALL jumps to.
    pub(super) fn x64_syscall_entry();
    /// Goes on with the frame at `frame`.
    fn x64_trap_restore_from(frame: *const TrapFrame) -> !;
}

/// Distance of two stubs in bytes.
pub(super) const STUB_SIZE: usize = 8;

global_asm!(
    r#"
    .macro PUSH_REGISTERS
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rax
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .endm

    .macro POP_REGISTERS
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rax
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    .endm

    .pushsection .text.trap, "ax"
    /* Each pushes its vector, less 128 so that the instruction takes two bytes. */
    .balign 8
    .globl x64_vector_stubs
    .hidden x64_vector_stubs
x64_vector_stubs:
    .set .Lvector, 0
    .rept 256
    .balign 8
    pushq $(.Lvector - 128)
    .if (.Lvector == 8)
    jmp trap_paranoid_with_code
    .elseif (.Lvector == 2) || (.Lvector == 18)
    jmp trap_paranoid
    .elseif (.Lvector >= 10 && .Lvector <= 14) || (.Lvector == 17) || (.Lvector == 21) || (.Lvector == 29) || (.Lvector == 30)
    jmp trap_with_code
    .else
    jmp trap_without_code
    .endif
    .set .Lvector, .Lvector + 1
    .endr

    .balign 16
trap_without_code:
    pushq (%rsp)                /* the vector; above it, something in the code's place */
trap_with_code:
    subq $-128, (%rsp)
    cld
    testb $3, 24(%rsp)
    jz 1f
    swapgs
1:  PUSH_REGISTERS
    /* The CPU leaves a null SS after a change of stacks, SYSCALL a flat one. Nothing uses it,
       but an emulator keeps translated code apart by what it is. */
    movl ${kernel_ss}, %eax
    movl %eax, %ss
    movq %rsp, %rdi
    testb $3, {cs}(%rsp)
    jz 2f
    xorl %ebp, %ebp             /* a backtrace ends here */
2:  call {handle}
    /* rax: where the frame is to be on the way out */
    cmpq %rax, %rsp
    je 3f
    movq %rsp, %rsi
    movq %rax, %rdi
    movl ${frame} / 8, %ecx
    rep movsq
    movq %rax, %rsp
3:  movq %rsp, %rdi
    call {leave}
trap_restore:
    POP_REGISTERS
    testb $3, 24(%rsp)
    jz 4f
    swapgs
4:  addq $16, %rsp
    iretq

    .globl x64_trap_restore_from
    .hidden x64_trap_restore_from
x64_trap_restore_from:
    movq %rdi, %rsp
    jmp trap_restore

    /* May have come between any two instructions: GS may be the app's in ring 0 as well. */
    .balign 16
trap_paranoid:
    pushq (%rsp)
trap_paranoid_with_code:
    subq $-128, (%rsp)
    cld
    PUSH_REGISTERS
    movl ${gs_base}, %ecx
    rdmsr
    movl %eax, %r12d
    movl %edx, %r13d
    movq {frame}(%rsp), %rax    /* above the frame: whose stack this is */
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    movq %rsp, %rdi
    call {paranoid}
    movl ${gs_base}, %ecx
    movl %r12d, %eax
    movl %r13d, %edx
    wrmsr
    POP_REGISTERS
    addq $16, %rsp
    iretq

    /* SYSCALL: rcx = rip, r11 = rflags, the stack is still the app's, interrupts are off. */
    .balign 16
    .globl x64_syscall_entry
    .hidden x64_syscall_entry
x64_syscall_entry:
    swapgs
    movq %rsp, %gs:{user_rsp}
    movq %gs:{kernel_stack}, %rsp
    pushq ${user_ss}
    pushq %gs:{user_rsp}
    pushq %r11
    pushq ${user_cs}
    pushq %rcx
    pushq %rax
    pushq ${syscall_vector}
    PUSH_REGISTERS
    movq %rsp, %rdi
    xorl %ebp, %ebp
    sti
    call {syscall}
    /* Interrupts are off again. al: whether SYSRET brings the thread back as it should be. */
    testb %al, %al
    jz trap_restore
    POP_REGISTERS
    movq 40(%rsp), %rsp
    swapgs
    sysretq
    .popsection
"#,
    cs = const core::mem::offset_of!(TrapFrame, cs),
    frame = const FRAME,
    gs_base = const percpu::GS_BASE,
    user_rsp = const percpu::USER_RSP,
    kernel_stack = const percpu::KERNEL_STACK,
    kernel_ss = const KERNEL_SS,
    user_ss = const USER_SS,
    user_cs = const USER_CS,
    syscall_vector = const SYSCALL_VECTOR,
    handle = sym handle,
    leave = sym leave,
    paranoid = sym paranoid,
    syscall = sym syscall,
    options(att_syntax)
);

/// Lets a thread enter user mode for the first time, or at another place than it left.
pub fn resume_user(frame: &TrapFrame) -> ! {
    let mut frame = *frame;
    leave_to_user(&mut frame);
    // SAFETY: the frame is of user mode and lies on this thread's kernel stack, above the
    // stack pointer; interrupts are off, as the exchange of GS needs.
    unsafe { x64_trap_restore_from(&raw const frame) }
}

/// A system call. Returns whether SYSRET may be used.
extern "C" fn syscall(frame: &mut TrapFrame) -> bool {
    crate::trap::syscall(frame);
    leave_to_user(frame);
    // SYSRET takes rip from rcx and rflags from r11, sets fixed segments, and on Intel's CPUs
    // faults in ring 0, on the app's stack, when rip is not canonical. It cannot set RF, and
    // with TF the trap would come one instruction late.
    frame.rcx == frame.rip
        && frame.r11 == frame.rflags
        && frame.rip < super::USER_END
        && frame.cs == usize::from(USER_CS)
        && frame.ss == usize::from(USER_SS)
        && frame.rflags & (RFLAGS_RF | RFLAGS_TF) == 0
}

/// An exception or an interrupt. Returns where the frame is to be on the way out.
extern "C" fn handle(frame: &mut TrapFrame) -> *mut TrapFrame {
    uaccess::close();
    if frame.vector < usize::from(idt::FIRST_IRQ) {
        exception(frame);
        return frame;
    }
    super::irq::interrupt(frame.vector as u8);
    let here = core::ptr::from_mut(frame);
    let top = if frame.is_user() {
        percpu::kernel_stack()
    } else if frame.interrupts_were_on() && crate::thread::need_resched() {
        frame.rsp & !15
    } else {
        return here;
    };
    here.with_addr(top - FRAME)
}

/// The way out of [`handle`], on the interrupted thread's stack.
extern "C" fn leave(frame: &mut TrapFrame) {
    if frame.is_user() {
        leave_to_user(frame);
    } else if frame.vector >= usize::from(idt::FIRST_IRQ)
        && !super::cpu::on_interrupt_stack(core::ptr::from_mut(frame).addr())
    {
        // `handle` moved the frame because this thread may be, and is to be, preempted.
        crate::thread::preempt();
    }
}

/// What comes before every return to user mode. Returns with interrupts off.
fn leave_to_user(frame: &mut TrapFrame) {
    loop {
        // SAFETY: a thread on its own stack, without locks: interrupts may come.
        unsafe { core::arch::asm!("sti", options(nostack)) };
        crate::trap::return_to_user(frame);
        // SAFETY: from the last look for work to user mode nothing may come between.
        unsafe { core::arch::asm!("cli", options(nostack)) };
        if !crate::thread::need_resched() {
            break;
        }
        crate::thread::preempt();
    }
    if frame.rip >= super::USER_END {
        // IRET to a non-canonical address would fault in ring 0. This one is canonical and
        // never mapped: the fault comes from user mode.
        frame.rip = super::USER_END;
    }
    frame.rflags |= RFLAGS_IF | RFLAGS_RESERVED;
}

/// An exception, on the thread's stack.
fn exception(frame: &mut TrapFrame) {
    if frame.vector == vector::PAGE_FAULT {
        // Before another page fault can change it.
        let address = frame::cr2();
        return with_interrupts_as_before(frame, |frame| page_fault(frame, address));
    }
    if frame.is_user() {
        let exception = match frame.vector {
            vector::DIVIDE => Exception::DivideByZero,
            vector::DEBUG => Exception::SingleStep,
            vector::BREAKPOINT => Exception::Breakpoint,
            vector::INVALID_OPCODE => Exception::IllegalInstruction,
            vector::X87 | vector::SIMD => Exception::FloatingPoint,
            vector::ALIGNMENT => Exception::Alignment,
            vector::STACK => Exception::BadStack,
            _ => Exception::Protection,
        };
        return with_interrupts_as_before(frame, |frame| {
            crate::trap::user_exception(frame, exception);
        });
    }
    if !uaccess::fix_up(frame) {
        crate::trap::fatal(frame, name(frame.vector));
    }
}

/// Calls `f` with interrupts on, if the interrupted code had them on.
fn with_interrupts_as_before(frame: &mut TrapFrame, f: impl FnOnce(&mut TrapFrame)) {
    if frame.interrupts_were_on() {
        // SAFETY: the interrupted code on this stack had interrupts on as well.
        unsafe { core::arch::asm!("sti", options(nostack)) };
    }
    f(frame);
    // SAFETY: the way out expects them off.
    unsafe { core::arch::asm!("cli", options(nostack)) };
}

fn page_fault(frame: &mut TrapFrame, address: usize) {
    let access = Access {
        write: frame.code & page_fault::WRITE != 0,
        execute: frame.code & page_fault::FETCH != 0,
        user: frame.code & page_fault::USER != 0,
    };
    if frame.code & page_fault::RESERVED != 0 {
        crate::trap::fatal(frame, "a page-table entry with reserved bits");
    }
    if frame.is_user() {
        if !crate::trap::page_fault(frame, address, access) {
            crate::trap::fatal(frame, "an unhandled page fault in user mode");
        }
        return;
    }
    // The kernel itself touches user memory only where the fix-up table says so; anywhere
    // else a fault is a bug, whatever the address.
    let expected = uaccess::has_fix_up(frame.rip) && address < super::USER_END;
    if expected && crate::trap::page_fault(frame, address, access) {
        return;
    }
    if !(expected && uaccess::fix_up(frame)) {
        crate::trap::fatal(frame, name(vector::PAGE_FAULT));
    }
}

/// NMI, double fault, machine check: there is no way on, except from an NMI of our own.
extern "C" fn paranoid(frame: &mut TrapFrame) {
    uaccess::close();
    if frame.vector == vector::NMI && super::smp::nmi() {
        return;
    }
    crate::trap::fatal(frame, name(frame.vector));
}

/// What the manuals call an exception.
fn name(vector: usize) -> &'static str {
    match vector {
        vector::DIVIDE => "divide error",
        vector::DEBUG => "debug exception",
        vector::NMI => "non-maskable interrupt",
        vector::BREAKPOINT => "breakpoint",
        vector::OVERFLOW => "overflow",
        vector::BOUND => "bound range exceeded",
        vector::INVALID_OPCODE => "invalid opcode",
        vector::DEVICE_NOT_AVAILABLE => "device not available",
        vector::DOUBLE_FAULT => "double fault (kernel stack overflow?)",
        vector::STACK => "stack fault",
        vector::GENERAL_PROTECTION => "general protection fault",
        vector::PAGE_FAULT => "page fault",
        vector::X87 => "x87 floating-point error",
        vector::ALIGNMENT => "alignment check",
        vector::MACHINE_CHECK => "machine check",
        vector::SIMD => "SIMD floating-point error",
        _ => "unknown exception",
    }
}
