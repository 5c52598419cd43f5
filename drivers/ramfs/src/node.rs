//! Inodes of a file system in RAM.

use crate::directory::{Directory, Named};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use driver_api::memory::room;
use driver_api::paged::{CacheSlot, PAGE_SIZE, Page, Paged};
use driver_api::vfs::{
    DeviceNumber, DirEntry, FileType, FsStat, Inode, Metadata, NewInode, RenameMode, SetMetadata,
    Timestamp,
};
use driver_api::{Error, Mutex, Result};

/// `TMPFS_MAGIC` (`include/uapi/linux/magic.h`): what programs know such a file system by.
const MAGIC: u64 = 0x0102_1994;
/// What all inodes of a file system share.
struct Shared {
    next_ino: AtomicU64,
}

/// A file system in RAM.
pub struct RamFs {
    root: Arc<Node>,
}

/// An inode.
pub struct Node {
    ino: u64,
    kind: FileType,
    device: DeviceNumber,
    shared: Arc<Shared>,
    state: Mutex<State>,
    cache: CacheSlot,
}

struct State {
    mode: u16,
    uid: u32,
    gid: u32,
    nlink: u32,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
    body: Body,
}

enum Body {
    Directory(Directory),
    File {
        /// What pages that are not in the cache hold; whole pages, but for the last one of a
        /// file that was never cut. Behind it are zeroes.
        image: &'static [u8],
        /// Length in bytes.
        size: u64,
    },
    Symlink(Box<[u8]>),
    /// Devices, pipes, sockets: what they are is not here.
    Special,
}

impl RamFs {
    /// An empty file system; its root directory has `mode` and belongs to root.
    #[must_use]
    pub fn new(mode: u16, now: Timestamp) -> Self {
        let new = NewInode {
            kind: FileType::Directory,
            mode,
            uid: 0,
            gid: 0,
            device: DeviceNumber::default(),
            target: &[],
            now,
        };
        Self { root: Node::root(&new) }
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    /// The root directory as what it is, to fill it at boot.
    #[must_use]
    pub fn root_node(&self) -> &Arc<Node> {
        &self.root
    }
}

impl Node {
    /// The root directory of a new file system.
    pub(crate) fn root(new: &NewInode<'_>) -> Arc<Self> {
        Self::new(&Arc::new(Shared { next_ino: AtomicU64::new(1) }), new)
    }

    fn new(shared: &Arc<Shared>, new: &NewInode<'_>) -> Arc<Self> {
        let body = match new.kind {
            FileType::Directory => Body::Directory(Directory::default()),
            FileType::Regular => Body::File { image: &[], size: 0 },
            FileType::Symlink => Body::Symlink(new.target.into()),
            _ => Body::Special,
        };
        Arc::new(Self {
            ino: shared.next_ino.fetch_add(1, Ordering::Relaxed),
            kind: new.kind,
            device: new.device,
            shared: shared.clone(),
            state: Mutex::new(State {
                mode: new.mode & 0o7777,
                uid: new.uid,
                gid: new.gid,
                nlink: if new.kind == FileType::Directory { 2 } else { 1 },
                atime: new.now,
                mtime: new.now,
                ctime: new.now,
                body,
            }),
            cache: CacheSlot::new(),
        })
    }

