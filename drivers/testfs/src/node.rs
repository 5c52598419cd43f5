//! Inodes as the kernel sees them. What `stat` says is kept with the inode and follows each
//! operation; everything else asks under the file system's lock.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use driver_api::paged::{CacheSlot, Paged};
use driver_api::sync::IrqLock;
use driver_api::vfs::{
    DirEntry, FileType, FsStat, Inode, Metadata, NewInode, RenameMode, SetMetadata, Timestamp,
};
use driver_api::{Error, Result};

use crate::fs::Fs;
use crate::layout::{MAX_SIZE, UNIT};
use crate::record::Record;

/// What `statfs` tells of the kind of file system: "OsTF".
const MAGIC: u64 = 0x4f73_5446;

/// What is kept with an inode.
pub struct State {
    /// As it is on the device, or will be with the next commit.
    pub record: Record,
    /// Its length with what still lies in the cache.
    pub size: u64,
}

/// An inode that somebody has.
pub struct Node {
    pub fs: Arc<Fs>,
    pub ino: u32,
    kind: FileType,
    pub state: IrqLock<State>,
    /// The pages of each record that have space set aside, a bit each.
    pub reserved: IrqLock<BTreeMap<u64, u8>>,
    pub cache: CacheSlot,
}

impl Node {
    /// The inode.
    pub fn new(fs: &Arc<Fs>, ino: u32, record: &Record) -> Self {
        Self {
            fs: fs.clone(),
            ino,
            kind: record.kind,
            state: IrqLock::new(State { record: *record, size: record.size }),
            reserved: IrqLock::new(BTreeMap::new()),
            cache: CacheSlot::new(),
        }
    }

    /// An operation has changed it.
    pub fn refresh(&self, record: &Record) {
        let mut state = self.state.lock();
        state.record = *record;
        if record.kind != FileType::Regular {
            state.size = record.size;
        }
    }

    fn own(inode: &Arc<dyn Inode>) -> Result<Arc<Node>> {
        let any: Arc<dyn Any + Send + Sync> = inode.clone();
        any.downcast::<Node>().map_err(|_| Error::CrossDevice)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Neither a lock that sleeps nor the device: it may be dropped anywhere.
        let nameless = self.state.lock().record.nlink == 0;
        let reserved = self.reserved.lock().len();
        self.fs.gone(self.ino, nameless, reserved);
    }
}

impl Inode for Node {
    fn metadata(&self) -> Metadata {
        let state = self.state.lock();
        let r = &state.record;
        Metadata {
            ino: self.ino.into(),
            kind: self.kind,
            mode: r.mode,
            uid: r.uid,
            gid: r.gid,
            nlink: r.nlink,
            size: state.size,
            blocks: u64::from(r.units) * (UNIT / 512) as u64,
            block_size: UNIT as u32,
            device: r.device,
            atime: r.atime,
            mtime: r.mtime,
            ctime: r.ctime,
        }
    }

    fn set_metadata(&self, change: &SetMetadata) -> Result<()> {
        self.fs.core.lock().operation(|core| {
            let mut r = core.record(self.ino)?;
            r.mode = change.mode.unwrap_or(r.mode) & 0o7777;
            r.uid = change.uid.unwrap_or(r.uid);
            r.gid = change.gid.unwrap_or(r.gid);
            r.atime = change.atime.unwrap_or(r.atime);
            r.mtime = change.mtime.unwrap_or(r.mtime);
            r.ctime = change.now;
            core.set_record(self.ino, &r)
        })
    }

    fn truncate(&self, size: u64) -> Result<()> {
        match self.kind {
            FileType::Regular => {}
            FileType::Directory => return Err(Error::IsDirectory),
            _ => return Err(Error::Invalid),
        }
        if size > MAX_SIZE {
            return Err(Error::FileTooLarge);
        }
        let mut core = self.fs.core.lock();
        core.operation(|core| {
            let mut record = core.record(self.ino)?;
            core.cut(&mut record, size)?;
            record.size = size;
            core.set_record(self.ino, &record)
        })?;
        self.state.lock().size = size;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.fs.core.lock().sync()
    }

    fn paged(&self) -> Option<&dyn Paged> {
        if self.kind == FileType::Regular { Some(self) } else { None }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let mut core = self.fs.core.lock();
        let (ino, record) = core.lookup(self.ino, name)?;
        Ok(self.fs.node(ino, &record))
    }

    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        if self.kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        let mut cursor = cursor;
        loop {
            let entry = {
                let mut core = self.fs.core.lock();
                let dir = core.record(self.ino)?;
                core.next_entry(&dir, cursor)?
            };
            let Some(e) = entry else { return Ok(()) };
            let ino = e.ino.into();
            if !emit(&DirEntry { name: &e.name, ino, kind: e.kind, next: e.next }) {
                return Ok(());
            }
            cursor = e.next;
        }
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let mut core = self.fs.core.lock();
        let (ino, record) = core.operation(|core| core.create(self.ino, name, new))?;
        Ok(self.fs.node(ino, &record))
    }

    fn link(&self, name: &[u8], inode: &Arc<dyn Inode>, now: Timestamp) -> Result<()> {
        let other = Self::own(inode)?;
        self.fs.core.lock().operation(|core| core.link(self.ino, name, other.ino, now))
    }

    fn unlink(&self, name: &[u8], directory: bool, now: Timestamp) -> Result<()> {
        self.fs.core.lock().operation(|core| core.unlink(self.ino, name, directory, now))
    }

    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Inode>,
        to_name: &[u8],
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<()> {
        let to = Self::own(to)?;
        let mut core = self.fs.core.lock();
        core.operation(|core| core.rename((self.ino, name), (to.ino, to_name), mode, now))
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        self.fs.core.lock().target(self.ino)
    }

    fn statfs(&self) -> FsStat {
        let core = self.fs.core.lock();
        let (free, inodes_free) = core.space.free();
        FsStat {
            magic: MAGIC,
            block_size: UNIT as u32,
            blocks: u64::from(core.layout.units - core.layout.files),
            free: free.into(),
            inodes: core.layout.inodes.into(),
            inodes_free: inodes_free.into(),
        }
    }
}
