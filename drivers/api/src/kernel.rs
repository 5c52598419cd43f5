//! What a driver may ask of the kernel.

use crate::{Console, IrqHandler, IrqLine, Mmio, Pio, Result, Trigger};

/// A device's resource as the platform describes it (device tree, ACPI or convention).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory-mapped registers.
    Mmio {
        /// Physical address.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// x64 I/O ports.
    Pio {
        /// The first port.
        base: u16,
        /// How many.
        len: u16,
    },
    /// An interrupt.
    Irq {
        /// Its line.
        line: IrqLine,
        /// How it signals.
        trigger: Trigger,
    },
}

/// The kernel's services for drivers.
pub trait Kernel: Send + Sync {
    /// The `index`-th (from 0) device that the platform describes with the device-tree
    /// `compatible` string, or with the convention of the same name on a platform without
    /// a device tree (`ns16550a` on x64: COM1 …). Fills `out` and returns how many
    /// resources there are (at most `out.len()`), or `None` when there is no such device.
    fn find_device(&self, compatible: &str, index: usize, out: &mut [Resource]) -> Option<usize>;

    /// Maps device registers. The mapping is uncached and stays for ever; asking again for
    /// the same registers gives the same mapping.
    ///
    /// # Errors
    /// `Invalid` for an empty or wrapping range or one that overlaps RAM, `NoMemory`.
    fn map_mmio(&self, base: u64, len: u64) -> Result<Mmio>;

    /// Claims I/O ports.
    ///
    /// # Errors
    /// `Unsupported` where the arch has none, `Invalid` for a wrapping range.
    fn claim_pio(&self, base: u16, len: u16) -> Result<Pio>;

    /// Attaches a handler to a line and unmasks it.
    ///
    /// # Errors
    /// `Invalid` for a line that the controller lacks, `Busy` when it cannot be shared.
    fn attach_irq(
        &self,
        line: IrqLine,
        trigger: Trigger,
        handler: &'static dyn IrqHandler,
    ) -> Result<()>;

    /// Makes `console` the place of the kernel's log and of the app's terminal. What was
    /// logged so far is written to it.
    fn set_console(&self, console: &'static dyn Console);

    /// Nanoseconds since boot.
    fn now_ns(&self) -> u64;
}
