extern crate std;

use super::*;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{eprintln, fs};

fn numbers(of: fn(&Syscall) -> Option<u16>) -> BTreeMap<String, u16> {
    SYSCALLS.iter().filter_map(|s| Some((s.name.to_string(), of(s)?))).collect()
}

#[test]
fn sorted_by_name_and_no_number_twice() {
    assert!(SYSCALLS.is_sorted_by(|a, b| a.name < b.name));
    for of in [(|s| s.x64) as fn(&Syscall) -> Option<u16>, |s| s.aarch64] {
        let mut all: Vec<u16> = SYSCALLS.iter().filter_map(of).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
    }
    assert!(SYSCALLS.iter().all(|s| s.x64.is_some() || s.aarch64.is_some()));
}

#[test]
fn every_number_gives_its_name_back() {
    for s in SYSCALLS {
        assert_eq!(by_name(s.name), Some(s));
        if let Some(n) = s.x64 {
            assert_eq!(name_x64(n.into()).map(|n| n.to_string()).as_deref(), Some(s.name));
        }
        if let Some(n) = s.aarch64 {
            assert_eq!(name_aarch64(n.into()).map(|n| n.to_string()).as_deref(), Some(s.name));
        }
    }
    // Unassigned, past the end, absurd.
    for n in [336, 470, 100_000, u64::MAX] {
        assert_eq!(name_x64(n), None, "{n}");
    }
    assert_eq!(name_aarch64(244), None);
    assert_eq!(by_name("reed"), None);
}

#[test]
fn error_numbers() {
    assert!(errno::ERRNOS.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(errno::name(errno::ENOSYS), Some("ENOSYS"));
    assert_eq!(errno::ENOSYS, 38);
    assert_eq!(errno::name(0), None);
}

/// `#define <prefix><name> <number>` lines.
fn defines<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = (&'a str, u16)> {
    text.lines().filter_map(move |l| {
        let mut words = l.strip_prefix("#define ")?.split_whitespace();
        let name = words.next()?.strip_prefix(prefix)?;
        Some((name, words.next()?.parse().ok()?))
    })
}

/// Compares with Debian's `linux-libc-dev`, whichever version is installed: an older one
/// lacks the newest calls, a newer one has more, and those that both have must agree.
fn agree(ours: &BTreeMap<String, u16>, theirs: &BTreeMap<String, u16>) {
    assert!(theirs.len() > 290, "too few calls in the header: {}", theirs.len());
    for (name, n) in theirs {
        match ours.get(name) {
            Some(o) => assert_eq!(o, n, "{name}"),
            None => assert!(*n >= 470, "{name} ({n}) is missing"),
        }
    }
    let newest = theirs.values().max().copied().unwrap_or(0);
    for (name, n) in ours {
        // 335: x86-64's uretprobe came with Linux 6.11, in a gap.
        assert!(theirs.contains_key(name) || *n > newest || *n == 335, "{name} ({n}) is invented");
    }
}

/// Says that `test` proved nothing. `cargo xtask test` names the file in which it counts such
/// tests as skipped.
fn skipped(test: &str, missing: &str) {
    eprintln!("skipped {test}: no {missing}");
    if let Ok(path) = std::env::var("OSIER_TEST_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        std::io::Write::write_all(
            &mut file.unwrap(),
            std::format!("linux-abi {test}: no {missing}\n").as_bytes(),
        )
        .unwrap();
    }
}

#[test]
fn x64_agrees_with_the_installed_headers() {
    const HEADER: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
    let Ok(text) = fs::read_to_string(HEADER) else {
        return skipped("x64_agrees_with_the_installed_headers", HEADER);
    };
    let theirs = defines(&text, "__NR_").map(|(n, v)| (n.to_string(), v)).collect();
    agree(&numbers(|s| s.x64), &theirs);
}

#[test]
fn aarch64_agrees_with_the_installed_headers() {
    const HEADER: &str = "/usr/include/asm-generic/unistd.h";
    let Ok(text) = fs::read_to_string(HEADER) else {
        return skipped("aarch64_agrees_with_the_installed_headers", HEADER);
    };
    // The 64-bit names of numbers that 32-bit archs call otherwise.
    let renamed = |n: &str| match n {
        "fstatat" => "newfstatat".to_string(),
        other => other.to_string(),
    };
    let mut theirs: BTreeMap<String, u16> =
        defines(&text, "__NR_").map(|(n, v)| (n.to_string(), v)).collect();
    theirs.extend(defines(&text, "__NR3264_").map(|(n, v)| (renamed(n), v)));
    // Not calls, or 32-bit archs' only: counters, *_time64 (403 ... 423), and the calls
    // that stand behind an __ARCH_WANT_ which arm64 does not define.
    theirs
        .retain(|n, v| !(403..=423).contains(v) && n != "syscalls" && n != "arch_specific_syscall");
    for absent in ["sync_file_range2", "stat", "lstat"] {
        theirs.remove(absent);
    }
    agree(&numbers(|s| s.aarch64), &theirs);
}

#[test]
fn forms_are_sorted_and_name_calls() {
    assert!(FORMS.is_sorted_by_key(|f| f.name));
    for form in FORMS {
        assert!(by_name(form.name).is_some(), "{}", form.name);
        assert!(form.args.len() <= 6, "{}", form.name);
        assert!(NOT_MADE.iter().all(|(name, _)| *name != form.name), "{}", form.name);
        let made = form.args.contains(&Arg::Made);
        assert_eq!(made, !form.made_by.is_empty(), "{}", form.name);
        assert!(!made || FORMS.iter().any(|f| f.name == form.made_by), "{}", form.name);
    }
    assert!(NOT_MADE.iter().all(|(name, _)| by_name(name).is_some()));
}
