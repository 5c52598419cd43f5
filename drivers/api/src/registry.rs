//! The list of drivers, gathered by the linker.

use crate::{Kernel, Result};

/// A driver, as it registers itself:
///
/// ```ignore
/// #[linkme::distributed_slice(driver_api::DRIVERS)]
/// #[linkme(crate = driver_api::linkme)]
/// static DRIVER: Driver = Driver { name: "ns16550", early: Some(early), probe };
/// ```
pub struct Driver {
    /// The name of its folder below `drivers/`.
    pub name: &'static str,
    /// Called before memory management and interrupts are up, so that the first log line
    /// and the first panic are seen: a console driver finds its device and calls
    /// [`Kernel::set_console`]. Only [`Kernel::find_device`], [`Kernel::map_mmio`] (of one
    /// page), [`Kernel::claim_pio`] and [`Kernel::set_console`] may be called.
    pub early: Option<fn(&'static dyn Kernel) -> Result<()>>,
    /// Finds the driver's devices and starts them; called once, in a thread.
    pub probe: fn(&'static dyn Kernel) -> Result<()>,
}

/// All drivers that were linked into this kernel.
#[linkme::distributed_slice]
pub static DRIVERS: [Driver];