    /// Makes a node under a free name.
    ///
    /// # Errors
    /// `NotDirectory`, `Exists`, `NotFound` when the directory itself was removed,
    /// `NoMemory`.
    pub fn add(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<Node>> {
        let mut state = self.state.lock();
        let State { body: Body::Directory(dir), nlink, mtime, ctime, .. } = &mut *state else {
            return Err(Error::NotDirectory);
        };
        if *nlink == 0 {
            return Err(Error::NotFound);
        }
        if dir.contains(name) {
            return Err(Error::Exists);
        }
        room(new.target.len())?;
        let node = Node::new(&self.shared, new);
        dir.insert(name, node.clone())?;
        *nlink += u32::from(new.kind == FileType::Directory);
        *mtime = new.now;
        *ctime = new.now;
        Ok(node)
    }

    /// Makes `bytes` the contents of a file, without a copy: memory that is there for ever
    /// and does not change. If it begins on a page and has that much, its last page must be
    /// zero behind it: then it is mapped in place. Only before the file is used.
    pub fn set_resident(&self, bytes: &'static [u8]) {
        self.state.lock().body = Body::File { image: bytes, size: bytes.len() as u64 };
    }

    /// The node called `name` in this directory.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`.
    pub fn get(&self, name: &[u8]) -> Result<Arc<Node>> {
        match &self.state.lock().body {
            Body::Directory(dir) => dir.get(name).cloned().ok_or(Error::NotFound),
            _ => Err(Error::NotDirectory),
        }
    }

    /// What of the contents is in the image, and how long the file is.
    fn file(&self) -> Result<(&'static [u8], u64)> {
        match &self.state.lock().body {
            Body::File { image, size } => Ok((image, *size)),
            Body::Directory(_) => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    fn is_empty_directory(&self) -> bool {
        match &self.state.lock().body {
            Body::Directory(dir) => dir.is_empty(),
            _ => true,
        }
    }

    /// One name less. A directory has none left then.
    fn lose_name(&self, now: Timestamp) {
        let mut state = self.state.lock();
        state.nlink = match self.kind {
            FileType::Directory => 0,
            _ => state.nlink.saturating_sub(1),
        };
        state.ctime = now;
    }

    fn check_may_replace(&self, by: &Node) -> Result<()> {
        match (self.kind == FileType::Directory, by.kind == FileType::Directory) {
            (true, false) => Err(Error::IsDirectory),
            (false, true) => Err(Error::NotDirectory),
            (true, true) if !self.is_empty_directory() => Err(Error::NotEmpty),
            _ => Ok(()),
        }
    }
}

fn own(inode: &Arc<dyn Inode>) -> Result<Arc<Node>> {
    let any: Arc<dyn Any + Send + Sync> = inode.clone();
    any.downcast::<Node>().map_err(|_| Error::CrossDevice)
}

fn count_dir(delta_from: &mut u32, is_dir: bool, up: bool) {
    if is_dir {
        *delta_from = if up { *delta_from + 1 } else { delta_from.saturating_sub(1) };
    }
}

impl Paged for Node {
    fn cache(&self) -> &CacheSlot {
        &self.cache
    }

    fn memory_only(&self) -> bool {
        true
    }

    fn fill(&self, _: u64, _: &mut [&mut Page]) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn reserve(&self, _: u64, _: usize) -> Result<()> {
        Ok(())
    }

    fn release(&self, _: u64, _: usize) {}

    fn write(&self, _: u64, _: &[&Page]) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn extend(&self, new: u64) -> Result<()> {
        self.truncate(new)
    }
}

impl Inode for Node {
    fn metadata(&self) -> Metadata {
        let state = self.state.lock();
        let size = match &state.body {
            Body::File { size, .. } => *size,
            Body::Symlink(target) => target.len() as u64,
            Body::Directory(dir) => dir.len() as u64,
            Body::Special => 0,
        };
        let blocks = match &state.body {
            Body::File { image, .. } => {
                let pages = self.cache.pages() * (PAGE_SIZE / 512) as u64;
                pages.max(image.len().div_ceil(512) as u64)
            }
            _ => 0,
        };
        Metadata {
            ino: self.ino,
            kind: self.kind,
            mode: state.mode,
            uid: state.uid,
            gid: state.gid,
            nlink: state.nlink,
            size,
            blocks,
            block_size: PAGE_SIZE as u32,
            device: self.device,
            atime: state.atime,
            mtime: state.mtime,
            ctime: state.ctime,
        }
    }

    fn set_metadata(&self, change: &SetMetadata) -> Result<()> {
        let mut state = self.state.lock();
        state.mode = change.mode.unwrap_or(state.mode) & 0o7777;
        state.uid = change.uid.unwrap_or(state.uid);
        state.gid = change.gid.unwrap_or(state.gid);
        state.atime = change.atime.unwrap_or(state.atime);
        state.mtime = change.mtime.unwrap_or(state.mtime);
        state.ctime = change.now;
        Ok(())
    }

    /// The contents without what is in the cache.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (image, size) = self.file()?;
        let left = size.saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let from = usize::try_from(offset).ok().and_then(|at| image.get(at..)).unwrap_or(&[]);
        let held = from.len().min(n);
        if let (Some(to), Some(from)) = (buf.get_mut(..held), from.get(..held)) {
            to.copy_from_slice(from);
        }
        buf.get_mut(held..n).unwrap_or_default().fill(0);
        Ok(n)
    }

    fn truncate(&self, new: u64) -> Result<()> {
        let (held, _) = self.file()?;
        if let Body::File { image, size } = &mut self.state.lock().body {
            *size = new;
            if new < held.len() as u64 {
                // The page that is cut in the middle is in the cache.
                let pages = new as usize / PAGE_SIZE * PAGE_SIZE;
                *image = held.get(..pages).unwrap_or(&[]);
            }
        }
        Ok(())
    }

    fn paged(&self) -> Option<&dyn Paged> {
        (self.kind == FileType::Regular).then_some(self)
    }

    fn resident(&self) -> Option<&'static [u8]> {
        // Small files of a bootfs share pages.
        let (image, _) = self.file().ok()?;
        (image.len() >= PAGE_SIZE && image.as_ptr().addr().is_multiple_of(PAGE_SIZE))
            .then_some(image)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        Ok(self.get(name)?)
    }

    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        let state = self.state.lock();
        let Body::Directory(dir) = &state.body else { return Err(Error::NotDirectory) };
        for e in dir.after(cursor) {
            let Some(Named { name, node }) = &e.named else { continue };
            if !emit(&DirEntry { name, ino: node.ino, kind: node.kind, next: e.cursor }) {
                break;
            }
        }
        Ok(())
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        Ok(self.add(name, new)?)
    }

