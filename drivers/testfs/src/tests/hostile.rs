//! Images that lie.

use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::fake::LogDisk;
use driver_api::paged::FileSystem;
use driver_api::vfs::{FileType, RenameMode};
use driver_api::{Error, Result};

use super::driver::Driver;
use super::model::{self, Body, Model};
use super::{DISK, Rng, at, formatted, mount, new};
use crate::layout::{BLOCK_HEAD, UNIT, checksum, put};

/// An image with some files, and what is in it.
fn image() -> (Vec<u8>, Model) {
    let mut driver = Driver::new(formatted(DISK), 11);
    for _ in 0..150 {
        let _ = driver.step();
    }
    driver.sync().unwrap();
    let model = driver.model.clone();
    assert!(model.0.len() > 8);
    (driver.disk.image(), model)
}

/// Does something of everything, and only looks that it comes back.
fn use_all(disk: Vec<u8>) -> Result<Model> {
    let disk = Arc::new(LogDisk::new(disk));
    let fs = mount(&disk)?;
    let found = model::read(&fs.root());
    let root = fs.root();
    let mut names = Vec::new();
    let _ = root.read_dir(0, &mut |e| {
        names.push((e.name.to_vec(), e.kind));
        names.len() < 1000
    });
    for (name, kind) in names {
        if let Ok(inode) = root.lookup(&name) {
            let _ = super::write(&inode, 3 * UNIT as u64, b"x");
            let _ = inode.truncate(5);
            let _ = inode.create(b"new", &new(FileType::Regular, 9));
        }
        let _ = root.rename(&name, &root, b"other", RenameMode::Replace, at(9));
        let _ = root.unlink(&name, kind == FileType::Directory, at(9));
    }
    let _ = fs.sync();
    let _ = fs.unmount();
    found
}

/// Bits that no checksum covers are those of free units, and of what the newest transaction
/// has replaced: then nothing is wrong.
#[test]
fn a_flipped_bit_is_an_error_or_does_not_matter() {
    let (image, tree) = image();
    let mut rng = Rng(3);
    let (mut errors, mut right) = (0, 0);
    // Some bits of each unit, most of them where its structures begin.
    for unit in 0..DISK / UNIT {
        for n in 0..6 {
            let byte = if n < 4 { rng.below(128) } else { rng.below(UNIT) };
            let mut damaged = image.clone();
            damaged[unit * UNIT + byte] ^= 1 << rng.below(8);
            match use_all(damaged) {
                Err(Error::Io | Error::Invalid) => errors += 1,
                Err(e) => panic!("unit {unit}, byte {byte}: {e:?}"),
                Ok(found) => {
                    assert!(found == tree, "unit {unit}, byte {byte}: a wrong tree");
                    right += 1;
                }
            }
        }
    }
    assert!(errors > 50 && right > 50, "{errors} {right}");
}

#[test]
fn random_bytes_under_good_checksums_never_panic() {
    let (image, _) = image();
    // What is in the journal would hide what is changed at home.
    let disk = Arc::new(LogDisk::new(image));
    let fs = mount(&disk).unwrap();
    let layout = fs.fs.core.lock().layout;
    fs.unmount().unwrap();
    let mut clean = disk.image();
    for half in 0..2 {
        let first = layout.journal(half) as usize;
        for header in [first, first + layout.half as usize - 1] {
            clean[header * UNIT..][..UNIT].fill(0);
        }
    }
    let blocks: Vec<usize> = (layout.bitmap as usize..layout.units as usize)
        .filter(|u| {
            let block = &clean[u * UNIT..][..UNIT];
            crate::layout::u64_at(block, 0) == checksum(&block[8..])
        })
        .collect();
    assert!(blocks.len() > 5);
    let mut rng = Rng(17);
    let mut different = 0;
    for _ in 0..1500 {
        let mut hostile = clean.clone();
        for _ in 0..1 + rng.below(3) {
            let unit = blocks[rng.below(blocks.len())];
            let block = &mut hostile[unit * UNIT..][..UNIT];
            for _ in 0..1 + rng.below(4) {
                let most = if rng.once_in(2) { 600 } else { UNIT - 24 };
                let place = BLOCK_HEAD + rng.below(most);
                let small = rng.below(200) as u32;
                match rng.below(3) {
                    0 => block[place] ^= 1 << rng.below(8),
                    1 => put(block, place / 4 * 4, &small.to_le_bytes()),
                    _ => put(block, place / 4 * 4, &rng.next().to_le_bytes()),
                }
            }
            let sum = checksum(&block[8..]);
            put(block, 0, &sum.to_le_bytes());
        }
        different += usize::from(use_all(hostile).is_err());
    }
    assert!(different > 100, "{different}");
}

#[test]
fn a_directory_that_is_its_own_child_has_an_end() {
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    root.create(b"d", &new(FileType::Directory, 1)).unwrap();
    let mut core = fs.fs.core.lock();
    core.operation(|core| {
        let record = core.record(crate::layout::ROOT)?;
        let place = core.find(&record, b"d")?.ok_or(Error::NotFound)?;
        core.set_name(place, crate::layout::ROOT, FileType::Directory)
    })
    .unwrap();
    drop(core);
    let d = root.lookup(b"d").unwrap();
    assert!(Arc::ptr_eq(&d, &root));
    assert_eq!(d.unlink(b"d", true, at(1)), Err(Error::NotEmpty));
    let found = model::read(&root).unwrap();
    assert!(matches!(&found.0[&1].body, Body::Directory(names) if names.len() == 1));
}
