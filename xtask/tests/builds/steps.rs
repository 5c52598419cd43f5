//! Which steps run after which edit.

use super::bed::{Bed, Built, DRIVER, artifacts, differing, skip};
use std::collections::BTreeSet;

#[track_caller]
fn ran(built: &Built, verbs: &[&str]) {
    assert_eq!(built.verbs(), verbs.iter().copied().collect(), "{:?}", built.ran);
}

#[track_caller]
fn compiled(built: &Built, packages: &[&str]) {
    let without_key = |p: &String| match p.starts_with("kernel-") {
        true => "kernel".to_owned(),
        false => p.clone(),
    };
    let found: BTreeSet<String> = built.packages.iter().map(without_key).collect();
    assert_eq!(found, packages.iter().map(|p| (*p).to_owned()).collect());
}

/// What a kernel with other bytes leads to, once it is compiled.
const KERNEL: [&str; 7] = ["compile", "syscalls", "link", "relocate", "strip", "image", "assemble"];

#[test]
fn an_edit_runs_what_it_must_and_nothing_else() {
    let bed = Bed::new();
    ran(&bed.build(&[]), &[]);
    compiled(&bed.build(&[]), &[]);

    // Comments say nothing.
    for file in ["kernel-config/arch/x64.toml", "kernel-config/arch/aarch64.toml"] {
        bed.edit(file, "# a comment");
    }
    bed.edit("manifests/images/note.toml", "# a comment");
    bed.edit(&format!("kernel-config/profiles/{}/base.toml", super::bed::ARCH), "# a comment");
    ran(&bed.build(&[]), &[]);

    // A driver: itself and the crate that holds it all, not the kernel's own crates.
    bed.edit_driver();
    let built = bed.build(&[]);
    ran(&built, &KERNEL);
    compiled(&built, &[DRIVER, "kernel"]);

    // An app: no kernel is compiled or linked.
    bed.edit("apps/hello/src/main.rs", "// edited");
    let built = bed.build(&[]);
    ran(&built, &["apps", "strip", "pack", "image", "assemble"]);
    compiled(&built, &["hello"]);

    // A file of the image: neither compiler nor linker.
    bed.edit("manifests/note.txt", "another line");
    let built = bed.build(&[]);
    ran(&built, &["pack", "image", "assemble"]);
    compiled(&built, &[]);

    // A touched file with the bytes it had.
    let note = bed.sources.join("manifests/note.txt");
    std::fs::write(&note, std::fs::read(&note).unwrap()).unwrap();
    ran(&bed.build(&[]), &[]);
}

#[test]
fn another_base_relocates_and_back_is_nothing() {
    let bed = Bed::new();
    let base = if super::bed::ARCH == "x64" { "0x1000000" } else { "0x41080000" };
    let moved = ["--kernel-base", base];
    // It may be there from an earlier run.
    bed.build(&moved);
    bed.edit_driver();
    bed.build(&[]);
    let built = bed.build(&moved);
    ran(&built, &["relocate", "strip", "image", "assemble"]);
    compiled(&built, &[]);
    ran(&bed.build(&[]), &[]);
    ran(&bed.build(&moved), &[]);
}

#[test]
fn another_profile_and_back_is_nothing() {
    let bed = Bed::new();
    let other = format!("base~{DRIVER}");
    bed.edit_driver();
    bed.build(&[]);
    // Without the driver there is another final crate; the kernel's own crates are shared.
    let mut command = bed.xtask(&bed.first);
    command.args(["--json", "build", "--arch", super::bed::ARCH, "--image", "note"]);
    command.args(["--profile", &other]);
    let built = Built::of(command.output().unwrap());
    assert!(built.ok, "{}", built.stderr);
    assert!(built.packages.iter().all(|p| p.starts_with("kernel-")), "{:?}", built.packages);
    ran(&bed.build(&[]), &[]);
    ran(&Built::of(command.output().unwrap()), &[]);
}

#[test]
fn an_audit_runs_every_step_and_finds_no_undeclared_file() {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        let name = "an_audit_runs_every_step_and_finds_no_undeclared_file";
        return skip(&format!("{name}: strace is missing"));
    }
    let bed = Bed::new();
    let expected = artifacts(&bed.first);
    let built = bed.build(&["--audit"]);
    let all = ["syscalls", "link", "relocate", "strip", "pack", "cmdline", "image", "assemble"];
    ran(&built, &all);
    assert_eq!(differing(&artifacts(&bed.first), &expected), [""; 0]);
}
