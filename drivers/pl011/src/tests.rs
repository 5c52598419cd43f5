//! The driver against registers that are plain memory: what it writes stays, and what it
//! reads is what the test has put there.

extern crate std;

use std::boxed::Box;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

use driver_api::Pio;

use super::*;

/// Where the device tree of the tests has the UART.
const BASE: u64 = 0x900_0000;

/// A page of registers, as the driver and as the test see it.
fn registers() -> (Mmio, Mmio) {
    let words: &'static [AtomicU64] =
        Box::leak((0..0x200).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>());
    (Mmio::fake(words), Mmio::fake(words))
}

fn uart() -> (&'static Pl011, Mmio) {
    let (ours, theirs) = registers();
    let line = Some((IrqLine(33), Trigger::LevelHigh));
    (Box::leak(Box::new(Pl011::new(ours, line))), theirs)
}

/// A machine with one UART that remembers what it was asked for.
struct Machine {
    registers: Mutex<Option<Mmio>>,
    resources: Vec<Resource>,
    attached: Mutex<Vec<IrqLine>>,
    consoles: Mutex<usize>,
}

impl Machine {
    fn new(registers: Option<Mmio>, resources: &[Resource]) -> &'static Self {
        Box::leak(Box::new(Self {
            registers: Mutex::new(registers),
            resources: resources.to_vec(),
            attached: Mutex::default(),
            consoles: Mutex::default(),
        }))
    }
}

impl Kernel for Machine {
    fn find_device(&self, name: &str, index: usize, out: &mut [Resource]) -> Option<usize> {
        assert_eq!((name, index), ("arm,pl011", 0));
        if self.resources.is_empty() {
            return None;
        }
        Some(out.iter_mut().zip(&self.resources).map(|(to, from)| *to = *from).count())
    }

    fn map_mmio(&self, base: u64, len: u64) -> Result<Mmio> {
        assert_eq!((base, len), (BASE, 0x1000), "one page, whatever the tree says");
        self.registers.lock().unwrap().take().ok_or(Error::NoMemory)
    }

    fn claim_pio(&self, _base: u16, _len: u16) -> Result<Pio> {
        Err(Error::Unsupported)
    }

    fn attach_irq(
        &self,
        line: IrqLine,
        _trigger: Trigger,
        _handler: &'static dyn IrqHandler,
    ) -> Result<()> {
        self.attached.lock().unwrap().push(line);
        Ok(())
    }

    fn set_console(&self, _console: &'static dyn Console) {
        *self.consoles.lock().unwrap() += 1;
    }

    fn now_ns(&self) -> u64 {
        0
    }
}

/// Keeps what it receives.
#[derive(Default)]
struct Input(Mutex<Vec<u8>>);

impl ConsoleInput for Input {
    fn receive(&self, byte: u8) {
        self.0.lock().unwrap().push(byte);
    }
}

fn input() -> &'static Input {
    Box::leak(Box::default())
}

#[test]
fn no_uart_is_no_console() {
    let machine = Machine::new(None, &[]);
    assert_eq!(early(machine), Err(Error::NoDevice));
    let irq = Resource::Irq { line: IrqLine(33), trigger: Trigger::LevelHigh };
    assert_eq!(early(Machine::new(None, &[irq])), Err(Error::NoDevice), "no registers");
    let mmio = Resource::Mmio { base: BASE, len: 0x1000 };
    assert_eq!(early(Machine::new(None, &[mmio])), Err(Error::NoMemory), "cannot be mapped");
    assert_eq!(*machine.consoles.lock().unwrap(), 0);
}

#[test]
fn the_uart_of_the_tree_becomes_the_console() {
    let (ours, theirs) = registers();
    theirs.write32(register::IMSC, 0x7ff);
    let machine = Machine::new(
        Some(ours),
        &[
            Resource::Mmio { base: BASE, len: 0x1_0000 },
            Resource::Irq { line: IrqLine(33), trigger: Trigger::LevelHigh },
        ],
    );
    assert_eq!(early(machine), Ok(()));
    assert_eq!(*machine.consoles.lock().unwrap(), 1);
    assert_eq!(theirs.read32(register::IMSC), 0, "no interrupts before there is a handler");
    assert_eq!(theirs.read32(register::CR), ENABLED);
    assert_eq!(probe(machine), Ok(()));
}

#[test]
fn a_stuck_transmitter_does_not_stop_the_kernel() {
    let (uart, registers) = uart();
    uart.write(b"ab");
    assert_eq!(registers.read32(register::DR), u32::from(b'b'));
    registers.write32(register::FR, TX_FULL);
    uart.write(b"cd");
    assert_eq!(registers.read32(register::DR), u32::from(b'b'), "nothing could be sent");
    assert!(uart.stuck.load(Ordering::Relaxed));
    registers.write32(register::FR, 0);
    uart.write(b"e");
    assert_eq!(registers.read32(register::DR), u32::from(b'e'), "it goes on when it can");
    assert!(!uart.stuck.load(Ordering::Relaxed));
}

#[test]
fn input_is_delivered_bounded_and_whole() {
    let (uart, registers) = uart();
    let (machine, input) = (Machine::new(None, &[]), input());
    assert_eq!(uart.start_input(machine, input), Ok(()));
    assert_eq!(*machine.attached.lock().unwrap(), [IrqLine(33)]);
    assert_eq!(registers.read32(register::IMSC), RX_INTERRUPTS);

    assert_eq!(uart.handle(), IrqReturn::NotMine);
    registers.write32(register::MIS, RX_INTERRUPTS);
    registers.write32(register::FR, RX_EMPTY);
    assert_eq!(uart.handle(), IrqReturn::Handled);
    assert!(input.0.lock().unwrap().is_empty(), "an empty FIFO has no byte");

    // A FIFO that never becomes empty: one burst, then the CPU is given back.
    registers.write32(register::FR, 0);
    registers.write32(register::DR, u32::from(b'x'));
    assert_eq!(uart.handle(), IrqReturn::Handled);
    assert_eq!(*input.0.lock().unwrap(), [b'x'; BURST]);

    // A break is no byte.
    registers.write32(register::DR, 0x400);
    assert_eq!(uart.handle(), IrqReturn::Handled);
    assert_eq!(input.0.lock().unwrap().len(), BURST);
}

#[test]
fn a_uart_without_interrupt_has_no_input() {
    let (ours, _) = registers();
    let uart: &'static Pl011 = Box::leak(Box::new(Pl011::new(ours, None)));
    assert_eq!(uart.start_input(Machine::new(None, &[]), input()), Err(Error::Unsupported));
}
