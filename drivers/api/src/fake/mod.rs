//! A machine for tests of drivers, on the host: registers, interrupts, DMA memory and time
//! that the test scripts. Nothing here runs by itself: devices act when the test, or a
//! register access, makes them, and workers run when the test says so.

mod arena;
mod disk;
mod machine;

pub use arena::Arena;
pub use disk::{Event, LogDisk, SECTOR};
pub use machine::{Machine, installed};

/// The model of a device's registers.
pub trait Registers: Send + Sync {
    /// The `size` bytes (1, 2, 4 or 8) at `offset`, aligned and inside the range.
    fn read(&self, offset: usize, size: usize) -> u64;
    /// Writes them.
    fn write(&self, offset: usize, size: usize, value: u64);
}
