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
