//! A copy of the sources and build directories beside it, kept between runs: cargo compiles a
//! kernel once, and the tests compile what they edit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
pub const ARCH: &str = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x64" };
pub const DRIVER: &str = if cfg!(target_arch = "aarch64") { "pl011" } else { "ns16550" };

/// An image with a file in it.
const IMAGE: &str = r#"format = 1
description = "hello and a file"
root = "ramfs"

[run]
program = "/bin/hello"

[[file]]
path = "/bin/hello"
app = "hello"

[[file]]
path = "/etc/note"
source = "manifests/note.txt"
"#;

/// All tests edit the same sources.
static ONE: Mutex<()> = Mutex::new(());

/// The sources, and the build directory in which a build has been made of them.
pub struct Bed {
    pub sources: PathBuf,
    pub first: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// What a build said.
pub struct Built {
    pub ok: bool,
    pub stderr: String,
    /// Steps that were not up to date.
    pub ran: Vec<String>,
    /// Packages that cargo compiled.
    pub packages: BTreeSet<String>,
    /// Variables and keys of cargo's configuration that the build did not see.
    pub left_out: Vec<String>,
}

impl Bed {
    /// The bed as it was made, whatever the test before did to it.
    pub fn new() -> Self {
        // A test that failed has left nothing that is not put right here.
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let bed = Self { sources: folder("sources"), first: folder("first"), _turn: turn };
        bed.restore();
        let built = bed.build(&[]);
        assert!(built.ok, "{}", built.stderr);
        bed
    }

    /// Makes the sources what they are in the tree, touching only what differs.
    pub fn restore(&self) {
        // Read once: who edits the tree while tests run changes nothing between two builds of one.
        static TREE: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
        let tree = TREE.get_or_init(|| {
            let mut tree = BTreeMap::new();
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            gather(&root, Path::new(""), &mut tree);
            tree
        });
        let mut wanted = tree.clone();
        wanted.insert("manifests/images/note.toml".into(), IMAGE.into());
        wanted.insert("manifests/note.txt".into(), b"a note\n".to_vec());
        let mut there = BTreeMap::new();
        fs::create_dir_all(&self.sources).unwrap();
        gather(&self.sources, Path::new(""), &mut there);
        for gone in there.keys().filter(|path| !wanted.contains_key(*path)) {
            fs::remove_file(self.sources.join(gone)).unwrap();
        }
        for (path, bytes) in wanted.iter().filter(|(path, b)| there.get(*path) != Some(*b)) {
            let path = self.sources.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Puts a line before the first of a file.
    pub fn edit(&self, path: &str, line: &str) {
        let path = self.sources.join(path);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{line}\n{text}")).unwrap();
    }

    /// A driver's source, edited so that the kernel's bytes change.
    pub fn edit_driver(&self) {
        self.edit(&format!("drivers/{DRIVER}/src/lib.rs"), "// edited");
    }

    /// `xtask`, with these sources and a build directory.
    pub fn xtask(&self, dir: &Path) -> Command {
        let mut command = Command::new(XTASK);
        command.env("OSIER_ROOT", &self.sources).current_dir(&self.sources);
        for gone in ["OSIER_BUILD_DIR", "ARCH", "MAX_JOBS", "OSIER_SHUFFLE"] {
            command.env_remove(gone);
        }
        command.arg("--build-dir").arg(dir).stdin(Stdio::null());
        command
    }

    /// `xtask build` of the small image in release, with events as JSON.
    pub fn command(&self, dir: &Path, flags: &[&str]) -> Command {
        let mut command = self.xtask(dir);
        let image = ["--json", "build", "--arch", ARCH, "--profile", "base", "--image", "note"];
        // What the test says comes last, and replaces it.
        command.args(image.iter().filter(|word| !flags.contains(word))).args(flags);
        command
    }

    /// Builds in the first directory.
    pub fn build(&self, flags: &[&str]) -> Built {
        Built::of(self.command(&self.first, flags).output().unwrap())
    }

    /// Another build directory: a copy of the first.
    pub fn copy(&self, name: &str) -> PathBuf {
        let to = folder(name);
        let _ = fs::remove_dir_all(&to);
        let done = Command::new("cp").arg("-a").args([&self.first, &to]).status().unwrap();
        assert!(done.success());
        to
    }
}

impl Built {
    /// What the events and messages of a run say.
    pub fn of(out: Output) -> Self {
        let mut built = Self {
            ok: out.status.success(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
            ran: Vec::new(),
            packages: BTreeSet::new(),
            left_out: Vec::new(),
        };
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            for list in ["stripped", "overridden"] {
                let names = event[list].as_array().into_iter().flatten();
                built.left_out.extend(names.map(|n| n.as_str().unwrap().to_owned()));
            }
            if event["event"] != "step-finished" {
                continue;
            }
            if event["outcome"] != "fresh" {
                built.ran.push(event["step"].as_str().unwrap().to_owned());
            }
            for package in event["rebuilt"].as_array().into_iter().flatten() {
                let name = package["package"].as_str().unwrap().split(' ').next().unwrap();
                built.packages.insert(name.to_owned());
            }
        }
        built
    }

    /// What the steps that ran do: the first words of their names.
    pub fn verbs(&self) -> BTreeSet<&str> {
        assert!(self.ok, "{}", self.stderr);
        self.ran.iter().map(|step| step.split(' ').next().unwrap()).collect()
    }
}

/// The artifacts of the small image in a build directory.
pub fn artifacts(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    gather(&dir.join(format!("{ARCH}-release-base/note")), Path::new(""), &mut out);
    assert_eq!(out.len(), 6, "{:?}", out.keys());
    out
}

/// The names of artifacts that are not the same.
pub fn differing(a: &BTreeMap<PathBuf, Vec<u8>>, b: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    assert!(a.keys().eq(b.keys()));
    let other = a.iter().filter(|(path, bytes)| b[*path] != **bytes);
    other.map(|(path, _)| path.display().to_string()).collect()
}

/// A folder of these tests.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("builds").join(name)
}

/// Every file below `root`, without what is generated.
fn gather(root: &Path, at: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(root.join(at)).unwrap() {
        let entry = entry.unwrap();
        let (path, at) = (entry.path(), at.join(entry.file_name()));
        if path.is_dir() {
            let generated = ["CACHEDIR.TAG", ".osier"].iter().any(|mark| path.join(mark).exists());
            if !generated && entry.file_name() != ".git" && entry.file_name() != "target" {
                gather(root, &at, out);
            }
        } else {
            out.insert(at, fs::read(path).unwrap());
        }
    }
}

/// Notes a test that could not run, by name and reason; a skip is never a pass.
pub fn skip(line: &str) {
    eprintln!("skipped {line}");
    if let Some(path) = std::env::var_os("OSIER_TEST_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}
