//! From the first Rust function to `kmain`: the device tree becomes a [`BootInfo`].

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use super::{describe, paging, percpu, platform, power, tables};
use crate::bootinfo::{BootInfo, MAX_CMDLINE, RegionKind};
use crate::dtb::{self, Dtb};
use crate::mm::{PhysAddr, PhysRange, VirtAddr};
use crate::percpu::BOOT_CPU;

/// Length of the stack that the kernel boots on, its guard page included.
pub const BOOT_STACK_LEN: usize = 36 << 10;
/// Length of the stack that a stack overflow is reported on: enough for a panic.
const OVERFLOW_STACK_LEN: usize = 8 << 10;
/// Longest device tree (booting.rst).
const MAX_DTB: usize = 2 << 20;

/// A stack in .bss.
#[repr(C, align(4096))]
pub struct Stack<const LEN: usize>(UnsafeCell<[u8; LEN]>);

// SAFETY: memory that only the stack pointer refers to.
unsafe impl<const LEN: usize> Sync for Stack<LEN> {}

impl<const LEN: usize> Stack<LEN> {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; LEN]))
    }

    fn top(&self) -> usize {
        self.0.get() as usize + LEN
    }
}

/// The stack that the kernel boots on. Its first page is unmapped as soon as `mm::init` has
/// made tables.
pub static BOOT_STACK: Stack<BOOT_STACK_LEN> = Stack::new();
static OVERFLOW_STACK: Stack<OVERFLOW_STACK_LEN> = Stack::new();

/// The command line outlives the boot tables, which the device tree is read through.
struct Cmdline(UnsafeCell<[u8; MAX_CMDLINE]>);

// SAFETY: written once, by the boot CPU, before anybody reads it.
unsafe impl Sync for Cmdline {}

static CMDLINE: Cmdline = Cmdline(UnsafeCell::new([0; MAX_CMDLINE]));

/// The page of the image that ends the boot stack: never mapped by the kernel's own tables.
#[must_use]
pub fn boot_stack_guard() -> Option<VirtAddr> {
    Some(VirtAddr(BOOT_STACK.0.get() as usize))
}

/// Entered by `head` with the MMU on, at virtual addresses, on [`BOOT_STACK`]: `dtb` is where
/// the device tree is, `load_base` where the image is.
pub(super) extern "C" fn rust_entry(dtb: u64, load_base: u64) -> ! {
    percpu::install(&BOOT_CPU);
    BOOT_CPU.arch.overflow_stack_top.store(OVERFLOW_STACK.top(), Ordering::Relaxed);
    // Without a device tree there is neither memory nor a console to say so on.
    let Some((tree, range)) = device_tree(dtb, load_base) else { super::cpu::halt() };
    let info = boot_info(&tree, range, load_base);
    let ram = info.memory.regions().iter().find(|r| {
        r.kind == RegionKind::Usable && r.range.start.0 <= load_base && load_base < r.range.end.0
    });
    let direct = match ram {
        // SAFETY: the boot CPU, once; the device tree says that it is RAM.
        Some(region) => unsafe { tables::map_early_direct(load_base, region.range) },
        None => PhysRange::EMPTY,
    };
    paging::set_early(direct);
    platform::init(tree);
    crate::kmain(info)
}

/// Maps and reads the device tree at `start`.
fn device_tree(start: u64, load_base: u64) -> Option<(Dtb<'static>, PhysRange)> {
    if start == 0 || !start.is_multiple_of(8) {
        return None;
    }
    // SAFETY: the boot CPU, once; the protocol says that the device tree is there.
    let virt = unsafe { tables::map_dtb(load_base, PhysAddr(start)) };
    // SAFETY: mapped for ever, read-only, at least 2 MiB; nobody writes it.
    let header = unsafe { core::slice::from_raw_parts(virt.0 as *const u8, dtb::HEADER_LEN) };
    let len = dtb::total_size(header).ok().filter(|&len| len <= MAX_DTB)?;
    // SAFETY: as above.
    let bytes = unsafe { core::slice::from_raw_parts(virt.0 as *const u8, len) };
    let tree = Dtb::new(bytes).ok()?;
    Some((tree, PhysRange::with_len(PhysAddr(start), tree.used_len() as u64)))
}

/// What the tree says, as the kernel's hand-over.
fn boot_info(tree: &Dtb<'static>, dtb: PhysRange, load_base: u64) -> BootInfo {
    let machine = describe::machine(tree, dtb);
    power::set_conduit(machine.conduit);
    BootInfo {
        protocol: "Linux Image",
        load_base: PhysAddr(load_base),
        memory: machine.memory,
        cmdline: keep(machine.bootargs),
        module: machine.initrd,
        rsdp: None,
        dtb: Some(dtb),
        seed: machine.seed,
    }
}

/// Copies the command line to where it stays; at most [`MAX_CMDLINE`] bytes.
fn keep(text: &[u8]) -> &'static [u8] {
    let text = text.get(..MAX_CMDLINE).unwrap_or(text);
    let to: *mut u8 = CMDLINE.0.get().cast();
    // SAFETY: called once, before anybody reads; `text` is not longer than the buffer.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), to, text.len());
        core::slice::from_raw_parts(to, text.len())
    }
}
