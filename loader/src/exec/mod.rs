//! Starting a Linux program: the ELF file, its address space, its first stack.
//!
//! [`elf`] reads the headers, [`plan`] decides where everything goes, [`stack`] builds the
//! bytes that the program finds at its stack pointer. All three are functions from values to
//! values; `crate::process` carries the plan out.

pub mod elf;
pub mod plan;
pub mod stack;
