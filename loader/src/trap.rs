//! What the arch's vectors lead to.

use core::fmt::Write;

use crate::arch::trap::TrapFrame;
use crate::end::{End, finish};
use crate::log::Direct;
use crate::panic::backtrace;
use crate::thread;

pub use crate::mm::aspace::Access;

/// An exception of user mode that is no page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Integer division by zero, or overflow of a division.
    DivideByZero,
    /// A single step was done.
    SingleStep,
    /// A breakpoint instruction.
    Breakpoint,
    /// An undefined or privileged instruction.
    IllegalInstruction,
    /// A floating-point exception that is not masked.
    FloatingPoint,
    /// A misaligned access, or one that memory refused.
    Alignment,
    /// The stack segment (x64).
    BadStack,
    /// Something that user mode may not do.
    Protection,
}

/// A system call of the thread that runs. Interrupts are on.
pub fn syscall(frame: &mut TrapFrame) {
    thread::enter_kernel();
    crate::process::syscall(frame);
}

/// A page fault at a user address; whether access is possible now. Interrupts are as they
/// were where it came from.
pub fn page_fault(frame: &mut TrapFrame, address: usize, access: Access) -> bool {
    if frame.is_user() {
        thread::enter_kernel();
    }
    crate::process::page_fault(frame, address, access)
}

/// An exception of user mode: becomes a signal.
pub fn user_exception(frame: &mut TrapFrame, exception: Exception) {
    thread::enter_kernel();
    crate::process::exception(frame, exception);
}

/// The last thing before a return to user mode.
pub fn return_to_user(frame: &mut TrapFrame) {
    crate::process::return_to_user(frame);
    thread::leave_kernel();
}

/// An exception that the kernel cannot survive.
pub fn fatal(frame: &TrapFrame, what: &str) -> ! {
    let _irq = core::mem::ManuallyDrop::new(driver_api::sync::IrqGuard::new());
    let _ = writeln!(Direct, "\npanic: {what}");
    registers(frame);
    let _ = writeln!(Direct, "  #0 {:#x}", frame.pc());
    backtrace(frame.frame_pointer(), 1);
    finish(End::Panic)
}

/// Prints the registers of `frame`, four to a line.
pub fn registers(frame: &TrapFrame) {
    for (i, (name, value)) in frame.registers().enumerate() {
        let end = if i % 4 == 3 { "\n" } else { "" };
        let _ = write!(Direct, "  {name:>6} {value:016x}{end}");
    }
    let _ = Direct.write_str("\n");
}
