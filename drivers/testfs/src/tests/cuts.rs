//! Power cuts: after every write, with what was not flushed lost, kept, torn or out of order.

use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::Error;
use driver_api::fake::{Event, LogDisk};
use driver_api::paged::{FileSystem, FileSystemType};

use super::driver::Driver;
use super::{DISK, Rng, check, formatted, machine, model, mount};
use crate::TestFs;

/// What may be on the disk when the power goes after `log`: `stable` has what was flushed.
fn survivors(stable: &[u8], loose: &[Event], how: usize, rng: &mut Rng) -> Vec<u8> {
    let mut image = stable.to_vec();
    for event in loose {
        match how {
            0 => event.apply(&mut image, || true),
            1 => {}
            // Each write as a whole or not at all: the cache wrote them in another order.
            2 => {
                let kept = rng.once_in(2);
                event.apply(&mut image, || kept);
            }
            _ => event.apply(&mut image, || rng.once_in(2)),
        }
    }
    image
}

/// Mounts what is left after each cut and compares it with what that commit had. How many.
fn cut_everywhere(base: Vec<u8>, driver: &Driver, log: &[Event], rng: &mut Rng) -> usize {
    let mut stable = base;
    let (mut loose, mut cuts) = (0, 0);
    for end in 0..=log.len() {
        let oldest = driver.synced.iter().filter(|s| s.0 <= end).map(|s| s.1).max().unwrap();
        for how in 0..4 {
            let image = survivors(&stable, &log[loose..end], how, rng);
            let disk = Arc::new(LogDisk::new(image));
            let fs = mount(&disk).unwrap_or_else(|e| panic!("cut {end}, {how}: {e:?}"));
            let sequence = fs.sequence();
            assert!(sequence >= oldest, "cut {end}, {how}: {sequence} is older than {oldest}");
            let found = model::read(&fs.root()).unwrap();
            let known = driver.states.get(&sequence).is_some_and(|s| s.contains(&found));
            assert!(known, "cut {end}, {how}: not what commit {sequence} had");
            cuts += 1;
            if rng.once_in(16) {
                // What was found can be gone on with.
                check(&fs);
                fs.sync().unwrap();
                fs.unmount().unwrap();
                drop(fs);
                let fs = mount(&disk).unwrap();
                assert_eq!(model::read(&fs.root()).unwrap(), found);
                check(&fs);
            }
        }
        if log.get(end) == Some(&Event::Flush) {
            for event in &log[loose..end] {
                event.apply(&mut stable, || true);
            }
            loose = end + 1;
        }
    }
    cuts
}

#[test]
fn every_cut_leaves_the_state_of_a_commit() {
    let mut cuts = 0;
    for seed in 1..=30 {
        // Small, where space is short; or with room for longer transactions.
        let disk = formatted(if seed % 3 == 0 { 4 * DISK } else { DISK });
        let base = disk.image();
        let mut driver = Driver::new(disk.clone(), seed);
        for _ in 0..120 {
            match driver.step() {
                Ok(()) | Err(Error::NoSpace) => {}
                Err(e) => panic!("seed {seed}: {e:?}"),
            }
        }
        driver.sync().unwrap();
        check(&driver.fs);
        assert_eq!(driver.fs.fs.core.lock().space.promised(), 0, "seed {seed}: all was written");
        assert_eq!(model::read(&driver.fs.root()).unwrap(), driver.model);
        driver.fs.unmount().unwrap();
        let log = disk.take_log();
        cuts += cut_everywhere(base, &driver, &log, &mut Rng(seed));
    }
    assert!(cuts > 12_000, "{cuts} cuts are few");
}

#[test]
fn a_cut_while_formatting_leaves_nothing_or_all() {
    machine();
    // An older file system lies there, with a file.
    let disk = formatted(DISK);
    let fs = mount(&disk).unwrap();
    let root = fs.root();
    root.create(b"old", &super::new(driver_api::vfs::FileType::Regular, 1)).unwrap();
    drop(root);
    fs.unmount().unwrap();
    let old = model::read(&fs.root()).unwrap();
    disk.take_log();
    let mut stable = disk.image();
    TestFs.format(disk.clone()).unwrap();
    let log = disk.take_log();
    let (mut loose, mut rng, mut kinds) = (0, Rng(5), [0; 3]);
    for end in 0..=log.len() {
        for how in 0..4 {
            let image = survivors(&stable, &log[loose..end], how, &mut rng);
            let kind = match mount(&Arc::new(LogDisk::new(image))) {
                Err(e) => {
                    assert_eq!(e, Error::Invalid);
                    0
                }
                Ok(fs) => {
                    let found = model::read(&fs.root()).unwrap();
                    assert!(found == old || found == model::Model::new());
                    1 + usize::from(found == old)
                }
            };
            kinds[kind] += 1;
        }
        if log.get(end) == Some(&Event::Flush) {
            log[loose..end].iter().for_each(|e| e.apply(&mut stable, || true));
            loose = end + 1;
        }
    }
    assert!(kinds.iter().all(|n| *n > 0), "{kinds:?}");
}

#[test]
fn the_barriers_are_needed() {
    // Without them the same cuts must find something: else the test above proves nothing.
    let disk = formatted(DISK);
    let base = disk.image();
    let mut driver = Driver::new(disk.clone(), 3);
    for _ in 0..120 {
        let _ = driver.step();
    }
    driver.sync().unwrap();
    let log = disk.take_log();
    let writes: Vec<&Event> = log.iter().filter(|e| **e != Event::Flush).collect();
    let mut rng = Rng(9);
    let mut wrong = 0;
    for end in (0..=writes.len()).step_by(7) {
        let mut image = base.clone();
        for event in &writes[..end] {
            let kept = !rng.once_in(3);
            event.apply(&mut image, || kept);
        }
        let good = mount(&Arc::new(LogDisk::new(image))).is_ok_and(|fs| {
            let known = driver.states.get(&fs.sequence());
            model::read(&fs.root()).is_ok_and(|found| known.is_some_and(|s| s.contains(&found)))
        });
        wrong += usize::from(!good);
    }
    assert!(wrong > 0);
}
