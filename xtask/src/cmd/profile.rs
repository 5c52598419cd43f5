//! `cargo xtask profile`: what the profiles hold, and why.

use super::build::workspace;
use crate::config::resolved::{Profile as ProfileFile, ProfileStatus, Workspace};
use crate::config::selector::ProfileSelector;
use crate::config::suggest;
use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::model::{Arch, Name};
use crate::solve::{self, Reason, SelectError, Solution};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the profiles hold, and why
#[derive(clap::Args, Debug)]
pub struct Profile {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Every profile, or every driver
    List {
        /// Lists drivers with the roles that they fill instead
        #[arg(long)]
        drivers: bool,
        #[command(flatten)]
        of: Of,
    },
    /// The drivers of a profile, each with the reason why it is in
    Show {
        /// The profile, with +driver and ~driver
        profile: String,
        #[command(flatten)]
        of: Of,
    },
    /// How a driver comes into a profile, or what would bring it in
    Explain {
        /// The profile, with +driver and ~driver
        profile: String,
        /// The driver
        driver: String,
        #[command(flatten)]
        of: Of,
    },
    /// What two profiles do not share
    Diff {
        /// One profile, with +driver and ~driver
        profile: String,
        /// The other
        other: String,
        #[command(flatten)]
        of: Of,
    },
}

/// For which kernel.
#[derive(clap::Args, Debug)]
struct Of {
    /// x64 or aarch64 (default: env ARCH, else the host's; `list`: all)
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Counts in the roles that this image needs
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
}

impl Profile {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong configuration; unknown names; a profile without a solution.
    pub fn run(&self, cx: &Context) -> anyhow::Result<Status> {
        let workspace = workspace(cx)?;
        let report = match &self.what {
            What::List { drivers, of } => {
                let arch = of.arch.as_deref().map(parse_arch).transpose()?;
                if *drivers { list_drivers(&workspace, arch) } else { list(&workspace, arch) }
            }
            What::Show { profile, of } => show(&of.solve(cx, &workspace, profile)?),
            What::Explain { profile, driver, of } => {
                explain(&workspace, &of.solve(cx, &workspace, profile)?, driver)?
            }
            What::Diff { profile, other, of } => {
                let one = of.solve(cx, &workspace, profile)?;
                diff(&one, &of.solve(cx, &workspace, other)?)
            }
        };
        if cx.json {
            println!("{}", serde_json::to_string_pretty(&report.json)?);
        } else {
            print!("{}", report.text);
        }
        Ok(Status::OK)
    }
}

/// A result for people and for machines.
struct Report {
    text: String,
    json: Value,
}

/// A profile as selected, solved.
struct Solved {
    selector: ProfileSelector,
    solution: Solution,
}

impl Of {
    fn solve(&self, cx: &Context, workspace: &Workspace, text: &str) -> Result<Solved, Refusal> {
        let arch = match (&self.arch, cx.env.get("ARCH").filter(|a| !a.is_empty())) {
            (Some(arch), _) | (None, Some(arch)) => parse_arch(arch)?,
            (None, None) => Arch::host().ok_or_else(|| Refusal::new("name an arch: --arch x64"))?,
        };
        let selector: ProfileSelector = text.parse().map_err(Refusal::new)?;
        let image = match &self.image {
            Some(name) => Some(Name::new(name).map_err(|e| Refusal::new(e.to_string()))?),
            None => None,
        };
        let solved = solve::for_selection(workspace, arch, &selector, image.as_ref());
        let solution = solved.map_err(|e| match e {
            SelectError::Unknown(message, help) => Refusal::new(message).help(help),
            unsolvable => Refusal::new(unsolvable.to_string()),
        })?;
        Ok(Solved { selector, solution })
    }
}

fn parse_arch(text: &str) -> Result<Arch, Refusal> {
    text.parse().map_err(Refusal::new)
}

fn list(workspace: &Workspace, arch: Option<Arch>) -> Report {
    let shown: Vec<&ProfileFile> =
        workspace.profiles.values().filter(|p| arch.is_none_or(|a| a == p.arch)).collect();
    let rows = shown.iter().map(|p| {
        let budget = p.budget_kib.map_or_else(|| "-".to_owned(), |b| format!("{b} KiB"));
        let status = match p.status {
            ProfileStatus::Complete => "complete".to_owned(),
            ProfileStatus::Partial => format!("partial: lacks {}", p.missing.join(", ")),
        };
        [
            p.arch.to_string(),
            p.name.to_string(),
            p.machine.to_string(),
            budget,
            status,
            p.description.clone(),
        ]
    });
    let head = ["ARCH", "PROFILE", "MACHINE", "BUDGET", "STATUS", "DESCRIPTION"];
    Report { text: columns(head, rows), json: json!({ "format": 1, "profiles": shown }) }
}

