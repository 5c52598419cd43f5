//! Two builds of the same sources under circumstances that must not matter: another folder,
//! another home with a hostile cargo configuration, another number of jobs, time zone,
//! language, user and umask.

use super::fsx;
use crate::context::Context;
use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use std::process::{Command, Stdio};

/// The build directories of the two.
#[derive(Clone, Debug)]
pub struct Twins {
    pub first: Utf8PathBuf,
    pub second: Utf8PathBuf,
    folder: Utf8PathBuf,
}

/// What a hostile user has in the home that the second build sees.
const HOSTILE: &str = "\
[build]
rustflags = [\"-Cdebuginfo=2\", \"-Copt-level=0\", \"--cfg=hostile\"]
incremental = true
[profile.release]
lto = false
strip = true
[profile.release.package.\"*\"]
opt-level = 0
[profile.dev]
opt-level = 3
[env]
HOSTILE = { value = \"1\", force = true }
[target.'cfg(all())']
rustflags = [\"-Cforce-frame-pointers=no\"]
";

/// Files that stand for a folder that holds nothing but what can be made again: cargo's target
/// folders and Osier's build directories.
const GENERATED: [&str; 2] = ["CACHEDIR.TAG", super::build_dir::MARK];

impl Twins {
    /// Builds both, one after the other. `arguments` go to `cargo xtask build`.
    ///
    /// # Errors
    /// When one of the two fails.
    pub fn build(cx: &Context, arguments: &[String]) -> Result<Self> {
        let folder = cx.layout.root().join("repro");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {folder}"))?;
        }
        let first = folder.join("first");
        // A blank and a letter outside ASCII: paths are data.
        let second = folder.join("zweiter Bau ä");
        let sources = folder.join("other sources");
        copy_sources(&cx.root, &sources)?;
        let home = folder.join("home");
        let cargo_home = hostile_home(cx, &home)?;

        let mut plain = child(cx, "022")?;
        plain.env("OSIER_ROOT", &cx.root).current_dir(&cx.root);
        run(plain, &first, "1", arguments).context("the first build")?;

        let mut hostile = child(cx, "077")?;
        hostile.env("OSIER_ROOT", &sources).current_dir(&sources);
        hostile.env("HOME", &home).env("CARGO_HOME", cargo_home).env("USER", "someone-else");
        hostile
            .env("TZ", "Pacific/Chatham")
            .env("LANG", "tr_TR.UTF-8")
            .env("LC_ALL", "tr_TR.UTF-8");
        hostile.env("RUSTFLAGS", "-Copt-level=0 --cfg=hostile");
        hostile.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_INCREMENTAL", "1");
        run(hostile, &second, "8", arguments).context("the second build")?;
        Ok(Self { first, second, folder })
    }

    /// Removes both.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder))
    }
}

/// This program, under an umask, with the toolchain of this process and without what cargo and
/// rustup set for it.
fn child(cx: &Context, umask: &str) -> Result<Command> {
    let me = std::env::current_exe().context("cannot find xtask's own program")?;
    let tools = super::host::Tools::find(&cx.env)?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\"")).arg(me);
    command.env("CARGO", &tools.toolchain.cargo).env("RUSTC", &tools.toolchain.rustc);
    for gone in ["CARGO_MANIFEST_DIR", "OSIER_BUILD_DIR", "ARCH"] {
        command.env_remove(gone);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

fn run(mut command: Command, build_dir: &Utf8Path, jobs: &str, arguments: &[String]) -> Result<()> {
    command.args(["--build-dir", build_dir.as_str(), "build", "--jobs", jobs]).args(arguments);
    let status = command.status().context("cannot start xtask")?;
    if !status.success() {
        bail!("failed ({status})");
    }
    Ok(())
}

/// A home whose cargo configuration changes everything that one can, over the user's caches.
fn hostile_home(cx: &Context, home: &Utf8Path) -> Result<Utf8PathBuf> {
    let user = super::host::Tools::find(&cx.env)?.user_cargo_home;
    let cargo_home = home.join(".cargo");
    for shared in ["registry", "git"] {
        let shared_by = user.join(shared);
        fsx::create_dir_all(&shared_by)?;
        fsx::symlink(&shared_by, &cargo_home.join(shared))?;
    }
    fsx::write(&cargo_home.join("config.toml"), HOSTILE.as_bytes())?;
    Ok(cargo_home)
}

/// Copies a tree without what is generated in it.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy_sources(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    fsx::create_dir_all(to)?;
    for entry in from.read_dir_utf8().with_context(|| format!("cannot read {from}"))? {
        let entry = entry?;
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            let target = path.read_link_utf8().with_context(|| format!("cannot read {path}"))?;
            fsx::symlink(&target, &place)?;
        } else if kind.is_file() {
            fsx::copy(path, &place)?;
        } else if kind.is_dir() {
            let generated = GENERATED.iter().any(|mark| path.join(mark).exists());
            if !generated && entry.file_name() != ".git" {
                copy_sources(path, &place)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_not_copied() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_path_buf()).unwrap();
        for path in
            ["a/Cargo.toml", "a/x/lib.rs", "a/target/CACHEDIR.TAG", "a/b/.osier", "a/.git/HEAD"]
        {
            fsx::write(&dir.join(path), b"x").unwrap();
        }
        fsx::symlink("Cargo.toml".into(), &dir.join("a/link")).unwrap();
        copy_sources(&dir.join("a"), &dir.join("c")).unwrap();
        let mut found: Vec<_> = dir
            .join("c")
            .read_dir_utf8()
            .unwrap()
            .map(|e| e.unwrap().file_name().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, ["Cargo.toml", "link", "x"]);
    }
}
