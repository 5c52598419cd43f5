//! Memory: frames, page tables, the kernel heap, address spaces, access to user memory.

mod addr;
pub mod aspace;
pub mod buddy;
pub mod frame_cache;
pub mod layout;
pub mod mmu;
pub mod page;
pub mod regions;
pub mod room;
pub mod slab;
pub mod table;
pub mod vma;
pub mod zones;

#[cfg(target_os = "none")]
pub mod dma;
#[cfg(target_os = "none")]
pub mod frames;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod image;
#[cfg(target_os = "none")]
pub mod kernel;
#[cfg(target_os = "none")]
pub mod pages;
#[cfg(target_os = "none")]
pub mod slot;
#[cfg(target_os = "none")]
pub mod stack;
#[cfg(target_os = "none")]
pub mod usage;

pub use addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
#[cfg(target_os = "none")]
pub use frames::{phys_to_ptr, ptr_to_phys};
#[cfg(target_os = "none")]
pub use kernel::{InitError, init};
