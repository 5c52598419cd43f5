//! A device that fails: any request, once.

use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::Error;
use driver_api::fake::LogDisk;
use driver_api::paged::FileSystem;

use super::driver::Driver;
use super::{DISK, check, formatted, model, mount};

/// What is on the disk is what a commit had, not older than the last that was waited for.
fn check_disk(driver: &Driver, what: &str) {
    let fs = mount(&Arc::new(LogDisk::new(driver.disk.image()))).unwrap();
    let sequence = fs.sequence();
    let oldest = driver.synced.iter().map(|s| s.1).max().unwrap();
    assert!(sequence >= oldest, "{what}: {sequence} is older than {oldest}");
    let found = model::read(&fs.root()).unwrap();
    let known = driver.states.get(&sequence).is_some_and(|s| s.contains(&found));
    assert!(known, "{what}: not what commit {sequence} had");
    check(&fs);
}

/// Steps of each run.
const STEPS: usize = 90;

#[test]
fn every_request_may_fail() {
    let (mut failed, mut mended, mut broken) = (0, 0, 0);
    for seed in [2, 4, 6] {
        // How many requests there are.
        let mut driver = Driver::new(formatted(DISK), seed);
        let first = driver.disk.requests();
        for _ in 0..STEPS {
            let _ = driver.step();
        }
        driver.sync().unwrap();
        let requests = driver.disk.requests();
        for at in first..requests {
            let mut driver = Driver::new(formatted(DISK), seed);
            driver.disk.fail(at);
            let mut errors = Vec::new();
            for _ in 0..STEPS {
                match driver.step() {
                    Ok(()) | Err(Error::NoSpace) => {}
                    Err(e) => {
                        errors.push(e);
                        check_disk(&driver, &alloc::format!("request {at}"));
                        break;
                    }
                }
            }
            let mut last = driver.sync();
            if errors.is_empty() {
                // The last sync met it; it is reported, and the next one may try again.
                errors.extend(last.err());
                check_disk(&driver, &alloc::format!("request {at}"));
                last = driver.sync();
            }
            assert_eq!(errors, [Error::Io], "request {at}: nobody was told");
            failed += 1;
            if last.is_ok() {
                // A transient error: nothing is lost.
                mended += 1;
                let fs = mount(&Arc::new(LogDisk::new(driver.disk.image()))).unwrap();
                assert!(model::read(&fs.root()).unwrap() == driver.model, "request {at}");
            } else {
                // A flush failed: what was written before may be lost, and is not relied on.
                broken += 1;
                assert!(driver.fs.fs.core.lock().journal.broken());
                assert_eq!(driver.fs.sync(), Err(Error::Io), "and so it stays");
            }
            check_disk(&driver, &alloc::format!("request {at}"));
        }
    }
    assert!(failed > 100 && mended > 50 && broken > 10, "{failed} {mended} {broken}");
}
