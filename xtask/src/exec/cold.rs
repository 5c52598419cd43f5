//! What a newcomer waits for: a fresh clone built and booted to its greeting.

use super::build_dir;
use crate::context::Context;
use anyhow::{Context as _, bail};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Clones the last commit of Osier's tree below the build directory, runs `cargo xtask
/// run-qemu` in it, and returns how long it took until `greeting` stood on its stdout.
/// Cargo's registry is shared: downloads are not measured.
///
/// # Errors
/// When git or cargo fail, or the greeting does not come.
pub fn greeting(cx: &Context, greeting: &[u8]) -> anyhow::Result<Duration> {
    let parent = build_dir::run_folder(cx)?;
    let dir = super::qemu::RunDir::new(&parent)?;
    let clone = dir.path().join("osier");
    let git = Command::new("git")
        .args(["clone", "--quiet", cx.root.as_str(), clone.as_str()])
        .status()
        .context("cannot start git")?;
    if !git.success() {
        bail!("git clone failed ({git})");
    }
    let cargo = cx.env.get("CARGO").map_or("cargo", String::as_str);
    let started = Instant::now();
    let mut child = Command::new(cargo)
        .args(["xtask", "run-qemu", "--accel", "tcg", "--timeout", "60"])
        .current_dir(&clone)
        // What names this tree must not lead the clone back to it.
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("OSIER_ROOT")
        .env_remove("OSIER_BUILD_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {cargo}"))?;
    let mut stdout = child.stdout.take().context("cargo has no stdout")?;
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    let mut took = None;
    while let Ok(n @ 1..) = stdout.read(&mut buffer) {
        seen.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if took.is_none() && seen.windows(greeting.len()).any(|w| w == greeting) {
            took = Some(started.elapsed());
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    took.with_context(|| format!("the fresh clone did not greet ({status})"))
}
