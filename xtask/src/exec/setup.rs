//! Getting what `setup` found missing.

use crate::context::Context;
use crate::error::Refusal;
use crate::run::args::shell_line;
use crate::setup::{Finding, Host, Mend, Need, Package, Toolchain, install_command};
use anyhow::{Context as _, bail};
use camino::Utf8Path;
use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};
use std::process::{Command, Stdio};

/// Looks for each of `needs`.
#[must_use]
pub fn look(cx: &Context, needs: &[Need]) -> Vec<Finding> {
    let host = Host { env: &cx.env, exists: &|p: &Utf8Path| p.exists() };
    let toolchain = Toolchain::find(&host);
    needs.iter().map(|n| n.look(&host, toolchain.as_ref())).collect()
}

/// Makes sure that all of `needs` are there. What rustup has is added without asking; a
/// system package after a question on a terminal, at once for root without one.
///
/// # Errors
/// A [`Refusal`] with the exact command when something is missing and was not to be got.
pub fn ensure(cx: &Context, needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<Finding> = look(cx, needs).into_iter().filter(|f| f.found.is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    mend(cx, &missing)?;
    let still = look(cx, needs).into_iter().find(|f| f.found.is_none());
    still.map_or(Ok(()), |f| {
        Err(Refusal::new(format!("{} is still missing", f.need.name()))
            .help("`cargo xtask doctor` shows what was looked for")
            .into())
    })
}

/// Gets everything that `findings` lack.
///
/// # Errors
/// As [`ensure`].
pub fn mend(cx: &Context, findings: &[Finding]) -> anyhow::Result<()> {
    let mut packages: Vec<(&Finding, &'static Package)> = Vec::new();
    for finding in findings {
        let name = finding.need.name();
        match &finding.mend {
            None => {}
            Some(Mend::Rustup(command)) => {
                eprintln!("{name} is missing; adding it");
                run(command).with_context(|| format!("{name} could not be added"))?;
            }
            Some(Mend::Package(package)) => packages.push((finding, package)),
            Some(Mend::Advice(advice)) => {
                return Err(Refusal::new(format!("{name} is missing")).help(advice).into());
            }
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = packages.iter().map(|(f, _)| f.need.name()).collect();
    let names = names.join(", ");
    let wanted: Vec<&Package> = packages.iter().map(|(_, p)| *p).collect();
    let host = Host { env: &cx.env, exists: &|p: &Utf8Path| p.exists() };
    let Some(mut command) = install_command(&host, &wanted) else {
        return Err(Refusal::new(format!(
            "{names}: missing, and no known package manager is here"
        ))
        .help("install it and make sure that it is on the PATH")
        .into());
    };
    let root = rustix::process::geteuid().is_root();
    if !root {
        command.insert(0, "sudo".to_owned());
    }
    let line = shown(&command);
    let asked = stdin().is_terminal() && stderr().is_terminal();
    if asked {
        eprint!("{names}: missing. Run `{line}`? [y/N] ");
        stderr().flush()?;
        let mut answer = String::new();
        stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Refusal::new(format!("{names}: missing")).help(line).into());
        }
    } else if root {
        eprintln!("{names}: missing; running `{line}`");
    } else {
        return Err(Refusal::new(format!("{names}: missing")).help(line).into());
    }
    if run(&command).is_err() {
        // A fresh container has no package lists, an old one stale ones.
        let apt = command.iter().position(|w| w == "apt-get");
        let Some(update) = apt.map(|at| [&command[..=at], &["update".to_owned()]].concat()) else {
            bail!("`{line}` failed");
        };
        run(&update)?;
        run(&command)?;
    }
    Ok(())
}

fn shown(command: &[String]) -> String {
    command.split_first().map_or_else(String::new, |(p, args)| shell_line(p, args))
}

/// Runs a command whose output is for the user; stdout is kept for results.
fn run(command: &[String]) -> anyhow::Result<()> {
    let line = shown(command);
    let (program, args) = command.split_first().context("an empty command")?;
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::inherit())
        .stdout(stderr())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// The first line that `program --version` says.
#[must_use]
pub fn version(program: &str) -> Option<String> {
    let out = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8_lossy(&out.stdout).lines().next().map(|l| l.trim().to_owned())
}
