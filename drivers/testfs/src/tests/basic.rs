//! What the model does not ask for.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use driver_api::Error;
use driver_api::fake::{Event, LogDisk, installed};
use driver_api::paged::{FileSystem, FileSystemType};
use driver_api::vfs::{FileType, Inode};

use super::{DISK, at, check, contents, formatted, mount, new, write};
use crate::layout::{MAX_SIZE, UNIT};
use crate::{DRIVER, TestFs};

fn file(root: &Arc<dyn Inode>, name: &[u8]) -> Arc<dyn Inode> {
    root.create(name, &new(FileType::Regular, 1)).unwrap()
}

#[test]
fn the_driver_offers_its_kind() {
    let _ = formatted(DISK);
    let machine = installed().unwrap();
    (DRIVER.probe)(machine).unwrap();
    assert_eq!(machine.file_systems().iter().map(|k| k.name()).collect::<Vec<_>>(), ["testfs"]);
}

#[test]
fn an_inode_is_the_same_as_long_as_somebody_has_it() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    let a = file(&root, b"a");
    root.link(b"b", &a, at(2)).unwrap();
    assert!(Arc::ptr_eq(&a, &root.lookup(b"b").unwrap()));
    assert!(Arc::ptr_eq(&root, &fs.root()));
}

#[test]
fn a_file_without_a_name_lives_until_it_is_closed_or_the_power_goes() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    let a = file(&root, b"a");
    fs.sync().unwrap();
    let (before, inodes) = (root.statfs().free, root.statfs().inodes_free + 1);
    write(&a, 0, &[1; 20_000]).unwrap();
    root.unlink(b"a", false, at(2)).unwrap();
    write(&a, 20_000, &[2; 5000]).unwrap();
    assert_eq!(contents(&a).unwrap(), [vec![1; 20_000], vec![2; 5000]].concat());
    assert_eq!(a.metadata().nlink, 0);
    fs.sync().unwrap();
    check(&fs);
    // A cut now: the space comes back when it is mounted.
    let other = mount(&Arc::new(LogDisk::new(disk.image()))).unwrap();
    assert_eq!(other.root().statfs().free, before);
    check(&other);
    // It is closed: the space comes back with the next sync.
    drop(a);
    fs.sync().unwrap();
    assert_eq!((root.statfs().free, root.statfs().inodes_free), (before, inodes));
    check(&fs);
}

#[test]
fn holes_take_no_space_and_the_farthest_byte_can_be_written() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    let a = file(&root, b"a");
    let free = root.statfs().free;
    a.truncate(MAX_SIZE).unwrap();
    assert_eq!(a.truncate(MAX_SIZE + 1), Err(Error::FileTooLarge));
    assert_eq!((root.statfs().free, a.metadata().blocks), (free, 0));
    assert_eq!((a.metadata().mtime, a.metadata().size), (at(1), MAX_SIZE));
    write(&a, MAX_SIZE - 3, b"end").unwrap();
    write(&a, 12 << 30, b"middle").unwrap();
    assert_eq!(write(&a, MAX_SIZE, b"x"), Err(Error::FileTooLarge));
    fs.sync().unwrap();
    drop((root, a, fs));
    let fs = mount(&disk).unwrap();
    check(&fs);
    let a = fs.root().lookup(b"a").unwrap();
    let mut page = [9; 4096];
    a.paged().unwrap().fill(MAX_SIZE / 4096 - 1, &mut [&mut page]).unwrap();
    assert!(page.ends_with(b"\0\0end"));
    a.paged().unwrap().fill((12 << 30) / 4096, &mut [&mut page]).unwrap();
    assert!(page.starts_with(b"middle\0"));
    a.truncate(0).unwrap();
    assert_eq!(fs.root().statfs().free, free, "all pointer blocks are free again");
    check(&fs);
}

#[test]
fn a_full_file_system_refuses_and_what_was_reserved_can_be_written() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    let a = file(&root, b"a");
    let paged = a.paged().unwrap();
    let mut records = 0;
    while paged.reserve(records * 2, 2) == Ok(()) {
        records += 1;
    }
    assert!(records > 20);
    assert_eq!(paged.reserve(records * 2, 2), Err(Error::NoSpace));
    let page = [7; 4096];
    paged.extend(records * UNIT as u64).unwrap();
    for record in (0..records).rev() {
        paged.write(record * 2, &[&page, &page]).unwrap();
    }
    fs.sync().unwrap();
    assert_eq!(root.statfs().free, 0);
    // Full: a record can be changed no more, for it would need a place of its own.
    assert_eq!(paged.reserve(0, 2), Err(Error::NoSpace));
    let names = (0..1000).map(|i| alloc::format!("{i:0250}"));
    let made = names.map_while(|n| root.create(n.as_bytes(), &new(FileType::Regular, 2)).ok());
    assert!(made.count() < 40, "the root's one block is full some time");
    check(&fs);
    // What is cut away can be had, though the last commit still needs it.
    a.truncate(UNIT as u64).unwrap();
    paged.reserve(2, 2).unwrap();
    paged.release(2, 2);
    assert_eq!(contents(&a).unwrap(), vec![7; UNIT]);
    check(&fs);
}

#[test]
fn units_that_the_last_commit_needs_are_not_written_to() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let a = file(&fs.root(), b"a");
    write(&a, 0, &[1; 10 * UNIT]).unwrap();
    fs.sync().unwrap();
    let sequence = fs.sequence();
    // Round the whole device, until space is so short that a commit comes.
    let mut rounds = 0;
    while fs.sequence() == sequence {
        let cut = mount(&Arc::new(LogDisk::new(disk.image()))).unwrap();
        let a_cut = cut.root().lookup(b"a").unwrap();
        assert_eq!(contents(&a_cut).unwrap(), vec![1; 10 * UNIT], "round {rounds}");
        write(&a, rounds % 10 * UNIT as u64, &[2; UNIT]).unwrap();
        rounds += 1;
        if rounds == 200 {
            break;
        }
    }
    assert!(rounds > 100, "only {rounds}: the records went round");
}

