//! The generic timer (Arm ARM D11): the virtual counter and its timer. The virtual one works
//! under every hypervisor, and at EL1 without one as well.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use driver_api::Once;
use driver_api::{Mmio, Resource};

use super::cpu::mrs;
use super::platform;
use crate::bootinfo::BootInfo;
use crate::mm::{PhysAddr, PhysRange};

/// CNTV_CTL_EL0: enabled.
const ENABLE: u64 = 1;
/// Index of the virtual timer in the node's `interrupts` (arm,arch_timer.yaml: secure,
/// non-secure, virtual, hypervisor).
const VIRTUAL: usize = 2;
/// INTID of the virtual timer where the tree says none (Arm BSA 3.8: PPI 11).
const DEFAULT_LINE: u32 = 27;
/// What to count with when nobody says: QEMU's frequency, Hz.
const DEFAULT_HZ: u64 = 62_500_000;

static LINE: AtomicU32 = AtomicU32::new(DEFAULT_LINE);
/// Counts per nanosecond, times 2^32.
static COUNTS_PER_NS: AtomicU64 = AtomicU64::new(0);
static HZ: AtomicU64 = AtomicU64::new(DEFAULT_HZ);
static RTC: Once<Option<Mmio>> = Once::new();

/// Finds the timer's interrupt and frequency. Returns Hz of [`counter`].
pub fn init(_info: &BootInfo) -> u64 {
    let described = platform::with_device("arm,armv8-timer", 0, |path, gic| {
        if let Some(irq) = gic.and_then(|gic| path.interrupt(VIRTUAL, gic)) {
            LINE.store(irq.line.0, Ordering::Relaxed);
        }
        path.node().number("clock-frequency")
    });
    // The property corrects firmware that has set a wrong CNTFRQ_EL0, or none.
    let hz = described.flatten().unwrap_or(mrs!("cntfrq_el0"));
    let hz = if hz == 0 || hz > u64::from(u32::MAX) { DEFAULT_HZ } else { hz };
    COUNTS_PER_NS.store((hz << 32) / 1_000_000_000, Ordering::Relaxed);
    HZ.store(hz, Ordering::Relaxed);
    stop_oneshot();
    hz
}

/// Counts of [`counter`] a second.
pub(super) fn hz() -> u64 {
    HZ.load(Ordering::Relaxed)
}

/// The timer's INTID.
pub(super) fn line() -> u32 {
    LINE.load(Ordering::Relaxed)
}

/// The counter; it never goes backwards and stands still in no power state.
#[must_use]
pub fn counter() -> u64 {
    // SAFETY: barrier: the counter must not be read earlier than the program says.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
    mrs!("cntvct_el0")
}

/// Raises the timer interrupt on this CPU `delta_ns` from now, once; replaces an earlier
/// request.
pub fn set_oneshot(delta_ns: u64) {
    let per_ns = COUNTS_PER_NS.load(Ordering::Relaxed);
    let counts = (u128::from(delta_ns) * u128::from(per_ns)) >> 32;
    let at = counter().saturating_add(counts as u64);
    // SAFETY: the timer's registers; its interrupt is handled once it is unmasked.
    unsafe {
        asm!("msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", "isb", in(reg) at,
            in(reg) ENABLE, options(nostack, preserves_flags));
    }
}

/// Takes a request of [`set_oneshot`] back.
pub fn stop_oneshot() {
    // SAFETY: as above.
    unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack, preserves_flags)) };
}

/// RTCDR of a PL031 (Arm DDI 0224C 3.3.1): seconds since 1970, as QEMU and firmware set it.
const RTCDR: usize = 0;

/// Wall-clock time in seconds since 1970, when there is an RTC.
pub fn wall_clock_s() -> Option<u64> {
    let rtc = RTC.call_once(|| {
        let mut found = [Resource::Mmio { base: 0, len: 0 }];
        platform::find_device("arm,pl031", 0, &mut found)?;
        match found {
            [Resource::Mmio { base, len }] => {
                super::irq::map(PhysRange::with_len(PhysAddr(base), len)).ok()
            }
            _ => None,
        }
    });
    rtc.as_ref().map(|rtc| u64::from(rtc.read32(RTCDR))).filter(|&s| s != 0)
}
