//! The order in which steps happen to run.

use super::bed::{ARCH, Bed, Built, artifacts, differing};
use std::fs;

#[test]
fn jobs_and_order_change_no_byte() {
    let bed = Bed::new();
    let expected = artifacts(&bed.first);
    for (jobs, seed) in [("1", "1"), ("8", "2"), ("8", "3")] {
        // All that is not cargo's is made again: also what the linker kept.
        for folder in ["kernel", "app", "root", "stamps", "cache", &format!("{ARCH}-release-base")]
        {
            fs::remove_dir_all(bed.first.join(folder)).unwrap();
        }
        let mut command = bed.command(&bed.first, &["--jobs", jobs]);
        let built = Built::of(command.env("OSIER_SHUFFLE", seed).output().unwrap());
        assert!(built.ok, "{}", built.stderr);
        assert!(built.verbs().is_superset(&["link", "pack", "image"].into()), "{:?}", built.ran);
        assert_eq!(differing(&artifacts(&bed.first), &expected), [""; 0]);
    }
}
