//! Memory: frames, page tables, the kernel heap, address spaces, access to user memory.

mod addr;
pub mod aspace;
pub mod layout;
pub mod table;
pub mod vma;

pub use addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
