//! `cargo test --workspace`, with its results counted.

use super::build_dir;
use crate::context::Context;
use anyhow::Context as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// What tests came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    /// By name.
    pub failed: Vec<String>,
    /// By name; a skip is never a pass.
    pub skipped: Vec<String>,
}

impl Tally {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Tally) {
        self.passed += other.passed;
        self.failed.extend_from_slice(&other.failed);
        self.skipped.extend_from_slice(&other.skipped);
    }

    /// Whether nothing was run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.passed == 0 && self.failed.is_empty() && self.skipped.is_empty()
    }

    /// Takes in one line of libtest's output.
    fn hear(&mut self, line: &str) {
        let Some((name, result)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match result {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            r if r.starts_with("ignored") => self.skipped.push(name.to_owned()),
            _ => {}
        }
    }

    /// Takes in what tests wrote that found their oracle missing, a line each: they ended
    /// well, but proved nothing.
    fn take_back(&mut self, skips: &str) {
        for name in skips.lines().filter(|l| !l.trim().is_empty()) {
            self.passed = self.passed.saturating_sub(1);
            self.skipped.push(name.to_owned());
        }
    }
}

/// The variable that names the file to which a test without its oracle appends a line,
/// `TEST: what is missing`.
const SKIPS: &str = "OSIER_TEST_SKIPS";

/// Runs every test of the workspace whose name holds `filter`.
///
/// # Errors
/// When cargo cannot be started. Failing tests are in the tally; so is a failing compile.
pub fn run(cx: &Context, filter: Option<&str>) -> anyhow::Result<Tally> {
    let cargo = cx.env.get("CARGO").map_or("cargo", String::as_str);
    let parent = build_dir::run_folder(cx)?;
    let skips = parent.join(format!("skips-{}", std::process::id()));
    let mut child = Command::new(cargo)
        .args(["test", "--workspace", "--locked", "--no-fail-fast", "--"])
        .args(filter)
        .current_dir(&cx.root)
        .env(SKIPS, &skips)
        // What tests build is what scenarios boot afterwards.
        .env("OSIER_BUILD_DIR", cx.layout.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {cargo}"))?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("cannot read cargo's output")?;
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            tally.hear(&line);
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && tally.failed.is_empty() {
        tally.failed.push(format!("cargo test --workspace ({status})"));
    }
    if let Ok(text) = fs::read_to_string(&skips) {
        tally.take_back(&text);
        let _ = fs::remove_file(&skips);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_lines_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a::b ... ok",
            "test c - should panic ... ok",
            "test d ... FAILED",
            "test e ... ignored, slow",
            "test src/lib.rs - f (line 3) ... ok",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored",
        ] {
            tally.hear(line);
        }
        tally.take_back("c: qemu-img is missing\n\n");
        assert_eq!(tally.passed, 2);
        assert_eq!(tally.failed, ["d"]);
        assert_eq!(tally.skipped, ["e", "c: qemu-img is missing"]);
    }
}
