//! Running a virtual machine, the deciding half: what QEMU's command line is, what the
//! kernel's command line is, and what an ended machine means. Pure; `exec::qemu` does it.

pub mod args;
pub mod cmdline;
pub mod guests;
pub mod image;
pub mod memory;
pub mod outcome;
