//! The kernel's generator and where its seed comes from.
//!
//! In this order: the CPU's generator (RDRAND, RNDR), the firmware's seed (`/chosen/rng-seed`),
//! devices that drivers find ([`add`]); on a machine with none of these, when somebody asks,
//! the jitter of the CPU's timing, credited with little.

use core::sync::atomic::{AtomicBool, Ordering};

use driver_api::sync::IrqLock;

pub use super::pool::NotSeeded;
use super::pool::{Jitter, NEEDED, Pool};
use crate::arch;
use crate::bootinfo::BootInfo;

static POOL: IrqLock<Pool> = IrqLock::new(Pool::new());
/// Timing was tried and gave nothing: it is not tried again at each request.
static NO_JITTER: AtomicBool = AtomicBool::new(false);

/// Seeds the generator with what the machine offers.
pub(crate) fn init(info: &BootInfo) {
    let mut pool = POOL.lock();
    pool.mix(&arch::clock::counter().to_le_bytes(), 0);
    for _ in 0..4 {
        if let Some(word) = arch::random::hardware() {
            pool.mix(&word.to_le_bytes(), 64);
        }
    }
    if let Some(seed) = &info.seed {
        pool.mix(seed, 256);
    }
}

/// Mixes in what a device gave; `bits` is how much of it nobody could know.
pub fn add(bytes: &[u8], bits: u32) {
    POOL.lock().mix(bytes, bits);
}

/// Whether [`fill`] will succeed without looking for entropy.
#[must_use]
pub fn is_seeded() -> bool {
    POOL.lock().is_seeded()
}

/// Fills `out` with random bytes.
///
/// # Errors
/// [`NotSeeded`] when the machine has no source of randomness at all; `out` is unchanged.
pub fn fill(out: &mut [u8]) -> Result<(), NotSeeded> {
    if !is_seeded() {
        jitter();
    }
    POOL.lock().fill(out)
}

/// How many readings are taken at most: 16 times what a machine needs whose every reading
/// counts.
const READINGS: u32 = NEEDED * 3 * 16;
/// Readings that are mixed in at a time: one block of the generator.
const BATCH: usize = 4;

/// Seeds the generator from the CPU's timing: how long its own work takes varies with
/// caches, interrupts, and on a virtual machine with everything that the host does.
fn jitter() {
    if NO_JITTER.load(Ordering::Relaxed) {
        return;
    }
    let mut jitter = Jitter::default();
    for _ in 0..READINGS / BATCH as u32 {
        let mut readings = [0; 8 * BATCH];
        for reading in readings.as_chunks_mut::<8>().0 {
            let counter = arch::clock::counter();
            jitter.sample(counter);
            *reading = counter.to_le_bytes();
        }
        // The mixing is also part of the work that is timed.
        POOL.lock().mix(&readings, 0);
        if jitter.bits() >= NEEDED {
            POOL.lock().mix(&[0; 32], NEEDED);
            log::info!("seeded from the jitter of the CPU's timing");
            return;
        }
    }
    NO_JITTER.store(true, Ordering::Relaxed);
    log::warn!("no source of randomness: getrandom will fail (use a CPU with RDRAND or RNDR)");
}
