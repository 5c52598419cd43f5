//! Inodes and their names. What the page cache makes of them is tested with the cache
//! (`loader/src/fs/cache`).

use super::*;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use driver_api::Error;
use driver_api::vfs::{FileType, Inode, NewInode, RenameMode, Timestamp};

fn now() -> Timestamp {
    Timestamp { secs: 5, nanos: 0 }
}

fn new(kind: FileType, mode: u16) -> NewInode<'static> {
    NewInode::plain(kind, mode, now())
}

fn names(dir: &dyn Inode, cursor: u64) -> Vec<(Vec<u8>, u64)> {
    let mut out = vec![];
    dir.read_dir(cursor, &mut |e| {
        out.push((e.name.to_vec(), e.next));
        true
    })
    .unwrap();
    out
}

#[test]
fn a_reader_of_a_directory_sees_each_entry_that_stays_once() {
    let fs = RamFs::new(0o755, now());
    let root = fs.root();
    for name in [b"c", b"a", b"b"] {
        root.create(name, &new(FileType::Regular, 0o644)).unwrap();
    }
    let all = names(&*root, 0);
    assert_eq!(all.iter().map(|e| &e.0[..]).collect::<Vec<_>>(), [b"c", b"a", b"b"]);
    root.unlink(b"a", false, now()).unwrap();
    root.create(b"d", &new(FileType::Regular, 0o644)).unwrap();
    let rest = names(&*root, all[0].1);
    assert_eq!(rest.iter().map(|e| &e.0[..]).collect::<Vec<_>>(), [b"b", b"d"]);
}

#[test]
fn links_are_counted() {
    let fs = RamFs::new(0o755, now());
    let root = fs.root();
    assert_eq!(root.metadata().nlink, 2);
    let d = root.create(b"d", &new(FileType::Directory, 0o755)).unwrap();
    assert_eq!(root.metadata().nlink, 3);
    let f = d.create(b"f", &new(FileType::Regular, 0o644)).unwrap();
    root.link(b"g", &f, now()).unwrap();
    assert_eq!(f.metadata().nlink, 2);
    assert_eq!(root.link(b"h", &d, now()), Err(Error::NotPermitted));
    assert_eq!(root.link(b"g", &f, now()), Err(Error::Exists));
    assert_eq!(root.unlink(b"d", false, now()), Err(Error::IsDirectory));
    assert_eq!(root.unlink(b"g", true, now()), Err(Error::NotDirectory));
    assert_eq!(root.unlink(b"d", true, now()), Err(Error::NotEmpty));
    d.unlink(b"f", false, now()).unwrap();
    root.unlink(b"d", true, now()).unwrap();
    assert_eq!(root.metadata().nlink, 2);
    assert_eq!(f.metadata().nlink, 1);
    assert_eq!(
        d.create(b"x", &new(FileType::Regular, 0)).err(),
        Some(Error::NotFound),
        "nothing is made in a directory that is gone"
    );
}

#[test]
fn rename_replaces_exchanges_and_refuses() {
    let fs = RamFs::new(0o755, now());
    let root = fs.root();
    let a = root.create(b"a", &new(FileType::Regular, 0o644)).unwrap();
    let d = root.create(b"d", &new(FileType::Directory, 0o755)).unwrap();
    let b = d.create(b"b", &new(FileType::Regular, 0o644)).unwrap();
    let rename = |from: &Arc<dyn Inode>, n: &[u8], to: &Arc<dyn Inode>, m: &[u8], mode| {
        from.rename(n, to, m, mode, now())
    };
    assert_eq!(rename(&root, b"a", &root, b"d", RenameMode::Replace), Err(Error::IsDirectory));
    assert_eq!(rename(&root, b"d", &root, b"a", RenameMode::Replace), Err(Error::NotDirectory));
    assert_eq!(rename(&root, b"a", &d, b"b", RenameMode::NoReplace), Err(Error::Exists));
    assert_eq!(rename(&root, b"a", &d, b"x", RenameMode::Exchange), Err(Error::NotFound));
    rename(&root, b"a", &d, b"b", RenameMode::Exchange).unwrap();
    assert_eq!(root.lookup(b"a").unwrap().metadata().ino, b.metadata().ino);
    rename(&d, b"b", &root, b"a", RenameMode::Replace).unwrap();
    assert_eq!(root.lookup(b"a").unwrap().metadata().ino, a.metadata().ino);
    assert_eq!(b.metadata().nlink, 0);
    assert_eq!(d.lookup(b"b").err(), Some(Error::NotFound));
    rename(&root, b"d", &root, b"e", RenameMode::Replace).unwrap();
    assert_eq!(root.metadata().nlink, 3);
    assert_eq!(names(&*root, 0).len(), 2);
}
