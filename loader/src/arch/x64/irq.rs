//! Device interrupts: I/O APICs (Intel 82093AA data sheet), and which vector is whose.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use driver_api::sync::IrqLock;
use driver_api::{Error, IrqLine, Mmio, MsiMessage, Result, Trigger};
use x86_64::instructions::port::Port;

use super::acpi::MAX_IO_APICS;
use super::{lapic, platform};
use crate::bootinfo::BootInfo;
use crate::mm::PhysAddr;
use crate::percpu::PerCpu;

/// Vectors for device lines: above the exceptions and a stray legacy controller's, below the
/// local APIC's own.
const FIRST_VECTOR: u8 = 0x30;
const LAST_VECTOR: u8 = 0xdf;

/// Offsets of the two registers through which the others are reached.
const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;
/// Index of the version register (bits 16 … 23: the last input) and of input 0's entry.
const VERSION: u32 = 0x01;
const FIRST_ENTRY: u32 = 0x10;
/// Bits of an entry's lower half.
const ACTIVE_LOW: u32 = 1 << 13;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

/// Data ports of the two legacy interrupt controllers (Intel 8259A): their masks.
const PIC_MASKS: [u16; 2] = [0x21, 0xa1];

/// An I/O APIC.
struct IoApic {
    registers: Mmio,
    first_line: u32,
    lines: u32,
}

impl IoApic {
    fn read(&self, index: u32) -> u32 {
        self.registers.write32(SELECT, index);
        self.registers.read32(WINDOW)
    }

    fn write(&self, index: u32, value: u32) {
        self.registers.write32(SELECT, index);
        self.registers.write32(WINDOW, value);
    }

    /// Writes the entry of an input, its lower half last, for that may unmask it.
    fn set(&self, input: u32, low: u32, apic_id: u32) {
        self.write(FIRST_ENTRY + 2 * input, MASKED);
        self.write(FIRST_ENTRY + 2 * input + 1, apic_id << 24);
        self.write(FIRST_ENTRY + 2 * input, low);
    }
}

/// All of them. Select and window are two accesses, hence the lock.
static IO_APICS: IrqLock<[Option<IoApic>; MAX_IO_APICS]> =
    IrqLock::new([const { None }; MAX_IO_APICS]);

/// The line of each vector, plus one; 0 when it has none.
static LINES: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
/// The next vector to give out.
static NEXT: AtomicU8 = AtomicU8::new(FIRST_VECTOR);

/// Masks all inputs of the legacy controllers, which the kernel does not use. Before the local
/// APIC's wire from them is cut and before the PIT is started: QEMU keeps a request that came
/// over the wire pending after the cut, and then has no vector for it.
pub(super) fn silence_legacy() {
    for port in PIC_MASKS {
        // SAFETY: as above; where there is no such controller, nothing happens.
        unsafe { Port::<u8>::new(port).write(0xff) };
    }
}

/// Finds the I/O APICs with all inputs masked. The local
/// APIC is on since `clock::init`.
pub fn init(_info: &BootInfo) {
    super::cpu::init_interrupt_stack();
    super::power::init();
    let mut slots = IO_APICS.lock();
    for (slot, found) in slots.iter_mut().zip(platform::io_apics()) {
        let Some(found) = found else { break };
        let Ok(registers) = platform::map(PhysAddr(u64::from(found.address))) else {
            log::error!("no memory to map the I/O APIC at {:#x}", found.address);
            continue;
        };
        let mut io_apic = IoApic { registers, first_line: found.gsi_base, lines: 0 };
        let version = io_apic.read(VERSION);
        // Where there is no device, reads give all ones, or zeroes.
        if version == u32::MAX || version & 0xff == 0 {
            log::debug!("there is no I/O APIC at {:#x}", found.address);
            continue;
        }
        io_apic.lines = (version >> 16 & 0xff) + 1;
        // After a reset all are masked; firmware may have used some.
        for input in 0..io_apic.lines {
            if io_apic.read(FIRST_ENTRY + 2 * input) & MASKED == 0 {
                io_apic.set(input, MASKED, 0);
            }
        }
        *slot = Some(io_apic);
    }
}

