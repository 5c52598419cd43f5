//! Names and mounts: the tree that paths are walked through.
//!
//! A [`Dentry`] is a name in use: it keeps its parent, its inode and, weakly, the children
//! that are in use. There is one for each name, however often it is looked up, so that a
//! mount, an open file and a working directory follow a rename.
//!
//! Lock order: `MountTable::names` (renames and removals), then a directory's `children`,
//! then a dentry's `place`.

use super::access::{self, Credentials};
use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};
use driver_api::paged::FileSystem;
use driver_api::vfs::{FileType, Inode, NewInode, RenameMode, Timestamp};
use driver_api::{Error, Result};

/// Longest name of a file in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// A name in use.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    place: Mutex<Place>,
    children: Mutex<Children>,
    /// Whether something is mounted here, so that the walk needs no lock when not.
    mounted: AtomicBool,
}

/// The children that are in use, by name. They are few, so a sorted vector does.
#[derive(Default)]
struct Children(Vec<(Box<[u8]>, Weak<Dentry>)>);

impl Children {
    fn find(&self, name: &[u8]) -> core::result::Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name))
    }

    fn get(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        self.0.get(self.find(name).ok()?)?.1.upgrade()
    }

    /// Adds a child, or puts it in the place of another of this name.
    fn insert(&mut self, name: &[u8], child: &Arc<Dentry>) {
        let weak = Arc::downgrade(child);
        match self.find(name) {
            Ok(at) => {
                if let Some(slot) = self.0.get_mut(at) {
                    slot.1 = weak;
                }
            }
            Err(at) => self.0.insert(at, (name.into(), weak)),
        }
    }

    fn remove(&mut self, name: &[u8]) {
        if let Ok(at) = self.find(name) {
            self.0.remove(at);
        }
    }

    /// Removes `name` if nobody uses it: a new dentry of the same name may have come.
    fn remove_dead(&mut self, name: &[u8]) {
        if let Ok(at) = self.find(name)
            && self.0.get(at).is_some_and(|(_, weak)| weak.strong_count() == 0)
        {
            self.0.remove(at);
        }
    }
}

struct Place {
    /// `None` for the root of a file system.
    parent: Option<Arc<Dentry>>,
    name: Box<[u8]>,
    removed: bool,
}

impl Dentry {
    /// The root of a file system.
    #[must_use]
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Self> {
        Self::new(inode, None, Box::default())
    }

    fn new(inode: Arc<dyn Inode>, parent: Option<Arc<Dentry>>, name: Box<[u8]>) -> Arc<Self> {
        Arc::new(Self {
            inode,
            place: Mutex::new(Place { parent, name, removed: false }),
            children: Mutex::new(Children::default()),
            mounted: AtomicBool::new(false),
        })
    }

    /// What the name stands for.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The directory that it is in; `None` for the root of a file system.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Its last name; empty for the root of a file system.
    #[must_use]
    pub fn name(&self) -> Box<[u8]> {
        self.place.lock().name.clone()
    }

    /// Whether the name is gone.
    #[must_use]
    pub fn removed(&self) -> bool {
        self.place.lock().removed
    }

    /// The child called `name`.
    ///
    /// # Errors
    /// `NameTooLong`, and what the file system's `lookup` gives.
    pub fn child(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        // The lock is held over the file system's lookup, so that a removal meanwhile
        // cannot leave a stale name behind.
        let mut children = self.children.lock();
        self.child_locked(&mut children, name)
    }

    fn child_locked(self: &Arc<Self>, children: &mut Children, name: &[u8]) -> Result<Arc<Dentry>> {
        if let Some(live) = children.get(name) {
            return Ok(live);
        }
        let inode = self.inode.lookup(name)?;
        Ok(self.adopt(children, inode, name))
    }

    fn adopt(
        self: &Arc<Self>,
        children: &mut Children,
        inode: Arc<dyn Inode>,
        name: &[u8],
    ) -> Arc<Dentry> {
        let child = Self::new(inode, Some(self.clone()), name.into());
        children.insert(name, &child);
        child
    }

