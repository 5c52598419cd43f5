//! What drivers of devices with interrupts, threads and DMA may ask of the kernel, beyond
//! [`Kernel`].

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::block::BlockDevice;
use crate::dma::DmaArena;
use crate::entropy::EntropySource;
use crate::net::NetDevice;
use crate::paged::FileSystemType;
use crate::wait::WaitPlace;
use crate::{BusAddress, IrqHandler, IrqLine, Kernel, Result};

/// What a device writes to raise a message-signalled interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Where, on the bus.
    pub address: u64,
    /// What.
    pub data: u32,
}

/// Work that interrupts leave to a thread.
pub trait Worker: Send + Sync {
    /// Does what there is to do. Returns when it wants to be called again at the latest, in
    /// ns since boot, even if nobody wakes it.
    fn work(&self) -> Option<u64>;
}

/// Makes a [`Worker`]'s thread call it.
pub trait Wake: Send + Sync {
    /// Soon, once, however often it is called until then. From any context.
    fn wake(&self);
}

/// The kernel's further services. A trait of its own because kernels without such drivers
/// hold nothing of it.
pub trait Services: Kernel {
    /// Where DMA memory comes from.
    fn dma(&self) -> &'static dyn DmaArena;

    /// How many CPUs run.
    fn cpus(&self) -> usize;

    /// The CPU that runs the caller, below [`Self::cpus`]; it may be another one at once.
    fn cpu(&self) -> usize;

    /// Attaches a handler to a new message-signalled interrupt that goes to CPU `cpu`.
    ///
    /// # Errors
    /// `Unsupported` where the platform has none, `NoMemory` when all vectors are taken.
    fn attach_msi(&self, cpu: usize, handler: &'static dyn IrqHandler) -> Result<MsiMessage>;

    /// Unmasks a line that [`crate::IrqReturn::Deferred`] has left masked.
    fn irq_done(&self, line: IrqLine);

    /// Starts a thread that calls `worker` whenever it is woken, ahead of ordinary threads.
    ///
    /// # Errors
    /// `NoMemory`.
    fn start_worker(&self, name: &str, worker: Arc<dyn Worker>) -> Result<Arc<dyn Wake>>;

    /// Waits. Only in threads.
    fn sleep_ns(&self, ns: u64);

    /// A new place for threads to wait in.
    fn wait_place(&self) -> Arc<dyn WaitPlace>;

    /// The values of `KEY=…` words of the kernel's command line, for keys that describe
    /// devices (`virtio_mmio.device`).
    fn described_devices(&self, key: &str) -> Vec<Vec<u8>>;

    /// Makes a block device known. When all drivers have probed, the kernel names block
    /// devices `blk0`, `blk1` … by address.
    fn add_block(&self, at: BusAddress, device: Arc<dyn BlockDevice>);

    /// Makes a network card known: `net0`, `net1` … by address.
    fn add_net(&self, at: BusAddress, device: Arc<dyn NetDevice>);

    /// Makes a kind of file system known to `mount`.
    fn add_file_system(&self, kind: &'static dyn FileSystemType);

    /// Feeds the kernel's generator from `source`.
    fn add_entropy(&self, source: Arc<dyn EntropySource>);
}

#[cfg(target_os = "none")]
unsafe extern "Rust" {
    /// In the kernel (`loader/src/drivers/mod.rs`).
    safe fn osier_services() -> &'static dyn Services;
}

/// The kernel's further services. Behind a symbol, so that the linker drops them from kernels
/// in which no driver asks.
#[cfg(target_os = "none")]
#[must_use]
pub fn services() -> &'static dyn Services {
    osier_services()
}

/// The machine that the test has installed.
///
/// # Panics
/// When it has installed none.
#[cfg(not(target_os = "none"))]
#[must_use]
pub fn services() -> &'static dyn Services {
    match crate::fake::installed() {
        Some(machine) => machine,
        None => panic!("no machine: call driver_api::fake::Machine::install first"),
    }
}
