//! The table of system calls, which xtask's link step writes (`formats/linux-abi`).

use crate::syscall::Handler;

unsafe extern "C" {
    /// Addresses of `sys_<name>` by number, 0 where the kernel has none.
    static OSIER_SYSCALL_TABLE: Option<Handler>;
    /// How many entries there are.
    static OSIER_SYSCALL_COUNT: u64;
}

/// The code behind the system call `number`.
#[must_use]
pub fn handler(number: usize) -> Option<Handler> {
    // SAFETY: a constant of the link step's object file.
    let count = unsafe { OSIER_SYSCALL_COUNT } as usize;
    if number >= count {
        return None;
    }
    // SAFETY: the table has `count` entries, each 0 (`None`) or the address of a function
    // that the `syscall!` macro made, all of which are `Handler`s.
    unsafe { (&raw const OSIER_SYSCALL_TABLE).add(number).read_volatile() }
}
