//! Where builds happen: two directories, one directory twice, sources that cannot be written, a
//! full disk, a home with a hostile configuration.

use super::bed::{ARCH, Bed, Built, XTASK, artifacts, differing, folder, skip};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
fn two_directories_build_side_by_side() {
    let bed = Bed::new();
    let second = bed.copy("second");
    bed.edit_driver();
    let start = |dir: &Path| {
        let mut command = bed.command(dir, &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(&bed.first), start(&second)];
    for child in both {
        let built = Built::of(child.wait_with_output().unwrap());
        assert!(built.verbs().contains("link"), "{:?}", built.ran);
        // Cargo's may: both use the one home.
        assert!(!built.stderr.contains("waiting for the build directory"), "{}", built.stderr);
    }
    assert_eq!(differing(&artifacts(&bed.first), &artifacts(&second)), [""; 0]);
}

#[test]
fn one_directory_is_built_in_by_turns() {
    let bed = Bed::new();
    let mut lock = fs::File::options().write(true).open(bed.first.join("lock")).unwrap();
    lock.lock().unwrap();
    lock.set_len(0).unwrap();
    lock.write_all(b"pid 7: cargo xtask somebody else\n").unwrap();
    let mut command = bed.command(&bed.first, &[]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("waiting for the build directory"), "{said}");
    assert!(said.ends_with("held by pid 7: cargo xtask somebody else\n"), "{said}");
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
    drop(lock);
    assert!(child.wait().unwrap().success());

    // And two at once, with something to do.
    bed.edit_driver();
    let start = || {
        let mut command = bed.command(&bed.first, &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for mut child in [start(), start()] {
        assert!(child.wait().unwrap().success());
    }
    assert!(bed.build(&[]).ran.is_empty());
}

/// A command in namespaces of its own, with `map` for the user. `None` where the host has none.
fn unshared(map: &[&str]) -> Option<Command> {
    let command = || {
        let mut command = Command::new("unshare");
        command.arg("--user").args(map).arg("--");
        command
    };
    let works = command().arg("true").stderr(Stdio::null()).status();
    works.is_ok_and(|s| s.success()).then(command)
}

/// Takes every right to write away from a tree, or gives its owner's back.
fn writable(root: &Path, yes: bool) {
    let mode = if yes { "u+w" } else { "a-w" };
    assert!(Command::new("chmod").args(["-R", mode]).arg(root).status().unwrap().success());
}

#[test]
fn sources_that_nobody_can_write_build_as_an_ordinary_user() {
    let ordinary = ["--map-user=1000", "--map-group=1000"];
    let Some(mut command) = unshared(&ordinary) else {
        let name = "sources_that_nobody_can_write_build_as_an_ordinary_user";
        return skip(&format!("{name}: user namespaces are missing"));
    };
    let bed = Bed::new();
    let expected = artifacts(&bed.first);
    let (sources, dir) = (folder("read only"), bed.copy("ordinary"));
    if sources.exists() {
        writable(&sources, true);
        fs::remove_dir_all(&sources).unwrap();
    }
    assert!(
        Command::new("cp").arg("-a").args([&bed.sources, &sources]).status().unwrap().success()
    );
    writable(&sources, false);
    // The shell tries to write, too: the tree must be one in which that fails.
    let script = "id -u; touch \"$0/probe\" 2>/dev/null && echo written; shift 0; exec \"$@\"";
    command.args(["sh", "-c", script]).arg(&sources).arg(XTASK);
    command.args(["--json", "build", "--arch", ARCH, "--profile", "base", "--image", "note"]);
    command.arg("--build-dir").arg(&dir).current_dir(&sources).stdin(Stdio::null());
    command.env("OSIER_ROOT", &sources).env_remove("ARCH").env_remove("OSIER_BUILD_DIR");
    let mut out = command.output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let (user, events) = text.split_once('\n').unwrap();
    assert_eq!(user, "1000");
    assert!(!events.starts_with("written"), "the sources could be written");
    out.stdout = events.as_bytes().to_vec();
    let built = Built::of(out);
    writable(&sources, true);
    // Apps know another folder of sources; what comes out is the same.
    assert!(built.verbs().contains("apps"), "{:?}", built.ran);
    assert_eq!(differing(&artifacts(&dir), &expected), [""; 0]);
    let count = |dir: &PathBuf| fs::read_dir(dir).unwrap().count();
    assert_eq!(count(&sources), count(&bed.sources), "something was written to the sources");
}

#[test]
fn the_launcher_builds_where_it_lies_from_any_folder() {
    // Cargo is a script here that says how it was called.
    let machine = tempfile::tempdir().unwrap();
    let dir = machine.path().join("it's a folder");
    let bed = Bed::new();
    assert!(bed.xtask(&dir).args(["clean"]).status().unwrap().success());
    let plan = bed.xtask(&dir).args(["build", "--profile", "no-such"]).output().unwrap();
    assert_eq!(plan.status.code(), Some(2));
    assert!(!dir.exists(), "a refused build leaves nothing");
    // A build that fails at once makes the directory and its launcher.
    let mut build = bed.command(&dir, &[]);
    assert!(!build.env("CARGO", "/bin/false").output().unwrap().status.success());
    let cargo = machine.path().join("bin/cargo");
    fs::create_dir_all(cargo.parent().unwrap()).unwrap();
    fs::write(&cargo, "#!/bin/sh\necho \"$CARGO_TARGET_DIR\"; printf '%s\\n' \"$@\"\n").unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", cargo.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut launcher = Command::new(dir.join("x"));
    launcher.args(["plan", "--arch", "x64"]).env("PATH", path).current_dir("/");
    let out = launcher.output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let target = Path::new(XTASK).parent().and_then(Path::parent).unwrap();
    assert_eq!(lines[0], target.to_str().unwrap());
    let manifest = bed.sources.join("Cargo.toml");
    let expected = ["run", "--quiet", "--manifest-path", manifest.to_str().unwrap()];
    assert_eq!(lines[1..5], expected);
    let rest = ["--package", "xtask", "--", "--build-dir", dir.to_str().unwrap()];
    assert_eq!(lines[5..10], rest);
    assert_eq!(lines[10..], ["plan", "--arch", "x64"]);
}

/// Builds with a small tmpfs over the image's folder, tells what is there, makes room, builds
/// again, and copies the artifacts out.
const FULL: &str = r#"
dir=$1; out=$2; shift 2
mount -t tmpfs -o size=256k tmpfs "$dir" || exit 99
"$@" >/dev/null 2>"$out/stderr"; echo $? >"$out/status"
cp -a "$dir/." "$out/full"
mount -o remount,size=64m "$dir" || exit 99
"$@" >/dev/null 2>&1 || exit 98
cp -a "$dir/note/." "$out/done"
"#;

#[test]
fn a_full_disk_is_one_error_and_the_next_build_is_fine() {
    let Some(mut command) = unshared(&["--map-root-user", "--mount"]) else {
        let name = "a_full_disk_is_one_error_and_the_next_build_is_fine";
        return skip(&format!("{name}: user namespaces are missing"));
    };
    let bed = Bed::new();
    let expected = artifacts(&bed.first);
    let images = bed.first.join(format!("{ARCH}-release-base"));
    let keep = tempfile::tempdir().unwrap();
    command.args(["sh", "-c", FULL, "sh"]).arg(&images).arg(keep.path());
    let build = bed.command(&bed.first, &[]);
    command.arg(build.get_program()).args(build.get_args());
    command.env("OSIER_ROOT", &bed.sources).env_remove("ARCH").env_remove("OSIER_BUILD_DIR");
    let status = command.current_dir(&bed.sources).status().unwrap();
    if status.code() == Some(99) {
        let name = "a_full_disk_is_one_error_and_the_next_build_is_fine";
        return skip(&format!("{name}: tmpfs cannot be mounted"));
    }
    assert!(status.success(), "{status}");
    let read = |name: &str| fs::read_to_string(keep.path().join(name)).unwrap();
    assert_eq!(read("status"), "1\n");
    let said = read("stderr");
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    assert!(said.contains("disk is full; make room"), "{said}");
    assert!(said.contains("No space left on device") && said.contains("cannot write"), "{said}");
    // Whatever has an artifact's name is whole; nothing has another one.
    let left = keep.path().join("full/note");
    for entry in fs::read_dir(&left).unwrap() {
        let entry = entry.unwrap();
        let name = PathBuf::from(entry.file_name());
        assert_eq!(expected.get(&name), Some(&fs::read(entry.path()).unwrap()), "{name:?}");
    }
    let done = keep.path().join("done");
    for (name, bytes) in &expected {
        assert_eq!(*bytes, fs::read(done.join(name)).unwrap(), "{name:?}");
    }
}

/// Builds on a disk that has room for nothing at all.
const TINY: &str = r#"
mount -t tmpfs -o size=300k tmpfs "$1" || exit 99
shift
exec "$@"
"#;

#[test]
fn a_full_disk_is_told_as_such_when_the_compiler_fails() {
    let name = "a_full_disk_is_told_as_such_when_the_compiler_fails";
    let Some(mut command) = unshared(&["--map-root-user", "--mount"]) else {
        return skip(&format!("{name}: user namespaces are missing"));
    };
    let bed = Bed::new();
    let keep = tempfile::tempdir().unwrap();
    command.args(["sh", "-c", TINY, "sh"]).arg(keep.path());
    let build = bed.command(keep.path(), &[]);
    command.arg(build.get_program()).args(build.get_args());
    command.env("OSIER_ROOT", &bed.sources).env_remove("ARCH").env_remove("OSIER_BUILD_DIR");
    let out = command.current_dir(&bed.sources).output().unwrap();
    if out.status.code() == Some(99) {
        return skip(&format!("{name}: tmpfs cannot be mounted"));
    }
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    let told = said.find("error: the disk that holds").map(|at| &said[at..]).unwrap_or_default();
    assert!(told.contains(" is full; make room, or name a folder elsewhere"), "{said}");
    assert_eq!(said.matches("error: the disk").count(), 1, "{said}");
}

/// What a user may have configured that would change every byte.
const HOSTILE: &str = r#"
[build]
rustflags = ["-Copt-level=0", "--cfg=hostile"]
target-dir = "/nonexistent"
[profile.release]
lto = false
strip = true
[env]
CARGO_ENCODED_RUSTFLAGS = { value = "-Cdebuginfo=0", force = true }
"#;

#[test]
fn a_hostile_home_changes_no_byte() {
    let bed = Bed::new();
    let expected = artifacts(&bed.first);
    let home = folder("home");
    let _ = fs::remove_dir_all(&home);
    let cargo = home.join(".cargo");
    fs::create_dir_all(&cargo).unwrap();
    fs::write(cargo.join("config.toml"), HOSTILE).unwrap();
    let user = std::env::var_os("HOME").map(PathBuf::from).unwrap();
    let user_cargo = std::env::var_os("CARGO_HOME").map_or(user.join(".cargo"), PathBuf::from);
    std::os::unix::fs::symlink(user_cargo.join("registry"), cargo.join("registry")).unwrap();
    // So that everything but cargo's part is made anew under these circumstances.
    fs::remove_dir_all(bed.first.join("stamps")).unwrap();
    bed.edit_driver();
    bed.build(&[]);
    bed.restore();
    let mut command = bed.command(&bed.first, &[]);
    let rustup = std::env::var_os("RUSTUP_HOME").map_or(user.join(".rustup"), PathBuf::from);
    command.env("HOME", &home).env_remove("CARGO_HOME").env("RUSTUP_HOME", rustup);
    command.env("RUSTFLAGS", "-Copt-level=0").env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("TZ", "Pacific/Chatham").env("LC_ALL", "tr_TR.UTF-8");
    let built = Built::of(command.output().unwrap());
    assert!(built.verbs().is_superset(&["compile", "link"].into()), "{:?}", built.ran);
    assert_eq!(differing(&artifacts(&bed.first), &expected), [""; 0]);
    for name in [
        "RUSTFLAGS",
        "CARGO_PROFILE_RELEASE_LTO",
        "build.rustflags",
        "profile.release",
        "env.CARGO_ENCODED_RUSTFLAGS",
    ] {
        assert!(built.left_out.iter().any(|n| n == name), "{name}: {:?}", built.left_out);
    }
}
