//! Where things lie in the kernel's half of the address space.
//!
//! ```text
//! arch::DIRECT_MAP        all RAM, NX; kernel text, rodata and the boot payload read-only
//! WINDOW (512 GiB)        kernel stacks between guard pages, device registers
//! high half + base        the kernel image, each segment with its own permissions
//! ```
//!
//! The top-level entries of all three exist from `mm::init` on and never change, so that an
//! address space of the app may copy them once.

/// The window for mappings that are made at run time: one top-level entry on both archs.
pub const WINDOW: usize = 0xffff_c000_0000_0000;
/// Length of [`WINDOW`] in bytes: what one top-level entry spans.
pub const WINDOW_LEN: usize = 1 << 39;

/// Device registers that drivers map before `mm::init` (`arch::paging::early_device`): the
/// first pages of the window. `mm::init` maps them at the same place again.
pub const EARLY_DEVICE: usize = WINDOW;
/// How many such pages there may be.
pub const EARLY_DEVICE_PAGES: usize = 16;

/// Device registers and other fixed mappings: the first half of the window.
pub const FIXED: usize = WINDOW + 0x10_0000;
/// Where they end.
pub const FIXED_END: usize = WINDOW + WINDOW_LEN / 2;

/// Kernel stacks: the second half of the window.
pub const STACKS: usize = FIXED_END;
/// Where they end.
pub const STACKS_END: usize = WINDOW + WINDOW_LEN;

/// log2 of the size of a kernel stack. Unoptimised code needs more.
pub const STACK_SHIFT: u32 = if cfg!(debug_assertions) { 16 } else { 14 };
/// Size of a kernel stack in bytes.
pub const STACK_SIZE: usize = 1 << STACK_SHIFT;
/// A stack lies in the lower half of a slot aligned to twice its size; the upper half is
/// never mapped and guards the next stack's lower end. So an address in a stack has bit
/// [`STACK_SHIFT`] clear, and one that ran over its end has it set: a test that entry code
/// can make without touching memory.
pub const STACK_SLOT: usize = 2 * STACK_SIZE;
/// How many stacks there can be.
pub const MAX_STACKS: usize = 4096;
