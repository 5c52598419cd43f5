//! Hardware random numbers: FEAT_RNG.

use core::arch::asm;

use super::cpu::{field, mrs};

/// How often RNDR is asked before it counts as out of order.
const TRIES: u32 = 16;

/// A number from RNDR; `None` when the CPU has none, or it fails again and again.
#[must_use]
pub fn hardware() -> Option<u64> {
    if field(mrs!("id_aa64isar0_el1"), 60) == 0 {
        return None;
    }
    for _ in 0..TRIES {
        let (value, ok): (u64, u64);
        // S3_3_C2_C4_0 is RNDR: NZCV becomes 0b0100 (Z) when there is no number.
        // SAFETY: the register exists, and reading it changes the flags only.
        unsafe {
            asm!("mrs {}, S3_3_C2_C4_0", "cset {}, ne", out(reg) value, out(reg) ok,
                options(nomem, nostack));
        }
        if ok != 0 {
            return Some(value);
        }
    }
    None
}
