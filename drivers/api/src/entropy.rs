//! Sources of randomness.

use crate::Result;

/// A device that gives random bytes.
pub trait EntropySource: Send + Sync {
    /// Fills `out` from the front and returns how many bytes came, at least one. Waits for
    /// them, bounded.
    ///
    /// # Errors
    /// `TimedOut`, `Io`.
    fn fill(&self, out: &mut [u8]) -> Result<usize>;
}

#[cfg(target_os = "none")]
unsafe extern "Rust" {
    /// In the kernel (`loader/src/drivers/files.rs`).
    safe fn osier_random(out: &mut [u8]) -> Result<()>;
}

/// The host's tests have no generator, and get nothing rather than zeroes.
#[cfg(not(target_os = "none"))]
fn osier_random(_out: &mut [u8]) -> Result<()> {
    Err(crate::Error::WouldBlock)
}

/// Fills `out` from the kernel's generator.
///
/// # Errors
/// `WouldBlock` when it could not be seeded.
pub fn random(out: &mut [u8]) -> Result<()> {
    osier_random(out)
}
