//! File systems that are there when the program starts.

use alloc::sync::Arc;

use crate::Result;
use crate::vfs::{Inode, Timestamp};

/// Makes the root directory of a file system. Gets what was packed with the kernel (a bootfs,
/// nothing checked; empty when there is none; it stays where it is for ever and does not
/// change), and what files that are made now are dated with: the root's own time of change.
///
/// # Errors
/// `Invalid` for what was packed, with the reason in the log; `NoMemory`.
pub type MakeRoot = fn(packed: &'static [u8], now: Timestamp) -> Result<Arc<dyn Inode>>;

/// A file system that the kernel mounts at boot, as its driver registers it:
///
/// ```ignore
/// #[linkme::distributed_slice(driver_api::BOOT_FILE_SYSTEMS)]
/// #[linkme(crate = driver_api::linkme)]
/// static AT_BOOT: BootFileSystem = BootFileSystem { name: "proc", at: "proc", … };
/// ```
pub struct BootFileSystem {
    /// Its kind, as `/proc/mounts` and `/proc/filesystems` show it.
    pub name: &'static str,
    /// The name of the directory at the root on which it is mounted, and which is made if it is
    /// not there; empty for the root itself.
    pub at: &'static str,
    /// What is mounted, as `/proc/mounts` shows it.
    pub source: &'static str,
    /// Permission bits of the directory, when it is made.
    pub mode: u16,
    /// Whether nothing may be written to it.
    pub read_only: bool,
    /// Makes its root directory. Called once, when the drivers have probed: for the root first,
    /// for others in any order.
    pub root: MakeRoot,
}

/// All such file systems that were linked into this kernel: one for the root, and others.
#[linkme::distributed_slice]
pub static BOOT_FILE_SYSTEMS: [BootFileSystem];