/// Calls `f` with the I/O APIC and the input that `line` is.
fn with_input<R>(line: IrqLine, f: impl FnOnce(&IoApic, u32) -> R) -> Result<R> {
    let slots = IO_APICS.lock();
    for io_apic in slots.iter().flatten() {
        if let Some(input) = line.0.checked_sub(io_apic.first_line)
            && input < io_apic.lines
        {
            return Ok(f(io_apic, input));
        }
    }
    Err(Error::Invalid)
}

/// The vector of `line`: the one that it has, or a new one.
fn vector_of(line: IrqLine) -> Result<u8> {
    let tag = line.0.checked_add(1).ok_or(Error::Invalid)?;
    if let Some(v) = LINES.iter().position(|l| l.load(Ordering::Relaxed) == tag) {
        return u8::try_from(v).map_err(|_| Error::Invalid);
    }
    let vector = NEXT
        .try_update(Ordering::Relaxed, Ordering::Relaxed, |v| (v <= LAST_VECTOR).then(|| v + 1))
        .map_err(|_| Error::NoMemory)?;
    if let Some(l) = LINES.get(usize::from(vector)) {
        l.store(tag, Ordering::Relaxed);
    }
    Ok(vector)
}

/// Routes `line` to this CPU and unmasks it.
///
/// # Errors
/// `Invalid` when no controller has the line, `NoMemory` when all vectors are taken.
pub fn enable(line: IrqLine, trigger: Trigger) -> Result<()> {
    let mode = match trigger {
        Trigger::Edge => 0,
        Trigger::LevelHigh => LEVEL,
        Trigger::LevelLow => LEVEL | ACTIVE_LOW,
    };
    with_input(line, |io_apic, input| {
        let vector = vector_of(line)?;
        io_apic.set(input, u32::from(vector) | mode, lapic::id());
        Ok(())
    })?
}

/// Masks `line`.
pub fn disable(line: IrqLine) {
    // A line that no controller has is silent anyway.
    let _ = with_input(line, |io_apic, input| {
        let entry = FIRST_ENTRY + 2 * input;
        io_apic.write(entry, io_apic.read(entry) | MASKED);
    });
}

/// Lines from here on are no inputs of a controller but message-signalled interrupts.
const FIRST_MESSAGE: u32 = 1 << 16;
/// How many of them were given out.
static MESSAGES: AtomicU32 = AtomicU32::new(0);

/// A new message-signalled interrupt that goes to `cpu`: its line, and what the device
/// writes (Intel SDM vol. 3, 12.11).
///
/// # Errors
/// `NoMemory` when all vectors are taken; `Unsupported` for a CPU whose id the message
/// cannot hold.
pub fn message(cpu: &PerCpu) -> Result<(IrqLine, MsiMessage)> {
    const ADDRESS: u64 = 0xfee0_0000;
    let id = cpu.arch.apic_id.load(Ordering::Relaxed);
    let id = u8::try_from(id).map_err(|_| Error::Unsupported)?;
    let line = IrqLine(FIRST_MESSAGE + MESSAGES.fetch_add(1, Ordering::Relaxed));
    // Fixed delivery, edge: the data is the vector alone.
    let data = u32::from(vector_of(line)?);
    Ok((line, MsiMessage { address: ADDRESS | u64::from(id) << 12, data }))
}

/// Lets the message `line` through; it has no mask outside its device.
///
/// # Errors
/// None.
pub fn open_message(_line: IrqLine, _cpu: &PerCpu) -> Result<()> {
    Ok(())
}

/// Serves the interrupt `vector`, on the interrupt stack with interrupts off.
pub(super) fn interrupt(vector: u8) {
    match vector {
        // Not in service: no end of interrupt.
        lapic::SPURIOUS_VECTOR => {}
        lapic::TIMER_VECTOR => {
            lapic::end_of_interrupt();
            crate::time::timer_interrupt();
        }
        // What it is for is done on the way out.
        lapic::NOTIFY_VECTOR => lapic::end_of_interrupt(),
        lapic::ERROR_VECTOR => {
            log::error!("the local APIC reports an error");
            lapic::end_of_interrupt();
        }
        _ => {
            match LINES.get(usize::from(vector)).map_or(0, |l| l.load(Ordering::Relaxed)) {
                0 => log::warn!("interrupt vector {vector:#x} belongs to nobody"),
                tag => crate::irq::dispatch(IrqLine(tag - 1)),
            }
            lapic::end_of_interrupt();
        }
    }
}
