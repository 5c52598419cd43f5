//! From the compiled static library to a kernel at its place: linker arguments, the
//! system-call table, relocation, the check of the result, stripping, the size ledger.
//!
//! Everything here is a function from values and bytes to values and bytes; running the
//! linker and moving files is `exec`'s. ELF files are input like any other: malformed
//! bytes end in an error, never in a panic.

mod check;
mod debug;
mod dynamic;
pub mod elf;
mod lld;
mod names;
pub mod patch;
mod program;
mod relocate;
pub mod relocs;
mod size;
mod strip;
mod syscalls;

#[cfg(test)]
pub use check::{CheckError, Finding};
pub use check::{CheckPlan, check};
pub use lld::{LinkInputs, lld_args};
pub use program::strip_program;
#[cfg(test)]
pub use relocate::Relocated;
pub use relocate::{RelocateError, RelocatePlan, relocate};
#[cfg(test)]
pub use size::OwnerSize;
pub use size::{SizeTable, size_table};
pub use strip::{strip, strip_sections};
pub use syscalls::{syscall_object, syscalls_defined, syscalls_kept};

#[cfg(test)]
pub mod tests;
