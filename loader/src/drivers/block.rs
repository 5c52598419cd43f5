//! Block devices: their names, and `/dev/blkN`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicUsize, Ordering};

use driver_api::block::BlockDevice;
use driver_api::disk::Disk;
use driver_api::{BusAddress, Error, Result};

use super::names::Names;
use crate::fs::disks::{self, Claim, Disks};
use crate::fs::file::{Bytes, Stream};
use crate::registry::SERVICES;
use crate::sync::Mutex;
use crate::user;

static DISKS: Names<dyn BlockDevice> = Names::new();

/// A driver has found a disk.
pub(super) fn add(at: BusAddress, device: Arc<dyn BlockDevice>) {
    let g = device.geometry();
    log::info!(target: "block", "disk at {at}: {} sectors of {} bytes", g.sectors, g.sector_size);
    DISKS.add(at, device);
    disks::set(&Named);
}

/// The disk `blk<index>`.
#[must_use]
pub fn get(index: usize) -> Option<Arc<dyn BlockDevice>> {
    DISKS.get(index).map(|(_, device)| device)
}

/// A disk that somebody has open or mounted.
struct Used {
    disk: Disk,
    /// How many write to it through `/dev`, or [`MOUNTED`].
    writers: AtomicUsize,
}

/// [`Used::writers`] of a disk that is mounted.
const MOUNTED: usize = usize::MAX;

/// That a disk is mounted.
struct Mounted(Arc<Used>);

impl Drop for Mounted {
    fn drop(&mut self) {
        self.0.writers.store(0, Ordering::Release);
    }
}

/// Disks in use, by number. Held while one is looked up.
static USED: Mutex<BTreeMap<usize, Weak<Used>>> = Mutex::new(BTreeMap::new());

/// The disks as files.
struct Named;

fn used(index: usize) -> Option<Arc<Used>> {
    let mut all = USED.lock();
    if let Some(used) = all.get(&index).and_then(Weak::upgrade) {
        return Some(used);
    }
    let disk = Disk::new(&SERVICES, get(index)?);
    let used = Arc::new(Used { disk, writers: AtomicUsize::new(0) });
    all.insert(index, Arc::downgrade(&used));
    Some(used)
}

impl Disks for Named {
    fn count(&self) -> usize {
        DISKS.count()
    }

    fn open(&self, index: usize) -> Option<Arc<dyn Stream>> {
        let used: Arc<dyn Stream> = used(index)?;
        Some(used)
    }

    fn claim(&self, index: usize) -> Result<(Arc<dyn BlockDevice>, Claim)> {
        let used = used(index).ok_or(Error::NoDevice)?;
        let free = &used.writers;
        free.compare_exchange(0, MOUNTED, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| Error::Busy)?;
        let claim = Box::new(Mounted(used));
        let device = get(index).ok_or(Error::NoDevice)?;
        Ok((device, claim))
    }
}

/// Requests of block devices (`include/uapi/linux/fs.h`), the same on both archs.
mod request {
    pub const BLKROGET: u32 = 0x125e;
    pub const BLKGETSIZE: u32 = 0x1260;
    pub const BLKFLSBUF: u32 = 0x1261;
    pub const BLKSSZGET: u32 = 0x1268;
    pub const BLKGETSIZE64: u32 = 0x8008_1272;
}

impl Bytes for Used {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.disk.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        let more = |n| if n == MOUNTED { None } else { Some(n + 1) };
        self.writers
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, more)
            .map_err(|_| Error::Busy)?;
        let result = self.disk.write_at(offset, buf, false);
        self.writers.fetch_sub(1, Ordering::Release);
        result
    }

    fn sync(&self) -> Result<()> {
        self.disk.flush()
    }
}

impl Stream for Used {
    fn bytes(&self) -> Option<&dyn Bytes> {
        Some(self)
    }

    fn ioctl(&self, request: u32, arg: usize) -> Result<usize> {
        let g = self.disk.geometry();
        match request {
            request::BLKROGET => user::write_u32(arg, u32::from(g.read_only))?,
            request::BLKGETSIZE => user::write_u64(arg, self.disk.size() / 512)?,
            request::BLKGETSIZE64 => user::write_u64(arg, self.disk.size())?,
            request::BLKSSZGET => user::write_u32(arg, g.sector_size)?,
            request::BLKFLSBUF => self.disk.flush()?,
            _ => return Err(Error::BadRequest),
        }
        Ok(0)
    }
}
