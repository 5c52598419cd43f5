//! `cargo xtask check`: formatting, lints for the host and for both kernel targets, the
//! house rules, the size budgets.

use super::build;
use crate::cli::{BuildFlags, Selectors};
use crate::config::resolved::Workspace;
use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::{flycheck, setup};
use crate::model::Arch;
use crate::run::args::shell_line;
use crate::setup::Need;
use crate::tidy::{self, SourceFile};
use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};
use std::fs;
use std::process::{Command, Stdio};

/// Formatting, lints for host and kernels, house rules, size budgets
#[derive(clap::Args, Debug)]
pub struct Check {
    /// human, or json: only the lints, as an editor wants them
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub message_format: String,
}

impl Check {
    /// Runs the command.
    ///
    /// # Errors
    /// When a tool cannot be started. What the checks find is a status.
    pub fn run(self, cx: &Context) -> anyhow::Result<Status> {
        let json = match self.message_format.as_str() {
            "json" => true,
            "human" => false,
            other => {
                return Err(Refusal::new(format!("unknown message format `{other}`"))
                    .help("the formats are human and json")
                    .into());
            }
        };
        setup::ensure(cx, &[Need::Rust, Need::RustSrc, Need::Clippy, Need::Rustfmt])?;
        let workspace = build::workspace(cx)?;
        if json {
            // The host's calls beside the kernels': they share no folder, so that neither
            // waits for the other, for a build, or for a `check` at a terminal. Without
            // RUSTC_BOOTSTRAP build scripts come out otherwise, so one folder for both would
            // compile them again each time.
            let folder = cx.layout.root().join("check/editor");
            let mut kernels = Vec::new();
            for arch in Arch::ALL {
                kernels.push(kernel(cx, &workspace, arch, &folder.join("kernel"), FOR_EDITORS)?);
            }
            let host = vec![host(cx, &folder.join("host"), FOR_EDITORS)];
            let good = flycheck::run(&cx.root, vec![host, kernels])?;
            return Ok(if good { Status::OK } else { Status::FAILED });
        }
        let folder = cx.layout.root().join("check");
        let mut ok = true;
        let mut done = |what: &str, good: bool| {
            eprintln!("{}  {what}", if good { "ok    " } else { "FAILED" });
            ok &= good;
        };
        let mut fmt = cargo(cx);
        fmt.args(["fmt", "--all", "--", "--check"]);
        done("formatting", passes(cx, fmt)?);
        done("lints, host", passes(cx, host(cx, &folder, FOR_PEOPLE))?);
        for arch in Arch::ALL {
            let kernel = kernel(cx, &workspace, arch, &folder, FOR_PEOPLE)?;
            done(&format!("lints, {arch} kernel"), passes(cx, kernel)?);
        }
        let violations = tidy::check(&files(cx)?);
        for violation in &violations {
            eprintln!("{violation}");
        }
        done("house rules", violations.is_empty());
        for line in over_budget(cx, &workspace)? {
            eprintln!("{line}");
            done("size budget", false);
        }
        Ok(if ok { Status::OK } else { Status::FAILED })
    }
}

/// How cargo reports. The bar is the same, no warning, but an editor shows warnings as what
/// they are.
type Reports = (&'static [&'static str], &'static [&'static str]);
const FOR_EDITORS: Reports = (&["--quiet", "--message-format=json"], &[]);
const FOR_PEOPLE: Reports = (&[], &["--", "-Dwarnings"]);

/// The lints of the host's code.
fn host(cx: &Context, folder: &Utf8Path, (how, bar): Reports) -> Command {
    let mut command = cargo(cx);
    command.args(["clippy", "--workspace", "--all-targets", "--locked", "--keep-going"]);
    command.arg(format!("--target-dir={folder}")).args(how).args(bar);
    command
}

/// The lints of the kernel as its own target sees it: what stands behind
/// `cfg(target_os = "none")` is invisible to the host's.
fn kernel(
    cx: &Context,
    w: &Workspace,
    arch: Arch,
    folder: &Utf8Path,
    (how, bar): Reports,
) -> anyhow::Result<Command> {
    let config = w
        .arches
        .get(&arch)
        .ok_or_else(|| Refusal::new(format!("there is no kernel-config/arch/{arch}.toml")))?;
    let spec = w.absolute(&config.target).context("the target's repository is gone")?;
    // Osier's own drivers are features of `loader`; those of other repositories are linted
    // where they live.
    let drivers: Vec<&str> = w
        .drivers
        .values()
        .filter(|d| d.source.repo == config.source.repo && d.arch.contains(&arch))
        .map(|d| d.name.as_str())
        .collect();
    let mut command = cargo(cx);
    command.args([
        "clippy",
        "--package=loader",
        "--locked",
        "-Zbuild-std=core,alloc,compiler_builtins",
        "-Zjson-target-spec",
        // The soft-float target makes core report 12,500 future incompatibilities.
        "--config=future-incompat-report.frequency=\"never\"",
    ]);
    command.arg(format!("--target={spec}")).arg(format!("--target-dir={folder}"));
    command.arg(format!("--features={}", drivers.join(","))).args(how).args(bar);
    command.env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}

fn cargo(cx: &Context) -> Command {
    let mut command = Command::new(cx.env.get("CARGO").map_or("cargo", String::as_str));
    command.current_dir(&cx.root).stdin(Stdio::null());
    command
}

/// Runs a command with its output for the user; whether it succeeded.
fn passes(cx: &Context, mut command: Command) -> anyhow::Result<bool> {
    let program = command.get_program().display().to_string();
    if cx.verbose > 0 {
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        eprintln!("{}", shell_line(&program, &args));
    }
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    Ok(status.success())
}

/// Every text file that git knows, or will know: ignored ones are not ours.
fn files(cx: &Context) -> anyhow::Result<Vec<SourceFile>> {
    let out = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&cx.root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start git")?;
    if !out.status.success() {
        bail!("git ls-files failed ({})", out.status);
    }
    let names = String::from_utf8(out.stdout).context("a file's name is not UTF-8")?;
    let read = |name: &str| {
        let path = Utf8PathBuf::from(name);
        // A file that was deleted but not committed, or is no text.
        let text = fs::read_to_string(cx.root.join(&path)).ok()?;
        Some(SourceFile { path, text })
    };
    Ok(names.split('\0').filter(|n| !n.is_empty()).filter_map(read).collect())
}

/// A line for each profile whose kernel is larger than it promises.
fn over_budget(cx: &Context, w: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut out = Vec::new();
    for profile in w.profiles.values() {
        let Some(budget) = profile.budget_kib else { continue };
        let selectors = Selectors {
            arch: vec![profile.arch.to_string()],
            mode: vec!["release".to_owned()],
            profile: vec![profile.name.to_string()],
            ..Selectors::default()
        };
        let built = build::build(cx, &selectors, &BuildFlags::default())?;
        for image in &built.images {
            let kernel = image.folder.join("loader-stripped.elf");
            let size =
                fs::metadata(&kernel).with_context(|| format!("cannot read {kernel}"))?.len();
            let kib = size.div_ceil(1024);
            eprintln!("        {} {}: {kib} of {budget} KiB", profile.arch, profile.name);
            if kib > u64::from(budget) {
                out.push(format!(
                    "{kernel}: {kib} KiB; profile {} of {} promises at most {budget}",
                    profile.name, profile.arch
                ));
            }
        }
    }
    Ok(out)
}
