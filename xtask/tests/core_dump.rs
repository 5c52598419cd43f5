//! `run-qemu --dump`: gdb opens the core file of a crash, with the command that was printed,
//! and finds every thread with its functions, and its registers and memory.
// Helpers of tests are not seen as tests by the lint's own exemption.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// Runs the program of the selftest image, in `folder`; into the build directory of the suite,
/// where scenarios compile the same kernel.
fn run(folder: &Path, machine: &[&str], program: &str, more: &[&str]) -> Output {
    let osier = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let build = std::env::var_os("OSIER_BUILD_DIR").unwrap_or_else(|| osier.join("build").into());
    Command::new(XTASK)
        .args(["run-qemu", "--profile", "base", "--image", "selftest", "--accel", "tcg"])
        .args(["--timeout", "120", "--dump", "core", "--cmdline", program])
        .args(machine)
        .args(more)
        .current_dir(folder)
        .env("OSIER_ROOT", osier)
        .env("OSIER_BUILD_DIR", build)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What each thread of `selftest crash` has on its stack, innermost first.
const THREADS: [[&str; 3]; 4] = [
    ["crash_inner", "crash_middle", "crash_outer"],
    ["spin_inner", "spin_middle", "spin_outer"],
    ["block_inner", "block_middle", "block_outer"],
    ["sleep_inner", "sleep_middle", "sleep_outer"],
];

/// The function of a line `#3  0x0000000000257594 in sleep_middle () at …`.
fn function(line: &str) -> Option<&str> {
    let words = line.strip_prefix('#')?.split_whitespace().collect::<Vec<_>>();
    match words.get(1..)? {
        [_, "in", name, ..] | [name, ..] => Some(name),
        [] => None,
    }
}

fn gdb_finds_all(test: &str, qemu: &str, machine: &[&str], register: &str) {
    if !is_there(test, qemu) || !is_there(test, "timeout") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), machine, "/bin/selftest crash", &[]);
    let said = String::from_utf8_lossy(&out.stderr);
    // 128 and SIGSEGV: the status is what it is without a core file.
    assert_eq!(out.status.code(), Some(139), "{said}");
    let line = said.lines().find_map(|l| l.strip_prefix("core file of 4 threads: "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    let files: Vec<_> = folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files, ["core"], "nothing else is left");
    if !is_there(test, line.split(' ').next().unwrap()) {
        return;
    }
    // What was printed, with what a user would type then.
    let typed = format!(
        "-nx -batch -ex 'set language c' -ex 'info threads' -ex 'p/x {register}' \
         -ex 'x/1gx &CRASH_MARK' -ex 'p $_siginfo._sifields._sigfault.si_addr' \
         -ex 'thread apply all backtrace'"
    );
    let out = Command::new("timeout")
        .args(["90", "sh", "-c", &format!("exec {line} {typed}")])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let all = format!("{line}\n{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("Program terminated with signal SIGSEGV"), "{all}");
    assert!(text.contains("* 1 ") && text.contains("LWP 1 "), "the first is current: {all}");
    for says in ["= 0xfedcba9876543210", ":\t0x0123456789abcdef", "0xdead0000"] {
        assert!(text.contains(says), "{says}: {all}");
    }
    let stacks: Vec<Vec<&str>> = text
        .split("\nThread ")
        .skip(1)
        .map(|thread| thread.lines().filter_map(function).collect())
        .collect();
    assert_eq!(stacks.len(), THREADS.len(), "{all}");
    for expected in THREADS {
        let has = |stack: &Vec<&str>| {
            // One after the other, as they were called.
            let mut rest = stack.iter();
            expected.iter().all(|name| rest.any(|f| f == name))
        };
        let n = stacks.iter().filter(|s| has(s)).count();
        assert_eq!(n, 1, "{expected:?}: {all}");
    }
}

#[test]
fn gdb_opens_the_core_of_a_q35_with_4_cpus() {
    gdb_finds_all(
        "gdb_opens_the_core_of_a_q35_with_4_cpus",
        "qemu-system-x86_64",
        &["--arch", "x64", "--machine", "q35", "--cpus", "4"],
        "$xmm7.v2_int64[0]",
    );
}

#[test]
fn gdb_opens_the_core_of_a_microvm_with_1_cpu() {
    gdb_finds_all(
        "gdb_opens_the_core_of_a_microvm_with_1_cpu",
        "qemu-system-x86_64",
        &["--arch", "x64", "--machine", "microvm", "--cpus", "1"],
        "$xmm7.v2_int64[0]",
    );
}

#[test]
fn gdb_opens_the_core_of_an_aarch64_machine_with_2_cpus() {
    gdb_finds_all(
        "gdb_opens_the_core_of_an_aarch64_machine_with_2_cpus",
        "qemu-system-aarch64",
        &["--arch", "aarch64", "--cpus", "2"],
        "$d7.u",
    );
}

#[test]
fn without_a_crash_there_is_no_core() {
    let test = "without_a_crash_there_is_no_core";
    if !is_there(test, "qemu-system-x86_64") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let machine = ["--arch", "x64", "--machine", "microvm"];
    // No test has such a name, hence status 1.
    let out = run(folder.path(), &machine, "/bin/selftest no-such-test", &[]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("no core file: the app has not crashed"), "{said}");
    let out = run(folder.path(), &machine, "/bin/selftest crash", &["--dry-run"]);
    let line = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && line.contains("-machine microvm,"), "{line}");
    assert!(line.contains(",mem-path=guest-ram,share=on "), "{line}");
    assert!(line.contains(",memory-backend=ram "), "{line}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
