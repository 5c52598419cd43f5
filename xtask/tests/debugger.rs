//! `run-qemu --gdb`: the command that it prints stops the kernel at a function's bare name.
// Helpers of tests are not seen as tests by the lint's own exemption.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// Whether a program can be started; where not, `test` is noted as skipped, by name and
/// reason: a skip is never a pass.
fn is_there(test: &str, program: &str) -> bool {
    if Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok() {
        return true;
    }
    eprintln!("skipped {test}: {program} is missing");
    if let Some(path) = std::env::var_os("OSIER_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{test}: {program} is missing").unwrap();
    }
    false
}

fn stops_at_kmain(test: &str, arch: &str, qemu: &str) {
    if !is_there(test, qemu) || !is_there(test, "timeout") {
        return;
    }
    let osier = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // Into the build directory of the suite: scenarios boot the same kernel.
    let mut run = Command::new(XTASK)
        .args(["run-qemu", "--arch", arch, "--profile", "base", "--image", "hello"])
        // A port that xtask finds free and keeps.
        .args(["--accel", "tcg", "--timeout", "120", "--gdb=0"])
        .current_dir(osier)
        .env("OSIER_ROOT", osier)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let command = loop {
        let mut line = String::new();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "{said}");
        if let Some(command) = line.strip_prefix("waiting for a debugger: ") {
            break command.trim_end().to_owned();
        }
        said.push_str(&line);
    };
    let gdb = command.split(' ').next().unwrap();
    if is_there(test, gdb) {
        // Exactly what a user would paste, with what they would type then.
        let typed = "-nx -batch -ex 'break kmain' -ex continue -ex backtrace -ex kill";
        let out = Command::new("timeout")
            .args(["90", "sh", "-c", &format!("exec {command} {typed}")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(text.contains("Breakpoint 1, "), "{command}: {text}{errors}");
        let first = text.lines().find(|l| l.starts_with("#0 ")).unwrap_or_default();
        assert!(
            first.contains("kmain") && first.contains("loader/src/kmain.rs:"),
            "{command}: {text}{errors}"
        );
    } else {
        run.kill().unwrap();
    }
    run.wait().unwrap();
}

#[test]
fn gdb_stops_the_x64_kernel_by_a_bare_name() {
    stops_at_kmain("gdb_stops_the_x64_kernel_by_a_bare_name", "x64", "qemu-system-x86_64");
}

#[test]
fn gdb_stops_the_aarch64_kernel_by_a_bare_name() {
    stops_at_kmain("gdb_stops_the_aarch64_kernel_by_a_bare_name", "aarch64", "qemu-system-aarch64");
}
