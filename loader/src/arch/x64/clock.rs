//! Time: the TSC counts, the local APIC interrupts, the CMOS clock knows the date.
//!
//! How fast the first two count must be found out: from CPUID where it says so, else by
//! watching a clock of known speed, the ACPI timer or the legacy timer (PIT), for one
//! millisecond. The first reading is taken at the very beginning of the boot, so that most of
//! that millisecond has passed when the second one is due.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use driver_api::sync::IrqGuard;
use x86_64::instructions::port::Port;

use super::rtc::{self, Registers};
use super::{cpu, lapic, platform};
use crate::bootinfo::BootInfo;

/// CPUID leaves: TSC and crystal (Intel SDM vol. 2, CPUID), and hypervisors' TSC and bus
/// frequency in kHz (VMware's, which QEMU offers as `vmware-cpuid-freq`).
const LEAF_TSC: u32 = 0x15;
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
const LEAF_FREQUENCY: u32 = 0x4000_0010;

/// Ticks a second of the ACPI timer (ACPI 4.8.3.3) and of the PIT (Intel 8254: a third of
/// NTSC's colour carrier, 14.31818 MHz / 12).
const PM_TIMER_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;
/// The ACPI timer counts at least 24 bits.
const PM_TIMER_MASK: u32 = 0xff_ffff;
/// PIT: data of channel 0, command.
const PIT_DATA: u16 = 0x40;
const PIT_COMMAND: u16 = 0x43;
/// Channel 0, low then high byte, mode 2: counts down from 65536 again and again.
const PIT_RATE: u8 = 0x34;
/// Holds channel 0's count for reading.
const PIT_LATCH: u8 = 0x00;

/// How long the clock of known speed is watched, at least: its reading takes a microsecond or
/// two in a VM, so that the error stays below some 0.2 %.
const WINDOW_US: u64 = 1_000;
/// The PIT wraps after 55 ms; a first reading so many TSC ticks ago is not used (the TSC of
/// no machine that runs this takes longer than 40 ms for them).
const STALE: u64 = 40_000_000;
/// How long the local APIC's timer is compared with the TSC.
const LAPIC_WINDOW_US: u64 = 200;
/// What the bus clock of the local APIC is under QEMU and KVM, whatever the host's is: one
/// count a nanosecond (QEMU `hw/intc/apic.c`; KVM's `APIC_BUS_CYCLE_NS`).
const VIRTUAL_BUS_HZ: u64 = 1_000_000_000;
/// What is assumed of a TSC that nothing can be compared with.
const GUESS_HZ: u64 = 1_000_000_000;

/// A clock of known speed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reference {
    PmTimer(u16),
    Pit,
    /// The local APIC's own timer, where its bus clock is known.
    BusTimer,
}

/// A reading of both clocks at the same time.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    ticks: u32,
}

impl Reference {
    fn hz(self) -> u64 {
        match self {
            Self::PmTimer(_) => PM_TIMER_HZ,
            Self::Pit => PIT_HZ,
            Self::BusTimer => VIRTUAL_BUS_HZ / lapic::DIVISOR,
        }
    }

    /// The clock's count; it counts up, modulo [`Self::mask`] + 1.
    fn ticks(self) -> u32 {
        match self {
            // SAFETY: the port is the ACPI timer's (FADT); reading it has no effect.
            Self::PmTimer(port) => unsafe { Port::<u32>::new(port).read() & PM_TIMER_MASK },
            Self::Pit => {
                let mut data = Port::<u8>::new(PIT_DATA);
                // SAFETY: reads the PIT's channel 0, which the kernel uses for this alone.
                let count = unsafe {
                    Port::<u8>::new(PIT_COMMAND).write(PIT_LATCH);
                    u16::from_le_bytes([data.read(), data.read()])
                };
                u32::from(!count)
            }
            Self::BusTimer => lapic::timer_elapsed(),
        }
    }

    fn mask(self) -> u32 {
        match self {
            Self::PmTimer(_) => PM_TIMER_MASK,
            Self::Pit => 0xffff,
            Self::BusTimer => u32::MAX,
        }
    }

    /// Starts it and takes the first reading.
    fn start(self) -> Sample {
        if self == Self::BusTimer {
            lapic::timer_free_run();
        } else if self == Self::Pit {
            let mut data = Port::<u8>::new(PIT_DATA);
            // SAFETY: as in `ticks`.
            unsafe {
                Port::<u8>::new(PIT_COMMAND).write(PIT_RATE);
                data.write(0);
                data.write(0);
            }
        }
        self.sample()
    }

