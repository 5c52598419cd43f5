//! What an address space needs of page tables and frames, so that it is tested without.

use super::PhysAddr;
use super::table::Flags;
use driver_api::Result;

/// The page tables and frames behind an address space.
pub trait Mmu: Send {
    /// A new frame; `fill` gets its bytes, all zero.
    ///
    /// # Errors
    /// `NoMemory`, and what `fill` gives.
    fn frame(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<PhysAddr>;
    /// A new frame with the contents of another.
    ///
    /// # Errors
    /// `NoMemory`.
    fn copy(&mut self, from: PhysAddr) -> Result<PhysAddr>;
    /// Gives a frame back that was never mapped.
    fn free(&mut self, frame: PhysAddr);
    /// Where resident bytes lie.
    fn resident(&self, bytes: &'static [u8]) -> PhysAddr;
    /// Instructions will be fetched from a frame that the kernel has written to.
    fn executable(&mut self, frame: PhysAddr);
    /// Maps `len` bytes, nothing being mapped there.
    ///
    /// # Errors
    /// `NoMemory`: no frame for a table; nothing is mapped then.
    fn map(&mut self, at: usize, to: PhysAddr, len: usize, flags: Flags) -> Result<()>;
    /// Unmaps what is mapped, frees what is `OWNED` once no CPU can reach it, and says how
    /// many frames that were.
    fn unmap(&mut self, at: usize, len: usize) -> usize;
    /// Takes out one page without freeing it: where it pointed.
    fn take(&mut self, at: usize) -> Option<(PhysAddr, Flags)>;
    /// Gives all leaves in the range the flags that `new` says, and drops old translations.
    fn protect(&mut self, at: usize, len: usize, new: &mut dyn FnMut(Flags) -> Flags);
    /// What is mapped at `at`.
    fn query(&self, at: usize) -> Option<(PhysAddr, Flags)>;
    /// Frees tables in a range in which no area is left.
    fn prune(&mut self, at: usize, len: usize);
}
