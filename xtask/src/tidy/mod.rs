//! The house rules as executable checks. Pure: file names and texts in, violations out.
//!
//! What the compiler and clippy check already (documented items, documented unsafe blocks,
//! no `unwrap`) is not repeated here.

use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeSet;
use std::fmt;

/// A file of the tree, by its path below the root.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub path: Utf8PathBuf,
    pub text: String,
}

/// A place where the house rules are broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub path: Utf8PathBuf,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// The folders of the house (design §1), each with a README that says what belongs in it.
const FOLDERS: [&str; 9] = [
    "kernel-config",
    "manifests",
    "scenarios",
    "formats",
    "drivers",
    "loader",
    "apps",
    "xtask",
    "docs",
];

/// Where `unsafe` may stand. The last one is no part of the system: what an unprivileged
/// program does can hurt only itself.
const UNSAFE: [&str; 5] =
    ["loader/src/arch/", "loader/src/mm/", "drivers/api/src/", "drivers/virtio/src/", "apps/"];

/// The deciding modules of xtask: functions from values to values.
const PURE: [&str; 13] = [
    "core_dump",
    "editor",
    "model",
    "plan",
    "link",
    "pack",
    "image",
    "run",
    "scenario",
    "setup",
    "solve",
    "symbols",
    "tidy",
];

/// What a deciding module must not name.
const IO: [&str; 4] = ["std::fs", "std::process", "std::net", "std::io::stdin"];

/// The longest that a source file may be, in lines: beyond it nobody sees the whole.
const LONGEST: usize = 600;

/// Files that are one long table, which no split would make clearer.
const TABLES: [&str; 1] = ["formats/linux-abi/src/table.rs"];

/// Every violation in `files`, which are all files of the tree that git knows.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Violation> {
    let mut out = folders(files);
    for file in files.iter().filter(|f| f.path.extension() == Some("rs")) {
        rust(file, &mut out);
    }
    out.sort();
    out
}

fn folders(files: &[SourceFile]) -> Vec<Violation> {
    let paths: BTreeSet<&Utf8Path> = files.iter().map(|f| f.path.as_path()).collect();
    let missing =
        |folder: &&&str| !paths.contains(Utf8Path::new(folder).join("README.md").as_path());
    FOLDERS
        .iter()
        .filter(missing)
        .map(|folder| Violation {
            path: Utf8Path::new(folder).join("README.md"),
            line: 0,
            what: "is missing: every folder says what belongs in it and what does not".to_owned(),
        })
        .collect()
}

fn rust(file: &SourceFile, out: &mut Vec<Violation>) {
    let path = file.path.as_str();
    let mut report =
        |line: usize, what: String| out.push(Violation { path: file.path.clone(), line, what });
    let code = code_lines(&file.text);
    let lines = file.text.lines().count();
    if lines > LONGEST && !TABLES.contains(&path) {
        report(0, format!("has {lines} lines; split it below {LONGEST}"));
    }
    let is_crate_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    let may_be_unsafe = UNSAFE.iter().any(|p| path.starts_with(p.trim_end_matches("src/")))
        || path.starts_with("loader/");
    if is_crate_root && !may_be_unsafe && !file.text.contains("#![forbid(unsafe_code)]") {
        report(0, "lacks `#![forbid(unsafe_code)]`".to_owned());
    }
    let module = path.strip_prefix("xtask/src/").and_then(|p| p.split(['/', '.']).next());
    let pure = module.is_some_and(|m| PURE.contains(&m));
    let config = module == Some("config");
    if path.starts_with("loader/src/") {
        for (n, line) in file.text.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            if line.contains("feature = \"") {
                report(
                    n + 1,
                    "the kernel is compiled without features; drivers register".to_owned(),
                );
            }
        }
    }
    for (n, line) in code {
        if is_unsafe(&line) && !UNSAFE.iter().any(|p| path.starts_with(p)) {
            report(n, "`unsafe` is for loader/src/arch, loader/src/mm, drivers/api".to_owned());
        }
        if pure && let Some(io) = IO.iter().find(|io| line.contains(*io)) {
            report(n, format!("`{io}` in a deciding module; side effects live in exec/"));
        }
        if module.is_some() && !config && line.contains("toml::") {
            report(n, "TOML is parsed by config/ alone".to_owned());
        }
    }
}

