//! Driver for the serial port of PCs, NS16550A and compatibles (National Semiconductor
//! PC16550D data sheet) on I/O ports: the console of x64 machines.
//!
//! Output polls the transmit FIFO, so that it works in every context, panics included. Input
//! comes by interrupts. The line's speed is left as firmware or the VMM has set it.
#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

use driver_api::Once;
use driver_api::{
    Console, ConsoleInput, Driver, Error, IrqHandler, IrqLine, IrqReturn, Kernel, Pio, Resource,
    Result, Trigger,
};

/// Registers: offsets from the first port (data sheet, table II).
mod register {
    /// Received byte; byte to send.
    pub const DATA: u16 = 0;
    /// Interrupt enable.
    pub const IER: u16 = 1;
    /// Written: FIFO control.
    pub const FCR: u16 = 2;
    /// Read: interrupt identification.
    pub const IIR: u16 = 2;
    /// Line control.
    pub const LCR: u16 = 3;
    /// Modem control.
    pub const MCR: u16 = 4;
    /// Line status.
    pub const LSR: u16 = 5;
    /// A byte that the device keeps and does not look at.
    pub const SCRATCH: u16 = 7;
}

/// IER: a byte was received.
const RECEIVED: u8 = 1 << 0;
/// IIR: nothing is pending.
const NOTHING: u8 = 1 << 0;
/// IIR: the FIFOs are on; an older UART has none.
const HAS_FIFOS: u8 = 0b11 << 6;
/// FCR: FIFOs on, both emptied, an interrupt for the first byte.
const FIFOS: u8 = 0b111;
/// LCR: eight bits, no parity, one stop bit, the divisor out of sight.
const EIGHT_BITS: u8 = 0b11;
/// MCR: ready, and OUT2, which connects the interrupt on a PC.
const READY: u8 = 0b1011;
/// LSR: a received byte is there.
const HAS_BYTE: u8 = 1 << 0;
/// LSR: the byte on top has a parity or framing error, or is a break: it is none.
const BROKEN: u8 = 1 << 2 | 1 << 3 | 1 << 4;
/// LSR: the transmit FIFO is empty.
const CAN_SEND: u8 = 1 << 5;
/// Bytes that fit into an empty transmit FIFO.
const FIFO: usize = 16;

/// How often a full FIFO is asked before bytes are lost: a port that is stuck (or whose host
/// does not read) must not stop the kernel. At 9600 baud a FIFO takes 17 ms.
const TRIES: u32 = 10_000_000;
/// Most bytes taken in one interrupt, so that a stuck flag does not keep the CPU.
const BURST: usize = 64;
/// How many ports are looked for.
const PORTS: usize = 4;

/// A serial port.
struct Ns16550 {
    registers: Pio,
    interrupt: Option<(IrqLine, Trigger)>,
    /// Bytes that may be written at once when [`CAN_SEND`] is set.
    burst: usize,
    input: Once<&'static dyn ConsoleInput>,
    /// A byte could not be sent in time: do not wait for the next ones.
    stuck: AtomicBool,
}

static PORT: Once<Ns16550> = Once::new();

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "ns16550", early: Some(early), probe };

/// Makes the first port that is there the console.
fn early(kernel: &'static dyn Kernel) -> Result<()> {
    let mut port = (0..PORTS).find_map(|n| find(kernel, n)).ok_or(Error::NoDevice)?;
    port.start();
    let port = PORT.call_once(|| port);
    kernel.set_console(port);
    Ok(())
}

/// All is done early, and by [`Console::start_input`].
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    if PORT.get().is_some() { Ok(()) } else { Err(Error::NoDevice) }
}

/// The `index`-th port, if it answers.
fn find(kernel: &'static dyn Kernel, index: usize) -> Option<Ns16550> {
    let mut found = [Resource::Pio { base: 0, len: 0 }; 4];
    let count = kernel.find_device("ns16550a", index, &mut found)?;
    let found = found.get(..count)?;
    let (mut ports, mut interrupt) = (None, None);
    for resource in found.iter().rev() {
        match *resource {
            Resource::Pio { base, len } => ports = Some((base, len)),
            Resource::Irq { line, trigger } => interrupt = Some((line, trigger)),
            Resource::Mmio { .. } => {}
        }
    }
    let (base, len) = ports?;
    let port = Ns16550::new(kernel.claim_pio(base, len).ok()?, interrupt);
    port.answers().then_some(port)
}

