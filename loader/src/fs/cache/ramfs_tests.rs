//! Files in RAM, through the cache.

use crate::fs::{MountTable, NewMount, Path, cache};
use driver_api::Error;
use driver_api::vfs::{DeviceNumber, FileType, Inode, NewInode, Timestamp};
use ramfs::RamFs;

fn now() -> Timestamp {
    Timestamp { secs: 5, nanos: 0 }
}

fn new(kind: FileType, mode: u16) -> NewInode<'static> {
    let device = DeviceNumber::default();
    NewInode { kind, mode, uid: 0, gid: 0, device, target: b"", now: now() }
}

/// How many pages of it the cache has.
fn pages(inode: &dyn Inode) -> u64 {
    inode.paged().unwrap().cache().pages()
}

/// A path to the file, as open files have one.
fn path(fs: &RamFs, name: &[u8]) -> Path {
    let (_, root) = MountTable::new(NewMount::plain(fs.root(), "ramfs"));
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
    assert_eq!(pages(&*inode), 0, "reading copies nothing");
    cache::write(&f, Some(1), b"x").unwrap();
    assert_eq!(pages(&*inode), 1, "only what was written is copied");
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
