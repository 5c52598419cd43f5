//! `cargo xtask test`: all host tests, then every scenario, then one table.

use super::build::{self, BuiltImage};
use crate::cli::{BuildFlags, Selectors};
use crate::config::resolved::Workspace;
use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::boot::{Bootable, check_machine};
use crate::exec::host_tests::{self, Tally};
use crate::exec::scenario::{self, Verdict};
use crate::exec::setup;
use crate::model::Arch;
use crate::scenario::{Case, Filter, cases};
use crate::setup::Need;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Runs all host tests, then every scenario
#[derive(clap::Args, Debug)]
pub struct Test {
    /// Only the host tests
    #[arg(long, conflicts_with = "boot")]
    pub host: bool,
    /// Only the scenarios
    #[arg(long)]
    pub boot: bool,
    /// Only scenarios of these archs
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub arch: Vec<String>,
    /// Boots each scenario so many times
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "host")]
    pub repeat: NonZeroUsize,
    #[command(flatten)]
    pub flags: BuildFlags,
    /// Only tests and scenarios with this in their name
    pub filter: Option<String>,
}

/// A case with what it is called and how it went.
struct Row {
    scenario: String,
    arch: Arch,
    machine: String,
    verdict: Result<Verdict, String>,
}

impl Test {
    /// Runs the command.
    ///
    /// # Errors
    /// A `Refusal` for a wrong request or configuration. Failed tests are a status.
    pub fn run(self, cx: &Context) -> anyhow::Result<Status> {
        let arches = self.arch.iter().map(|a| a.parse().map_err(Refusal::new));
        let filter =
            Filter { arches: arches.collect::<Result<_, _>>()?, name: self.filter.clone() };
        let workspace = build::workspace(cx)?;
        let chosen =
            if self.host { Vec::new() } else { cases(&workspace, &filter).map_err(refused)? };
        for case in &chosen {
            check_machine(case.machine, case.arch)?;
        }
        // A machine that cannot boot anything says so now, not after minutes of host tests.
        let needs: BTreeSet<Need> = chosen.iter().map(|c| Need::Qemu(c.arch)).collect();
        setup::ensure(cx, &needs.into_iter().collect::<Vec<_>>())?;
        let chosen = chosen.repeat(self.repeat.get());
        let mut tally = Tally::default();
        if !self.boot {
            // What tests the editor's and the debugger's side. A machine that cannot get it has
            // those skipped, by name.
            for need in [Need::RustAnalyzer, Need::Gdb] {
                if let Err(e) = setup::ensure(cx, &[need]) {
                    eprintln!("going on without {}: {e:#}", need.name());
                }
            }
            tally.add(&host_tests::run(cx, self.filter.as_deref())?);
        }
        let rows =
            if chosen.is_empty() { Vec::new() } else { self.boot_all(cx, &workspace, &chosen)? };
        for row in &rows {
            match row.failure() {
                Some(_) => tally.failed.push(row.name()),
                None => tally.passed += 1,
            }
        }
        if self.filter.is_some() && tally.is_empty() {
            return Err(Refusal::new(format!(
                "no test and no scenario has `{}` in its name",
                self.filter.unwrap_or_default()
            ))
            .into());
        }
        report(cx, &rows, &tally, self.repeat.get() > 1);
        Ok(if tally.failed.is_empty() { Status::OK } else { Status::FAILED })
    }

