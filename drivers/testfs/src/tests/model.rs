//! What a file system should hold, without anything in common with how it does.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::Result;
use driver_api::vfs::{FileType, Inode, RenameMode, SetMetadata};

use super::contents;

/// What is behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    File(Rc<Vec<u8>>),
    Directory(BTreeMap<Vec<u8>, u64>),
    Link(Vec<u8>),
}

/// An inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mode: u16,
    pub owner: (u32, u32),
    pub nlink: u32,
    /// Access, contents, inode: seconds.
    pub times: [i64; 3],
    pub body: Body,
}

/// A whole tree. The root is inode 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model(pub BTreeMap<u64, Entry>);

impl Model {
    pub fn new() -> Self {
        let body = Body::Directory(BTreeMap::new());
        let root = Entry { mode: 0o755, owner: (0, 0), nlink: 2, times: [0; 3], body };
        Self(BTreeMap::from([(1, root)]))
    }

    pub fn entry(&mut self, ino: u64) -> &mut Entry {
        self.0.get_mut(&ino).unwrap()
    }

    pub fn names(&mut self, dir: u64) -> &mut BTreeMap<Vec<u8>, u64> {
        match &mut self.entry(dir).body {
            Body::Directory(names) => names,
            other => panic!("{other:?}"),
        }
    }

    fn is_dir(&self, ino: u64) -> bool {
        matches!(self.0[&ino].body, Body::Directory(_))
    }

    pub fn directories(&self) -> Vec<u64> {
        self.0.keys().copied().filter(|i| self.is_dir(*i)).collect()
    }

    fn changed(&mut self, dir: u64, by: i32, now: i64) {
        let dir = self.entry(dir);
        dir.nlink = dir.nlink.checked_add_signed(by).unwrap();
        (dir.times[1], dir.times[2]) = (now, now);
    }

    pub fn create(&mut self, dir: u64, name: &[u8], ino: u64, body: Body, now: i64) {
        let is_dir = matches!(body, Body::Directory(_));
        let nlink = if is_dir { 2 } else { 1 };
        let entry = Entry { mode: 0o640, owner: (1, 2), nlink, times: [now; 3], body };
        assert!(self.0.insert(ino, entry).is_none(), "inode {ino} was given out twice");
        self.names(dir).insert(name.to_vec(), ino);
        self.changed(dir, i32::from(is_dir), now);
    }

    fn lose(&mut self, ino: u64, now: i64) {
        let entry = self.entry(ino);
        entry.nlink -= 1;
        entry.times[2] = now;
        if entry.nlink == 0 || self.is_dir(ino) {
            self.0.remove(&ino);
        }
    }

    pub fn link(&mut self, dir: u64, name: &[u8], ino: u64, now: i64) {
        self.entry(ino).nlink += 1;
        self.entry(ino).times[2] = now;
        self.names(dir).insert(name.to_vec(), ino);
        self.changed(dir, 0, now);
    }

    pub fn unlink(&mut self, dir: u64, name: &[u8], now: i64) {
        let ino = self.names(dir).remove(name).unwrap();
        self.changed(dir, -i32::from(self.is_dir(ino)), now);
        self.lose(ino, now);
    }

    pub fn rename(
        &mut self,
        (from, name): (u64, &[u8]),
        (to, to_name): (u64, &[u8]),
        mode: RenameMode,
        now: i64,
    ) {
        let source = self.names(from)[name];
        let target = self.names(to).get(to_name).copied();
        if target == Some(source) {
            return;
        }
        self.names(from).remove(name);
        self.names(to).insert(to_name.to_vec(), source);
        let moved = i32::from(self.is_dir(source));
        self.changed(from, -moved, now);
        self.changed(to, moved, now);
        self.entry(source).times[2] = now;
        let Some(target) = target else { return };
        let other = i32::from(self.is_dir(target));
        self.changed(to, -other, now);
        if mode == RenameMode::Exchange {
            self.names(from).insert(name.to_vec(), target);
            self.changed(from, other, now);
            self.entry(target).times[2] = now;
        } else {
            self.lose(target, now);
        }
    }

    pub fn set(&mut self, ino: u64, change: &SetMetadata) {
        let entry = self.entry(ino);
        entry.mode = change.mode.unwrap_or(entry.mode);
        entry.owner = (change.uid.unwrap_or(entry.owner.0), change.gid.unwrap_or(entry.owner.1));
        entry.times[0] = change.atime.map_or(entry.times[0], |t| t.secs);
        entry.times[1] = change.mtime.map_or(entry.times[1], |t| t.secs);
        entry.times[2] = change.now.secs;
    }

    fn bytes(&mut self, ino: u64) -> Option<&mut Vec<u8>> {
        match &mut self.0.get_mut(&ino)?.body {
            Body::File(bytes) => Some(Rc::make_mut(bytes)),
            other => panic!("{other:?}"),
        }
    }

    /// The file's length was set.
    pub fn truncate(&mut self, ino: u64, len: usize) {
        if let Some(bytes) = self.bytes(ino) {
            bytes.resize(len, 0);
        }
    }

    /// Some of a file that is `live` bytes long was written out.
    pub fn written(&mut self, ino: u64, offset: usize, data: &[u8], live: usize) {
        let Some(bytes) = self.bytes(ino) else { return };
        let end = (offset + data.len()).min(live);
        if offset < end {
            bytes.resize(bytes.len().max(end), 0);
            bytes[offset..end].copy_from_slice(&data[..end - offset]);
        }
    }
}

/// Everything that a file system holds.
pub fn read(root: &Arc<dyn Inode>) -> Result<Model> {
    let mut all = BTreeMap::new();
    let mut todo = Vec::from([root.clone()]);
    while let Some(inode) = todo.pop() {
        let m = inode.metadata();
        if all.contains_key(&m.ino) {
            continue;
        }
        let body = match m.kind {
            FileType::Directory => {
                let mut names = BTreeMap::new();
                inode.read_dir(0, &mut |e| {
                    assert!(names.insert(e.name.to_vec(), e.ino).is_none(), "a name came twice");
                    true
                })?;
                for (name, ino) in &names {
                    let child = inode.lookup(name)?;
                    assert_eq!(child.metadata().ino, *ino);
                    todo.push(child);
                }
                Body::Directory(names)
            }
            FileType::Symlink => Body::Link(inode.read_link()?),
            _ => Body::File(Rc::new(contents(&inode)?)),
        };
        let times = [m.atime, m.mtime, m.ctime].map(|t| t.secs);
        let entry = Entry { mode: m.mode, owner: (m.uid, m.gid), nlink: m.nlink, times, body };
        all.insert(m.ino, entry);
    }
    Ok(Model(all))
}
