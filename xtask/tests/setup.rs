//! Set-up on a machine that lacks things. The machine is a folder: its rustup, its package
//! manager and its tools are scripts there, and no real one is on the path.
#![allow(clippy::unwrap_used)] // helpers of tests fail like tests

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// A machine with a toolchain that has nothing but rustc and cargo, with `rustup`,
    /// `apt-get` and `sudo` that note how they were called and do what they should.
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        for tool in ["rustc", "cargo"] {
            machine.script(&format!("toolchains/1.95.0-test/bin/{tool}"), "echo fake 1.95.0");
        }
        let arch = std::env::consts::ARCH;
        let lld =
            format!("toolchains/1.95.0-test/lib/rustlib/{arch}-unknown-linux-gnu/bin/rust-lld");
        machine.script(&lld, "exit 1");
        machine.script("bin/cc", "echo cc 12");
        let root = machine.dir.path().display().to_string();
        machine.script(
            "bin/rustup",
            &format!(
                "echo rustup \"$@\" >> {root}/calls; rustlib={root}/toolchains/1.95.0-test/lib/rustlib
                case $5 in
                rust-src) mkdir -p $rustlib/src/rust/library; : > $rustlib/src/rust/library/Cargo.lock;;
                *-linux-*) mkdir -p $rustlib/$5/lib;;
                *) cp {root}/bin/cc {root}/toolchains/1.95.0-test/bin/$5
                   cp {root}/bin/cc {root}/toolchains/1.95.0-test/bin/cargo-$5;;
                esac"
            ),
        );
        machine.script(
            "bin/apt-get",
            &format!(
                "echo apt-get \"$@\" >> {root}/calls
                case \"$*\" in
                update) : > {root}/lists; exit 0;;
                esac
                test -e {root}/lists || exit 100
                cp {root}/bin/cc {root}/bin/qemu-system-x86_64
                cp {root}/bin/cc {root}/bin/qemu-system-aarch64
                cp {root}/bin/cc {root}/bin/gdb-multiarch"
            ),
        );
        machine
    }

    fn script(&self, path: &str, body: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn doctor(&self, args: &[&str]) -> Output {
        self.xtask("doctor", args)
    }

    fn xtask(&self, command: &str, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg(command)
            .args(args)
            .env_clear()
            .envs(self.env())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// All of a command's environment.
    fn env(&self) -> [(&'static str, PathBuf); 5] {
        [
            ("PATH", self.path("bin")),
            ("HOME", self.path("home")),
            ("CARGO", self.path("toolchains/1.95.0-test/bin/cargo")),
            ("OSIER_ROOT", Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()),
            ("OSIER_BUILD_DIR", self.path("build")),
        ]
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

#[test]
fn doctor_names_the_command_for_each_thing_that_is_missing() {
    let machine = Machine::new();
    let out = machine.doctor(&[]);
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    for line in [
        "rustup component add --toolchain 1.95.0-test rust-src",
        "rustup target add --toolchain 1.95.0-test x86_64-unknown-linux-musl",
        "rustup target add --toolchain 1.95.0-test aarch64-unknown-linux-musl",
        "apt-get install --yes --no-install-recommends qemu-system-x86",
        "apt-get install --yes --no-install-recommends qemu-system-arm",
    ] {
        assert!(said.lines().any(|l| l.starts_with("MISSING") && l.ends_with(line)), "{said}");
    }
    assert_eq!(machine.calls(), "", "nothing is installed without --fix");
}

#[test]
fn doctor_fixes_what_rustup_and_the_package_manager_can() {
    let machine = Machine::new();
    if !is_root() {
        // Without root and without a terminal nothing is installed: the command is shown.
        let out = machine.doctor(&["--fix"]);
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains("sudo apt-get install"), "{said}");
        return;
    }
    let out = machine.doctor(&["--fix"]);
    let (said, err) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{said}{err}");
    assert!(!said.contains("MISSING"), "{said}");
    let calls = machine.calls();
    assert!(calls.contains("rustup component add --toolchain 1.95.0-test rust-src\n"), "{calls}");
    // A fresh machine has no package lists: update, then once more, all packages at once.
    let apt: Vec<&str> = calls.lines().filter(|l| l.starts_with("apt-get")).collect();
    let install = "apt-get install --yes --no-install-recommends \
                   qemu-system-x86 qemu-system-arm gdb-multiarch";
    assert_eq!(apt, [install, "apt-get update", install]);
}

#[test]
fn tests_that_cannot_be_booted_are_refused_before_host_tests() {
    let machine = Machine::new();
    fs::remove_file(machine.path("bin/apt-get")).unwrap();
    let noted = format!("echo cargo \"$@\" >> {}/calls", machine.dir.path().display());
    machine.script("toolchains/1.95.0-test/bin/cargo", &noted);
    let out = machine.xtask("test", &["--arch", "x64", "exit-0"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("qemu-system-x86_64: missing"), "{said}");
    assert_eq!(machine.calls(), "", "neither cargo nor rustup was asked for anything");
}

/// Runs `doctor --fix` on a terminal, where `answer` is typed: status and what the terminal
/// showed. `None` where there is no script(1) to make one.
fn on_a_terminal(machine: &Machine, answer: &str) -> Option<(Option<i32>, String)> {
    const TIMEOUT: &str = "/usr/bin/timeout";
    const SCRIPT: &str = "/usr/bin/script";
    if ![TIMEOUT, SCRIPT].iter().all(|p| Path::new(p).exists()) {
        return None;
    }
    let mut child = Command::new(TIMEOUT)
        .args(["60", SCRIPT, "--quiet", "--return", "--flush", "--command"])
        .arg(format!("{} doctor --fix", env!("CARGO_BIN_EXE_xtask")))
        .arg("/dev/null")
        .env_clear()
        .envs(machine.env())
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let (mut shown, mut byte) = (Vec::new(), [0]);
    // Typed only when it is asked for: what is typed ahead would be seen whoever asks.
    let mut answer = Some(answer);
    while let Ok(1) = screen.read(&mut byte) {
        shown.push(byte[0]);
        if shown.ends_with(b"[y/N] ")
            && let Some(answer) = answer.take()
        {
            writeln!(keyboard, "{answer}").unwrap();
        }
    }
    drop(keyboard);
    Some((child.wait().unwrap().code(), String::from_utf8(shown).unwrap()))
}

#[test]
fn a_system_package_is_installed_after_a_question() {
    for (answer, yes) in [("y", true), ("yes", true), ("n", false), ("", false), ("what", false)] {
        let machine = Machine::new();
        // Whoever is not root is taken through sudo, to this machine's programs and no others.
        let bin = machine.path("bin").display().to_string();
        machine.script("bin/sudo", &format!("program=$1; shift; exec {bin}/$program \"$@\""));
        let Some((status, shown)) = on_a_terminal(&machine, answer) else {
            return skip("a_system_package_is_installed_after_a_question: script(1) is missing");
        };
        let apt: Vec<String> = machine
            .calls()
            .lines()
            .filter(|l| l.starts_with("apt-get"))
            .map(str::to_owned)
            .collect();
        let command = "apt-get install --yes --no-install-recommends qemu-system-x86";
        assert_eq!(shown.matches("[y/N]").count(), 1, "{answer:?}: {shown}");
        assert!(shown.contains(command), "{answer:?}: {shown}");
        if yes {
            assert_eq!(status, Some(0), "{answer:?}: {shown}");
            assert!(apt.last().is_some_and(|l| l.starts_with(command)), "{answer:?}: {apt:?}");
        } else {
            assert_eq!(status, Some(2), "{answer:?}: {shown}");
            assert_eq!(apt, [""; 0], "{answer:?}: nothing is installed unasked");
        }
    }
}

/// Notes a test that could not run, by name and reason; a skip is never a pass.
fn skip(line: &str) {
    eprintln!("skipped {line}");
    if let Some(path) = std::env::var_os("OSIER_TEST_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}