/// The lines of code with their numbers: no comments, and nothing from a test module on,
/// which by convention stands last.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines()
        .enumerate()
        .take_while(|(_, l)| l.trim_end() != "#[cfg(test)]")
        .map(|(n, l)| (n + 1, without_strings(l.split("//").next().unwrap_or_default())))
        .filter(|(_, l)| !l.trim().is_empty())
}

/// The line without what stands in its string literals; a literal over several lines is
/// none of the rules' business.
fn without_strings(line: &str) -> String {
    line.replace("\\\"", "").split('"').step_by(2).collect::<Vec<_>>().join("\"")
}

/// A block, function, impl or trait: not the attribute `unsafe(…)`, which clippy's and
/// rustc's own lints govern, and not a lint's name.
fn is_unsafe(line: &str) -> bool {
    let mut rest = line;
    while let Some(at) = rest.find("unsafe") {
        let before = rest.get(..at).and_then(|b| b.chars().next_back());
        let after = rest.get(at + 6..).unwrap_or_default();
        let word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '`');
        if word
            && ["{", " {", " fn", " impl", " extern", " trait"].iter().any(|s| after.starts_with(s))
        {
            return true;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut files: Vec<SourceFile> = FOLDERS
            .iter()
            .map(|f| SourceFile { path: format!("{f}/README.md").into(), text: String::new() })
            .collect();
        files.push(SourceFile { path: path.into(), text: text.into() });
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clean_tree_has_no_violation() {
        let text = "//! Words about unsafe { }.\n#![forbid(unsafe_code)]\n#[unsafe(no_mangle)]\n";
        assert_eq!(found("formats/x/src/lib.rs", text), [""; 0]);
        assert_eq!(found("loader/src/arch/x64/a.rs", "unsafe { asm!() }\n"), [""; 0]);
        assert_eq!(found("xtask/src/exec/a.rs", "use std::fs;\n"), [""; 0]);
    }

    #[test]
    fn each_rule_is_kept() {
        for (path, text, says) in [
            ("formats/x/src/lib.rs", "", "formats/x/src/lib.rs: lacks `#![forbid(unsafe_code)]`"),
            (
                "loader/src/fs.rs",
                "a\nlet b = unsafe { c };\n",
                "loader/src/fs.rs:2: `unsafe` is for",
            ),
            ("drivers/x/src/a.rs", "unsafe impl Send for A {}", "drivers/x/src/a.rs:1: `unsafe`"),
            ("xtask/src/plan/a.rs", "use std::fs::read;", "plan/a.rs:1: `std::fs` in a deciding"),
            ("xtask/src/run.rs", "std::process::Command", "`std::process` in a deciding module"),
            ("xtask/src/exec/a.rs", "let t: toml::Table = x;", "TOML is parsed by config/ alone"),
            (
                "loader/src/b.rs",
                "#[cfg(feature = \"procfs\")]\nmod proc;",
                "b.rs:1: the kernel is compiled without features",
            ),
            ("loader/src/a.rs", &"x\n".repeat(601), "has 601 lines; split it below 600"),
        ] {
            let found = found(path, text);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(says), "{found:?}");
        }
        assert_eq!(found("a.txt", ""), [""; 0]);
        let missing: Vec<String> = check(&[]).iter().map(ToString::to_string).collect();
        assert_eq!(missing.len(), FOLDERS.len());
        assert!(missing[0].contains("README.md: is missing"), "{missing:?}");
    }

    #[test]
    fn tests_and_comments_are_not_code() {
        let text = "// std::fs\nfn a() { f(\"\\\"std::fs\"); }\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(found("xtask/src/plan/a.rs", text), [""; 0]);
    }

    #[test]
    fn the_word_alone_is_not_unsafe() {
        for yes in
            ["unsafe {", "pub unsafe fn a()", "unsafe impl X", "x = unsafe{", "unsafe extern"]
        {
            assert!(is_unsafe(yes), "{yes}");
        }
        for no in ["#[unsafe(no_mangle)]", "unsafe_code", "`unsafe {`", "forbid(unsafe_op)"] {
            assert!(!is_unsafe(no), "{no}");
        }
    }
}
