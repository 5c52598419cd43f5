//! `cargo xtask bench`: ratios measured in one run, as a table and as JSON.

use super::build;
use crate::cli::{BuildFlags, Selectors};
use crate::config::resolved::{Machine, Workspace};
use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::boot::{Bootable, Options, Prepared};
use crate::exec::qemu::Event;
use crate::exec::{cold, setup};
use crate::model::{Arch, Name};
use crate::run::guests;
use crate::setup::Need;
use anyhow::{Context as _, bail};
use serde_json::json;
use std::time::{Duration, Instant};

/// Measures
#[derive(clap::Args, Debug)]
pub struct Bench {
    #[command(subcommand)]
    pub what: What,
}

/// What is measured.
#[derive(clap::Subcommand, Debug)]
pub enum What {
    Boot(Boot),
    Cold(Cold),
    Noop(super::bench_build::Noop),
    Rebuild(super::bench_build::Rebuild),
    Smp(super::bench_smp::Smp),
}

/// From starting QEMU to hello's first line, against a guest that prints one byte
#[derive(clap::Args, Debug)]
pub struct Boot {
    /// x64 or aarch64 (default: the host's)
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Boots of each guest; the medians are compared
    #[arg(long, value_name = "N", default_value = "11")]
    pub runs: std::num::NonZeroUsize,
}

/// From a fresh clone of this tree's last commit, crates downloaded, to the greeting
#[derive(clap::Args, Debug)]
pub struct Cold {}

/// The most that hello may take, as a multiple of the reference.
const BUDGET: f64 = 1.8;
/// What hello's first line begins with.
const GREETING: &[u8] = b"Hello from Osier";
/// The most that one boot may take; ten times what a slow machine needs.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// The most that a cold build may take, in seconds, on two cores.
const COLD_BUDGET: f64 = 75.0;

impl Bench {
    /// Runs the command.
    ///
    /// # Errors
    /// When something cannot be built or does not boot.
    pub fn run(self, cx: &Context) -> anyhow::Result<Status> {
        match self.what {
            What::Boot(boot) => boot.run(cx),
            What::Cold(Cold {}) => measure_cold(cx),
            What::Noop(noop) => noop.run(cx),
            What::Rebuild(rebuild) => rebuild.run(cx),
            What::Smp(smp) => smp.run(cx),
        }
    }
}

/// The arch that was asked for, or the host's.
pub(super) fn arch_of(asked: Option<&str>) -> anyhow::Result<Arch> {
    Ok(match asked {
        Some(arch) => arch.parse().map_err(Refusal::new)?,
        None => Arch::host().ok_or_else(|| Refusal::new("name one: --arch x64"))?,
    })
}

/// Builds `image` in release with the profile `base`, once QEMU is there.
pub(super) fn release_of(
    cx: &Context,
    arch: Arch,
    image: &str,
) -> anyhow::Result<(Bootable, build::Built)> {
    setup::ensure(cx, &[Need::Qemu(arch)])?;
    let selectors = Selectors {
        arch: vec![arch.to_string()],
        mode: vec!["release".to_owned()],
        profile: vec!["base".to_owned()],
        image: vec![image.to_owned()],
        ..Selectors::default()
    };
    let built = build::build(cx, &selectors, &BuildFlags::default())?;
    let first = built.images.first().context("the build made no image")?;
    Ok((Bootable::new(cx, first, &built.workspace)?, built))
}

