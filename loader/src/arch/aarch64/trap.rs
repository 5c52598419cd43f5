//! What the vectors save, and who handles it.

use core::arch::asm;

use super::cpu::mrs;
use super::esr::{self, Class};
use super::{USER_END, uaccess};
use crate::trap::{Access, Exception};

/// The registers of an interrupted context, as the vectors write them.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct TrapFrame {
    /// x0-x30.
    pub regs: [usize; 31],
    pub(super) sp: usize,
    pub(super) pc: usize,
    pub(super) pstate: usize,
    /// x0 as it was on entry: a system call's first argument, for restarts.
    pub orig_x0: usize,
    pub(super) esr: usize,
    /// A frame record (AAPCS64, "The Frame Pointer"), so that walks go through exceptions.
    pub(super) record: [usize; 2],
}

const _: () = assert!(size_of::<TrapFrame>().is_multiple_of(16));

/// PSTATE.M: EL0, AArch64.
const EL0T: usize = 0;
/// PSTATE.M[4:0].
const MODE: usize = 0x1f;
/// PSTATE bits that user mode may choose: N, Z, C, V.
const USER_FLAGS: usize = 0xf << 28;
/// PSTATE.I.
const IRQ_MASKED: usize = 1 << 7;

/// Names of x0-x30 in crash reports.
const NAMES: [&str; 31] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
    "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "x29", "x30",
];

impl TrapFrame {
    /// The first frame of a thread of user mode: all registers 0.
    #[must_use]
    pub const fn new_user(pc: usize, sp: usize) -> Self {
        Self { regs: [0; 31], sp, pc, pstate: EL0T, orig_x0: 0, esr: 0, record: [0; 2] }
    }

    /// Number of the system call: x8.
    #[must_use]
    pub fn syscall_number(&self) -> usize {
        self.regs[8]
    }

    /// Arguments of the system call: x0-x5.
    #[must_use]
    pub fn syscall_args(&self) -> [usize; 6] {
        let [_, a1, a2, a3, a4, a5, ..] = self.regs;
        [self.orig_x0, a1, a2, a3, a4, a5]
    }

    /// What the system call returns: x0.
    pub fn set_syscall_result(&mut self, result: isize) {
        self.regs[0] = result as usize;
    }

    /// Makes the system call happen again when user mode goes on: the SVC is executed anew.
    pub fn restart_syscall(&mut self) {
        self.regs[0] = self.orig_x0;
        self.pc = self.pc.wrapping_sub(4);
    }

    /// Where it was interrupted.
    #[must_use]
    pub fn pc(&self) -> usize {
        self.pc
    }

    /// Its stack pointer.
    #[must_use]
    pub fn sp(&self) -> usize {
        self.sp
    }

    /// Sets where it goes on.
    pub fn set_pc(&mut self, pc: usize) {
        self.pc = pc;
    }

    /// Sets its stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.sp = sp;
    }

    /// Sets the `n`-th argument of a function that user mode is about to enter (0 … 7).
    pub fn set_arg(&mut self, n: usize, value: usize) {
        if let Some(register) = self.regs.get_mut(n).filter(|_| n < 8) {
            *register = value;
        }
    }

    /// Sets the thread pointer of the thread that runs.
    pub fn set_tls(&mut self, value: usize) {
        super::context::set_user_tls(value);
    }

    /// The condition flags, as a signal frame keeps them.
    #[must_use]
    pub fn flags(&self) -> usize {
        self.pstate
    }

    /// Takes the condition flags from `flags` and nothing else: safe with a value that user
    /// mode has written.
    pub fn set_flags(&mut self, flags: usize) {
        self.pstate = (self.pstate & !USER_FLAGS) | (flags & USER_FLAGS);
    }

    /// Whether user mode was interrupted.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.pstate & MODE == EL0T
    }

    /// Its frame pointer: x29.
    #[must_use]
    pub fn frame_pointer(&self) -> usize {
        self.regs[29]
    }

    /// All registers by name, for crash reports.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        let general = NAMES.iter().copied().zip(self.regs.iter().copied());
        general.chain([
            ("sp", self.sp),
            ("pc", self.pc),
            ("pstate", self.pstate),
            ("esr", self.esr),
        ])
    }
}

/// Enters user mode for the first time in a thread: what lies on its kernel stack is gone.
pub fn resume_user(frame: &TrapFrame) -> ! {
    let mut user = frame.clone();
    user.pstate = (user.pstate & USER_FLAGS) | EL0T;
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

/// The last steps before user mode goes on.
fn leave_user(frame: &mut TrapFrame) {
    crate::trap::return_to_user(frame);
    mask();
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
    preempt_if_due();
    unmask();
    leave_user(frame);
}

/// Lets a better thread run, interrupts off.
fn preempt_if_due() {
    if crate::thread::need_resched() {
        // The thread that runs next expects SErrors as they are in threads: on.
        // SAFETY: an SError is fatal anyway; the frame is saved.
        unsafe { asm!("msr daifclr, #4", options(nostack)) };
        crate::thread::preempt();
        mask();
    }
}