fn list_drivers(workspace: &Workspace, arch: Option<Arch>) -> Report {
    let here = |d: &&crate::config::resolved::Driver| arch.is_none_or(|a| d.arch.contains(&a));
    let shown: Vec<_> = workspace.drivers.values().filter(here).collect();
    let rows = shown.iter().map(|d| {
        let arch = d.arch.iter().map(Arch::to_string).collect::<Vec<_>>().join(" ");
        let provides = d.provides.iter().map(Name::to_string).collect::<Vec<_>>().join(" ");
        let provides = if provides.is_empty() { "-".to_owned() } else { provides };
        [d.name.to_string(), provides, arch, d.source.repo.clone(), d.description.clone()]
    });
    let head = ["DRIVER", "PROVIDES", "ARCH", "REPOSITORY", "DESCRIPTION"];
    Report { text: columns(head, rows), json: json!({ "format": 1, "drivers": shown }) }
}

fn show(solved: &Solved) -> Report {
    let Solved { selector, solution } = solved;
    let n = solution.drivers.len();
    let plural = if n == 1 { "" } else { "s" };
    let mut text = format!("{selector} on {}: {n} driver{plural}\n", solution.arch);
    let rows = solution.drivers.iter().map(|pair| {
        let (name, reason) = pair;
        [name.to_string(), solve::link(name, reason)]
    });
    text.push_str(&columns(["DRIVER", "BECAUSE"], rows));
    let json = json!({
        "format": 1,
        "profile": selector.to_string(),
        "arch": solution.arch,
        "drivers": solution.drivers,
    });
    Report { text, json }
}

fn explain(workspace: &Workspace, solved: &Solved, driver: &str) -> Result<Report, Refusal> {
    let Solved { selector, solution } = solved;
    let Some(known) = workspace.drivers.get(driver) else {
        let known = workspace.drivers.keys().map(Name::as_str);
        return Err(Refusal::new(format!("unknown driver `{driver}`")).help(suggest::help(
            driver,
            known,
            "; `cargo xtask profile list --drivers`",
        )));
    };
    let chain = solution.chain(&known.name);
    let mut text = String::new();
    let json_chain: Vec<Value> =
        chain.iter().map(|(name, reason)| json!({ "driver": name, "reason": reason })).collect();
    // What would bring the driver in: every chosen or known driver that could need it.
    let wanted_by: BTreeSet<&Name> = workspace
        .drivers
        .values()
        .filter(|d| d.name != known.name && d.arch.contains(&solution.arch))
        .filter(|d| {
            d.requires.iter().chain(d.requires_any.iter().flatten()).any(|r| known.fills(r))
        })
        .map(|d| &d.name)
        .collect();
    if chain.is_empty() {
        text.push_str(&format!("`{driver}` is not in {selector} on {}\n", solution.arch));
        if !known.arch.contains(&solution.arch) {
            let arches = known.arch.iter().map(Arch::to_string).collect::<Vec<_>>().join(" and ");
            text.push_str(&format!("it is for {arches} only\n"));
        } else if wanted_by.is_empty() {
            text.push_str(&format!("no driver needs it; `{selector}+{driver}` adds it\n"));
        } else {
            let by: Vec<String> = wanted_by.iter().map(|n| format!("`{n}`")).collect();
            let by = suggest::list(&by, "and");
            text.push_str(&format!("it would serve {by}; `{selector}+{driver}` adds it\n"));
        }
    }
    for (name, reason) in &chain {
        text.push_str(&format!("{}\n", solve::link(name, reason)));
    }
    let json = json!({
        "format": 1,
        "profile": selector.to_string(),
        "arch": solution.arch,
        "driver": driver,
        "chosen": !chain.is_empty(),
        "chain": json_chain,
        "serves": wanted_by,
    });
    Ok(Report { text, json })
}

fn diff(one: &Solved, other: &Solved) -> Report {
    let only = |a: &Solved, b: &Solved| -> Vec<(Name, Reason)> {
        let missing =
            a.solution.drivers.iter().filter(|(n, _)| !b.solution.drivers.contains_key(*n));
        missing.map(|(n, r)| (n.clone(), r.clone())).collect()
    };
    let (minus, plus) = (only(one, other), only(other, one));
    let shared = one.solution.drivers.len() - minus.len();
    let mut text = format!(
        "{} and {} on {} share {shared} drivers\n",
        one.selector, other.selector, one.solution.arch
    );
    for (sign, list) in [('-', &minus), ('+', &plus)] {
        for (name, reason) in list {
            text.push_str(&format!("{sign} {name}: {}\n", solve::link(name, reason)));
        }
    }
    let names = |list: &[(Name, Reason)]| list.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    let json = json!({
        "format": 1,
        "arch": one.solution.arch,
        "profile": one.selector.to_string(),
        "other": other.selector.to_string(),
        "only_in_profile": names(&minus),
        "only_in_other": names(&plus),
        "shared": shared,
    });
    Report { text, json }
}

/// Rows under a head, in columns as wide as they need to be.
fn columns<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}
