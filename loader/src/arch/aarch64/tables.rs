//! The page tables of the first moments: filled by `head` with the MMU off and by `boot`
//! until `mm::init` activates the kernel's own.
//!
//! ```text
//! TTBR0  id page                  the image's first page at its physical address
//! TTBR1  L0[DIRECT_MAP]           RAM of the GiB that holds the image, 2 MiB blocks, NX
//!        L0[EARLY_DEVICE]         up to 16 pages of registers
//!        L0[510]                  the device tree, read-only; kept for ever
//!        L0[511]                  the image, 2 MiB blocks, read-write-execute until mm::init
//! ```

use core::cell::UnsafeCell;

use super::pte::{
    ADDRESS, AF, AP_READ_ONLY, ATTR_DEVICE, ATTR_NORMAL, NG, PXN, SH_INNER, TABLE_OR_PAGE, UXN,
    VALID,
};
use crate::mm::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, layout};

/// Descriptor of the identity-mapped page.
pub const ID_PAGE: u64 =
    VALID | TABLE_OR_PAGE | ATTR_NORMAL | AP_READ_ONLY | SH_INNER | AF | NG | UXN;
/// Descriptor of a block of the kernel image.
pub const KERNEL_BLOCK: u64 = VALID | ATTR_NORMAL | SH_INNER | AF | UXN;
/// Descriptor of a block of the early direct map.
const RAM_BLOCK: u64 = KERNEL_BLOCK | PXN;
/// Descriptor of a block that holds the device tree.
const DTB_BLOCK: u64 = RAM_BLOCK | AP_READ_ONLY;
/// Descriptor of a page of registers.
const DEVICE_PAGE: u64 = VALID | TABLE_OR_PAGE | ATTR_DEVICE | AF | UXN | PXN;

/// Indices of the tables in [`BOOT_TABLES`]; the identity map's four levels come first.
pub const K_L0: usize = 4;
/// Level 1 of the image's half.
pub const K_L1: usize = 5;
/// Level 2: two tables, for the image may cross a GiB.
pub const K_L2: usize = 6;
const FIX_L1: usize = 8;
const FIX_L2: usize = 9;
/// Never filled: what TTBR0 points to while there is no user address space.
pub const EMPTY: usize = 10;
/// From here on only the time before `mm::init` needs the tables.
const FIRST_RECLAIMABLE: usize = DIRECT_L1;
const DIRECT_L1: usize = 11;
const DIRECT_L2: usize = 12;
const DEVICE_L1: usize = 13;
const DEVICE_L2: usize = 14;
const DEVICE_L3: usize = 15;
const COUNT: usize = 16;

/// Length of [`BOOT_TABLES`] in bytes.
pub const BOOT_TABLES_LEN: usize = COUNT * PAGE_SIZE;

/// Bytes of a block (level 2).
const BLOCK: u64 = 2 << 20;
/// Bytes that a level-2 table spans.
const GIB: u64 = 1 << 30;

/// The level-0 entry of the device tree's mapping, which every kernel root keeps.
pub const FIX_SLOT: usize = 510;
/// Where the blocks that hold the device tree are mapped: two of them, for it is at most
/// 2 MiB long (booting.rst) and may begin anywhere in the first.
const FIX: usize = 0xffff_0000_0000_0000 | FIX_SLOT << 39;

/// The tables; see the module's documentation.
#[repr(C, align(4096))]
pub struct BootTables(UnsafeCell<[[u64; 512]; COUNT]>);

// SAFETY: written by the boot CPU only, before other CPUs run.
unsafe impl Sync for BootTables {}

/// In .bss; `head` clears and fills it with the MMU off.
pub static BOOT_TABLES: BootTables = BootTables(UnsafeCell::new([[0; 512]; COUNT]));

unsafe extern "C" {
    static __kernel_start: u8;
}

/// What to add to a virtual address of the image to get the physical one is
/// `load_base - image_virt()`.
pub fn image_virt() -> usize {
    &raw const __kernel_start as usize
}

/// Writes entry `index` of table `table`.
///
/// # Safety
/// Only the boot CPU, before others run, may call it, and the entry must map nothing that
/// breaks Rust's rules.
unsafe fn set(table: usize, index: usize, value: u64) {
    let base: *mut u64 = BOOT_TABLES.0.get().cast();
    if table < COUNT && index < 512 {
        // SAFETY: inside the array; the caller is the only writer.
        unsafe { base.add(table * 512 + index).write_volatile(value) };
    }
}

/// Physical address of table `table`, the image lying at `load_base`.
fn phys(load_base: u64, table: usize) -> u64 {
    let virt = BOOT_TABLES.0.get() as usize + table * PAGE_SIZE;
    load_base.wrapping_add((virt - image_virt()) as u64)
}

fn table(load_base: u64, index: usize) -> u64 {
    phys(load_base, index) | VALID | TABLE_OR_PAGE
}

