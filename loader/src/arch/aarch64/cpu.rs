//! The CPU itself.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use super::hwcap::{self, IdRegisters};
use crate::bootinfo::BootInfo;

/// Reads a system register.
macro_rules! mrs {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading this register has no side effect.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value,
                options(nomem, nostack, preserves_flags));
        }
        value
    }};
}
pub(super) use mrs;

/// The `width`-bit field of an identification register that begins at bit `shift`.
pub(super) const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

/// Whether this CPU has privileged-access-never (FEAT_PAN).
static HAS_PAN: AtomicBool = AtomicBool::new(false);

/// Identification of the CPU that runs: affinity 3…0 of MPIDR_EL1.
#[must_use]
pub fn id() -> usize {
    (mrs!("mpidr_el1") & 0xff_00ff_ffff) as usize
}

/// Tells the CPU that a loop waits for another CPU.
pub fn relax() {
    core::hint::spin_loop();
}

/// Takes interrupts from now on.
pub fn enable_interrupts() {
    // SAFETY: the handlers that run are prepared for whatever runs with interrupts on.
    unsafe { asm!("msr daifclr, #2", options(nostack)) };
}

/// Enables interrupts and waits for one; returns with them on. Called with interrupts off:
/// one that becomes pending meanwhile ends the wait, for WFI wakes up on masked interrupts.
pub fn wait_for_interrupt() {
    // SAFETY: waiting and unmasking interrupts change no memory of Rust's; the handlers that
    // run are prepared for anything that may run with interrupts on.
    unsafe { asm!("dsb sy", "wfi", "msr daifclr, #2", options(nostack)) };
}

/// Stops this CPU for ever.
pub fn halt() -> ! {
    loop {
        // SAFETY: masks everything and waits.
        unsafe { asm!("msr daifset, #0xf", "wfi", options(nomem, nostack)) };
    }
}

/// What `AT_HWCAP` tells programs.
#[must_use]
pub fn hwcap() -> u64 {
    hwcap::hwcap(&IdRegisters {
        isar0: mrs!("id_aa64isar0_el1"),
        isar1: mrs!("id_aa64isar1_el1"),
        pfr0: mrs!("id_aa64pfr0_el1"),
    })
}

/// Whether PSTATE.PAN exists.
pub(super) fn has_pan() -> bool {
    HAS_PAN.load(Ordering::Relaxed)
}

/// What the boot CPU needs before anything else: privileged access never, SErrors, user
/// access to the counter, no performance monitors for user mode.
pub fn init_boot_cpu(_info: &BootInfo) {
    HAS_PAN.store(field(mrs!("id_aa64mmfr1_el1"), 20) != 0, Ordering::Relaxed);
    init_this_cpu();
}

/// What every CPU needs.
pub(super) fn init_this_cpu() {
    if has_pan() {
        set_pan(true);
    }
    let dfr0 = mrs!("id_aa64dfr0_el1");
    if !matches!(field(dfr0, 8), 0 | 0xf) {
        // SAFETY: PMUSERENR_EL0 exists with PMUv3; 0 traps user access.
        unsafe { asm!("msr pmuserenr_el0, xzr", options(nomem, nostack, preserves_flags)) };
    }
    // CNTKCTL_EL1: EL0VCTEN (1) and EL0PCTEN (0), as Linux; no event stream, no timers.
    // DAIF.A off: SErrors are taken, and are fatal.
    // SAFETY: no memory of Rust's is concerned.
    unsafe {
        asm!("msr cntkctl_el1, {}", "msr tpidrro_el0, xzr", "msr tpidr_el0, xzr", "isb",
            "msr daifclr, #4", in(reg) 3_u64, options(nomem, nostack, preserves_flags));
    }
}

/// Sets PSTATE.PAN. Only where [`has_pan`].
pub(super) fn set_pan(on: bool) {
    // `.inst`: the assembler takes `msr pan` only for ARMv8.1 and later.
    // SAFETY: decides only whether EL1 may use addresses of EL0.
    unsafe {
        if on {
            asm!(".inst 0xd500419f", options(nostack, preserves_flags)); // msr pan, #1
        } else {
            asm!(".inst 0xd500409f", options(nostack, preserves_flags)); // msr pan, #0
        }
    }
}