#[test]
fn a_reader_of_a_directory_sees_what_stays_once() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    let name = |i: usize| alloc::format!("{i:0w$}", w = 20 + i % 200).into_bytes();
    for i in 0..30 {
        file(&root, &name(i));
    }
    let (mut cursor, mut seen, mut round) = (0, Vec::new(), 0);
    loop {
        let mut next = None;
        let mut emit = |e: &driver_api::vfs::DirEntry<'_>| {
            next = Some((e.name.to_vec(), e.next));
            false
        };
        root.read_dir(cursor, &mut emit).unwrap();
        let Some((found, at_next)) = next else { break };
        cursor = at_next;
        seen.push(found);
        // Odd ones go, others come in their place.
        if round < 15 {
            let _ = root.unlink(&name(2 * round + 1), false, at(3));
            file(&root, &name(100 + round));
        }
        round += 1;
    }
    for i in (0..30).step_by(2) {
        assert_eq!(seen.iter().filter(|s| **s == name(i)).count(), 1, "{i}");
    }
    check(&fs);
}

#[test]
fn many_names_grow_a_directory_and_all_of_them_go() {
    let disk = formatted(4 * DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    let dir = root.create(b"dir", &new(FileType::Directory, 1)).unwrap();
    let name = |i: usize| alloc::format!("{i:0200}").into_bytes();
    let one = file(&root, b"one");
    for i in 0..400 {
        dir.link(&name(i), &one, at(2)).unwrap();
    }
    assert!(dir.metadata().size > 8 * UNIT as u64, "more than the inode's own pointers reach");
    assert_eq!(one.metadata().nlink, 401);
    drop((root, dir, one));
    fs.unmount().unwrap();
    drop(fs);
    let fs = mount(&disk).unwrap();
    check(&fs);
    let (root, dir) = (fs.root(), fs.root().lookup(b"dir").unwrap());
    assert_eq!(root.unlink(b"dir", true, at(3)), Err(Error::NotEmpty));
    (0..400).for_each(|i| dir.unlink(&name(i), false, at(3)).unwrap());
    root.unlink(b"dir", true, at(3)).unwrap();
    let gone = dir.create(b"x", &new(FileType::Regular, 1));
    assert_eq!(gone.err(), Some(Error::NotFound), "in a directory that is gone");
    drop(dir);
    fs.sync().unwrap();
    check(&fs);
}

#[test]
fn reading_only_writes_nothing() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let a = file(&fs.root(), b"a");
    write(&a, 0, b"text").unwrap();
    fs.root().unlink(b"a", false, at(2)).unwrap();
    file(&fs.root(), b"b");
    fs.sync().unwrap();
    let disk = Arc::new(LogDisk::new(disk.image()));
    let fs = TestFs.mount(Some(disk.clone()), true).unwrap();
    let root = fs.root();
    let refused = root.create(b"c", &new(FileType::Regular, 3));
    assert_eq!(refused.err(), Some(Error::ReadOnly));
    let b = root.lookup(b"b").unwrap();
    assert_eq!(b.truncate(9), Err(Error::ReadOnly));
    assert_eq!(b.paged().unwrap().reserve(0, 1), Err(Error::ReadOnly));
    fs.sync().unwrap();
    fs.unmount().unwrap();
    assert_eq!(disk.take_log(), []);
}

#[test]
fn what_cannot_be_mounted_or_formatted_is_refused() {
    let disk = formatted(DISK);
    assert_eq!(TestFs.mount(None, false).err(), Some(Error::NoDevice));
    let empty = Arc::new(LogDisk::zeroed(DISK));
    assert_eq!(mount(&empty).err(), Some(Error::Invalid));
    let small = Arc::new(LogDisk::zeroed(127 * UNIT));
    assert_eq!(TestFs.format(small.clone()), Err(Error::NoSpace));
    assert_eq!(small.take_log(), [], "nothing was written");
    // The device became smaller.
    let mut image = disk.image();
    image.truncate(DISK - UNIT);
    assert_eq!(mount(&Arc::new(LogDisk::new(image))).err(), Some(Error::Invalid));
    // Another version, and flags that are not known.
    for (byte, error) in [(8, Error::Unsupported), (12, Error::Unsupported), (16, Error::ReadOnly)]
    {
        let mut image = disk.image();
        image[byte] ^= 2;
        let sum = crate::layout::checksum(&image[..504]);
        image[504..512].copy_from_slice(&sum.to_le_bytes());
        let disk = Arc::new(LogDisk::new(image));
        assert_eq!(mount(&disk).err(), Some(error), "byte {byte}");
        let reading = TestFs.mount(Some(disk), true);
        assert_eq!(reading.is_ok(), error == Error::ReadOnly);
    }
}

#[test]
fn an_idle_sync_writes_nothing_and_a_commit_flushes_twice() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    fs.sync().unwrap();
    assert_eq!(disk.take_log(), []);
    let a = file(&fs.root(), b"a");
    write(&a, 0, b"text").unwrap();
    fs.sync().unwrap();
    let log = disk.take_log();
    assert_eq!(log.iter().filter(|e| **e == Event::Flush).count(), 2);
    fs.sync().unwrap();
    assert_eq!(disk.take_log(), []);
}