    fn link(&self, name: &[u8], inode: &Arc<dyn Inode>, now: Timestamp) -> Result<()> {
        let node = own(inode)?;
        if node.kind == FileType::Directory {
            return Err(Error::NotPermitted);
        }
        let mut state = self.state.lock();
        let State { body: Body::Directory(dir), nlink, mtime, ctime, .. } = &mut *state else {
            return Err(Error::NotDirectory);
        };
        if *nlink == 0 {
            return Err(Error::NotFound);
        }
        if dir.contains(name) {
            return Err(Error::Exists);
        }
        {
            let mut target = node.state.lock();
            target.nlink = target.nlink.checked_add(1).ok_or(Error::TooManyLinks)?;
            target.ctime = now;
        }
        dir.insert(name, node)?;
        *mtime = now;
        *ctime = now;
        Ok(())
    }

    fn unlink(&self, name: &[u8], directory: bool, now: Timestamp) -> Result<()> {
        let mut state = self.state.lock();
        let State { body: Body::Directory(dir), nlink, mtime, ctime, .. } = &mut *state else {
            return Err(Error::NotDirectory);
        };
        let node = dir.get(name).ok_or(Error::NotFound)?;
        match (node.kind == FileType::Directory, directory) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            (true, true) if !node.is_empty_directory() => return Err(Error::NotEmpty),
            _ => {}
        }
        if let Some(node) = dir.remove(name) {
            count_dir(nlink, directory, false);
            *mtime = now;
            *ctime = now;
            drop(state);
            node.lose_name(now);
        }
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Inode>,
        to_name: &[u8],
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<()> {
        let to = own(to)?;
        let source = self.get(name)?;
        let target = match to.get(to_name) {
            Ok(target) => Some(target),
            Err(Error::NotFound) => None,
            Err(other) => return Err(other),
        };
        match (&target, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Error::Exists),
            (None, RenameMode::Exchange) => return Err(Error::NotFound),
            (Some(target), RenameMode::Replace) => target.check_may_replace(&source)?,
            _ => {}
        }
        let source_is_dir = source.kind == FileType::Directory;
        let target_is_dir = target.as_ref().is_some_and(|t| t.kind == FileType::Directory);

        // The kernel serialises renames and holds both directories: taking one lock after
        // the other shows nobody a half-done state that a lookup could reach.
        let mut first = self.state.lock();
        if let Body::Directory(dir) = &mut first.body {
            match (&target, mode) {
                (Some(target), RenameMode::Exchange) => {
                    dir.replace(name, target.clone());
                }
                _ => {
                    dir.remove(name);
                }
            }
        }
        count_dir(&mut first.nlink, source_is_dir, false);
        count_dir(&mut first.nlink, target_is_dir && mode == RenameMode::Exchange, true);
        first.mtime = now;
        first.ctime = now;
        drop(first);

        let mut second = to.state.lock();
        if let Body::Directory(dir) = &mut second.body
            && dir.replace(to_name, source.clone()).is_none()
        {
            dir.insert(to_name, source.clone())?;
        }
        count_dir(&mut second.nlink, target_is_dir, false);
        count_dir(&mut second.nlink, source_is_dir, true);
        second.mtime = now;
        second.ctime = now;
        drop(second);

        source.state.lock().ctime = now;
        if let Some(target) = target
            && mode == RenameMode::Replace
        {
            target.lose_name(now);
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.state.lock().body {
            Body::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Error::Invalid),
        }
    }

    fn statfs(&self) -> FsStat {
        FsStat { magic: MAGIC, block_size: PAGE_SIZE as u32, ..FsStat::default() }
    }
}
