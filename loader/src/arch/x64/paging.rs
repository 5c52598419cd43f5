//! Page tables as the CPU uses them. The encoding is in `pte`.

use core::sync::atomic::Ordering;

use x86_64::registers::control::{Cr3, Cr3Flags, Cr4, Cr4Flags};
use x86_64::structures::paging::PhysFrame;

pub use super::pte::Format;
use crate::mm::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};

/// CPUID 8000_0001h, edx: leaves of 1 GiB.
const PDPE1GB: u32 = 1 << 26;

/// Looks what the CPU can do. Before the first page table is built.
pub(super) fn init() {
    let gigabyte = super::cpu::cpuid(0x8000_0001, 0)[3] & PDPE1GB != 0;
    super::pte::GIGABYTE_LEAVES.store(gigabyte, Ordering::Relaxed);
}

/// What the early tables show, writable, at `DIRECT_MAP`.
#[must_use]
pub fn early_mapped() -> PhysRange {
    PhysRange::with_len(PhysAddr(0), 4 << 30)
}

/// Maps one page of registers in the early tables. No early console here needs it: serial
/// ports are reached through I/O ports.
#[must_use]
pub fn early_device(_page: PhysAddr) -> Option<VirtAddr> {
    None
}

/// Makes `root` the table of this CPU.
fn load(root: PhysAddr) {
    let frame = PhysFrame::containing_address(x86_64::PhysAddr::new_truncate(root.0));
    // SAFETY: the callers give tables whose upper half maps the kernel.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

/// Makes the kernel's own table this CPU's; the lower half is empty in it.
pub fn activate_kernel(root: PhysAddr) {
    load(root);
    flush_all_here();
}

/// Makes an address space of the app this CPU's. Global (kernel) entries stay in the TLB, and
/// those of the app do when it is the same space and nothing was taken from it meanwhile.
/// Address-space identifiers are not used.
pub fn activate_user(root: PhysAddr, _asid: u16) {
    let cpu = &super::percpu::current().arch;
    // In this order: whoever takes something away from now on asks this CPU; what was taken
    // before is in the count.
    cpu.without_user.store(false, Ordering::SeqCst);
    let taken = super::smp::user_flushes();
    let same = cpu.user_root.swap(root.0, Ordering::Relaxed) == root.0;
    if cpu.user_flushes.swap(taken, Ordering::Relaxed) != taken || !same {
        load(root);
    }
}

/// This CPU uses nothing of the app's half until [`activate_user`]: what is taken from it need
/// not be told here. The tables stay, for threads of the same space are what mostly follows.
pub fn leave_user() {
    super::percpu::current().arch.without_user.store(true, Ordering::SeqCst);
}

/// Makes written entries visible to the table walker. x64's sees them at once: entries that
/// are not present are never cached.
pub fn publish() {}

/// Makes instructions that were just written visible to the CPU, which x64 does by itself.
pub fn sync_instructions(_bytes: &[u8]) {}

/// Forgets what the TLBs know of the pages in `va..va + len`, on all CPUs. The others are
/// asked once, however many pages there are: their answer is what takes time.
pub fn flush_pages(va: VirtAddr, len: usize) {
    flush_pages_here(va, len);
    super::smp::flush_others();
}

/// Forgets everything, global entries too, on all CPUs: before a table is freed, which a CPU
/// may walk ahead of what it does.
pub fn flush_all() {
    flush_all_here();
    super::smp::flush_others();
}

/// As [`flush_pages`], for pages of the app: a CPU that does not use its half is left alone.
pub fn flush_user_pages(va: VirtAddr, len: usize) {
    flush_pages_here(va, len);
    super::smp::flush_users();
}

/// As [`flush_user_pages`], for all pages of the app.
pub fn flush_user() {
    reload();
    super::smp::flush_users();
}

fn flush_pages_here(va: VirtAddr, len: usize) {
    for page in (va.0..va.0 + len).step_by(PAGE_SIZE) {
        // SAFETY: drops cached translations, no more.
        unsafe {
            core::arch::asm!("invlpg [{}]", in(reg) page, options(nostack, preserves_flags));
        }
    }
}

/// Forgets what is not global on this CPU.
fn reload() {
    let (frame, flags) = Cr3::read();
    // SAFETY: the table stays what it is.
    unsafe { Cr3::write(frame, flags) };
}

/// Forgets everything, global entries too, on this CPU.
pub(super) fn flush_all_here() {
    let cr4 = Cr4::read();
    // SAFETY: a change of CR4.PGE drops the whole TLB (Intel SDM vol. 3, 5.10.4.1), and so
    // does a write to CR3 when there are no global entries; CR4 ends as it was.
    unsafe {
        if cr4.contains(Cr4Flags::PAGE_GLOBAL) {
            Cr4::write(cr4 - Cr4Flags::PAGE_GLOBAL);
            Cr4::write(cr4);
        } else {
            reload();
        }
    }
}
