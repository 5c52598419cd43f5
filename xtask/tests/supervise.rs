//! No child of xtask outlives it, even when nothing of xtask runs any more.
#![allow(clippy::unwrap_used)] // helpers of tests fail like tests

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// Polls until `done`, with a bound that only a broken guard reaches.
fn becomes(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        sleep(Duration::from_millis(5));
    }
}

fn command_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[test]
fn a_guarded_program_dies_with_a_killed_parent() {
    // A shell stands for xtask: it starts a guard, and then SIGKILL leaves it no last word.
    let script = format!("{XTASK} __guard $$ sleep 1000 & echo $!; wait");
    let mut parent =
        Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let guarded: u32 = line.trim().parse().unwrap();
    becomes("the guard becoming its program", || command_of(guarded) == "sleep");
    parent.kill().unwrap();
    parent.wait().unwrap();
    // Whoever inherits it may take its time to reap it: a zombie runs no more.
    becomes("the end of the guarded program", || {
        let stat = std::fs::read_to_string(format!("/proc/{guarded}/stat")).unwrap_or_default();
        !Path::new(&format!("/proc/{guarded}")).exists() || stat.contains(") Z ")
    });
}

#[test]
fn a_guard_whose_parent_is_gone_starts_nothing() {
    // Process 1 is not this guard's parent.
    let out = Command::new(XTASK).args(["__guard", "1", "echo", "started"]).output().unwrap();
    assert_eq!(out.status.code(), Some(127));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "");
    assert!(String::from_utf8_lossy(&out.stderr).contains("xtask is gone"));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let me = std::process::id().to_string();
    let out = Command::new(XTASK).args(["__guard", &me, "/no/such/program"]).output().unwrap();
    assert_eq!(out.status.code(), Some(127));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("cannot start /no/such/program"), "{said}");
}