    /// Builds every image that a case needs, then boots all cases, some at a time.
    fn boot_all(
        &self,
        cx: &Context,
        workspace: &Workspace,
        chosen: &[Case],
    ) -> anyhow::Result<Vec<Row>> {
        self.build_together(cx, chosen);
        let mut built: BTreeMap<Selection, Result<Bootable, String>> = BTreeMap::new();
        for case in chosen {
            built
                .entry(Selection::of(case))
                .or_insert_with_key(|selection| self.build(cx, workspace, selection));
        }
        let jobs = match self.flags.jobs {
            Some(jobs) => jobs,
            None => thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..jobs.get().min(chosen.len()) {
                scope.spawn(|| {
                    while let Some((n, case)) = {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        chosen.get(n).map(|case| (n, case))
                    } {
                        let verdict = match built.get(&Selection::of(case)) {
                            Some(Ok(image)) => {
                                scenario::run(cx, case, image).map_err(|e| format!("{e:#}"))
                            }
                            Some(Err(why)) => Err(why.clone()),
                            None => Err("it was not built".to_owned()),
                        };
                        let row = Row::new(case, verdict);
                        row.announce(cx);
                        if let Ok(mut rows) = rows.lock() {
                            rows.push((n, row));
                        }
                    }
                });
            }
        });
        let mut rows = rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        rows.sort_by_key(|(n, _)| *n);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// Builds what most cases need in as few builds as there are modes, so that archs and
    /// profiles compile side by side. Each case asks for its own image afterwards, which
    /// then is up to date; so a failure here is reported there, by the case.
    fn build_together(&self, cx: &Context, chosen: &[Case]) {
        let mut together: BTreeMap<String, [BTreeSet<String>; 3]> = BTreeMap::new();
        for s in chosen.iter().map(Selection::of).filter(|s| s.kernel_base.is_none()) {
            let [arches, profiles, images] = together.entry(s.mode).or_default();
            arches.insert(s.arch.to_string());
            profiles.insert(s.profile);
            images.insert(s.image);
        }
        for (mode, [arch, profile, image]) in together {
            let list = |names: BTreeSet<String>| names.into_iter().collect();
            let selectors = Selectors {
                arch: list(arch),
                mode: vec![mode],
                profile: list(profile),
                image: list(image),
                ..Selectors::default()
            };
            if build::build(cx, &selectors, &self.flags).is_err() {
                eprintln!("something does not build; now one image at a time");
            }
        }
    }

    fn build(&self, cx: &Context, w: &Workspace, s: &Selection) -> Result<Bootable, String> {
        let built = build::build(cx, &s.selectors(), &self.flags).map_err(|e| {
            // The whole report, once, where it happened; the table says that it did.
            eprint!("{}", crate::error::render(&e));
            "the build failed".to_owned()
        })?;
        let image: Option<&BuiltImage> = built.images.first();
        let image = image.ok_or("the build made no image")?;
        Bootable::new(cx, image, w).map_err(|e| format!("{e:#}"))
    }
}

fn refused(e: crate::scenario::NoSuchMachine) -> Refusal {
    Refusal::new(e.to_string())
}

/// What has to be built for a case; cases that agree in it share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Selection {
    arch: Arch,
    mode: String,
    profile: String,
    image: String,
    kernel_base: Option<u64>,
}

impl Selection {
    fn of(case: &Case) -> Self {
        let s = case.scenario;
        Self {
            arch: case.arch,
            mode: s.mode.to_string(),
            profile: s.profile.clone(),
            image: s.image.to_string(),
            kernel_base: s.kernel_base.get(&case.arch).copied(),
        }
    }

    fn selectors(&self) -> Selectors {
        Selectors {
            arch: vec![self.arch.to_string()],
            mode: vec![self.mode.clone()],
            profile: vec![self.profile.clone()],
            image: vec![self.image.clone()],
            matrix: false,
            kernel_base: self.kernel_base.map(|b| format!("{b:#x}")),
            crash_dump: false,
        }
    }
}