/// Makes written entries visible to the table walker.
pub fn publish() {
    // SAFETY: barriers only.
    unsafe { core::arch::asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// Maps the device tree that begins at `start`: 2 MiB from there at least.
///
/// # Safety
/// Once, by the boot CPU; `start` is what the boot protocol says.
pub unsafe fn map_dtb(load_base: u64, start: PhysAddr) -> VirtAddr {
    let block = start.0 & !(BLOCK - 1) & ADDRESS;
    // SAFETY: fresh entries, read-only; the caller is the boot CPU.
    unsafe {
        set(FIX_L2, 0, block | DTB_BLOCK);
        set(FIX_L2, 1, (block + BLOCK) | DTB_BLOCK);
        set(FIX_L1, 0, table(load_base, FIX_L2));
        set(K_L0, FIX_SLOT, table(load_base, FIX_L1));
    }
    publish();
    VirtAddr(FIX + (start.0 & (BLOCK - 1)) as usize)
}

/// Level-0 entry [`FIX_SLOT`] for the kernel's own root.
pub fn fix_entry() -> u64 {
    let base: *const u64 = BOOT_TABLES.0.get().cast();
    // SAFETY: inside the array; after boot nobody writes it.
    unsafe { base.add(K_L0 * 512 + FIX_SLOT).read_volatile() }
}

/// Maps the whole 2 MiB blocks of `ram` that lie in the GiB of the image at
/// `arch::DIRECT_MAP`, and those that the image occupies. Returns what is mapped.
///
/// # Safety
/// Once, by the boot CPU; `ram` holds the image and is RAM.
pub unsafe fn map_early_direct(load_base: u64, ram: PhysRange) -> PhysRange {
    let gib = load_base & !(GIB - 1);
    let start = (ram.start.0.max(gib) + BLOCK - 1) & !(BLOCK - 1);
    let end = ram.end.0.min(gib + GIB) & !(BLOCK - 1);
    let mut at = start;
    while at < end {
        // SAFETY: RAM, not executable; the caller is the boot CPU.
        unsafe { set(DIRECT_L2, ((at - gib) / BLOCK) as usize, at | RAM_BLOCK) };
        at += BLOCK;
    }
    // SAFETY: as above.
    unsafe {
        set(DIRECT_L1, (gib >> 30 & 511) as usize, table(load_base, DIRECT_L2));
        set(K_L0, direct_slot(load_base), table(load_base, DIRECT_L1));
        set(DEVICE_L2, layout::EARLY_DEVICE >> 21 & 511, table(load_base, DEVICE_L3));
        set(DEVICE_L1, layout::EARLY_DEVICE >> 30 & 511, table(load_base, DEVICE_L2));
        set(K_L0, DEVICE_SLOT, table(load_base, DEVICE_L1));
    }
    publish();
    PhysRange::new(PhysAddr(start), PhysAddr(end))
}

/// The level-0 entry of the early pages of registers.
const DEVICE_SLOT: usize = layout::EARLY_DEVICE >> 39 & 511;

/// The level-0 entry of the early direct map.
fn direct_slot(load_base: u64) -> usize {
    (super::DIRECT_MAP >> 39 & 511) + (load_base >> 39) as usize
}

/// The tables that the kernel's own replace, as addresses in the image. Other CPUs start with
/// the rest.
pub fn reclaimable() -> core::ops::Range<usize> {
    let base = BOOT_TABLES.0.get() as usize;
    base + FIRST_RECLAIMABLE * PAGE_SIZE..base + BOOT_TABLES_LEN
}

/// Lets nothing refer to [`reclaimable`] any more: no walk of a CPU that starts may wander
/// into it.
///
/// # Safety
/// By the boot CPU, once the kernel's own tables are active.
pub unsafe fn detach_reclaimable(load_base: u64) {
    // SAFETY: the caller's contract; entries become empty.
    unsafe {
        set(K_L0, direct_slot(load_base), 0);
        set(K_L0, DEVICE_SLOT, 0);
    }
    publish();
}

/// Maps the `nth` early page of registers. `None` when there is no such place.
///
/// # Safety
/// By the boot CPU, each `nth` once; `page` is a page of device registers.
pub unsafe fn map_early_device(nth: usize, page: PhysAddr) -> Option<VirtAddr> {
    if nth >= layout::EARLY_DEVICE_PAGES || !page.0.is_multiple_of(PAGE_SIZE as u64) {
        return None;
    }
    let virt = layout::EARLY_DEVICE + nth * PAGE_SIZE;
    // SAFETY: a fresh entry; the caller is the boot CPU.
    unsafe { set(DEVICE_L3, virt >> 12 & 511, (page.0 & ADDRESS) | DEVICE_PAGE) };
    publish();
    Some(VirtAddr(virt))
}
