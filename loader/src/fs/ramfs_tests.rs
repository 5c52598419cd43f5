use super::*;
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

#[test]
fn files_grow_shrink_and_have_holes() {
    let fs = RamFs::new(0o755, now());
    let f = fs.root().create(b"f", &new(FileType::Regular, 0o644)).unwrap();
    assert_eq!(f.write_at(5000, b"abc").unwrap(), 3);
    assert_eq!(f.metadata().size, 5003);
    assert_eq!(f.metadata().blocks, 8, "one page, the first is a hole");
    let mut buf = [1; 5010];
    assert_eq!(f.read_at(0, &mut buf).unwrap(), 5003);
    assert!(buf[..5000].iter().all(|&b| b == 0));
    assert_eq!(&buf[5000..5003], b"abc");
    f.truncate(5001).unwrap();
    f.truncate(6000).unwrap();
    assert_eq!(f.read_at(4999, &mut buf[..10]).unwrap(), 10);
    assert_eq!(&buf[..10], b"\0a\0\0\0\0\0\0\0\0");
    assert_eq!(f.read_at(u64::MAX, &mut buf).unwrap(), 0);
    assert_eq!(f.write_at(u64::MAX - 1, b"abc"), Err(Error::FileTooLarge));
    assert_eq!(f.truncate(u64::MAX), Err(Error::FileTooLarge));
}

#[test]
fn a_resident_file_is_copied_by_the_first_write() {
    #[repr(align(4096))]
    struct Aligned([u8; 5000]);
    static ALIGNED: Aligned = Aligned([7; 5000]);
    let bytes = &ALIGNED.0;
    let fs = RamFs::new(0o755, now());
    let f = fs.root_node().add(b"f", &new(FileType::Regular, 0o644)).unwrap();
    f.set_resident(bytes);
    assert_eq!(f.resident().unwrap().as_ptr(), bytes.as_ptr());
    f.write_at(1, b"x").unwrap();
    assert!(f.resident().is_none());
    let g = fs.root_node().add(b"g", &new(FileType::Regular, 0o644)).unwrap();
    g.set_resident(&bytes[1..]);
    assert!(g.resident().is_none(), "not on a page");
    let mut buf = [0; 5001];
    assert_eq!(f.read_at(0, &mut buf).unwrap(), 5000);
    assert_eq!(&buf[..3], &[7, b'x', 7]);
    assert_eq!(buf[4999], 7);
    assert_eq!(bytes[1], 7);
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
