//! Time: nanoseconds since boot, the wall clock, timers.

pub mod scale;
pub mod timers;

#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
pub use clock::*;