impl Row {
    fn new(case: &Case, verdict: Result<Verdict, String>) -> Self {
        Self {
            scenario: case.scenario.name.to_string(),
            arch: case.arch,
            machine: case.machine.name.to_string(),
            verdict,
        }
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.scenario, self.arch, self.machine)
    }

    fn failure(&self) -> Option<&str> {
        match &self.verdict {
            Ok(verdict) => verdict.failure.as_deref(),
            Err(why) => Some(why),
        }
    }

    fn boot_ms(&self) -> Option<u128> {
        self.verdict.as_ref().ok()?.boot.map(|b| b.as_millis())
    }

    fn took(&self) -> Option<Duration> {
        self.verdict.as_ref().ok().map(|v| v.took)
    }

    /// Says how it went as soon as that is known; a failure with everything that it printed.
    fn announce(&self, cx: &Context) {
        if cx.json {
            let event = json!({
                "format": 1,
                "event": "scenario",
                "scenario": self.scenario,
                "arch": self.arch,
                "machine": self.machine,
                "ok": self.failure().is_none(),
                "failure": self.failure(),
                "boot_ms": self.boot_ms().map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
                "seconds": self.took().map(|t| t.as_secs_f64()),
            });
            println!("{event}");
        }
        match self.failure() {
            None => eprintln!("passed  {}", self.name()),
            Some(why) => {
                let log = self.verdict.as_ref().map_or("", |v| v.log.as_str());
                let log: String = log.lines().map(|l| format!("  | {l}\n")).collect();
                eprint!("FAILED  {}: {why}\n{log}", self.name());
            }
        }
    }
}

fn report(cx: &Context, rows: &[Row], tally: &Tally, repeated: bool) {
    if cx.json {
        let closing = json!({
            "format": 1,
            "event": "tests",
            "passed": tally.passed,
            "failed": tally.failed,
            "skipped": tally.skipped,
        });
        println!("{closing}");
        return;
    }
    print!("{}", if repeated { counts(rows) } else { table(rows) });
    for name in &tally.skipped {
        println!("skipped {name}");
    }
    for name in &tally.failed {
        println!("FAILED  {name}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed,
        tally.failed.len(),
        tally.skipped.len()
    );
}

/// How often each passed, of how many times, and what the longest took.
fn counts(rows: &[Row]) -> String {
    let mut counts: BTreeMap<String, (usize, usize, Duration)> = BTreeMap::new();
    for row in rows {
        let (passed, all, longest) = counts.entry(row.name()).or_default();
        *passed += usize::from(row.failure().is_none());
        *all += 1;
        *longest = (*longest).max(row.took().unwrap_or_default());
    }
    let line = |(name, (passed, all, longest)): (&String, &(usize, usize, Duration))| {
        format!("{name}: {passed} of {all}, {:.1} s at most\n", longest.as_secs_f64())
    };
    counts.iter().map(line).collect()
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads = ["scenario", "arch", "machine", "result", "boot ms", "s"].map(str::to_owned);
    let lines = rows.iter().map(|r| {
        let result = if r.failure().is_none() { "passed" } else { "FAILED" };
        let boot = r.boot_ms().map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        let took = r.took().map_or_else(|| "-".to_owned(), |t| format!("{:.1}", t.as_secs_f64()));
        [r.scenario.clone(), r.arch.to_string(), r.machine.clone(), result.to_owned(), boot, took]
    });
    let lines: Vec<[String; 6]> = std::iter::once(heads).chain(lines).collect();
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    for line in &lines {
        let [a, b, c, d, e, f] = line;
        let [wa, wb, wc, wd, we, wf] = widths;
        out.push_str(&format!("{a:wa$}  {b:wb$}  {c:wc$}  {d:wd$}  {e:>we$}  {f:>wf$}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_each_went() {
        let row = |name: &str, verdict| Row {
            scenario: name.into(),
            arch: Arch::X64,
            machine: "q35".into(),
            verdict,
        };
        let ms = Duration::from_millis;
        let good =
            Verdict { failure: None, boot: Some(ms(36)), took: ms(1240), log: String::new() };
        let rows = [row("hello", Ok(good)), row("no-init", Err("the build failed".into()))];
        assert_eq!(
            table(&rows),
            "scenario  arch  machine  result  boot ms    s\n\
             hello     x64   q35      passed       36  1.2\n\
             no-init   x64   q35      FAILED        -    -\n"
        );
        assert_eq!(table(&[]), "");
        let [good, bad] = rows;
        let again = Row { verdict: Err("it hung".into()), ..row("hello", Err(String::new())) };
        assert_eq!(
            counts(&[good, bad, again]),
            "hello x64 q35: 1 of 2, 1.2 s at most\nno-init x64 q35: 0 of 1, 0.0 s at most\n"
        );
    }
}
