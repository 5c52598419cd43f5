//! What the vectors save, and who handles it.

use core::arch::asm;

use super::cpu::mrs;
use super::esr::{self, Class};
use super::{USER_END, uaccess};
use crate::trap::{Access, Exception};

pub use super::frame::TrapFrame;

/// PSTATE.I.
const IRQ_MASKED: usize = 1 << 7;

impl TrapFrame {
    /// Sets the thread pointer of the thread that runs.
    pub fn set_tls(&mut self, value: usize) {
        super::context::set_user_tls(value);
    }
}

/// Enters user mode for the first time in a thread: what lies on its kernel stack is gone.
pub fn resume_user(frame: &TrapFrame) -> ! {
    let mut user = *frame;
    user.make_user();
    crate::trap::return_to_user(&mut user);
    mask();
    // SAFETY: user mode's registers; interrupts are masked, so this thread stays on this CPU,
    // whose block says where its kernel stack ends.
    unsafe { super::vectors::resume_user(&user, super::percpu::kernel_stack_top()) }
}

/// Takes interrupts and SErrors again, as the interrupted context did.
fn unmask() {
    // SAFETY: called where the interrupted context had them on and the frame is saved.
    unsafe { asm!("msr daifclr, #6", options(nostack)) };
}

/// Masks everything, as before an exception return.
fn mask() {
    // SAFETY: masking is always allowed.
    unsafe { asm!("msr daifset, #0xf", options(nostack)) };
}

/// A synchronous exception from EL0.
pub(super) extern "C" fn user_sync(frame: &mut TrapFrame) {
    let far = mrs!("far_el1") as usize;
    unmask();
    match esr::class(frame.esr as u64) {
        Class::Syscall => crate::trap::syscall(frame),
        Class::InstructionAbort => {
            let access = Access { write: false, execute: true, user: true };
            user_fault(frame, far, access);
        }
        Class::DataAbort { write } => {
            user_fault(frame, far, Access { write, execute: false, user: true });
        }
        Class::Alignment | Class::ExternalAbort => {
            crate::trap::user_exception(frame, Exception::Alignment);
        }
        Class::Breakpoint => crate::trap::user_exception(frame, Exception::Breakpoint),
        Class::FloatingPoint => crate::trap::user_exception(frame, Exception::FloatingPoint),
        Class::Illegal => crate::trap::user_exception(frame, Exception::IllegalInstruction),
    }
    leave_user(frame);
}

/// A fault of user mode on one of its addresses; the process makes a signal of what it
/// cannot handle.
fn user_fault(frame: &mut TrapFrame, address: usize, access: Access) {
    if crate::trap::page_fault(frame, address, access) {
        super::paging::publish();
    } else {
        crate::trap::fatal(frame, "fault in user mode that nobody handled");
    }
}

/// The last steps before user mode goes on. A thread that was woken meanwhile and is better
/// runs first: no interrupt may come for long.
fn leave_user(frame: &mut TrapFrame) {
    loop {
        crate::trap::return_to_user(frame);
        mask();
        if !preempt_if_due() {
            break;
        }
        unmask();
    }
}

/// A synchronous exception from EL1: only the instructions of the fix-up table may fault.
pub(super) extern "C" fn kernel_sync(frame: &mut TrapFrame) {
    let far = mrs!("far_el1") as usize;
    let class = esr::class(frame.esr as u64);
    let Some(resume) = uaccess::fix_up(frame.pc) else {
        crate::trap::fatal(frame, esr::describe(class));
    };
    if let Class::DataAbort { write } = class
        && far < USER_END
        && frame.pstate & IRQ_MASKED == 0
    {
        // The page may have to be read from a device: go on as the interrupted context did.
        unmask();
        let handled =
            crate::trap::page_fault(frame, far, Access { write, execute: false, user: false });
        mask();
        if handled {
            super::paging::publish();
            return;
        }
    }
    frame.pc = resume;
}

/// An SError: memory or a device reported an error too late to say where.
pub(super) extern "C" fn serror(frame: &mut TrapFrame) -> ! {
    crate::trap::fatal(frame, "SError: a memory access failed");
}

/// A vector that nothing should reach: FIQ, AArch32, SP_EL0.
pub(super) extern "C" fn unexpected(frame: &mut TrapFrame) -> ! {
    crate::trap::fatal(frame, "exception of an unexpected kind");
}

/// The stack pointer of EL1 has run into a guard page.
pub(super) extern "C" fn stack_overflow(frame: &mut TrapFrame) -> ! {
    crate::trap::fatal(frame, "kernel stack overflow");
}

/// On the way out of an interrupt of EL1, on the interrupted thread's stack.
pub(super) extern "C" fn kernel_irq_exit(_frame: &mut TrapFrame) {
    preempt_if_due();
}

/// On the way out of an interrupt of EL0, on the interrupted thread's kernel stack.
pub(super) extern "C" fn user_irq_exit(frame: &mut TrapFrame) {
    unmask();
    leave_user(frame);
}

/// Lets a better thread run, interrupts off; whether there was one.
fn preempt_if_due() -> bool {
    let due = crate::thread::need_resched();
    if due {
        // The thread that runs next expects SErrors as they are in threads: on.
        // SAFETY: an SError is fatal anyway; the frame is saved.
        unsafe { asm!("msr daifclr, #4", options(nostack)) };
        crate::thread::preempt();
        mask();
    }
    due
}