    /// Reads both clocks, thrice; of the three the reading that was disturbed least.
    fn sample(self) -> Sample {
        let mut best = (u64::MAX, Sample { tsc: 0, ticks: 0 });
        for _ in 0..3 {
            let before = tsc();
            let ticks = self.ticks();
            let took = tsc().wrapping_sub(before);
            if took < best.0 {
                best = (took, Sample { tsc: before.wrapping_add(took / 2), ticks });
            }
        }
        best.1
    }

    /// Ticks from `a` to `b`.
    fn between(self, a: Sample, b: Sample) -> u64 {
        u64::from(b.ticks.wrapping_sub(a.ticks) & self.mask())
    }

    /// Whether it counts at all: a port without a device reads all ones.
    fn counts(self) -> bool {
        let first = self.ticks();
        (0..1_000).any(|_| self.ticks() != first)
    }
}

/// The first reading.
static FIRST: driver_api::Once<(Reference, Sample)> = driver_api::Once::new();
/// Ticks a second of the TSC.
static TSC_HZ: AtomicU64 = AtomicU64::new(GUESS_HZ);
/// Counts a second of the local APIC's timer.
static TIMER_HZ: AtomicU64 = AtomicU64::new(VIRTUAL_BUS_HZ / lapic::DIVISOR);
/// The timer takes TSC deadlines.
static DEADLINES: AtomicBool = AtomicBool::new(false);

fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter. The fence keeps the read behind what came before.
    unsafe {
        core::arch::asm!("lfence", "rdtsc", out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Takes the first reading, if one will be needed. ACPI's tables are known.
pub(super) fn begin() {
    if known_tsc_hz().is_some() {
        return;
    }
    let reference = match platform::tables().pm_timer {
        Some(port) => Reference::PmTimer(port),
        None => Reference::Pit,
    };
    FIRST.call_once(|| (reference, reference.start()));
}

/// What CPUID says of the TSC.
fn known_tsc_hz() -> Option<u64> {
    let [denominator, numerator, crystal, _] = cpu::cpuid(LEAF_TSC, 0);
    if denominator != 0 && numerator != 0 && crystal != 0 {
        return Some(u64::from(crystal) * u64::from(numerator) / u64::from(denominator));
    }
    if cpu::has_hypervisor() {
        let khz = u64::from(cpu::cpuid(LEAF_FREQUENCY, 0)[0]);
        return (khz != 0).then_some(khz * 1_000);
    }
    None
}

/// Whether the hypervisor is one whose local APIC counts nanoseconds.
fn bus_is_virtual() -> bool {
    let [_, b, c, d] = cpu::cpuid(LEAF_HYPERVISOR, 0);
    let name = [b.to_le_bytes(), c.to_le_bytes(), d.to_le_bytes()];
    cpu::has_hypervisor() && matches!(name.as_flattened(), b"TCGTCGTCGTCG" | b"KVMKVMKVM\0\0\0")
}

/// Ticks a second of the TSC, by `reference`, which was first read at `first`.
fn measure_tsc(reference: Reference, mut first: Sample) -> Option<u64> {
    if !reference.counts() {
        return None;
    }
    if tsc().wrapping_sub(first.tsc) > STALE {
        first = reference.sample();
    }
    let enough = reference.hz() * WINDOW_US / 1_000_000;
    // Bounded, should the clock stop: a thousand readings take a millisecond.
    for _ in 0..100_000 {
        let last = reference.sample();
        let ticks = reference.between(first, last);
        if ticks >= enough {
            // The first reading is younger than `STALE`, the clocks count some MHz: 64 bits do.
            let hz = last.tsc.wrapping_sub(first.tsc).checked_mul(reference.hz())? / ticks;
            return (hz > 0).then_some(hz);
        }
    }
    None
}

/// Counts a second of the local APIC's timer, by a TSC of `tsc_hz`.
fn measure_timer(tsc_hz: u64) -> Option<u64> {
    let _irq = IrqGuard::new();
    let window = tsc_hz * LAPIC_WINDOW_US / 1_000_000;
    lapic::timer_free_run();
    let (first, begin) = (lapic::timer_elapsed(), tsc());
    while tsc().wrapping_sub(begin) < window {
        cpu::relax();
    }
    let (last, end) = (lapic::timer_elapsed(), tsc());
    lapic::timer_oneshot(0);
    let counts = u128::from(last.wrapping_sub(first));
    let hz = counts * u128::from(tsc_hz) / u128::from(end.wrapping_sub(begin).max(1));
    u64::try_from(hz).ok().filter(|hz| *hz > 0)
}

/// Turns the boot CPU's local APIC on and finds out how fast TSC and timer count. Returns
/// ticks a second of [`counter`].
pub fn init(_info: &BootInfo) -> u64 {
    if !lapic::init() {
        log::error!("no memory to map the local APIC: no timer, no interrupts");
    }
    let measured = || FIRST.get().and_then(|&(reference, first)| measure_tsc(reference, first));
    let by_bus = || {
        let bus = bus_is_virtual().then_some(Reference::BusTimer)?;
        let hz = measure_tsc(bus, bus.start());
        lapic::timer_oneshot(0);
        hz
    };
    let tsc_hz = known_tsc_hz().or_else(measured).or_else(by_bus).unwrap_or_else(|| {
        log::warn!("nothing tells how fast the TSC counts; taking it for 1 GHz");
        GUESS_HZ
    });
    TSC_HZ.store(tsc_hz, Ordering::Relaxed);
    if cpu::has_tsc_deadline() {
        DEADLINES.store(true, Ordering::Relaxed);
        lapic::use_deadlines();
    } else if bus_is_virtual() {
        // Known exactly; nothing to measure.
    } else if let Some(hz) = measure_timer(tsc_hz) {
        TIMER_HZ.store(hz, Ordering::Relaxed);
    }
    tsc_hz
}

/// Makes the timer of a CPU that was just started as the boot CPU's; its local APIC is on.
pub(super) fn init_this_cpu() {
    if DEADLINES.load(Ordering::Relaxed) {
        lapic::use_deadlines();
    }
}

/// The monotonic counter.
#[must_use]
pub fn counter() -> u64 {
    tsc()
}

/// One timer interrupt in `delta_ns` nanoseconds, or somewhat earlier when that is further
/// away than the timer reaches (a minute). Replaces what was set before.
pub fn set_oneshot(delta_ns: u64) {
    // At least one, for 0 would stop the timer.
    let ticks = |hz: u64| u128::from(delta_ns) * u128::from(hz) / 1_000_000_000 + 1;
    if DEADLINES.load(Ordering::Relaxed) {
        let delta = u64::try_from(ticks(TSC_HZ.load(Ordering::Relaxed))).unwrap_or(u64::MAX);
        lapic::timer_deadline(tsc().saturating_add(delta));
    } else {
        let counts = ticks(TIMER_HZ.load(Ordering::Relaxed));
        lapic::timer_oneshot(u32::try_from(counts).unwrap_or(u32::MAX));
    }
}

/// Forgets what [`set_oneshot`] set.
pub fn stop_oneshot() {
    if DEADLINES.load(Ordering::Relaxed) {
        lapic::timer_deadline(0);
    } else {
        lapic::timer_oneshot(0);
    }
}

/// CMOS: index and data port; registers of the clock.
const CMOS_INDEX: u16 = 0x70;
const CMOS_DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
/// Status A: the registers change now.
const UPDATING: u8 = 1 << 7;

fn cmos(index: u8) -> u8 {
    // SAFETY: reads a CMOS register; the callers keep interrupts off, and nothing else uses
    // these ports.
    unsafe {
        Port::<u8>::new(CMOS_INDEX).write(index);
        Port::<u8>::new(CMOS_DATA).read()
    }
}

fn registers() -> Registers {
    let century = platform::tables().century;
    Registers {
        second: cmos(0),
        minute: cmos(2),
        hour: cmos(4),
        day: cmos(7),
        month: cmos(8),
        year: cmos(9),
        century: (century != 0 && century < 0x80).then(|| cmos(century)),
        status_b: cmos(STATUS_B),
    }
}

/// Seconds since 1970 by the CMOS clock, taken as UTC; `None` without one.
#[must_use]
pub fn wall_clock_s() -> Option<u64> {
    let _irq = IrqGuard::new();
    // An update takes 2 ms, a reading some microseconds: two equal ones in a row, outside of
    // an update, are the time.
    let mut last = None;
    for _ in 0..10_000 {
        if cmos(STATUS_A) & UPDATING != 0 {
            if cmos(STATUS_B) == u8::MAX {
                return None;
            }
            continue;
        }
        let now = registers();
        if last == Some(now) {
            return rtc::unix_time(&now);
        }
        last = Some(now);
    }
    None
}
