//! `docs/linux-calls.md` is generated from `formats/linux-abi` and from what
//! `loader/src/syscall` defines; this test fails when it is not up to date. To write it:
//! `OSIER_BLESS=1 cargo test -p loader --test linux_calls`.

#![allow(clippy::expect_used)] // A test's own files are there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Names and notes of the calls that a source file defines: in a `syscall!` block, each
/// function with its doc comment, which begins with the manual page's name.
fn defined(source: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inside = false;
    let mut doc = String::new();
    for line in source.lines() {
        if line == "syscall! {" {
            inside = true;
        } else if line == "}" {
            inside = false;
        } else if let Some(text) = line.strip_prefix("    ///") {
            doc.push_str(text);
        } else if let Some(rest) = line.strip_prefix("    fn ").filter(|_| inside) {
            let end = rest.find(['(', '[']).expect("a function has parameters");
            let name = &rest[..end];
            found.insert(name.to_owned(), note(name, &doc));
            doc.clear();
        } else {
            doc.clear();
        }
    }
    found
}

/// What a doc comment says besides the call's name.
fn note(name: &str, doc: &str) -> String {
    let page = format!("`{name}(2)`");
    let rest = doc.trim().strip_prefix(&page);
    let rest = rest.unwrap_or_else(|| panic!("the doc comment of {name} begins with {page}"));
    rest.trim_start_matches([',', ':', ';', '.', ' ']).trim_end_matches('.').to_owned()
}

fn state(note: &str) -> &'static str {
    match note {
        "" => "yes",
        n if n.starts_with("declined") => "declined",
        _ => "partly",
    }
}

/// All calls that the kernel defines, with their notes.
fn defined_calls() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut calls = BTreeMap::new();
    for entry in fs::read_dir(root.join("src/syscall")).expect("the folder of system calls") {
        let path = entry.expect("an entry").path();
        let source = fs::read_to_string(&path).expect("a source file");
        for (name, note) in defined(&source) {
            assert!(linux_abi::by_name(&name).is_some(), "Linux has no call {name}");
            let old = calls.insert(name.clone(), note);
            assert!(old.is_none(), "{name} is defined twice");
        }
    }
    calls
}

fn table() -> String {
    let calls = defined_calls();
    let mut out = String::from(
        "# Linux system calls\n\n\
         Generated from `formats/linux-abi` and `loader/src/syscall`; to write it anew:\n\
         `OSIER_BLESS=1 cargo test -p loader --test linux_calls`.\n\n\
         `yes`: as in Linux, as far as one process can tell. `partly`: with what the note says.\n\
         `declined`: answers an error on purpose. Every other call answers `ENOSYS` and is\n\
         reported once, by name, in the kernel's log. A number is that of the arch; `-`: Linux\n\
         has no such call there.\n\n",
    );
    let count = |arch: fn(&linux_abi::Syscall) -> Option<u16>| {
        linux_abi::SYSCALLS
            .iter()
            .filter(|s| arch(s).is_some() && calls.contains_key(s.name))
            .count()
    };
    let (x64, aarch64) = (count(|s| s.x64), count(|s| s.aarch64));
    let _ = writeln!(out, "There are {x64} on x64 and {aarch64} on aarch64.\n");
    out.push_str("| call | x64 | aarch64 | state | note |\n|---|---|---|---|---|\n");
    for call in linux_abi::SYSCALLS {
        let number = |n: Option<u16>| n.map_or("-".to_owned(), |n| n.to_string());
        let (state, note) = match calls.get(call.name) {
            Some(note) => (state(note), note.as_str()),
            None => ("no", ""),
        };
        let (x64, aarch64) = (number(call.x64), number(call.aarch64));
        let _ = writeln!(out, "| {} | {x64} | {aarch64} | {state} | {note} |", call.name);
    }
    out
}

#[test]
fn the_table_of_calls_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/linux-calls.md");
    let wanted = table();
    if std::env::var_os("OSIER_BLESS").is_some() {
        fs::write(&path, &wanted).expect("docs/linux-calls.md can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/linux-calls.md is out of date: OSIER_BLESS=1 cargo test -p loader --test linux_calls"
    );
}

#[test]
fn every_call_has_a_form_for_the_generated_test() {
    for name in defined_calls().keys() {
        let made = linux_abi::FORMS.iter().any(|f| f.name == name);
        let excused = linux_abi::NOT_MADE.iter().any(|(n, _)| n == name);
        assert!(made || excused, "formats/linux-abi/src/forms.rs has no form of {name}");
    }
}

#[test]
fn calls_are_found_with_their_notes() {
    let source = "\
syscall! {
    /// `read(2)`.
    fn read(fd: i32) {
        Ok(0)
    }

    /// `fork(2)`: declined.
    fn fork[call]() {
        Err(Errno::ENOSYS)
    }

    /// `mmap(2)`, without
    /// one thing.
    fn mmap() { Ok(0) }
}

fn helper() {}
";
    let found = defined(source);
    let pairs: Vec<_> = found.iter().map(|(n, d)| (n.as_str(), d.as_str(), state(d))).collect();
    assert_eq!(
        pairs,
        [
            ("fork", "declined", "declined"),
            ("mmap", "without one thing", "partly"),
            ("read", "", "yes"),
        ]
    );
}
