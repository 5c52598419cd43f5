//! The local APIC (Intel SDM vol. 3, chapter 12): through MSRs where the CPU has x2APIC,
//! else through a page of registers.

use core::sync::atomic::{AtomicBool, Ordering};

use driver_api::Mmio;
use x86_64::registers::model_specific::Msr;

use super::{cpu, platform};
use crate::mm::PhysAddr;

/// IA32_APIC_BASE: address, and two enable bits.
const APIC_BASE: u32 = 0x1b;
const ENABLE: u64 = 1 << 11;
const ENABLE_X2APIC: u64 = 1 << 10;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// IA32_TSC_DEADLINE.
const TSC_DEADLINE: u32 = 0x6e0;
/// MSR of the register at offset 0 in x2APIC mode; one MSR for every 16 bytes.
const X2APIC_MSRS: u32 = 0x800;

/// Offsets of registers (table 12-1).
mod register {
    pub const ID: u32 = 0x20;
    pub const TASK_PRIORITY: u32 = 0x80;
    pub const EOI: u32 = 0xb0;
    pub const SPURIOUS: u32 = 0xf0;
    pub const COMMAND_LOW: u32 = 0x300;
    pub const COMMAND_HIGH: u32 = 0x310;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_LINT0: u32 = 0x350;
    pub const LVT_LINT1: u32 = 0x360;
    pub const LVT_ERROR: u32 = 0x370;
    pub const TIMER_INITIAL: u32 = 0x380;
    pub const TIMER_CURRENT: u32 = 0x390;
    pub const TIMER_DIVIDE: u32 = 0x3e0;
}

/// LVT: no interrupts; delivery mode NMI; timer mode "TSC deadline".
const MASKED: u32 = 1 << 16;
const DELIVER_NMI: u32 = 0b100 << 8;
const TIMER_DEADLINE: u32 = 0b10 << 17;
/// SPURIOUS: the APIC is on.
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// Divides the timer's clock by 16: a one-shot of 32 bits then spans a minute at 1 GHz.
const DIVIDE_BY_16: u32 = 0b0011;
/// What [`DIVIDE_BY_16`] does.
pub(super) const DIVISOR: u64 = 16;

/// Vectors, from the highest priority class down.
pub(super) const SPURIOUS_VECTOR: u8 = 0xff;
pub(super) const ERROR_VECTOR: u8 = 0xfe;
pub(super) const NOTIFY_VECTOR: u8 = 0xfd;
pub(super) const TIMER_VECTOR: u8 = 0xef;

static X2APIC: AtomicBool = AtomicBool::new(false);
static REGISTERS: driver_api::Once<Mmio> = driver_api::Once::new();

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: x2APIC is on; reading its registers has no side effect on memory.
        unsafe { Msr::new(X2APIC_MSRS + (register >> 4)).read() as u32 }
    } else {
        REGISTERS.get().map_or(0, |r| r.read32(register as usize))
    }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: x2APIC is on; the callers write what the manual allows.
        unsafe { Msr::new(X2APIC_MSRS + (register >> 4)).write(u64::from(value)) };
    } else if let Some(r) = REGISTERS.get() {
        r.write32(register as usize, value);
    }
}

/// What the registers hold from the start, in the order in which they are written.
const AT_START: [(u32, u32); 7] = [
    (register::SPURIOUS, SOFTWARE_ENABLE | SPURIOUS_VECTOR as u32),
    (register::TASK_PRIORITY, 0),
    (register::LVT_TIMER, MASKED),
    // The legacy interrupt controller's wire; interrupts come through the I/O APIC alone.
    (register::LVT_LINT0, MASKED),
    (register::LVT_LINT1, DELIVER_NMI),
    (register::LVT_ERROR, ERROR_VECTOR as u32),
    (register::TIMER_DIVIDE, DIVIDE_BY_16),
];

/// Turns this CPU's local APIC on. `false`: its registers could not be mapped.
pub(super) fn init() -> bool {
    let mut base = Msr::new(APIC_BASE);
    // SAFETY: every x64 CPU has this register; interrupts are off.
    let value = unsafe { base.read() };
    if cpu::has_x2apic() {
        // SAFETY: the CPU has x2APIC. From "off" the way leads over xAPIC.
        unsafe {
            base.write(value | ENABLE);
            base.write(value | ENABLE | ENABLE_X2APIC);
        }
        X2APIC.store(true, Ordering::Relaxed);
    } else {
        if REGISTERS.get().is_none() {
            let Ok(registers) = platform::map(PhysAddr(value & ADDRESS)) else {
                return false;
            };
            REGISTERS.call_once(|| registers);
        }
        // SAFETY: turns it on where it is.
        unsafe { base.write(value | ENABLE) };
    }
    AT_START.iter().for_each(|&(register, value)| write(register, value));
    super::percpu::current().arch.apic_id.store(id(), Ordering::Relaxed);
    true
}

/// This CPU's id.
pub(super) fn id() -> u32 {
    let id = read(register::ID);
    if X2APIC.load(Ordering::Relaxed) { id } else { id >> 24 }
}

/// Ends the interrupt in service.
pub(super) fn end_of_interrupt() {
    write(register::EOI, 0);
}

/// Starts the timer to count down from the top, without an interrupt, to be measured.
pub(super) fn timer_free_run() {
    write(register::LVT_TIMER, MASKED | u32::from(TIMER_VECTOR));
    write(register::TIMER_INITIAL, u32::MAX);
}

/// Counts since [`timer_free_run`], of [`DIVISOR`] clocks each.
pub(super) fn timer_elapsed() -> u32 {
    u32::MAX - read(register::TIMER_CURRENT)
}

/// One interrupt after `counts` (of [`DIVISOR`] clocks); 0 stops the timer.
pub(super) fn timer_oneshot(counts: u32) {
    write(register::LVT_TIMER, u32::from(TIMER_VECTOR));
    write(register::TIMER_INITIAL, counts);
}

/// One interrupt when the TSC reaches `deadline`; 0 stops the timer.
pub(super) fn timer_deadline(deadline: u64) {
    // SAFETY: the CPU has TSC deadlines (the caller asked), and the timer is in that mode.
    unsafe { Msr::new(TSC_DEADLINE).write(deadline) };
}

/// Chooses TSC deadlines instead of counts.
pub(super) fn use_deadlines() {
    write(register::LVT_TIMER, TIMER_DEADLINE | u32::from(TIMER_VECTOR));
    // The mode is in effect before the first deadline is written (12.5.4.1).
    // SAFETY: orders memory and device accesses.
    unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
}

/// Sends an interrupt command (12.6.1) to the CPU with the APIC id `to`.
pub(super) fn send(to: u32, command: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        let value = u64::from(to) << 32 | u64::from(command);
        // SAFETY: x2APIC is on; what arrives is what the caller chose.
        unsafe { Msr::new(X2APIC_MSRS + (register::COMMAND_LOW >> 4)).write(value) };
        return;
    }
    // Two registers make one command, and only one command is under way at a time.
    const PENDING: u32 = 1 << 12;
    let _guard = driver_api::sync::IrqGuard::new();
    write(register::COMMAND_HIGH, to << 24);
    write(register::COMMAND_LOW, command);
    let mut patience = 100_000_u32;
    while read(register::COMMAND_LOW) & PENDING != 0 && patience > 0 {
        patience -= 1;
        cpu::relax();
    }
}
