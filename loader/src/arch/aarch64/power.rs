//! PSCI (Arm DEN0022) and the exit channel.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};

use driver_api::{Error, Result};

use super::describe::Conduit;
use crate::bootinfo::BootInfo;
use crate::mm::PhysAddr;

/// How PSCI is called, from the device tree's `/psci/method`.
static CONDUIT: AtomicU8 = AtomicU8::new(NONE);
const NONE: u8 = 0;
const HVC: u8 = 1;
const SMC: u8 = 2;

/// SYSTEM_OFF (DEN0022 5.1.9).
const SYSTEM_OFF: u64 = 0x8400_0008;

/// Takes the method that the device tree says.
pub(super) fn set_conduit(conduit: Option<Conduit>) {
    let conduit = match conduit {
        Some(Conduit::Hvc) => HVC,
        Some(Conduit::Smc) => SMC,
        None => NONE,
    };
    CONDUIT.store(conduit, Ordering::Relaxed);
}

/// A PSCI call; `None` when there is no PSCI. x1-x3 are the arguments.
pub(super) fn psci(function: u64, args: [u64; 3]) -> Option<i64> {
    let mut result = function;
    let [a, b, c] = args;
    // SAFETY: the device tree says that firmware answers these calls; they follow the SMC
    // calling convention, which changes x0-x17 at most (DEN0028 2.6).
    unsafe {
        match CONDUIT.load(Ordering::Relaxed) {
            HVC => asm!("hvc #0", inout("x0") result, inout("x1") a => _, inout("x2") b => _,
                inout("x3") c => _, clobber_abi("C"), options(nostack)),
            SMC => asm!("smc #0", inout("x0") result, inout("x1") a => _, inout("x2") b => _,
                inout("x3") c => _, clobber_abi("C"), options(nostack)),
            _ => return None,
        }
    }
    Some(result as i64)
}

/// CPU_ON with 64-bit arguments (DEN0022 5.1.4).
const CPU_ON: u64 = 0xc400_0003;
/// Its answers (DEN0022 5.2.2).
const SUCCESS: i64 = 0;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;

/// Starts the CPU with affinity `id` at the physical address `entry`.
pub(super) fn cpu_on(id: u64, entry: PhysAddr) -> Result<()> {
    match psci(CPU_ON, [id, entry.0, 0]).map(|answer| i64::from(answer as i32)) {
        None | Some(INVALID_PARAMETERS) => Err(Error::NoDevice),
        Some(SUCCESS) => Ok(()),
        Some(ALREADY_ON) => Err(Error::Busy),
        Some(_) => Err(Error::Io),
    }
}

/// Powers the machine off. Returns when it cannot.
pub fn off(_info: &BootInfo) {
    system_off();
}

fn system_off() {
    let _ = psci(SYSTEM_OFF, [0; 3]);
}

/// SYS_WRITE0 (Arm's "Semihosting for AArch32 and AArch64", 5.3): writes a string that ends
/// with 0.
const SYS_WRITE0: u64 = 4;

/// Writes `bytes` (no zero among them) to the host through semihosting. Only when the
/// command line has announced it: without a host that answers, HLT is an undefined
/// instruction.
pub fn exit_channel(bytes: &[u8]) {
    for chunk in bytes.chunks(31) {
        let mut text = [0_u8; 32];
        for (to, from) in text.iter_mut().zip(chunk) {
            *to = *from;
        }
        // SAFETY: the host reads `text` up to its 0 and changes x0.
        unsafe {
            asm!("hlt #0xf000", inout("x0") SYS_WRITE0 => _, in("x1") text.as_ptr(),
                options(nostack, preserves_flags));
        }
    }
}
