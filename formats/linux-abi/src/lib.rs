//! Numbers and names of the Linux system-call ABI.
//!
//! The kernel defines each call that it has as a symbol `sys_<name>`; the link step makes
//! the table that the entry code indexes by the arch's call number, from [`SYSCALLS`]. The
//! kernel itself needs only names, for its report of an unknown call: [`name_x64`] and
//! [`name_aarch64`] take them from a packed string per arch, so that a kernel holds neither
//! the other arch's names nor a pointer per name.
#![no_std]
#![forbid(unsafe_code)]

pub mod errno;
mod forms;
mod names;
mod table;

pub use forms::{Answer, Arg, FORMS, Form, NOT_MADE};
pub use names::{Name, name_aarch64, name_x64};
pub use table::SYSCALLS;

/// What the kernel's symbol of a call begins with: `sys_read` for `read`.
pub const SYMBOL_PREFIX: &str = "sys_";

/// One system call, with its number on each arch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// Linux's name, the part after `__NR_`.
    pub name: &'static str,
    /// Number on x86-64 (`rax`).
    pub x64: Option<u16>,
    /// Number on arm64 (`x8`).
    pub aarch64: Option<u16>,
}

/// The call named `name`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Syscall> {
    let at = SYSCALLS.binary_search_by_key(&name, |s| s.name).ok()?;
    SYSCALLS.get(at)
}

#[cfg(test)]
mod tests;
