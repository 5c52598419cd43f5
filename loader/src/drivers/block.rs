//! Block devices: their names.

use alloc::sync::Arc;

use driver_api::BusAddress;
use driver_api::block::BlockDevice;

use super::names::Names;

static DISKS: Names<dyn BlockDevice> = Names::new();

/// A driver has found a disk.
pub(super) fn add(at: BusAddress, device: Arc<dyn BlockDevice>) {
    let g = device.geometry();
    log::info!(target: "block", "disk at {at}: {} sectors of {} bytes", g.sectors, g.sector_size);
    DISKS.add(at, device);
}

/// How many disks there are.
#[must_use]
pub fn count() -> usize {
    DISKS.count()
}

/// The disk `blk<index>`.
#[must_use]
pub fn get(index: usize) -> Option<Arc<dyn BlockDevice>> {
    DISKS.get(index).map(|(_, device)| device)
}
