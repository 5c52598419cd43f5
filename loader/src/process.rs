//! The one process: the app. (Its loading and its system calls are not connected yet.)

use crate::arch::trap::TrapFrame;
use crate::cmdline::Parsed;
use crate::end::{End, finish};
use crate::log::direct;
use crate::trap::{Access, Exception};

/// Starts the program that the command line names.
pub fn start(parsed: Parsed) -> ! {
    match parsed.words.first() {
        Some(program) => direct(format_args!(
            "osier: cannot start {}: programs are not connected yet\n",
            program.escape_ascii()
        )),
        None => direct(format_args!("osier: the command line names no program\n")),
    }
    finish(End::Halt)
}

/// A system call.
pub fn syscall(frame: &mut TrapFrame) {
    const ENOSYS: isize = 38;
    frame.set_syscall_result(-ENOSYS);
}

/// A page fault at a user address.
pub fn page_fault(_frame: &mut TrapFrame, _address: usize, _access: Access) -> bool {
    false
}

/// An exception of user mode.
pub fn exception(frame: &mut TrapFrame, exception: Exception) {
    direct(format_args!("exception in user mode: {exception:?}\n"));
    crate::trap::registers(frame);
    finish(End::Halt)
}

/// The last thing before a return to user mode.
pub fn return_to_user(_frame: &mut TrapFrame) {}
