//! The table of system calls, which xtask's link step writes (`formats/linux-abi`).

use crate::syscall::Handler;

unsafe extern "C" {
    /// By number: how far `sys_<name>` is from the table's start, 0 where the kernel has none.
    static OSIER_SYSCALL_TABLE: i32;
    /// How many entries there are.
    static OSIER_SYSCALL_COUNT: u64;
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
