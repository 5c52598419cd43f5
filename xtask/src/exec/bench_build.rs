//! A copy of the sources and a build directory of its own, in which builds are timed: the
//! user's files are not edited for a measurement.

use super::{fsx, repro};
use crate::context::Context;
use anyhow::{Context as _, Result, bail};
use camino::Utf8PathBuf;
use serde::Deserialize;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where builds are timed.
pub struct Bed {
    sources: Utf8PathBuf,
    build_dir: Utf8PathBuf,
    /// xtask's own manifest, in the real sources.
    manifest: Utf8PathBuf,
    /// The target folder of this xtask: it is not compiled once more.
    target: Utf8PathBuf,
}

/// One timed build.
#[derive(Debug, Default)]
pub struct Timed {
    /// Seconds from start to end, cargo's own start of xtask included.
    pub wall: f64,
    /// Seconds of CPU, user and system, of every process that it took. What else the machine
    /// does weighs less on it than on `wall`.
    pub cpu: f64,
    /// Seconds in cargo's calls.
    pub cargo: f64,
    /// The steps that ran.
    pub ran: Vec<String>,
}

/// Clock ticks in a second: `USER_HZ`, 100 on every arch that Osier builds on (proc(5)).
const TICKS: f64 = 100.0;

/// Ticks of CPU of the children of this process that have ended, their own included.
fn children_cpu() -> Result<u32> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    cpu_of(&stat).context("/proc/self/stat has no times")
}

/// Fields 16 and 17 of proc(5)'s `stat`: `cutime` and `cstime`. The second field is a name that
/// may hold blanks and parentheses, so fields are counted from its last one on.
fn cpu_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_whitespace().skip(13).map(|t| t.parse::<u32>().ok());
    ticks.next()??.checked_add(ticks.next()??)
}

/// How busy the machine was in the last minute: processes that wanted a CPU.
#[must_use]
pub fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// What of an event is read here.
#[derive(Deserialize)]
struct Heard {
    event: String,
    #[serde(default)]
    step: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    ms: u32,
}

impl Bed {
    /// An image with a large file, and that file.
    pub const LARGE: &str = "bench-large";
    /// See [`Bed::LARGE`].
    pub const LARGE_FILE: &str = "manifests/bench-large.bin";
    /// The bytes in it: 64 MiB.
    const LARGE_SIZE: usize = 64 << 20;

    /// Copies the sources, unless an earlier bench left them: then only what changed.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn make(cx: &Context) -> Result<Self> {
        let folder = cx.layout.root().join("bench");
        let me = std::env::current_exe().context("cannot find xtask's own program")?;
        let target =
            me.parent().and_then(|p| p.parent()).context("xtask lies in no target folder")?;
        let target = Utf8PathBuf::from_path_buf(target.to_path_buf());
        let bed = Self {
            manifest: cx.root.join("xtask/Cargo.toml"),
            sources: folder.join("sources"),
            build_dir: folder.join("build"),
            target: target.map_err(|p| anyhow::anyhow!("{} is not UTF-8", p.display()))?,
        };
        if bed.sources.exists() {
            std::fs::remove_dir_all(&bed.sources).context("cannot remove an earlier bench")?;
        }
        repro::copy_sources(&cx.root, &bed.sources)?;
        Ok(bed)
    }

    /// Adds an image of 64 MiB.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_large_image(&self) -> Result<()> {
        // Bytes that differ, so that nothing on the way can make them small: xorshift64
        // (Marsaglia, 2003) from a fixed seed.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(Self::LARGE_SIZE);
        while bytes.len() < Self::LARGE_SIZE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_le_bytes());
        }
        fsx::write(&self.sources.join(Self::LARGE_FILE), &bytes)?;
        let image = format!(
            "format = 1\ndescription = \"A bench\"\nroot = \"ramfs\"\n\n[run]\nprogram = \"/bin/hello\"\n\n\
             [[file]]\npath = \"/bin/hello\"\napp = \"hello\"\n\n\
             [[file]]\npath = \"/large\"\nsource = \"{}\"\n",
            Self::LARGE_FILE
        );
        let path = format!("manifests/images/{}.toml", Self::LARGE);
        fsx::write(&self.sources.join(path), image.as_bytes())
    }

    /// Puts a line before a source file's first, so that all that follows stands on another
    /// line: line tables and panics' locations change, and nothing is saved by equal bytes.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn edit(&self, path: &str) -> Result<()> {
        let path = self.sources.join(path);
        let text = fsx::read_text(&path)?;
        fsx::write(&path, format!("// edited\n{text}").as_bytes())
    }

    /// Appends a byte.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, path: &str) -> Result<()> {
        let path = self.sources.join(path);
        let mut file = std::fs::File::options().append(true).open(&path)?;
        file.write_all(b"x").with_context(|| format!("cannot write {path}"))
    }

    /// `cargo xtask build`, as a user types it.
    ///
    /// # Errors
    /// When it fails.
    pub fn build(&self, flags: &[&str]) -> Result<Timed> {
        let (begun, cpu) = (Instant::now(), children_cpu()?);
        let out = self.xtask("build", flags)?;
        let wall = begun.elapsed().as_secs_f64();
        let mut timed = Timed { wall, cpu: 0.0, ..Timed::default() };
        timed.cpu = f64::from(children_cpu()?.saturating_sub(cpu)) / TICKS;
        for line in out.lines() {
            let Ok(heard) = serde_json::from_str::<Heard>(line) else { continue };
            if heard.event != "step-finished" {
                continue;
            }
            if heard.step.starts_with("compile ") || heard.step.starts_with("apps ") {
                timed.cargo += f64::from(heard.ms) / 1000.0;
            }
            if heard.outcome != "fresh" {
                timed.ran.push(heard.step);
            }
        }
        Ok(timed)
    }

    /// `cargo xtask plan`: seconds.
    ///
    /// # Errors
    /// When it fails.
    pub fn plan(&self, flags: &[&str]) -> Result<f64> {
        let begun = Instant::now();
        self.xtask("plan", flags)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn xtask(&self, command: &str, flags: &[&str]) -> Result<String> {
        // The program that runs now, started by cargo: of the real sources, so that cargo has
        // nothing to compile; it is told where the copy lies.
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let out = Command::new(cargo)
            .args(["run", "--quiet", "--manifest-path", self.manifest.as_str(), "--"])
            .args(["--json", "--build-dir", self.build_dir.as_str()])
            .arg(command)
            .args(flags)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("OSIER_ROOT", &self.sources)
            .stdin(Stdio::null())
            .output()
            .context("cannot start cargo")?;
        if !out.status.success() {
            bail!("{command} failed\n{}", String::from_utf8_lossy(&out.stderr).trim_end());
        }
        String::from_utf8(out.stdout).context("xtask's events")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 9 8 7 6 5 4 300 50 20 0 1 0";
        assert_eq!(super::cpu_of(stat), Some(350));
        assert_eq!(super::cpu_of("7 (x) S 1"), None);
        assert_eq!(super::cpu_of("7"), None);
    }
}
