//! `cargo xtask bench smp`: what a second CPU is worth to a program with two threads.

use super::bench::{LIMIT, Spread, arch_of, machine_of, release_of, rounded, said};
use crate::context::Context;
use crate::error::Status;
use crate::exec::boot::{Options, Prepared};
use crate::exec::qemu::Event;
use anyhow::{Context as _, bail};
use serde_json::json;
use std::time::{Duration, Instant};

/// A program with two busy threads on two CPUs, against the same on one CPU
#[derive(clap::Args, Debug)]
pub struct Smp {
    /// x64 or aarch64 (default: the host's)
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Runs of each; the medians are compared
    #[arg(long, value_name = "N", default_value = "5")]
    pub runs: std::num::NonZeroUsize,
}

/// The most that two CPUs may take, as a part of what one takes.
const BUDGET: f64 = 0.65;
/// What the program prints before and after its work.
const BEGIN: &[u8] = b"spin: begin\r\n";
const END: &[u8] = b"spin: end\r\n";

impl Smp {
    /// Runs the command.
    ///
    /// # Errors
    /// When something cannot be built or does not boot.
    pub fn run(self, cx: &Context) -> anyhow::Result<Status> {
        let arch = arch_of(self.arch.as_deref())?;
        let (image, built) = release_of(cx, arch, "selftest")?;
        let machine = machine_of(&built.workspace, arch)?;
        let with = |cpus| {
            let cmdline = Some("/bin/selftest spin");
            image.prepare(cx, &Options { cpus, cmdline, ..Options::plain(machine) })
        };
        let (single, double) = (with(1)?, with(2)?);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        // In turns, so that what else the machine does weighs on both.
        for _ in 0..self.runs.get() {
            one.push(spin(&single).context("on one CPU")?);
            two.push(spin(&double).context("on two CPUs")?);
        }
        let (one, two) = (Spread::of(one), Spread::of(two));
        let ratio = two.median / one.median;
        let ok = ratio <= BUDGET;
        if cx.json {
            let result = json!({
                "format": 1, "bench": "smp", "arch": arch, "machine": machine.name,
                "runs": self.runs, "one": one.to_json(), "two": two.to_json(),
                "ratio": rounded(ratio), "budget": BUDGET, "ok": ok,
            });
            println!("{result}");
        } else {
            println!("CPUs   median ms     min     max   ({} runs, {arch})", self.runs);
            println!("1      {one}");
            println!("2      {two}");
            println!("two CPUs / one: {ratio:.2} (budget {BUDGET}): {}", said(ok));
        }
        Ok(Status::OK)
    }
}

/// Starts the machine; how long its program worked, in ms.
fn spin(prepared: &Prepared) -> anyhow::Result<f64> {
    let mut vm = prepared.start()?;
    let until = vm.started + LIMIT * 3;
    let (mut console, mut began) = (Vec::new(), None);
    loop {
        match vm.next(until) {
            Event::Console(bytes, at) => {
                console.extend_from_slice(&bytes);
                let says = |what: &[u8]| console.windows(what.len()).any(|w| w == what);
                if began.is_none() && says(BEGIN) {
                    began = Some(at);
                }
                if let Some(began) = began.filter(|_| says(END)) {
                    // The next start must not compete with this one's end.
                    let end = Instant::now() + LIMIT;
                    while matches!(vm.next(end), Event::Console(..)) {}
                    let worked: Duration = at.duration_since(began);
                    return Ok(worked.as_secs_f64() * 1e3);
                }
            }
            Event::Closed => bail!("it ended too early: {}", vm.finish(None)?.sentence()),
            Event::Quiet => bail!("it did not end its work within {} s", LIMIT.as_secs() * 3),
        }
    }
}
