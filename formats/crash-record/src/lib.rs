//! The crash record: what the kernel leaves in memory when the app ends by a crash, for xtask,
//! which makes an ELF core of it and of the guest's RAM.
//!
//! The record is a list of items, each at a physical address, in one piece, linked by these
//! addresses. Over the end channel, before the end record (`end-record`), the kernel says
//! where the first one is:
//!
//! ```text
//! osier-dump 1 0x1fe3040 0x4000000     version of the format, physical address of the first
//!                                      item, first physical address after all RAM
//! ```
//!
//! All numbers are little-endian and 64 bits wide unless it is said otherwise:
//!
//! ```text
//!  0  magic "OSIERCR1"
//!  8  kind, 32 bits
//! 12  length of the payload in bytes, 32 bits
//! 16  physical address of the next item, 0 after the last
//! 24  payload
//! ```
//!
//! A payload is a row of numbers and of texts, each of which is its length and then its bytes:
//!
//! ```text
//! crash (1), once    arch (1 x64, 2 aarch64); root of the app's page tables; the app's stack
//!                    pointer when it began; threads alive; number of the thread that crashed;
//!                    user; group; siginfo; program; arguments, each with a NUL
//! mapping (2)        first address; end; flags (see `flags`); offset in the file; path
//! thread (3)         number; blocked signals; pending signals; user time in ns; system time in
//!                    ns; TLS register; XCR0 (x64, else 0); name; registers as in `elf_gregset_t`
//!                    (Linux's `struct user_regs_struct` or `user_pt_regs`); x64: what XSAVE or
//!                    FXSAVE wrote, aarch64: `struct user_fpsimd_state`
//! ```
//!
//! Page tables have four levels of 512 entries on both archs, as the CPU reads them. In an
//! entry that is not valid bit 10 says that it holds a page all the same, which the app may
//! not touch (`PROT_NONE`).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod read;
mod write;

pub use read::{BadRecord, Crash, Mapping, Memory, Record, Thread, announced};
pub use write::Item;

use core::fmt;

/// What the line on the end channel begins with: the word and the version of the format.
pub const PREFIX: &str = "osier-dump 1 ";
/// The first bytes of an item.
pub const MAGIC: [u8; 8] = *b"OSIERCR1";
/// Bytes before an item's payload.
pub const HEADER: usize = 24;

/// What an item is about.
pub mod kind {
    /// The crash itself.
    pub const CRASH: u32 = 1;
    /// A mapping.
    pub const MAPPING: u32 = 2;
    /// A thread.
    pub const THREAD: u32 = 3;
}

/// A mapping's flags.
pub mod flags {
    /// The app may read it.
    pub const READ: u64 = 1;
    /// The app may write it.
    pub const WRITE: u64 = 2;
    /// The app may execute it.
    pub const EXECUTE: u64 = 4;
    /// Writes are seen by others.
    pub const SHARED: u64 = 8;
    /// Its pages come from a file: one that is not there is what the file says.
    pub const FILE: u64 = 16;
    /// It is memory of a device.
    pub const DEVICE: u64 = 32;
}

/// The arch of the kernel that left the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X64 = 1,
    /// 64-bit ARM.
    Aarch64 = 2,
}

/// The line that tells where the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Physical address of the first item.
    pub first: u64,
    /// First physical address after all RAM.
    pub ram_end: u64,
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PREFIX}{:#x} {:#x}", self.first, self.ram_end)
    }
}

#[cfg(test)]
mod tests;
