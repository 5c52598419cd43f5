//! The kernel log: the `log` facade, a ring of the latest lines, the console.

pub mod line;
pub mod ring;

#[cfg(target_os = "none")]
mod sink;
#[cfg(target_os = "none")]
pub use sink::*;