impl Ns16550 {
    const fn new(registers: Pio, interrupt: Option<(IrqLine, Trigger)>) -> Self {
        let stuck = AtomicBool::new(false);
        Self { registers, interrupt, burst: 1, input: Once::new(), stuck }
    }

    /// Whether a device keeps what is written to the scratch register; ports without one read
    /// all ones.
    fn answers(&self) -> bool {
        [0xa5, 0x5a].iter().all(|&value| {
            self.registers.write8(register::SCRATCH, value);
            self.registers.read8(register::SCRATCH) == value
        })
    }

    /// Interrupts off, FIFOs on where there are any, eight bits; the speed stays.
    fn start(&mut self) {
        let values = [
            (register::IER, 0),
            (register::LCR, EIGHT_BITS),
            (register::FCR, FIFOS),
            (register::MCR, READY),
        ];
        values.iter().for_each(|&(register, value)| self.registers.write8(register, value));
        if self.registers.read8(register::IIR) & HAS_FIFOS == HAS_FIFOS {
            self.burst = FIFO;
        }
    }

    /// Waits until the transmit FIFO is empty; `false` when that takes too long.
    fn wait_to_send(&self) -> bool {
        let mut tries = if self.stuck.load(Ordering::Relaxed) { 1 } else { TRIES };
        while self.registers.read8(register::LSR) & CAN_SEND == 0 {
            tries -= 1;
            if tries == 0 {
                self.stuck.store(true, Ordering::Relaxed);
                return false;
            }
            core::hint::spin_loop();
        }
        self.stuck.store(false, Ordering::Relaxed);
        true
    }
}

impl Console for Ns16550 {
    fn write(&self, bytes: &[u8]) {
        for burst in bytes.chunks(self.burst) {
            if !self.wait_to_send() {
                continue;
            }
            for byte in burst {
                self.registers.write8(register::DATA, *byte);
            }
        }
    }

    fn start_input(
        &'static self,
        kernel: &'static dyn Kernel,
        input: &'static dyn ConsoleInput,
    ) -> Result<()> {
        let (line, trigger) = self.interrupt.ok_or(Error::Unsupported)?;
        self.input.call_once(|| input);
        kernel.attach_irq(line, trigger, self)?;
        self.registers.write8(register::IER, RECEIVED);
        Ok(())
    }
}

impl IrqHandler for Ns16550 {
    fn handle(&self) -> IrqReturn {
        if self.registers.read8(register::IIR) & NOTHING != 0 {
            return IrqReturn::NotMine;
        }
        for _ in 0..BURST {
            let status = self.registers.read8(register::LSR);
            if status & HAS_BYTE == 0 {
                return IrqReturn::Handled;
            }
            let byte = self.registers.read8(register::DATA);
            if status & BROKEN == 0
                && let Some(input) = self.input.get()
            {
                input.receive(byte);
            }
        }
        // More is there, and the line is edge-triggered: lower it and raise it again.
        self.registers.write8(register::IER, 0);
        self.registers.write8(register::IER, RECEIVED);
        IrqReturn::Handled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_api::Mmio;

    /// A PC without serial ports: on the host every port reads all ones.
    struct NoPorts;

    impl Kernel for NoPorts {
        fn find_device(&self, name: &str, index: usize, out: &mut [Resource]) -> Option<usize> {
            assert_eq!(name, "ns16550a");
            *out.get_mut(0)? = Resource::Pio { base: 0x3f8, len: 8 };
            (index < 2).then_some(1)
        }

        fn map_mmio(&self, _base: u64, _len: u64) -> Result<Mmio> {
            Err(Error::Unsupported)
        }

        fn claim_pio(&self, _base: u16, _len: u16) -> Result<Pio> {
            // Of no length: no port is ever touched.
            Err(Error::Unsupported)
        }

        fn attach_irq(
            &self,
            _line: IrqLine,
            _trigger: Trigger,
            _handler: &'static dyn IrqHandler,
        ) -> Result<()> {
            Err(Error::Unsupported)
        }

        fn set_console(&self, _console: &'static dyn Console) {
            panic!("there is no console");
        }

        fn now_ns(&self) -> u64 {
            0
        }
    }

    #[test]
    fn without_a_port_there_is_no_console() {
        assert_eq!(early(&NoPorts), Err(Error::NoDevice));
        assert_eq!(probe(&NoPorts), Err(Error::NoDevice));
    }
}
