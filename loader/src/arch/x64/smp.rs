//! The other CPUs. They stay parked: INIT and SIPI are not sent yet.

use driver_api::{Error, Result};

use crate::percpu::PerCpu;

/// How many CPUs can be started besides the one that booted.
#[must_use]
pub fn others() -> usize {
    0
}

/// Starts the `nth` of [`others`].
///
/// # Errors
/// `NoDevice`: there is none.
pub fn start(
    _nth: usize,
    _cpu: &'static PerCpu,
    _stack_top: usize,
    _entry: extern "C" fn() -> !,
) -> Result<()> {
    Err(Error::NoDevice)
}

/// Interrupts `cpu`. There is none but the one that asks.
pub fn notify(_cpu: &PerCpu) {}
