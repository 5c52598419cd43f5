//! Page tables as the CPU uses them: which are active, and what it remembers of them.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use super::pte::Format;
use super::tables::{self, FIX_SLOT, fix_entry};
use crate::mm::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, phys_to_ptr};

/// What the early tables map at [`super::DIRECT_MAP`].
static EARLY_START: AtomicU64 = AtomicU64::new(0);
static EARLY_END: AtomicU64 = AtomicU64::new(0);
/// How many early pages of registers are mapped.
static EARLY_DEVICES: AtomicUsize = AtomicUsize::new(0);

/// Remembers what the boot code has mapped.
pub(super) fn set_early(direct: PhysRange) {
    EARLY_START.store(direct.start.0, Ordering::Relaxed);
    EARLY_END.store(direct.end.0, Ordering::Relaxed);
}

/// What the early tables show, writable, at [`super::DIRECT_MAP`].
#[must_use]
pub fn early_mapped() -> PhysRange {
    PhysRange::new(
        PhysAddr(EARLY_START.load(Ordering::Relaxed)),
        PhysAddr(EARLY_END.load(Ordering::Relaxed)),
    )
}

/// Maps one page of registers, uncached, at the next free page of
/// `mm::layout::EARLY_DEVICE`. `None` when there is no place left or `page` is misaligned.
#[must_use]
pub fn early_device(page: PhysAddr) -> Option<VirtAddr> {
    let nth = EARLY_DEVICES.fetch_add(1, Ordering::Relaxed);
    // SAFETY: each `nth` comes once; early consoles run on the boot CPU, and ask for
    // registers.
    unsafe { tables::map_early_device(nth, page) }
}

/// Makes written entries visible to the table walker: after a mapping was added, before it
/// is used.
pub fn publish() {
    tables::publish();
}

/// Makes `root` the table of the kernel's half. It gets the mapping of the device tree,
/// which the boot tables had.
pub fn activate_kernel(root: PhysAddr) {
    let entry: *mut u64 = phys_to_ptr(root).cast();
    // SAFETY: `root` is a table that mm has just made, mapped like all RAM; slot 510 is not
    // in mm's layout.
    unsafe { entry.add(FIX_SLOT).write_volatile(fix_entry()) };
    publish();
    // SAFETY: the new tables map the running code, its stack and its data where they were.
    unsafe {
        asm!("msr ttbr1_el1, {}", "isb", "tlbi vmalle1", "dsb nsh", "isb", in(reg) root.0,
            options(nostack, preserves_flags));
        tables::detach_reclaimable(crate::mm::image::load_base().0);
    }
}

/// Makes `root` the table of the app's half.
pub fn activate_user(root: PhysAddr, asid: u16) {
    let ttbr = root.0 | u64::from(asid) << 48;
    // SAFETY: the kernel uses nothing of the app's half except through `uaccess`.
    unsafe {
        asm!("dsb ishst", "msr ttbr0_el1, {}", "isb", in(reg) ttbr,
            options(nostack, preserves_flags));
    }
}

/// This CPU uses nothing of the app's half until [`activate_user`]. Whatever is taken from it
/// meanwhile is told to all CPUs by the CPU that does it, at no price here.
pub fn leave_user() {}

/// Drops the translations of the pages in `va..va + len` on all CPUs, in all address spaces.
pub fn flush_pages(va: VirtAddr, len: usize) {
    // SAFETY: dropping translations only costs time.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    for page in (va.0..va.0 + len).step_by(PAGE_SIZE) {
        // TLBI's operand: bits 43:0 are bits 55:12 of the address (C5.5).
        let operand = page as u64 >> 12 & ((1 << 44) - 1);
        // SAFETY: as above.
        unsafe { asm!("tlbi vaae1is, {}", in(reg) operand, options(nostack, preserves_flags)) };
    }
    // SAFETY: as above.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// As [`flush_pages`], for pages of the app.
pub fn flush_user_pages(va: VirtAddr, len: usize) {
    flush_pages(va, len);
}

/// Drops all translations of the app's half on all CPUs, and with them the kernel's.
pub fn flush_user() {
    flush_all();
}

/// Drops all translations on all CPUs.
pub fn flush_all() {
    // SAFETY: as above.
    unsafe {
        asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags));
    }
}

/// Makes what was written to `bytes` visible to instruction fetches: before a page that has
/// got new content is mapped executable.
pub fn sync_instructions(bytes: &[u8]) {
    // CTR_EL0 (D17.2.34): IDC 28, DIC 29, DminLine 19:16, IminLine 3:0 in log2 of words.
    let ctr = super::cpu::mrs!("ctr_el0");
    let start = bytes.as_ptr() as usize;
    let end = start + bytes.len();
    if ctr & 1 << 28 == 0 {
        let line = 4_usize << (ctr >> 16 & 0xf);
        let mut at = start & !(line - 1);
        while at < end {
            // SAFETY: cleaning a line changes no value.
            unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
            at += line;
        }
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    if ctr & 1 << 29 == 0 {
        // By set: the page has another address where it is executed.
        // SAFETY: instruction caches hold no data of Rust's.
        unsafe { asm!("ic ialluis", options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
