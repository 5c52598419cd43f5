//! Driver for the ARM PrimeCell UART, PL011 (Arm DDI 0183G), as the device tree describes it
//! (`arm,pl011`): the console of aarch64 machines.
//!
//! Output polls the transmit FIFO, so that it works in every context, panics included. Input
//! comes by interrupts. The line's speed is left as firmware or the VMM has set it.
#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

use driver_api::Once;
use driver_api::{
    Console, ConsoleInput, Driver, Error, IrqHandler, IrqLine, IrqReturn, Kernel, Mmio, Resource,
    Result, Trigger,
};

/// Register offsets in bytes (DDI 0183G 3.2).
mod register {
    /// Data, with error flags above the byte.
    pub const DR: usize = 0x00;
    /// Flags.
    pub const FR: usize = 0x18;
    /// Line control.
    pub const LCR_H: usize = 0x2c;
    /// Control.
    pub const CR: usize = 0x30;
    /// FIFO levels that interrupt.
    pub const IFLS: usize = 0x34;
    /// Interrupt mask: a set bit lets the interrupt through.
    pub const IMSC: usize = 0x38;
    /// Masked interrupt status.
    pub const MIS: usize = 0x40;
    /// Interrupt clear.
    pub const ICR: usize = 0x44;
}

/// FR: the receive FIFO is empty.
const RX_EMPTY: u32 = 1 << 4;
/// FR: the transmit FIFO is full.
const TX_FULL: u32 = 1 << 5;
/// DR: the byte came with a framing, parity or break error, and is none.
const RX_BROKEN: u32 = 0x700;
/// LCR_H: 8 bits, FIFOs on.
const EIGHT_BITS_FIFO: u32 = 3 << 5 | 1 << 4;
/// CR: UART, transmitter and receiver on.
const ENABLED: u32 = 1 | 1 << 8 | 1 << 9;
/// IMSC and MIS: the receive FIFO has reached its level, or has held bytes for 32 bit times.
const RX_INTERRUPTS: u32 = 1 << 4 | 1 << 6;
/// ICR: every interrupt.
const ALL_INTERRUPTS: u32 = 0x7ff;

/// How often a full FIFO is asked before the byte is lost: a UART that is stuck (or whose
/// host does not read) must not stop the kernel. At 9600 baud a byte takes a millisecond.
const TRIES: u32 = 10_000_000;
/// Most bytes taken in one interrupt: twice the deepest FIFO, so that a stuck flag does not
/// keep the CPU.
const BURST: usize = 64;

/// The UART.
struct Pl011 {
    registers: Mmio,
    interrupt: Option<(IrqLine, Trigger)>,
    input: Once<&'static dyn ConsoleInput>,
    /// A byte could not be sent in time: do not wait for the next ones.
    stuck: AtomicBool,
}

static UART: Once<Pl011> = Once::new();

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "pl011", early: Some(early), probe };

/// Makes the first UART of the device tree the console.
fn early(kernel: &'static dyn Kernel) -> Result<()> {
    let mut found = [Resource::Mmio { base: 0, len: 0 }; 4];
    let count = kernel.find_device("arm,pl011", 0, &mut found).ok_or(Error::NoDevice)?;
    let found = found.get(..count).unwrap_or(&[]);
    let (base, len) = found
        .iter()
        .find_map(|r| match *r {
            Resource::Mmio { base, len } => Some((base, len)),
            _ => None,
        })
        .ok_or(Error::NoDevice)?;
    let interrupt = found.iter().find_map(|r| match *r {
        Resource::Irq { line, trigger } => Some((line, trigger)),
        _ => None,
    });
    let registers = kernel.map_mmio(base, len.min(0x1000))?;
    let uart = UART.call_once(|| Pl011::new(registers, interrupt));
    uart.start();
    kernel.set_console(uart);
    Ok(())
}

/// All is done early, and by [`Console::start_input`].
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    if UART.get().is_some() { Ok(()) } else { Err(Error::NoDevice) }
}

impl Pl011 {
    const fn new(registers: Mmio, interrupt: Option<(IrqLine, Trigger)>) -> Self {
        Self { registers, interrupt, input: Once::new(), stuck: AtomicBool::new(false) }
    }

    /// Interrupts off, FIFOs on, both directions on; the speed stays.
    fn start(&self) {
        let r = &self.registers;
        r.write32(register::IMSC, 0);
        r.write32(register::ICR, ALL_INTERRUPTS);
        r.write32(register::LCR_H, EIGHT_BITS_FIFO);
        r.write32(register::CR, ENABLED);
    }

    fn send(&self, byte: u8) {
        let mut tries = if self.stuck.load(Ordering::Relaxed) { 1 } else { TRIES };
        while self.registers.read32(register::FR) & TX_FULL != 0 {
            tries -= 1;
            if tries == 0 {
                self.stuck.store(true, Ordering::Relaxed);
                return;
            }
            core::hint::spin_loop();
        }
        self.stuck.store(false, Ordering::Relaxed);
        self.registers.write32(register::DR, u32::from(byte));
    }
}

impl Console for Pl011 {
    fn write(&self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.send(b));
    }

    fn start_input(
        &'static self,
        kernel: &'static dyn Kernel,
        input: &'static dyn ConsoleInput,
    ) -> Result<()> {
        let (line, trigger) = self.interrupt.ok_or(Error::Unsupported)?;
        self.input.call_once(|| input);
        kernel.attach_irq(line, trigger, self)?;
        // Level 1/8; the time-out interrupt delivers what is below it.
        self.registers.write32(register::IFLS, 0);
        self.registers.write32(register::IMSC, RX_INTERRUPTS);
        Ok(())
    }
}

impl IrqHandler for Pl011 {
    fn handle(&self) -> IrqReturn {
        if self.registers.read32(register::MIS) & RX_INTERRUPTS == 0 {
            return IrqReturn::NotMine;
        }
        // Cleared first: a byte that comes while the FIFO is emptied interrupts again.
        self.registers.write32(register::ICR, RX_INTERRUPTS);
        for _ in 0..BURST {
            if self.registers.read32(register::FR) & RX_EMPTY != 0 {
                break;
            }
            let data = self.registers.read32(register::DR);
            if let Some(input) = self.input.get()
                && data & RX_BROKEN == 0
            {
                input.receive(data as u8);
            }
        }
        IrqReturn::Handled
    }
}

#[cfg(test)]
mod tests;
