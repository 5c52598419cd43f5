//! Random numbers from the CPU.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};

/// How often RDRAND may fail in a row before it counts as broken (Intel's "DRNG Software
/// Implementation Guide", 5.2.1).
const RETRIES: usize = 10;
/// How many values the health check looks at.
const SAMPLES: usize = 8;

const UNKNOWN: u8 = 0;
const HEALTHY: u8 = 1;
const ABSENT: u8 = 2;
/// What is known about the CPU's generator.
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// 64 random bits, or `None` when there is no generator or it does not work.
#[must_use]
pub fn hardware() -> Option<u64> {
    let mut state = STATE.load(Ordering::Relaxed);
    if state == UNKNOWN {
        state = if super::cpu::has_rdrand() && healthy() { HEALTHY } else { ABSENT };
        STATE.store(state, Ordering::Relaxed);
    }
    if state == HEALTHY { rdrand() } else { None }
}

/// Whether the values differ: some CPUs answered all ones, with success, after a suspend.
fn healthy() -> bool {
    let Some(first) = rdrand() else { return false };
    let mut differs = false;
    for _ in 1..SAMPLES {
        match rdrand() {
            Some(value) => differs |= value != first,
            None => return false,
        }
    }
    differs
}

#[inline(never)]
fn rdrand() -> Option<u64> {
    for _ in 0..RETRIES {
        let (value, ok): (u64, u8);
        // SAFETY: the CPU has RDRAND (the callers asked).
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok,
                options(nomem, nostack));
        }
        if ok != 0 {
            return Some(value);
        }
    }
    None
}