    /// Makes a file under a free name.
    ///
    /// # Errors
    /// `NameTooLong`, `NotFound` in a removed directory, and what the file system gives.
    pub fn create(self: &Arc<Self>, name: &[u8], new: &NewInode<'_>) -> Result<Arc<Dentry>> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        let mut children = self.children.lock();
        if self.removed() {
            return Err(Error::NotFound);
        }
        let inode = self.inode.create(name, new)?;
        Ok(self.adopt(&mut children, inode, name))
    }

    /// Gives `inode` the free name `name` here.
    ///
    /// # Errors
    /// As for [`Dentry::create`].
    pub fn link(&self, name: &[u8], inode: &Arc<dyn Inode>, now: Timestamp) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        let _children = self.children.lock();
        if self.removed() {
            return Err(Error::NotFound);
        }
        self.inode.link(name, inode, now)
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        let place = self.place.get_mut();
        if let Some(parent) = place.parent.take() {
            let mut children = parent.children.lock();
            children.remove_dead(&place.name);
            drop(children);
            drop_chain(parent);
        }
    }
}

/// Drops a chain of parents without recursion, for a deep tree must not use up the kernel
/// stack.
fn drop_chain(mut next: Arc<Dentry>) {
    while let Some(mut dentry) = Arc::into_inner(next) {
        let place = dentry.place.get_mut();
        let Some(parent) = place.parent.take() else { return };
        let mut children = parent.children.lock();
        children.remove_dead(&place.name);
        drop(children);
        next = parent;
    }
}

/// A file system in its place.
pub struct Mount {
    /// Small number, from 1; also the minor part of `st_dev`.
    pub id: u32,
    /// Its root.
    pub root: Arc<Dentry>,
    /// Where it is mounted; `None` for the root of all.
    pub at: Option<Path>,
    /// The file system's name, for `/proc/mounts`.
    pub kind: &'static str,
    /// What was mounted, for `/proc/mounts`.
    pub source: Box<[u8]>,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// The file system itself, where it has something to sync; others are their inodes.
    pub fs: Option<Arc<dyn FileSystem>>,
    /// What it keeps from others as long as it is mounted: its device.
    pub claim: Option<Box<dyn Any + Send + Sync>>,
}

/// A file system to be mounted.
pub struct NewMount<'a> {
    /// Its root.
    pub root: Arc<dyn Inode>,
    /// See [`Mount`].
    pub fs: Option<Arc<dyn FileSystem>>,
    /// See [`Mount`].
    pub claim: Option<Box<dyn Any + Send + Sync>>,
    /// See [`Mount`].
    pub kind: &'static str,
    /// See [`Mount`].
    pub source: &'a [u8],
    /// See [`Mount`].
    pub read_only: bool,
}

impl NewMount<'_> {
    /// One that has no device.
    #[must_use]
    pub fn plain(root: Arc<dyn Inode>, name: &'static str) -> Self {
        let source = name.as_bytes();
        Self { root, fs: None, claim: None, kind: name, source, read_only: false }
    }

    fn mount(self, id: u32, at: Option<Path>) -> Arc<Mount> {
        Arc::new(Mount {
            id,
            root: Dentry::root(self.root),
            at,
            kind: self.kind,
            source: self.source.into(),
            read_only: self.read_only,
            fs: self.fs,
            claim: self.claim,
        })
    }
}

/// A name within a mount: what a path leads to.
#[derive(Clone)]
pub struct Path {
    /// Which file system.
    pub mount: Arc<Mount>,
    /// Which name in it.
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// What it leads to.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// Whether both are the same name in the same mount.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }

    /// Another name in the same mount.
    #[must_use]
    pub fn with(&self, dentry: Arc<Dentry>) -> Self {
        Self { mount: self.mount.clone(), dentry }
    }

    /// Checks that the mount may be written to.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn check_writable(&self) -> Result<()> {
        if self.mount.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// The absolute path as seen from `root`; `(deleted)` is appended to one that is gone,
    /// as in Linux's `/proc`.
    #[must_use]
    pub fn absolute(&self, root: &Path) -> Vec<u8> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let removed = self.dentry.removed();
        let mut here = self.clone();
        while !here.same(root) {
            if let Some(parent) = here.dentry.parent() {
                names.push(here.dentry.name());
                here.dentry = parent;
            } else if let Some(at) = here.mount.at.clone() {
                here = at;
            } else {
                break;
            }
        }
        let mut out = Vec::new();
        for name in names.iter().rev() {
            out.push(b'/');
            out.extend_from_slice(name);
        }
        if out.is_empty() {
            out.push(b'/');
        }
        if removed {
            out.extend_from_slice(b" (deleted)");
        }
        out
    }
}