impl Boot {
    fn run(self, cx: &Context) -> anyhow::Result<Status> {
        let arch = arch_of(self.arch.as_deref())?;
        let (image, built) = release_of(cx, arch, "hello")?;
        let machine = machine_of(&built.workspace, arch)?;
        let prepared = image.prepare(cx, &Options::plain(machine))?;
        // The same command line with another kernel.
        let reference = prepared.with_kernel(&guests::reference(arch))?;
        let (mut floor, mut hello) = (Vec::new(), Vec::new());
        // In turns, so that what else the machine does weighs on both.
        for _ in 0..self.runs.get() {
            floor.push(first(&reference, b"\n").context("the reference guest")?);
            hello.push(first(&prepared, GREETING).context("hello")?);
        }
        let (floor, hello) = (Spread::of(floor), Spread::of(hello));
        let ratio = hello.median / floor.median;
        let ok = ratio <= BUDGET;
        if cx.json {
            let result = json!({
                "format": 1, "bench": "boot", "arch": arch, "machine": machine.name,
                "runs": self.runs, "reference": floor.to_json(), "hello": hello.to_json(),
                "ratio": rounded(ratio), "budget": BUDGET, "ok": ok,
            });
            println!("{result}");
        } else {
            println!(
                "guest       median ms     min     max   ({} runs, {arch} {})",
                self.runs, machine.name
            );
            println!("reference   {floor}");
            println!("hello       {hello}");
            println!("hello / reference: {ratio:.2} (budget {BUDGET}): {}", said(ok));
        }
        Ok(Status::OK)
    }
}

/// The machine of the profile `base`.
pub(super) fn machine_of(workspace: &Workspace, arch: Arch) -> anyhow::Result<&Machine> {
    workspace
        .profiles
        .get(&(arch, Name::new("base")?))
        .and_then(|p| workspace.machines.get(&p.machine))
        .context("the profile `base` has no machine")
}

fn measure_cold(cx: &Context) -> anyhow::Result<Status> {
    let seconds = cold::greeting(cx, GREETING)?.as_secs_f64();
    let ok = seconds <= COLD_BUDGET;
    if cx.json {
        let result = json!({
            "format": 1, "bench": "cold", "seconds": rounded(seconds),
            "budget": COLD_BUDGET, "ok": ok,
        });
        println!("{result}");
    } else {
        println!("fresh clone to greeting: {seconds:.1} s (budget {COLD_BUDGET}): {}", said(ok));
    }
    Ok(Status::OK)
}

pub(super) fn said(ok: bool) -> &'static str {
    if ok { "within" } else { "OVER" }
}

/// Starts the machine and returns how long it took until `wanted` stood on its console.
fn first(prepared: &Prepared, wanted: &[u8]) -> anyhow::Result<f64> {
    let mut vm = prepared.start()?;
    let started = vm.started;
    let mut console = Vec::new();
    loop {
        match vm.next(started + LIMIT) {
            Event::Console(bytes, at) => {
                console.extend_from_slice(&bytes);
                if console.windows(wanted.len()).any(|w| w == wanted) {
                    let ms = at.duration_since(started).as_secs_f64() * 1e3;
                    // The next start must not compete with this one's end.
                    while matches!(vm.next(Instant::now() + LIMIT), Event::Console(..)) {}
                    return Ok(ms);
                }
            }
            Event::Closed => bail!(
                "it ended without {:?}: {}",
                String::from_utf8_lossy(wanted),
                vm.finish(None)?.sentence()
            ),
            Event::Quiet => bail!("nothing within {} s", LIMIT.as_secs()),
        }
    }
}

/// Milliseconds of several runs.
pub(super) struct Spread {
    pub median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    pub fn of(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let at = |i: usize| ms.get(i).copied().unwrap_or(f64::NAN);
        Self { median: at(ms.len() / 2), min: at(0), max: at(ms.len().saturating_sub(1)) }
    }

    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "median_ms": rounded(self.median),
            "min_ms": rounded(self.min),
            "max_ms": rounded(self.max),
        })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:9.1} {:7.1} {:7.1}", self.median, self.min, self.max)
    }
}

/// To a hundredth: what lies below is noise.
pub(super) fn rounded(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let s = Spread::of(vec![9.0, 1.0, 5.0]);
        assert_eq!((s.median, s.min, s.max), (5.0, 1.0, 9.0));
        assert_eq!(s.to_json()["median_ms"], 5.0);
        assert_eq!(s.to_string(), "      5.0     1.0     9.0");
    }
}
