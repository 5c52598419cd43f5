//! What the kernel says of the process and the machine, for a file system that shows it.

use alloc::vec::Vec;

/// What writes a file's text.
pub type Text = fn(&mut dyn core::fmt::Write) -> core::fmt::Result;
/// What finds where a link points to.
pub type Target = fn() -> Option<Vec<u8>>;

/// What there is to say, under the names of `proc(5)`.
#[derive(Clone, Copy)]
pub struct ProcessFiles {
    /// Of the machine: name and text.
    pub machine: &'static [(&'static str, Text)],
    /// Of the process.
    pub own: &'static [(&'static str, Text)],
    /// Links of the process.
    pub links: &'static [(&'static str, Target)],
    /// The open descriptors.
    pub fds: fn() -> Vec<i32>,
    /// Where a descriptor's link points to.
    pub fd: fn(i32) -> Option<Vec<u8>>,
    /// The process's number.
    pub pid: u32,
}

#[cfg(target_os = "none")]
unsafe extern "Rust" {
    /// In the kernel (`loader/src/drivers/files.rs`).
    safe fn osier_process_files() -> &'static ProcessFiles;
}

/// On the host there is no process.
#[cfg(not(target_os = "none"))]
fn osier_process_files() -> &'static ProcessFiles {
    static NONE: ProcessFiles =
        ProcessFiles { machine: &[], own: &[], links: &[], fds: Vec::new, fd: |_| None, pid: 1 };
    &NONE
}

/// What the kernel says. Behind a symbol, so that the linker drops it from kernels in which no
/// driver asks.
#[must_use]
pub fn process_files() -> &'static ProcessFiles {
    osier_process_files()
}