/// All mounts, and the lock that keeps names in place while several change at once.
pub struct MountTable {
    mounts: Mutex<Vec<Arc<Mount>>>,
    names: Mutex<()>,
}

impl MountTable {
    /// A table with `root` as the root of all.
    #[must_use]
    pub fn new(root: NewMount<'_>) -> (Box<Self>, Path) {
        let mount = root.mount(1, None);
        let mounts = Mutex::new(Vec::from([mount.clone()]));
        let table = Box::new(Self { mounts, names: Mutex::new(()) });
        let dentry = mount.root.clone();
        (table, Path { mount, dentry })
    }

    /// Mounts `new` on the directory `at`.
    ///
    /// # Errors
    /// `NotDirectory`.
    pub fn mount(&self, at: &Path, new: NewMount<'_>) -> Result<Arc<Mount>> {
        if at.inode().metadata().kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        let mut mounts = self.mounts.lock();
        let id = mounts.iter().map(|m| m.id).max().unwrap_or(0) + 1;
        let mount = new.mount(id, Some(at.clone()));
        mounts.push(mount.clone());
        at.dentry.mounted.store(true, Ordering::Release);
        Ok(mount)
    }

    /// Whatever is mounted on `path`, to the top; `path` itself when nothing is.
    #[must_use]
    pub fn descend(&self, mut path: Path) -> Path {
        while path.dentry.mounted.load(Ordering::Acquire) {
            let mounts = self.mounts.lock();
            let Some(top) =
                mounts.iter().rev().find(|m| m.at.as_ref().is_some_and(|at| at.same(&path)))
            else {
                break;
            };
            path = Path { mount: top.clone(), dentry: top.root.clone() };
        }
        path
    }

    /// Takes the mount whose root is `path` out of the tree.
    ///
    /// # Errors
    /// `Invalid` when it is no root of a mount, `Busy` when somebody uses it, or it is the
    /// root of all.
    pub fn unmount(&self, path: Path) -> Result<Arc<Mount>> {
        let Path { mount, dentry } = path;
        if !Arc::ptr_eq(&mount.root, &dentry) {
            return Err(Error::Invalid);
        }
        let at = mount.at.as_ref().ok_or(Error::Busy)?;
        let _names = self.names.lock();
        let mut mounts = self.mounts.lock();
        let index = mounts.iter().position(|m| Arc::ptr_eq(m, &mount)).ok_or(Error::Invalid)?;
        // The table's and ours. Open files, directories, mappings and mounts in it have more,
        // and nobody gets the first one of them without the table.
        if Arc::strong_count(&mount) > 2 {
            return Err(Error::Busy);
        }
        mounts.remove(index);
        let others = mounts.iter().any(|m| m.at.as_ref().is_some_and(|other| other.same(at)));
        at.dentry.mounted.store(others, Ordering::Release);
        drop(mounts);
        Ok(mount)
    }

