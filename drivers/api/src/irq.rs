//! Interrupts as drivers see them.

/// An interrupt line as the platform numbers it: on x64 a global system interrupt
/// (an I/O APIC input), on aarch64 a GIC interrupt id (a device tree's SPI n is 32 + n).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IrqLine(pub u32);

/// How a line signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Edge, rising.
    Edge,
    /// Level, active high.
    LevelHigh,
    /// Level, active low (PCI INTx).
    LevelLow,
}

/// What a hard interrupt handler found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqReturn {
    /// The device had raised it, and was acknowledged.
    Handled,
    /// Another device on a shared line raised it.
    NotMine,
    /// The device had raised it and cannot be silenced at once: its level line stays masked
    /// until the driver's thread has called `Services::irq_done`.
    Deferred,
}

/// A hard interrupt handler: acknowledges the device, wakes whom it must, returns. It
/// neither sleeps nor allocates.
pub trait IrqHandler: Send + Sync {
    /// Called with interrupts off on the interrupt stack.
    fn handle(&self) -> IrqReturn;
}
