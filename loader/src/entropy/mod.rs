//! Random bytes: a ChaCha20 generator that gives nothing before it is seeded.

pub mod chacha;
pub mod pool;

#[cfg(target_os = "none")]
mod source;
#[cfg(target_os = "none")]
pub use source::*;