    /// All mounts, in the order in which they were made.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Mount>> {
        self.mounts.lock().clone()
    }

    /// Removes `name` in `dir`.
    ///
    /// # Errors
    /// `Busy` for a mount point, access errors, and what the file system gives.
    pub fn remove(
        &self,
        who: Credentials,
        dir: &Path,
        name: &[u8],
        directory: bool,
        now: Timestamp,
    ) -> Result<()> {
        dir.check_writable()?;
        let _names = self.names.lock();
        // Declared before the lock, for its end takes the lock as well.
        let victim;
        let mut children = dir.dentry.children.lock();
        victim = dir.dentry.child_locked(&mut children, name)?;
        access::check_remove(who, &dir.inode().metadata(), &victim.inode.metadata())?;
        if victim.mounted.load(Ordering::Acquire) {
            return Err(Error::Busy);
        }
        dir.inode().unlink(name, directory, now)?;
        children.remove(name);
        victim.place.lock().removed = true;
        Ok(())
    }

    /// Moves `from_name` in `from` to `to_name` in `to`.
    ///
    /// # Errors
    /// `CrossDevice`, `Busy` for mount points, `Invalid` for a directory below itself,
    /// access errors, and what the file system gives.
    pub fn rename(
        &self,
        who: Credentials,
        (from, from_name): (&Path, &[u8]),
        (to, to_name): (&Path, &[u8]),
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<()> {
        if !Arc::ptr_eq(&from.mount, &to.mount) {
            return Err(Error::CrossDevice);
        }
        if to_name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        from.check_writable()?;
        let _names = self.names.lock();
        let source = from.dentry.child(from_name)?;
        let target = match to.dentry.child(to_name) {
            Ok(target) => Some(target),
            Err(Error::NotFound) => None,
            Err(other) => return Err(other),
        };
        access::check_remove(who, &from.inode().metadata(), &source.inode.metadata())?;
        let to_meta = to.inode().metadata();
        match &target {
            Some(target) => {
                access::check_remove(who, &to_meta, &target.inode.metadata())?;
                if mode == RenameMode::NoReplace {
                    return Err(Error::Exists);
                }
                // Two names of one file: nothing happens (POSIX rename).
                if Arc::ptr_eq(&target.inode, &source.inode) {
                    return Ok(());
                }
            }
            None if mode == RenameMode::Exchange => return Err(Error::NotFound),
            None => access::check(who, &to_meta, access::WRITE | access::EXECUTE)?,
        }
        let busy = |d: &Arc<Dentry>| d.mounted.load(Ordering::Acquire);
        if busy(&source) || target.as_ref().is_some_and(busy) {
            return Err(Error::Busy);
        }
        // No directory may come below itself, nor, when exchanged, contain its new place.
        if is_within(&to.dentry, &source)
            || (mode == RenameMode::Exchange
                && target.as_ref().is_some_and(|t| is_within(&from.dentry, t)))
        {
            return Err(Error::Invalid);
        }
        if target.as_ref().is_some_and(|t| is_within(&from.dentry, t)) {
            return Err(Error::NotEmpty);
        }
        if to.dentry.removed() {
            return Err(Error::NotFound);
        }

        // Both directories are locked in the order of their addresses; `names` keeps other
        // renames out, so that this order is a matter of lookups alone.
        let same = Arc::ptr_eq(&from.dentry, &to.dentry);
        let from_first = Arc::as_ptr(&from.dentry) < Arc::as_ptr(&to.dentry);
        let (first, second) =
            if from_first { (&from.dentry, &to.dentry) } else { (&to.dentry, &from.dentry) };
        let mut first = first.children.lock();
        let mut second = (!same).then(|| second.children.lock());
        from.inode().rename(from_name, to.inode(), to_name, mode, now)?;
        {
            let (from_children, to_children) = match (&mut second, from_first) {
                (None, _) => (&mut first, None),
                (Some(second), true) => (&mut first, Some(second)),
                (Some(second), false) => (second, Some(&mut first)),
            };
            from_children.remove(from_name);
            if mode == RenameMode::Exchange
                && let Some(target) = &target
            {
                from_children.insert(from_name, target);
            }
            let to_children = to_children.map_or(from_children, |c| c);
            to_children.insert(to_name, &source);
        }
        drop(second);
        drop(first);

        if let Some(target) = &target {
            let mut place = target.place.lock();
            if mode == RenameMode::Exchange {
                place.parent = Some(from.dentry.clone());
                place.name = from_name.into();
            } else {
                place.removed = true;
            }
        }
        // The old parent is dropped after the lock on `place`.
        let old_parent = {
            let mut place = source.place.lock();
            place.name = to_name.into();
            place.parent.replace(to.dentry.clone())
        };
        drop(old_parent);
        Ok(())
    }
}

/// Whether `dentry` is `ancestor` or lies below it.
fn is_within(dentry: &Arc<Dentry>, ancestor: &Arc<Dentry>) -> bool {
    let mut here = Some(dentry.clone());
    while let Some(d) = here {
        if Arc::ptr_eq(&d, ancestor) {
            return true;
        }
        here = d.parent();
    }
    false
}
