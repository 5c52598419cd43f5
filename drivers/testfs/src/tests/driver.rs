//! Random operations, through a small cache that keeps to the contract and uses all the
//! freedom that it leaves, on a file system and on the model at once.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::fake::LogDisk;
use driver_api::paged::{FileSystem, Page};
use driver_api::vfs::{FileType, Inode, NewInode, RenameMode, SetMetadata};
use driver_api::{Error, Result};

use super::model::{Body, Model};
use super::{Rng, at, mount, new};
use crate::Mounted;

/// Longest file.
pub const LONGEST: usize = 200_000;

/// An open file and its pages.
pub struct Open {
    pub node: Arc<dyn Inode>,
    pub live: Vec<u8>,
    pub pages: BTreeMap<u64, Box<Page>>,
    pub dirty: BTreeSet<u64>,
}

/// The driver.
pub struct Driver {
    pub disk: Arc<LogDisk>,
    pub fs: Mounted,
    pub model: Model,
    /// The trees that commits had, by their numbers; several where a commit was tried again.
    pub states: BTreeMap<u64, Vec<Model>>,
    /// How many events the log had when a sync returned, and which commit it had waited for.
    pub synced: Vec<(usize, u64)>,
    pub files: BTreeMap<u64, Open>,
    pub rng: Rng,
    pub now: i64,
    sequence: u64,
    /// Pages of a record come, become dirty and are written together; else each by itself.
    pub whole: bool,
}

/// Runs of numbers that follow each other.
pub fn runs(of: impl IntoIterator<Item = u64>) -> Vec<(u64, usize)> {
    let all: Vec<u64> = of.into_iter().collect();
    all.chunk_by(|a, b| a + 1 == *b).map(|r| (r[0], r.len())).collect()
}

impl Driver {
    pub fn new(disk: Arc<LogDisk>, seed: u64) -> Self {
        let fs = mount(&disk).unwrap();
        let model = Model::new();
        let states = BTreeMap::from([(0, Vec::from([model.clone()]))]);
        let (synced, files) = (Vec::from([(0, 0)]), BTreeMap::new());
        let rng = Rng(seed * 2 + 1);
        let whole = seed.is_multiple_of(2);
        Self { disk, fs, model, states, synced, files, rng, now: 100, sequence: 0, whole }
    }

    /// Something was done; commits that came with it had `tree`.
    fn note(&mut self, tree: &Model) {
        let now = self.fs.sequence();
        while self.sequence < now {
            self.sequence += 1;
            self.states.entry(self.sequence).or_default().push(tree.clone());
        }
        // One that failed may have come to the disk all the same.
        self.states.entry(self.sequence + 1).or_default();
    }

