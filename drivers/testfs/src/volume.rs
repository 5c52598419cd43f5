//! The file system behind its lock: operations, which succeed as a whole or change nothing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use driver_api::sync::IrqLock;
use driver_api::{Error, Result, log};

use crate::block::Kind;
use crate::journal::Journal;
use crate::layout::{Layout, ROOT};
use crate::node::Node;
use crate::record::Record;
use crate::space::Space;

/// What inodes reach without the lock, for they may be dropped anywhere.
#[derive(Default)]
pub struct Shared {
    /// The inodes that somebody has.
    pub live: IrqLock<BTreeMap<u32, Weak<Node>>>,
    /// Those without a name that nobody has any more.
    pub orphans: IrqLock<Vec<u32>>,
    /// Units that were promised to inodes that nobody has any more.
    pub unclaimed: AtomicU32,
}

impl Shared {
    /// The inode, if somebody has it.
    pub fn get(&self, ino: u32) -> Option<Arc<Node>> {
        self.live.lock().get(&ino).and_then(Weak::upgrade)
    }
}

/// Everything that the lock protects.
pub struct Volume {
    pub journal: Journal,
    pub space: Space,
    pub layout: Layout,
    pub shared: Arc<Shared>,
    read_only: bool,
    /// Inodes that the operation under way has changed.
    touched: BTreeSet<u32>,
}

impl Volume {
    /// Takes up the state of the last commit.
    ///
    /// # Errors
    /// `Io` for one that is damaged, `NoMemory`.
    pub fn open(mut journal: Journal, layout: Layout, read_only: bool) -> Result<Self> {
        let (space, orphans) = Space::open(layout, &mut journal)?;
        let shared = Arc::new(Shared::default());
        let mut core = Self { journal, space, layout, shared, read_only, touched: BTreeSet::new() };
        core.record(ROOT)?;
        if !read_only {
            *core.shared.orphans.lock() = orphans;
            core.bury()?;
        }
        Ok(core)
    }

    /// A block that a pointer points to.
    ///
    /// # Errors
    /// `Io`, `NoMemory`.
    pub fn block(&mut self, unit: u32, kind: Kind) -> Result<&[u8]> {
        self.journal.get(unit, kind)
    }

    /// An inode that is in use.
    ///
    /// # Errors
    /// `Io` also when it is not, `NoMemory`.
    pub fn record(&mut self, ino: u32) -> Result<Record> {
        let (block, at) = self.layout.inode(ino)?;
        Record::read(self.journal.get(block, Kind::Inodes)?, at)?.ok_or(Error::Io)
    }

    /// Changes an inode.
    ///
    /// # Errors
    /// As for [`Self::record`].
    pub fn set_record(&mut self, ino: u32, record: &Record) -> Result<()> {
        let (block, at) = self.layout.inode(ino)?;
        record.write(self.journal.edit(block, Kind::Inodes)?, at);
        self.touched.insert(ino);
        Ok(())
    }

    /// One operation: `f` changes what it wants, and all of it or nothing is there after.
    fn attempt<T>(&mut self, f: &mut dyn FnMut(&mut Self) -> Result<T>) -> Result<T> {
        if !self.journal.has_room(self.layout.operation()) {
            self.commit()?;
        }
        self.journal.begin();
        self.space.begin();
        self.touched.clear();
        let mut result = f(self);
        if !self.journal.has_room(0) {
            // Nothing that this file system asks for; but then it must not stay.
            result = Err(Error::NoSpace);
        }
        if result.is_err() {
            self.journal.undo();
            self.space.undo();
            return result;
        }
        for ino in core::mem::take(&mut self.touched) {
            let Ok(record) = self.record(ino) else { continue };
            match self.shared.get(ino) {
                Some(node) => node.refresh(&record),
                None if record.nlink == 0 => self.shared.orphans.lock().push(ino),
                None => {}
            }
        }
        result
    }

    /// One operation, tried again after a commit when space is short that a commit frees.
    ///
    /// # Errors
    /// `ReadOnly`, `Io` once a flush has failed, and what `f` gives.
    pub fn operation<T>(&mut self, mut f: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        if self.journal.broken() {
            return Err(Error::Io);
        }
        self.bury()?;
        match self.attempt(&mut f) {
            Err(Error::NoSpace) if self.space.has_pinned() => {
                self.commit()?;
                self.attempt(&mut f)
            }
            other => other,
        }
    }

    /// Frees the inodes that have neither name nor user.
    fn bury(&mut self) -> Result<()> {
        self.space.release(self.shared.unclaimed.swap(0, Ordering::Relaxed));
        loop {
            let Some(ino) = self.shared.orphans.lock().pop() else { return Ok(()) };
            let freed = self.attempt(&mut |core| {
                let mut record = core.record(ino)?;
                core.cut(&mut record, 0)?;
                core.space.free_inode(&mut core.journal, ino)
            });
            match freed {
                // Its units stay taken; the rest of the file system is none the worse.
                Err(Error::Io) if !self.journal.broken() => {
                    log::warn!(target: "testfs", "inode {ino} cannot be freed: it is damaged");
                }
                Err(e) => {
                    self.shared.orphans.lock().push(ino);
                    return Err(e);
                }
                Ok(()) => {}
            }
        }
    }

    fn commit(&mut self) -> Result<()> {
        if self.journal.commit()? {
            self.space.committed();
        }
        Ok(())
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&mut self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.bury()?;
        self.commit()
    }

    /// As [`Self::sync`], and leaves nothing to be read from the journal.
    ///
    /// # Errors
    /// `Io`.
    pub fn unmount(&mut self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.sync()?;
        self.journal.checkpoint()
    }
}
