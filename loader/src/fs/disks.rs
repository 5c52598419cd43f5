//! Disks as files: what `/dev/blkN` and `mount` know of block devices.
//!
//! Reached through one pointer that the first disk sets: a kernel without drivers of disks
//! holds nothing of it.

use super::file::Stream;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use driver_api::Once;
use driver_api::Result;
use driver_api::block::BlockDevice;

/// Their major number (`BLOCK_EXT_MAJOR` of Linux); the minor one is that of the name.
pub const MAJOR: u32 = 259;

/// Whatever keeps a disk from others until it is dropped.
pub type Claim = Box<dyn Any + Send + Sync>;

/// All disks.
pub trait Disks: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// `blk<index>` as an open file.
    fn open(&self, index: usize) -> Option<Arc<dyn Stream>>;
    /// `blk<index>`, for whoever mounts it: nobody else writes to it meanwhile.
    ///
    /// # Errors
    /// `NoDevice`, `Busy`.
    fn claim(&self, index: usize) -> Result<(Arc<dyn BlockDevice>, Claim)>;
}

static DISKS: Once<&'static dyn Disks> = Once::new();

/// There is a disk.
pub fn set(disks: &'static dyn Disks) {
    DISKS.call_once(|| disks);
}

/// The disks, if there are any.
#[must_use]
pub fn get() -> Option<&'static dyn Disks> {
    DISKS.get().copied()
}
