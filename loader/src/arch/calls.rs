//! The table of system calls, which xtask's link step writes (`formats/linux-abi`), and what
//! else it may leave out of a kernel.

use super::trap::TrapFrame;
use crate::process::Crash;
use crate::syscall::Handler;

unsafe extern "C" {
    /// By number: how far `sys_<name>` is from the table's start, 0 where the kernel has none.
    static OSIER_SYSCALL_TABLE: i32;
    /// How many entries there are.
    static OSIER_SYSCALL_COUNT: u64;
    /// How far `osier_cpu_times` is from here, 0 in a kernel without a call that tells the app's
    /// CPU time from the kernel's.
    static OSIER_CPU_TIMES: i32;
    /// How far `osier_crash_dump` is from here, 0 where the kernel has none.
    static OSIER_CRASH_DUMP: i32;
}

/// What the code behind [`OSIER_CPU_TIMES`] is asked for: 0 and 1, the thread that runs goes
/// back to user mode or has come from there; else the clock in the lower half is read.
const READ: u64 = 1 << 32;

/// `/proc` tells how CPU time divides.
const ALWAYS: bool = cfg!(feature = "procfs");

#[unsafe(export_name = "osier_cpu_times")]
extern "C" fn times(request: u64) -> u64 {
    if request >= READ {
        return crate::syscall::cpu_clock::read(request as u32).unwrap_or(u64::MAX);
    }
    crate::thread::cross(request != 0);
    0
}

fn times_distance() -> i32 {
    // SAFETY: a constant of the link step's object file. Volatile: nobody sees its value
    // before the link.
    unsafe { (&raw const OSIER_CPU_TIMES).read_volatile() }
}

/// Calls [`times`]. Only if [`splits_times`].
#[cold]
#[inline(never)]
fn call_times(request: u64) -> u64 {
    if ALWAYS {
        return times(request);
    }
    let here = (&raw const OSIER_CPU_TIMES).cast::<u8>();
    // SAFETY: what lies at the distance is `times`, whose type this is.
    let hook = unsafe {
        core::mem::transmute::<*const u8, extern "C" fn(u64) -> u64>(
            here.wrapping_offset(times_distance() as isize),
        )
    };
    hook(request)
}

/// Whether somebody may ask how a thread's CPU time divides.
#[must_use]
#[inline]
pub fn splits_times() -> bool {
    ALWAYS || times_distance() != 0
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
    let here = &raw const OSIER_CRASH_DUMP;
    // SAFETY: a constant of the link step's object file. Volatile: nobody sees its value
    // before the link.
    let distance = unsafe { here.read_volatile() };
    // SAFETY: what lies at the distance is `dump`, whose type this is.
    (distance != 0).then(|| unsafe {
        core::mem::transmute::<*const u8, CrashDump>(
            here.cast::<u8>().wrapping_offset(distance as isize),
        )
    })
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
