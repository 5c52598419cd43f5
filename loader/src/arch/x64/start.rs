//! From the entry code to `kmain`: what PVH hands over becomes a `BootInfo`.

use core::cell::UnsafeCell;

use super::phys::{Low4G, PhysMemory};
use super::{clock, cpu, irq, paging, platform, pvh};
use crate::bootinfo::{BootInfo, MAX_CMDLINE, Region, RegionKind};
use crate::mm::{PhysAddr, PhysRange};

/// The page that other CPUs start in, in real mode: below 1 MiB, away from what firmware
/// keeps in the first page.
pub(super) const AP_START: PhysRange = PhysRange::new(PhysAddr(0x8000), PhysAddr(0x9000));

/// Where the command line is kept: what the loader wrote may be overwritten.
struct Cmdline(UnsafeCell<[u8; MAX_CMDLINE]>);

// SAFETY: written once, by `start`, before anything else runs.
unsafe impl Sync for Cmdline {}

static CMDLINE: Cmdline = Cmdline(UnsafeCell::new([0; MAX_CMDLINE]));

/// Called by the entry code, on the boot stack, with the physical addresses of the start info
/// and of the kernel.
pub(super) extern "C" fn start(start_info: u64, load_base: u64) -> ! {
    cpu::early_init();
    irq::silence_legacy();
    paging::init();
    // SAFETY: the early tables are active, and `memory` does not outlive this function.
    let memory = unsafe { Low4G::new() };
    let info = match pvh::read(&memory, PhysAddr(start_info)) {
        Ok(info) => info,
        Err(error) => refuse(error),
    };
    platform::init(&memory, info.rsdp.map(|a| a.0));
    clock::begin();

    let mut map = info.memory;
    // Real mode's vectors and data stay as the firmware left them.
    let low = PhysRange::new(PhysAddr(0), PhysAddr(0x1000));
    for range in [low, AP_START] {
        map.push(Region { range, kind: RegionKind::Reserved });
    }
    crate::kmain(BootInfo {
        protocol: "PVH",
        load_base: PhysAddr(load_base),
        memory: map,
        cmdline: info.cmdline.map_or(&[], |at| keep_cmdline(&memory, at)),
        module: info.module,
        rsdp: info.rsdp,
        dtb: None,
        seed: None,
    })
}

/// Copies the NUL-terminated string at `at`; one that is too long is cut off.
fn keep_cmdline(memory: &impl PhysMemory, at: PhysAddr) -> &'static [u8] {
    // SAFETY: called once, see `CMDLINE`.
    let kept = unsafe { &mut *CMDLINE.0.get() };
    let mut len = 0;
    for (offset, byte) in (0_u64..).zip(kept.iter_mut()) {
        match at.0.checked_add(offset).and_then(|a| memory.array(a)) {
            None | Some([0]) => break,
            Some([b]) => *byte = b,
        }
        len += 1;
    }
    kept.get(..len).unwrap_or(&[])
}

/// There is no console yet and no memory: COM1 needs no set-up to be seen under a hypervisor.
fn refuse(error: pvh::Error) -> ! {
    let why: &[u8] = match error {
        pvh::Error::Unreadable => b"the PVH start info cannot be read\n",
        pvh::Error::BadMagic => b"not entered by PVH: no start info\n",
        pvh::Error::NoMemoryMap => b"the PVH start info has no memory map\n",
    };
    let mut port = x86_64::instructions::port::Port::<u8>::new(0x3f8);
    for byte in why {
        // SAFETY: COM1's data register, or nothing.
        unsafe { port.write(*byte) };
    }
    cpu::halt()
}
