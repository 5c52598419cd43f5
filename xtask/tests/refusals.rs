//! Wrong requests to `run-qemu` and `test`: one clear error with a remedy, exit status 2,
//! and nothing built or started.
#![allow(clippy::unwrap_used)] // helpers of tests fail like tests

use std::net::TcpListener;
use std::process::Command;

/// Runs xtask in a build directory of its own and returns its stderr.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let build = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .arg("--build-dir")
        .arg(build.path().join("b"))
        .env_remove("ARCH")
        .env("OSIER_ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    assert!(out.stdout.is_empty(), "{args:?} wrote a result");
    assert_eq!(said.matches("error:").count(), 1, "{args:?}: {said}");
    assert!(!build.path().join("b/target").exists(), "{args:?} began to build");
    said
}

#[track_caller]
fn says(args: &[&str], parts: &[&str]) {
    let said = refused(args);
    for part in parts {
        assert!(said.contains(part), "{args:?} should say {part:?}: {said}");
    }
}

#[test]
fn names_that_do_not_exist() {
    says(&["run-qemu", "--arch", "x86"], &["unknown arch `x86`", "x64"]);
    says(
        &["run-qemu", "--arch", "x64", "--machine", "q53"],
        &["unknown machine `q53`", "did you mean `q35`?", "microvm"],
    );
    says(
        &["run-qemu", "--arch", "x64", "--profile", "bse"],
        &["unknown profile `bse`", "did you mean `base`?"],
    );
    says(
        &["run-qemu", "--arch", "x64", "--image", "helo"],
        &["unknown image `helo`", "did you mean `hello`?"],
    );
    says(&["test", "--boot", "--arch", "arm"], &["unknown arch `arm`"]);
    says(&["test", "--boot", "no-such-test"], &["no test and no scenario has `no-such-test`"]);
}

#[test]
fn a_machine_of_another_arch() {
    says(
        &["run-qemu", "--arch", "aarch64", "--machine", "q35"],
        &["machine `q35` is an x64 machine", "--arch x64"],
    );
}

#[test]
fn what_an_image_needs_is_not_taken_away() {
    let run = ["run-qemu", "--arch", "x64", "--image", "selftest", "--profile"];
    says(
        &[&run[..], &["base~devfs"]].concat(),
        &["`devfs` is needed", "the image `selftest` (the default)", "`roles = [\"~devfs\"]`"],
    );
    says(
        &[&run[..], &["base~ramfs"]].concat(),
        &[
            "`ramfs` is needed, but `ramfs` was taken away by `~`",
            "the root of the image `selftest` (manifests/images/selftest.toml:3:8)",
            "leave out `~ramfs`",
        ],
    );
}

#[test]
fn one_vm_runs_one_image() {
    says(&["run-qemu", "--arch", "x64,aarch64"], &["runs one image, and 2 are selected"]);
}

#[test]
fn amounts_of_memory() {
    says(
        &["run-qemu", "--arch", "x64", "--memory", "1M"],
        &["--memory 1M is less than the image needs", "0x200000", "try --memory 6M"],
    );
    says(&["run-qemu", "--memory", "lots"], &["`lots` is not an amount of memory", "6M"]);
}

#[test]
fn command_lines_and_bases_that_cannot_be() {
    says(&["run-qemu", "--cmdline", "/bin/hello \"a b"], &["a quote is not closed", "two `\"`"]);
    says(&["run-qemu", "--cmdline", "+a\nb"], &["control character '\\n'"]);
    says(&["run-qemu", "--cmdline", &"x".repeat(3000)], &["3000 bytes long", "2048 that fit"]);
    says(
        &["run-qemu", "--arch", "x64", "--kernel-base", "0x80000000"],
        &["--kernel-base 0x80000000 is beyond the 2048 MiB", "the highest base is 0x7fe00000"],
    );
}

#[test]
fn accelerators_and_networks() {
    says(&["run-qemu", "--arch", "x64", "--accel", "hvf"], &["unknown accelerator `hvf`", "auto"]);
    says(&["run-qemu", "--net", "bridge"], &["unknown network `bridge`"]);
    says(
        &["run-qemu", "--forward", "8080:80"],
        &["--forward needs QEMU's own network", "--net user"],
    );
    says(
        &["run-qemu", "--net", "socket"],
        &["lacks the paths", "--net socket:/tmp/card,/tmp/peer"],
    );
}

#[test]
fn a_busy_debugger_port() {
    let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let gdb = format!("--gdb={port}");
    says(&["run-qemu", &gdb], &[&format!("port {port} cannot be used"), "choose another: --gdb="]);
}