    /// Does `f`, which asks the file system and tells the model. Commits come before what it
    /// does.
    pub fn done<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = self.model.clone();
        let result = f(self);
        self.note(&before);
        if matches!(result, Err(Error::Io)) {
            // A commit may have failed when it was there already.
            self.states.entry(self.sequence + 1).or_default().push(before);
        }
        result
    }

    /// Waits for a commit.
    pub fn synced(&mut self, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let result = self.done(f);
        if result.is_ok() {
            self.synced.push((self.disk.log_len(), self.sequence));
        }
        result
    }

    /// The inode, found by its names.
    fn inode(&self, ino: u64) -> Result<Arc<dyn Inode>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut here = ino;
        while here != 1 {
            let (dir, name) = self.parent(here);
            names.push(name);
            here = dir;
        }
        let root = self.fs.root();
        names.iter().rev().try_fold(root, |dir, name| dir.lookup(name))
    }

    fn parent(&self, ino: u64) -> (u64, Vec<u8>) {
        let mut all = self.model.0.iter();
        let found = all.find_map(|(dir, e)| match &e.body {
            Body::Directory(names) => {
                names.iter().find(|(_, i)| **i == ino).map(|(n, _)| (*dir, n.clone()))
            }
            _ => None,
        });
        found.unwrap()
    }

    fn is_within(&self, ino: u64, ancestor: u64) -> bool {
        let mut here = ino;
        while here != ancestor {
            if here == 1 {
                return false;
            }
            here = self.parent(here).0;
        }
        true
    }

    fn any_dir(&mut self) -> u64 {
        let all = self.model.directories();
        all[self.rng.below(all.len())]
    }

    fn any_name(&mut self) -> Vec<u8> {
        let n = self.rng.below(12) as u8;
        if n < 3 { [b'L' + n; 250].to_vec() } else { Vec::from([b'a' + n]) }
    }

    /// A directory, a name in it that is there, and what it stands for.
    fn any_entry(&mut self) -> Option<(u64, Vec<u8>, u64)> {
        let dir = self.any_dir();
        let names: Vec<_> = self.model.names(dir).clone().into_iter().collect();
        if names.is_empty() {
            return None;
        }
        let (name, ino) = names[self.rng.below(names.len())].clone();
        Some((dir, name, ino))
    }

    pub fn any_file(&mut self) -> Result<Option<u64>> {
        if !self.files.is_empty() && self.rng.once_in(2) {
            return Ok(self.files.keys().copied().nth(self.rng.below(self.files.len())));
        }
        let is_file = |e: &super::model::Entry| matches!(e.body, Body::File(_));
        let all: Vec<u64> =
            self.model.0.iter().filter(|(_, e)| is_file(e)).map(|(i, _)| *i).collect();
        let Some(&ino) = all.get(self.rng.below(all.len().max(1))) else { return Ok(None) };
        if !self.files.contains_key(&ino) {
            let node = self.inode(ino)?;
            let Body::File(bytes) = &self.model.0[&ino].body else { return Ok(None) };
            let (live, pages) = (bytes.to_vec(), BTreeMap::new());
            self.files.insert(ino, Open { node, live, pages, dirty: BTreeSet::new() });
        }
        Ok(Some(ino))
    }

    /// One random operation. What may go wrong has gone wrong for a good reason, and has
    /// changed nothing.
    pub fn step(&mut self) -> Result<()> {
        self.now += 1;
        match self.rng.below(24) {
            0..=3 => self.create(),
            4 => self.link(),
            5..=6 => self.unlink(),
            7..=8 => self.rename(),
            9 => self.set_metadata(),
            10..=15 => self.write(),
            16 => self.truncate(),
            17..=18 => self.write_some(),
            19 => self.read(),
            20 => self.forget(),
            21 => self.fsync(),
            22 => self.close(),
            _ => self.sync(),
        }
    }

    fn create(&mut self) -> Result<()> {
        let (dir, name, now) = (self.any_dir(), self.any_name(), self.now);
        let inode = self.inode(dir)?;
        let (kind, body) = match self.rng.below(4) {
            0 => (FileType::Directory, Body::Directory(BTreeMap::new())),
            1 => (FileType::Symlink, Body::Link(name.clone())),
            _ => (FileType::Regular, Body::File(Rc::default())),
        };
        let taken = self.model.names(dir).contains_key(&name);
        let made = self.done(|s| {
            let how = NewInode { target: &name, ..new(kind, now) };
            let made = inode.create(&name, &how)?;
            s.model.create(dir, &name, made.metadata().ino, body, now);
            Ok(())
        });
        assert_eq!(made == Err(Error::Exists), taken);
        if taken { Ok(()) } else { made }
    }

    fn link(&mut self) -> Result<()> {
        let Some((_, _, ino)) = self.any_entry() else { return Ok(()) };
        let (dir, name, now) = (self.any_dir(), self.any_name(), self.now);
        let (inode, other) = (self.inode(dir)?, self.inode(ino)?);
        let is_dir = matches!(self.model.0[&ino].body, Body::Directory(_));
        let taken = self.model.names(dir).contains_key(&name);
        let result = self.done(|s| {
            inode.link(&name, &other, at(now))?;
            s.model.link(dir, &name, ino, now);
            Ok(())
        });
        match result {
            Err(Error::NotPermitted) if is_dir => Ok(()),
            Err(Error::Exists) if taken => Ok(()),
            other => other,
        }
    }

    fn unlink(&mut self) -> Result<()> {
        let Some((dir, name, ino)) = self.any_entry() else { return Ok(()) };
        let now = self.now;
        let children = match &self.model.0[&ino].body {
            Body::Directory(names) => Some(names.len()),
            _ => None,
        };
        let inode = self.inode(dir)?;
        let expected = children.map_or(Error::NotDirectory, |_| Error::IsDirectory);
        match self.done(|_| inode.unlink(&name, children.is_none(), at(now))) {
            Err(e) if e == expected => {}
            other => return other,
        }
        let result = self.done(|s| {
            inode.unlink(&name, children.is_some(), at(now))?;
            s.model.unlink(dir, &name, now);
            Ok(())
        });
        assert!(result != Ok(()) || children.unwrap_or(0) == 0);
        if result == Err(Error::NotEmpty) { Ok(()) } else { result }
    }

    fn rename(&mut self) -> Result<()> {
        let Some((from, name, ino)) = self.any_entry() else { return Ok(()) };
        let (to, to_name, now) = (self.any_dir(), self.any_name(), self.now);
        let mode =
            [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][self.rng.below(3)];
        let target = self.model.names(to).get(&to_name).copied();
        // The kernel's part of the checks.
        if self.is_within(to, ino) || target.is_some_and(|t| self.is_within(from, t)) {
            return Ok(());
        }
        let (inode, to_inode) = (self.inode(from)?, self.inode(to)?);
        let result = self.done(|s| {
            inode.rename(&name, &to_inode, &to_name, mode, at(now))?;
            s.model.rename((from, &name), (to, &to_name), mode, now);
            Ok(())
        });
        let kind = |i: &u64| match &self.model.0.get(i).map(|e| &e.body) {
            Some(Body::Directory(names)) => Some(names.len()),
            _ => None,
        };
        match result {
            Err(Error::Exists) if mode == RenameMode::NoReplace && target.is_some() => Ok(()),
            Err(Error::NotFound) if mode == RenameMode::Exchange && target.is_none() => Ok(()),
            Err(Error::IsDirectory) if target.as_ref().and_then(kind).is_some() => Ok(()),
            Err(Error::NotDirectory) if kind(&ino).is_some() => Ok(()),
            Err(Error::NotEmpty) if target.as_ref().and_then(kind) > Some(0) => Ok(()),
            other => other,
        }
    }

    fn set_metadata(&mut self) -> Result<()> {
        let Some((_, _, ino)) = self.any_entry() else { return Ok(()) };
        let (inode, now) = (self.inode(ino)?, at(self.now));
        let pick = self.rng.below(4);
        let change = SetMetadata {
            mode: (pick == 0).then_some(0o4711),
            uid: (pick == 1).then_some(77),
            atime: (pick == 2).then_some(now),
            mtime: (pick == 3).then_some(now),
            now,
            ..SetMetadata::default()
        };
        self.done(|s| {
            inode.set_metadata(&change)?;
            s.model.set(ino, &change);
            Ok(())
        })
    }
}
