//! SIGKILL at random moments, and what the next build makes of what is left.
//!
//! `cargo test` kills a few builds. `OSIER_KILLS=200 cargo test -p xtask --test builds kill` kills
//! that many, begins with an empty build directory, and holds the end against a build from
//! scratch. `OSIER_SEED` gives other moments.

use super::bed::{Bed, Built, artifacts, differing, folder};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// In `cargo test`.
const FEW: u32 = 6;
/// Of many kills, those that hit the first build in an empty directory.
const COLD: u32 = 12;
/// After so many kills a build must succeed, and its bytes be right.
const PROBE: u32 = 10;

/// Numbers that look random: splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A moment before `end`.
    fn moment(&mut self, end: Duration) -> Duration {
        let part = self.next() as f64 / u64::MAX as f64;
        end.mul_f64(part)
    }
}

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Builds, and kills the build after `delay` if it still runs.
fn killed(mut command: Command, delay: Duration) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn ends_well(bed: &Bed, dir: &Path) {
    let built = Built::of(bed.command(dir, &[]).output().unwrap());
    assert!(built.ok, "{}", built.stderr);
}

#[test]
fn killed_builds_leave_the_next_one_the_same_bytes() {
    let bed = Bed::new();
    let many = number("OSIER_KILLS");
    let seed = number("OSIER_SEED").unwrap_or(1);
    let kills = many.unwrap_or(FEW);
    eprintln!("{kills} kills, seed {seed}");
    let mut random = Random(seed.into());
    let (dir, expected) = if many.is_some() {
        let (scratch, dir) = (folder("scratch"), folder("killed"));
        for dir in [&scratch, &dir] {
            let _ = std::fs::remove_dir_all(dir);
        }
        let begun = Instant::now();
        ends_well(&bed, &scratch);
        let whole = begun.elapsed();
        for _ in 0..COLD.min(kills) {
            killed(bed.command(&dir, &[]), random.moment(whole));
        }
        ends_well(&bed, &dir);
        (dir, artifacts(&scratch))
    } else {
        (bed.first.clone(), artifacts(&bed.first))
    };
    let begun = Instant::now();
    bed.edit_driver();
    ends_well(&bed, &dir);
    let rebuild = begun.elapsed().mul_f64(1.1);
    for kill in if many.is_some() { COLD } else { 0 }..kills {
        match kill % 3 {
            0 => bed.edit("apps/hello/src/main.rs", "// edited"),
            1 => bed.edit_driver(),
            _ => bed.edit("manifests/note.txt", "another line"),
        }
        killed(bed.command(&dir, &[]), random.moment(rebuild));
        if kill % PROBE == PROBE - 1 {
            bed.restore();
            ends_well(&bed, &dir);
            assert_eq!(differing(&artifacts(&dir), &expected), [""; 0], "{kill}");
        }
    }
    bed.restore();
    ends_well(&bed, &dir);
    assert_eq!(differing(&artifacts(&dir), &expected), [""; 0]);
}
