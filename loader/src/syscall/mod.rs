//! The Linux system-call ABI.
//!
//! Each call is a symbol of its own, `sys_<name>`, made by the [`syscall!`] macro. xtask's
//! link step puts their addresses into the table that [`dispatch`] indexes: a call exists
//! when its function does. This is the only place that knows an errno.

mod clone;
pub mod cpu_clock;
mod dmesg;
mod errno;
mod events;
pub mod futex;
mod io;
mod layout;
mod locks;
mod memory;
mod mount;
mod names;
mod open;
mod poll;
mod process;
mod queue;
mod sched;
mod signals;
mod stat;
pub mod time;
mod timers;

pub use errno::Errno;
pub use queue::Request as QueueRequest;

use crate::arch;
use crate::arch::trap::TrapFrame;
use crate::fs::file::OpenFile;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use driver_api::Error;

/// A system call under way.
pub struct Call<'a> {
    /// Its arguments.
    pub args: [usize; 6],
    /// The registers that it came with, and goes back with.
    pub frame: &'a mut TrapFrame,
    /// The frame holds what the call returns already (`rt_sigreturn`).
    pub frame_is_set: bool,
}

/// The code behind a number.
pub type Handler = extern "C" fn(&mut Call<'_>) -> isize;

/// What a call's body returns.
pub type Outcome = core::result::Result<usize, Errno>;

/// A register as an argument of its C type: the upper half of a 32-bit one is ignored.
trait Argument {
    fn from_register(value: usize) -> Self;
}

macro_rules! arguments {
    ($($ty:ty)*) => { $(
        impl Argument for $ty {
            fn from_register(value: usize) -> Self {
                value as $ty
            }
        }
    )* };
}

arguments! { i32 u32 i64 u64 usize isize }

/// Defines system calls: `fn name(arg: type, …) { body }`, where the body's value is an
/// [`Outcome`]. With `[call]` after the name the body sees the [`Call`] as `call`.
macro_rules! syscall {
    ($($(#[$doc:meta])* fn $name:ident $([$call:ident])? ($($arg:ident : $ty:ty),* $(,)?) $body:block)*) => {
        $(syscall! { @one [$(#[$doc])*] $name [$($call)?] ($($arg : $ty),*) $body })*
    };
    (@one [$(#[$doc:meta])*] $name:ident [$($call:ident)?] ($($arg:ident : $ty:ty),*) $body:block) => {
        // In a block of its own, so that a call's name is free for other things.
        const _: () = {
            $(#[$doc])*
            #[unsafe(export_name = concat!("sys_", stringify!($name)))]
            extern "C" fn entry(#[allow(unused_variables)] context: &mut $crate::syscall::Call<'_>) -> isize {
                // Constant indices once compiled: an iterator would stay one.
                #[allow(unused_mut, unused_variables)]
                let mut n = 0;
                $(let $arg: $ty = $crate::syscall::Argument::from_register(context.args[n]);
                #[allow(unused_assignments)]
                { n += 1; })*
                $(let $call = &mut *context;)?
                #[allow(clippy::redundant_closure_call)]
                let outcome = (|| -> $crate::syscall::Outcome { $body })();
                $crate::syscall::errno::register(outcome)
            }
        };
    };
}
use syscall;

/// Calls that were reported as missing, a bit each, the last one for all numbers beyond: a
/// program that asks in a loop, or for one number after the other, is reported once.
static REPORTED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Carries out the system call that `frame` asks for.
pub fn dispatch(frame: &mut TrapFrame) {
    let number = frame.syscall_number();
    let args = frame.syscall_args();
    let Some(handler) = arch::calls::handler(number) else {
        report_missing(number);
        frame.set_syscall_result(Errno::ENOSYS.register());
        return;
    };
    let mut call = Call { args, frame, frame_is_set: false };
    let result = handler(&mut call);
    if call.frame_is_set {
        return;
    }
    if result == errno::RESTART {
        // Made again, unless a handler that does not want it runs first.
        frame.set_syscall_result(Errno::EINTR.register());
        crate::process::current().set_restart();
        return;
    }
    frame.set_syscall_result(result);
}

/// `fcntl` about a lock; gives what the call returns. Only by way of
/// [`arch::calls::record_locks`].
pub(crate) fn record_lock(file: &Arc<OpenFile>, command: u32, at: usize) -> isize {
    errno::register(locks::record_lock(file, command, at))
}

/// What is asked of the queue of signals; gives what a call returns. Only by way of
/// [`arch::calls::signal_queue`].
pub(crate) fn signal_queue(request: &mut QueueRequest<'_>) -> isize {
    errno::register(queue::carry_out(request))
}

fn report_missing(number: usize) {
    let seen = number.min(REPORTED.len() * 64 - 1);
    let bit = 1 << (seen % 64);
    if let Some(word) = REPORTED.get(seen / 64)
        && word.fetch_or(bit, Ordering::Relaxed) & bit != 0
    {
        return;
    }
    let name = if cfg!(target_arch = "x86_64") {
        linux_abi::name_x64(number as u64)
    } else {
        linux_abi::name_aarch64(number as u64)
    };
    match name {
        Some(name) => log::warn!(target: "syscall", "{name} ({number}) is not there: ENOSYS"),
        None => log::warn!(target: "syscall", "call {number} does not exist: ENOSYS"),
    }
}

/// The process that makes the call.
fn process() -> core::result::Result<&'static crate::process::Process, Error> {
    crate::process::get().ok_or(Error::Invalid)
}
