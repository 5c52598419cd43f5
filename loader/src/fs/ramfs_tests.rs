use super::*;
use crate::fs::{MountTable, Path, cache};
use alloc::vec;

pub(crate) fn now() -> Timestamp {
    Timestamp { secs: 5, nanos: 0 }
}

pub(crate) fn new(kind: FileType, mode: u16) -> NewInode<'static> {
    NewInode {
        kind,
        mode,
        uid: 0,
        gid: 0,
        device: DeviceNumber::default(),
        target: b"",
        now: now(),
    }
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

/// A path to the file, as open files have one.
fn path(fs: &RamFs, name: &[u8]) -> Path {
    let (_, root) = MountTable::new(fs.root(), "ramfs");
    root.with(root.dentry.child(name).unwrap())
}

#[test]
fn files_grow_shrink_and_have_holes() {
    let fs = RamFs::new(0o755, now());
    let inode = fs.root().create(b"f", &new(FileType::Regular, 0o644)).unwrap();
    let f = path(&fs, b"f");
    assert_eq!(cache::write(&f, Some(5000), b"abc"), Ok((5003, 3)));
    assert_eq!(inode.metadata().size, 5003);
    assert_eq!(inode.metadata().blocks, 8, "one page, the first is a hole");
    let mut buf = [1; 5010];
    assert_eq!(cache::read(&f, 0, &mut buf).unwrap(), 5003);
    assert!(buf[..5000].iter().all(|&b| b == 0));
    assert_eq!(&buf[5000..5003], b"abc");
    cache::truncate(&f, 5001).unwrap();
    cache::truncate(&f, 6000).unwrap();
    assert_eq!(cache::read(&f, 4999, &mut buf[..10]).unwrap(), 10);
    assert_eq!(&buf[..10], b"\0a\0\0\0\0\0\0\0\0");
    assert_eq!(cache::read(&f, u64::MAX, &mut buf).unwrap(), 0);
    assert_eq!(cache::write(&f, None, b"end"), Ok((6003, 3)));
    assert_eq!(cache::write(&f, Some(u64::MAX - 1), b"abc"), Err(Error::FileTooLarge));
    assert_eq!(cache::truncate(&f, u64::MAX), Err(Error::FileTooLarge));
    cache::truncate(&f, 0).unwrap();
    assert_eq!((inode.metadata().size, inode.metadata().blocks), (0, 0));
}

#[test]
fn pages_of_a_resident_file_move_when_they_are_written() {
    #[repr(align(4096))]
    struct Aligned([u8; 8192]);
    static ALIGNED: Aligned = {
        let mut bytes = [7; 8192];
        let mut at = 5000;
        while at < 8192 {
            bytes[at] = 0;
            at += 1;
        }
        Aligned(bytes)
    };
    let bytes = &ALIGNED.0[..5000];
    let fs = RamFs::new(0o755, now());
    let inode = fs.root_node().add(b"f", &new(FileType::Regular, 0o644)).unwrap();
    inode.set_resident(bytes);
    let f = path(&fs, b"f");
    assert_eq!(inode.resident().unwrap().as_ptr(), bytes.as_ptr());
    let mut buf = [0; 5001];
    assert_eq!(cache::read(&f, 0, &mut buf).unwrap(), 5000);
    assert_eq!(inode.cache.pages(), 0, "reading copies nothing");
    cache::write(&f, Some(1), b"x").unwrap();
    assert_eq!(inode.cache.pages(), 1, "only what was written is copied");
    assert_eq!(cache::read(&f, 0, &mut buf).unwrap(), 5000);
    assert_eq!(&buf[..3], &[7, b'x', 7]);
    assert_eq!(buf[4999], 7);
    assert_eq!(bytes[1], 7);
    // What is cut off does not come back from the image.
    cache::truncate(&f, 4100).unwrap();
    cache::truncate(&f, 8192).unwrap();
    assert_eq!(cache::read(&f, 4096, &mut buf).unwrap(), 4096);
    assert_eq!(&buf[..6], &[7, 7, 7, 7, 0, 0]);
    assert!(buf[4..4096].iter().all(|&b| b == 0));
    assert_eq!(inode.resident().unwrap().len(), 4096);

    let g = fs.root_node().add(b"g", &new(FileType::Regular, 0o644)).unwrap();
    g.set_resident(&bytes[1..]);
    assert!(g.resident().is_none(), "not on a page");
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
