//! The example project, copied outside the tree, builds and boots on both archs with
//! documented flags only, and Osier's own tree stays as it was.
// Helpers of tests are not seen as tests by the lint's own exemption.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn osier() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Copies the folder `from`, without what was built in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (name, to) = (entry.file_name(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && name != "build" {
                copy(&entry.path(), &to);
            }
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What git says about Osier's tree; nothing where it is no clone.
fn changes() -> Option<String> {
    let git = Command::new("git").args(["status", "--porcelain"]).current_dir(osier()).output();
    git.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
}

/// Notes a test that could not run, by name and reason; a skip is never a pass.
fn skip(line: &str) {
    eprintln!("skipped {line}");
    if let Some(path) = std::env::var_os("OSIER_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}

#[test]
fn the_example_boots_from_outside_the_tree() {
    for tool in ["qemu-system-x86_64", "qemu-system-aarch64"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(&format!("the_example_boots_from_outside_the_tree: {tool} is missing"));
        }
    }
    let outside = tempfile::tempdir().unwrap();
    let project = outside.path().join("mine");
    copy(&osier().join("examples/sundial"), &project);
    let before = changes();
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["test", "--boot", "sundial", "--repo"])
        .arg(&project)
        // Kept between runs, so that only the first compiles both kernels.
        .arg("--build-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("example"))
        .current_dir(osier())
        .env_remove("ARCH")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{text}");
    assert!(text.contains("2 passed, 0 failed, 0 skipped"), "{text}");
    assert_eq!(changes(), before, "Osier's tree was changed");
    let made: Vec<_> =
        std::fs::read_dir(&project).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!made.iter().any(|n| n == "target" || n == "build"), "{made:?}");
}
