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
    /// How far `osier_crash_dump` is from here, 0 where the kernel has none.
    static OSIER_CRASH_DUMP: i32;
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
