//! `cargo xtask bench noop | rebuild`: what a build costs when nothing, or one thing, has changed.

use crate::context::Context;
use crate::error::Status;
use crate::exec::bench_build::{Bed, Timed, load};
use crate::report::stdout;
use anyhow::Result;
use serde_json::json;

/// `cargo xtask build` and `plan` with nothing changed, against the cargo calls inside
#[derive(clap::Args, Debug)]
pub struct Noop {
    /// Builds; the medians are told
    #[arg(long, value_name = "N", default_value = "11")]
    pub runs: std::num::NonZeroUsize,
}

/// After one edit each of a driver, an app, a file of a 64 MiB image, and `--kernel-base`
#[derive(clap::Args, Debug)]
pub struct Rebuild {
    /// Edits of each kind; the medians are told
    #[arg(long, value_name = "N", default_value = "11")]
    pub runs: std::num::NonZeroUsize,
}

/// A build with nothing changed, in seconds.
const NOOP: f64 = 0.30;
/// The same as a multiple of the cargo calls that it makes.
const NOOP_RATIO: f64 = 1.5;
/// `cargo xtask plan`, in seconds.
const PLAN: f64 = 0.15;
/// After an edit of a driver: release, debug.
const DRIVER: [f64; 2] = [2.5, 1.5];
/// After an edit of an app.
const APP: f64 = 1.2;
/// After an edit of a file in an image of 64 MiB.
const FILE: f64 = 0.5;

/// One measured figure.
struct Row {
    what: String,
    median: f64,
    /// The median of the seconds of CPU, where a build was timed.
    cpu: Option<f64>,
    /// What it is at most, where a bound is set.
    budget: Option<f64>,
    /// Steps that ran in the last of the runs, cargo's calls that compiled nothing left out.
    ran: Vec<String>,
}

impl Noop {
    /// Runs the command.
    ///
    /// # Errors
    /// When a build fails.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let bed = Bed::make(cx)?;
        let selection = ["--profile", "base"];
        bed.build(&selection)?;
        let (mut wall, mut cargo, mut plan) = (Vec::new(), Vec::new(), Vec::new());
        let mut cpu = Vec::new();
        let mut ran = Vec::new();
        for _ in 0..self.runs.get() {
            let timed = bed.build(&selection)?;
            wall.push(timed.wall);
            cpu.push(timed.cpu);
            ran = timed.ran;
            // One at a time: side by side on few CPUs they would slow each other down.
            cargo.push(bed.build(&["--profile", "base", "--jobs", "1"])?.cargo);
            plan.push(bed.plan(&selection)?);
        }
        let (wall, cargo) = (median(wall), median(cargo));
        let row = |what: &str, median, budget| Row {
            what: what.to_owned(),
            median,
            cpu: None,
            budget,
            ran: Vec::new(),
        };
        let rows = [
            Row { ran, cpu: Some(median(cpu)), ..row("cargo xtask build, s", wall, Some(NOOP)) },
            row("its cargo calls, one after the other, s", cargo, None),
            row("ratio", wall / cargo, Some(NOOP_RATIO)),
            row("cargo xtask plan, s", median(plan), Some(PLAN)),
        ];
        report(cx, "noop", self.runs.get(), &rows)
    }
}

impl Rebuild {
    /// Runs the command.
    ///
    /// # Errors
    /// When a build fails.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let bed = Bed::make(cx)?;
        bed.add_large_image()?;
        let driver = if cfg!(target_arch = "aarch64") { "pl011" } else { "ns16550" };
        let driver = format!("drivers/{driver}/src/lib.rs");
        let base = if cfg!(target_arch = "aarch64") { "0x41080000" } else { "0x1000000" };
        let mut rows = Vec::new();
        for (mode, budget) in [("release", DRIVER[0]), ("debug", DRIVER[1])] {
            let flags = ["--profile", "base", "--mode", mode];
            let edit = || bed.edit(&driver);
            rows.push(self.row(
                &bed,
                &format!("a driver's source, {mode}, s"),
                Some(budget),
                &flags,
                &edit,
            )?);
        }
        let usual = ["--profile", "base"];
        let app = || bed.edit("apps/hello/src/main.rs");
        rows.push(self.row(&bed, "an app's source, s", Some(APP), &usual, &app)?);
        let large = ["--profile", "base", "--image", Bed::LARGE];
        let file = || bed.append(Bed::LARGE_FILE);
        rows.push(self.row(&bed, "a file of a 64 MiB image, s", Some(FILE), &large, &file)?);
        let moved = ["--profile", "base", "--kernel-base", base];
        let back = || bed.build(&usual).map(|_| ());
        rows.push(self.row(&bed, "--kernel-base and back, s", None, &moved, &back)?);
        report(cx, "rebuild", self.runs.get(), &rows)
    }

    fn row(
        &self,
        bed: &Bed,
        what: &str,
        budget: Option<f64>,
        flags: &[&str],
        edit: &dyn Fn() -> Result<()>,
    ) -> Result<Row> {
        bed.build(flags)?;
        let mut all: Vec<Timed> = Vec::new();
        for _ in 0..self.runs.get() {
            edit()?;
            all.push(bed.build(flags)?);
        }
        let wall = median(all.iter().map(|t| t.wall).collect());
        let cpu = Some(median(all.iter().map(|t| t.cpu).collect()));
        let ran = all.pop().map(|t| t.ran).unwrap_or_default();
        Ok(Row { what: what.to_owned(), median: wall, cpu, budget, ran })
    }
}

/// The middle one; of an even number the upper of the two.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figures, and a failing status when one is over its bound.
fn report(cx: &Context, bench: &str, runs: usize, rows: &[Row]) -> Result<Status> {
    let over = |r: &Row| r.budget.is_some_and(|b| r.median > b);
    if cx.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|r| {
                json!({
                    "what": r.what, "median": r.median, "cpu": r.cpu, "budget": r.budget,
                    "within": !over(r), "ran": r.ran,
                })
            })
            .collect();
        let all = json!({
            "format": 1, "bench": bench, "runs": runs, "load": load(), "rows": rows,
        });
        stdout(&all.to_string())?;
    } else {
        for row in rows {
            let budget = row.budget.map(|b| format!("at most {b:.2}")).unwrap_or_default();
            let mark = if over(row) { "  OVER" } else { "" };
            let cpu = row.cpu.map(|s| format!("{s:.2} of CPU")).unwrap_or_default();
            stdout(&format!("{:42} {:>6.2}  {cpu:12}  {budget}{mark}", row.what, row.median))?;
            for step in &row.ran {
                stdout(&format!("    {step}"))?;
            }
        }
        let load = load().map(|l| format!("; load {l:.1} on this machine")).unwrap_or_default();
        stdout(&format!("medians of {runs}{load}"))?;
    }
    Ok(if rows.iter().any(over) { Status::FAILED } else { Status::OK })
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![2.0, 1.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
