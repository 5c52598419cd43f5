//! A mounted file system, and how one comes to be.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use driver_api::block::BlockDevice;
use driver_api::disk::Disk;
use driver_api::paged::{FileSystem, FileSystemType};
use driver_api::vfs::Inode;
use driver_api::wait::SleepLock;
use driver_api::{Error, Result};

use crate::block::Units;
use crate::format::{format, superblock};
use crate::journal::Journal;
use crate::layout::ROOT;
use crate::node::Node;
use crate::record::Record;
use crate::volume::{Shared, Volume};

/// A file system in use.
pub struct Fs {
    /// All of it but for what inodes keep.
    pub core: SleepLock<Volume>,
    shared: Arc<Shared>,
}

impl Fs {
    /// The inode, the same as long as anybody has it. The lock is held by the caller.
    pub fn node(self: &Arc<Self>, ino: u32, record: &Record) -> Arc<Node> {
        let mut live = self.shared.live.lock();
        if let Some(node) = live.get(&ino).and_then(alloc::sync::Weak::upgrade) {
            return node;
        }
        let node = Arc::new(Node::new(self, ino, record));
        live.insert(ino, Arc::downgrade(&node));
        node
    }

    /// Nobody has the inode any more.
    pub fn gone(&self, ino: u32, nameless: bool, reserved: usize) {
        let mut live = self.shared.live.lock();
        // Another may have come in its place already.
        if live.get(&ino).is_some_and(|weak| weak.strong_count() == 0) {
            live.remove(&ino);
        }
        drop(live);
        self.shared.unclaimed.fetch_add(reserved as u32, Ordering::Relaxed);
        if nameless {
            self.shared.orphans.lock().push(ino);
        }
    }
}

/// A mounted file system.
pub struct Mounted {
    pub(crate) fs: Arc<Fs>,
    root: Arc<Node>,
}

impl Mounted {
    /// The last commit's number: which of the states that it had would be mounted now.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.fs.core.lock().journal.sequence()
    }
}

impl FileSystem for Mounted {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn sync(&self) -> Result<()> {
        self.fs.core.lock().sync()
    }

    fn shrink(&self) -> usize {
        self.fs.core.try_lock().map_or(0, |mut core| core.journal.shrink())
    }

    fn unmount(&self) -> Result<()> {
        self.fs.core.lock().unmount()
    }
}

/// The kind of file system.
pub struct TestFs;

impl TestFs {
    /// As [`FileSystemType::mount`], with what only tests want to know.
    ///
    /// # Errors
    /// As there.
    pub fn open(device: Arc<dyn BlockDevice>, read_only: bool) -> Result<Mounted> {
        let services = driver_api::services();
        let read_only = read_only || device.geometry().read_only;
        let units = Units(Disk::new(services, device));
        let (layout, only_reading) = superblock(&units)?;
        if only_reading && !read_only {
            return Err(Error::ReadOnly);
        }
        let journal = Journal::open(units, layout)?;
        let mut core = Volume::open(journal, layout, read_only)?;
        let record = core.record(ROOT)?;
        let shared = core.shared.clone();
        let fs = Arc::new(Fs { core: SleepLock::new(services, core), shared });
        let root = fs.node(ROOT, &record);
        Ok(Mounted { fs, root })
    }
}

impl FileSystemType for TestFs {
    fn name(&self) -> &'static str {
        "testfs"
    }

    fn mount(
        &self,
        device: Option<Arc<dyn BlockDevice>>,
        read_only: bool,
    ) -> Result<Arc<dyn FileSystem>> {
        Ok(Arc::new(Self::open(device.ok_or(Error::NoDevice)?, read_only)?))
    }

    fn format(&self, device: Arc<dyn BlockDevice>) -> Result<()> {
        format(&Units(Disk::new(driver_api::services(), device)))
    }
}
