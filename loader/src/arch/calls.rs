//! The table of system calls, which xtask's link step writes (`formats/linux-abi`), and what
//! else it may leave out of a kernel.

use super::trap::TrapFrame;
use crate::fs::file::OpenFile;
use crate::process::Crash;
use crate::syscall::{Handler, QueueRequest};
use alloc::sync::Arc;

unsafe extern "C" {
    /// By number: how far `sys_<name>` is from the table's start, 0 where the kernel has none.
    static OSIER_SYSCALL_TABLE: i32;
    /// How many entries there are.
    static OSIER_SYSCALL_COUNT: u64;
    /// How far `osier_cpu_times` is from here, 0 in a kernel without a call or a driver that
    /// tells the app's CPU time from the kernel's.
    static OSIER_CPU_TIMES: i32;
    /// How far `osier_crash_dump` is from here, 0 where the kernel has none.
    static OSIER_CRASH_DUMP: i32;
    /// How far `osier_record_locks` is from here, 0 in a kernel without `flock`.
    static OSIER_RECORD_LOCKS: i32;
    /// How far `osier_signal_queue` is from here, 0 in a kernel without a call that sends
    /// signals, but for `tkill`.
    static OSIER_SIGNAL_QUEUE: i32;
}

/// What the code behind [`OSIER_CPU_TIMES`] is asked for: 0 and 1, the thread that runs goes
/// back to user mode or has come from there; else the clock in the lower half is read.
const READ: u64 = 1 << 32;

#[unsafe(export_name = "osier_cpu_times")]
extern "C" fn times(request: u64) -> u64 {
    if request >= READ {
        return crate::syscall::cpu_clock::read(request as u32).unwrap_or(u64::MAX);
    }
    crate::thread::cross(request != 0);
    0
}

/// What lies at the distance that stands at `here`, one of the words above; `None` for 0.
fn target(here: *const i32) -> Option<*const u8> {
    // SAFETY: a constant of the link step's object file. Volatile: nobody sees its value
    // before the link.
    let distance = unsafe { here.read_volatile() };
    (distance != 0).then(|| here.cast::<u8>().wrapping_offset(distance as isize))
}

/// Calls [`times`]. Only if [`splits_times`].
#[cold]
#[inline(never)]
fn call_times(request: u64) -> u64 {
    let Some(code) = target(&raw const OSIER_CPU_TIMES) else { return u64::MAX };
    // SAFETY: what lies there is `times`, whose type this is.
    let hook = unsafe { core::mem::transmute::<*const u8, extern "C" fn(u64) -> u64>(code) };
    hook(request)
}

/// Whether somebody may ask how a thread's CPU time divides.
#[must_use]
#[inline]
pub fn splits_times() -> bool {
    target(&raw const OSIER_CPU_TIMES).is_some()
}

/// The thread that runs has come from user mode (`enters`), or goes back there.
#[inline]
pub fn cross(enters: bool) {
    if splits_times() {
        call_times(u64::from(enters));
    }
}

/// What the clock of CPU time with this number says, in ns; `None` when there is none.
#[must_use]
pub fn read_cpu_clock(id: u32) -> Option<u64> {
    let ns = if splits_times() { call_times(READ | u64::from(id)) } else { u64::MAX };
    (ns != u64::MAX).then_some(ns)
}

/// Leaves the crash record, when the thread that runs has crashed; else puts it to rest for
/// good while another thread does so.
pub type CrashDump = extern "C" fn(&TrapFrame, Option<&Crash>);

#[unsafe(export_name = "osier_crash_dump")]
extern "C" fn dump(frame: &TrapFrame, crash: Option<&Crash>) {
    crate::process::dump(frame, crash);
}

/// The code that leaves crash records, in a kernel that was linked for them.
#[must_use]
pub fn crash_dump() -> Option<CrashDump> {
    let code = target(&raw const OSIER_CRASH_DUMP)?;
    // SAFETY: what lies there is `dump`, whose type this is.
    Some(unsafe { core::mem::transmute::<*const u8, CrashDump>(code) })
}

/// `fcntl` about a lock of a range: the file, the command, its argument; gives what the call
/// returns.
pub type RecordLocks = extern "C" fn(&Arc<OpenFile>, u32, usize) -> isize;

#[unsafe(export_name = "osier_record_locks")]
extern "C" fn lock(file: &Arc<OpenFile>, command: u32, at: usize) -> isize {
    crate::syscall::record_lock(file, command, at)
}

/// The code for locks of ranges, in a kernel with `flock`.
#[must_use]
pub fn record_locks() -> Option<RecordLocks> {
    let code = target(&raw const OSIER_RECORD_LOCKS)?;
    // SAFETY: what lies there is `lock`, whose type this is.
    Some(unsafe { core::mem::transmute::<*const u8, RecordLocks>(code) })
}

/// What is asked of the queue of signals; gives what a call returns.
pub type SignalQueue = extern "C" fn(&mut QueueRequest<'_>) -> isize;

#[unsafe(export_name = "osier_signal_queue")]
extern "C" fn queue(request: &mut QueueRequest<'_>) -> isize {
    crate::syscall::signal_queue(request)
}

/// The code for the queue of signals, in a kernel that has it.
#[must_use]
pub fn signal_queue() -> Option<SignalQueue> {
    let code = target(&raw const OSIER_SIGNAL_QUEUE)?;
    // SAFETY: what lies there is `queue`, whose type this is.
    Some(unsafe { core::mem::transmute::<*const u8, SignalQueue>(code) })
}

/// The code behind the system call `number`.
#[must_use]
pub fn handler(number: usize) -> Option<Handler> {
    let table = &raw const OSIER_SYSCALL_TABLE;
    // SAFETY: a constant of the link step's object file.
    let count = unsafe { OSIER_SYSCALL_COUNT } as usize;
    if number >= count {
        return None;
    }
    // SAFETY: the table has `count` entries. Volatile, since what is declared is the first alone.
    let distance = unsafe { table.add(number).read_volatile() };
    // SAFETY: what lies at the distance is a function that the `syscall!` macro made, all of
    // which are `Handler`s.
    (distance != 0).then(|| unsafe {
        core::mem::transmute::<*const u8, Handler>(
            table.cast::<u8>().wrapping_offset(distance as isize),
        )
    })
}
