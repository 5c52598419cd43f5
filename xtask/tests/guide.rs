//! docs/drivers.md is true: its commands are run and its files are written, in order, in an
//! empty folder.
// Helpers of tests are not seen as tests by the lint's own exemption.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A fenced block: what stands behind the fence, and the text.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info, String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

/// Notes a test that could not run, by name and reason; a skip is never a pass.
fn skip(line: &str) {
    eprintln!("skipped {line}");
    if let Some(path) = std::env::var_os("OSIER_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}

/// Runs a line of the page in `cwd`; `cargo xtask` is the one under test.
fn run(line: &str, cwd: &Path) -> Output {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = match words.as_slice() {
        ["cargo", "xtask", rest @ ..] => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
            // Kept between runs, so that only the first compiles everything.
            command.args(rest).env("OSIER_BUILD_DIR", temporary.join("build"));
            if rest.first() == Some(&"run-qemu") {
                // Before the words for QEMU itself.
                command = Command::new(env!("CARGO_BIN_EXE_xtask"));
                let end = rest.iter().position(|w| *w == "--").unwrap();
                command.args(&rest[..end]).args(["--accel", "tcg", "--timeout", "120"]);
                command.args(&rest[end..]).env("OSIER_BUILD_DIR", temporary.join("build"));
            }
            command
        }
        ["cargo", rest @ ..] => {
            let mut command = Command::new("cargo");
            command.args(rest).env("CARGO_TARGET_DIR", temporary.join("target"));
            command
        }
        _ => panic!("the page says to run `{line}`"),
    };
    command.env("OSIER_ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.env_remove("ARCH").current_dir(cwd).output().unwrap()
}

#[test]
fn the_drivers_guide_does_what_it_says() {
    if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        return skip("the_drivers_guide_does_what_it_says: qemu-system-x86_64 is missing");
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drivers.md");
    let page = std::fs::read_to_string(page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut cwd: PathBuf = folder.path().to_owned();
    let mut printed = String::new();
    let (mut files, mut commands, mut compared) = (0, 0, 0);
    for (info, text) in blocks(&page) {
        match info.split_once(' ') {
            Some((_, path)) => {
                let path = cwd.join(path);
                assert!(path.parent().unwrap().is_dir(), "{} has no folder yet", path.display());
                std::fs::write(path, text).unwrap();
                files += 1;
            }
            None if info == "sh" => {
                for line in text.lines() {
                    if let Some(folder) = line.strip_prefix("cd ") {
                        cwd = cwd.join(folder);
                        continue;
                    }
                    let out = run(line, &cwd);
                    let said = String::from_utf8_lossy(&out.stdout);
                    let log = String::from_utf8_lossy(&out.stderr);
                    assert!(out.status.success(), "{line}: {said}{log}");
                    printed = said.into_owned();
                    commands += 1;
                }
            }
            None => {
                // What the last command is said to print.
                assert_eq!(info, "text");
                assert!(printed.contains(text.trim_end()), "{text} is not in {printed}");
                compared += 1;
            }
        }
    }
    assert_eq!((files, commands, compared), (3, 4, 1));
}
