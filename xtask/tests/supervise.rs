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

#[test]
fn a_keeper_ends_all_that_its_program_started() {
    // A shell stands for xtask, and another for cargo, which starts two programs of its own.
    let cargo = "sleep 1000 & echo $!; sleep 1000 & echo $!; wait";
    let script = format!("exec 9>&1; {XTASK} __keep $$ sh -c '{cargo}' & wait");
    let mut parent =
        Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(parent.stdout.take().unwrap());
    let mut pid = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line.trim().parse::<u32>().unwrap()
    };
    let started = [pid(), pid()];
    for pid in started {
        becomes("a program of the program", || command_of(pid) == "sleep");
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    for pid in started {
        becomes("its end", || !Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[test]
fn a_keeper_gives_the_status_of_its_program() {
    let me = std::process::id().to_string();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let out = Command::new(XTASK).args(["__keep", &me, "sh", "-c", script]).output().unwrap();
        assert_eq!(out.status.code(), Some(status), "{script}");
        assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let out = Command::new(XTASK).args(["__keep", &me, "/no/such/program"]).output().unwrap();
    assert_eq!(out.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&out.stderr).contains("cannot start /no/such/program"));
    let out = Command::new(XTASK).args(["__keep", "1", "echo", "started"]).output().unwrap();
    assert_eq!((out.status.code(), out.stdout.len()), (Some(127), 0));
}
