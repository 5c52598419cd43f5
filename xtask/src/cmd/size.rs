//! `cargo xtask size`: kernel bytes by crate, by driver and by section.

use super::build;
use crate::cli::{BuildFlags, Selectors};
use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::fsx;
use crate::link::{SizeTable, size_table};
use crate::report::stdout;
use anyhow::Result;
use camino::Utf8PathBuf;
use std::fmt::Write as _;

/// Shows kernel bytes by crate, by driver and by section
#[derive(clap::Args, Debug)]
pub struct Size {
    #[command(flatten)]
    pub selectors: Selectors,
    #[command(flatten)]
    pub flags: BuildFlags,
    /// Keeps the ledger in FILE, for a later --compare
    #[arg(long, value_name = "FILE")]
    pub save: Option<Utf8PathBuf>,
    /// Shows what grew and shrank since the ledger in FILE
    #[arg(long, value_name = "FILE")]
    pub compare: Option<Utf8PathBuf>,
}

impl Size {
    /// Runs the command.
    ///
    /// # Errors
    /// As `build`; a ledger that cannot be read or written.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let earlier = self.compare.as_ref().map(|file| read(&cx.cwd.join(file))).transpose()?;
        let built = build::build(cx, &self.selectors, &self.flags)?;
        let [image] = built.images.as_slice() else {
            return Err(Refusal::new("size takes one selection, not several").into());
        };
        let names: Vec<&str> = image.selected.drivers.keys().map(|d| d.as_str()).collect();
        let table = size_table(&fsx::read(&image.loader_elf)?, &names)?;
        if let Some(file) = &self.save {
            fsx::write(&cx.cwd.join(file), serde_json::to_string_pretty(&table)?.as_bytes())?;
        }
        let text = match (cx.json, &earlier) {
            (true, Some(earlier)) => {
                let since = table.since(earlier);
                serde_json::json!({ "format": 1, "total": table.total(), "since": since })
                    .to_string()
            }
            (true, None) => serde_json::to_string(&table)?,
            (false, Some(earlier)) => difference(&table, earlier),
            (false, None) => ledger(&table),
        };
        stdout(&text)?;
        Ok(Status::OK)
    }
}

fn read(file: &camino::Utf8Path) -> Result<SizeTable> {
    let refuse = |why: String| {
        Refusal::new(format!("{file} is no size ledger: {why}"))
            .help(format!("cargo xtask size --save {file}"))
    };
    let bytes = std::fs::read(file).map_err(|e| refuse(e.to_string()))?;
    let table: SizeTable = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
    if table.format != 1 {
        return Err(refuse(format!("its format is {}, and not 1", table.format)).into());
    }
    Ok(table)
}

/// The ledger as a table.
fn ledger(table: &SizeTable) -> String {
    let width = table.owners.iter().map(|o| o.name.chars().count() + 2).max().unwrap_or(0).max(14);
    let mut out = format!(
        "{:width$} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "crate (* driver)", "code", "rodata", "data", "bss", "memory"
    );
    for o in &table.owners {
        let name = if o.driver { format!("{} *", o.name) } else { o.name.clone() };
        let _ = writeln!(
            out,
            "{name:width$} {:>9} {:>9} {:>9} {:>9} {:>9}",
            o.code,
            o.rodata,
            o.data,
            o.bss,
            o.in_memory()
        );
    }
    out.push('\n');
    for section in &table.sections {
        let _ = writeln!(out, "{:width$} {:>9}", section.name, section.bytes);
    }
    let _ = writeln!(out, "{:width$} {:>9}", "all sections", table.total());
    out
}

/// What changed since an earlier ledger, the largest change first.
fn difference(now: &SizeTable, earlier: &SizeTable) -> String {
    let since = now.since(earlier);
    let width = since.iter().map(|d| d.name.chars().count()).max().unwrap_or(0).max(12);
    let mut out = format!("{:width$} {:>9} {:>9} {:>9}\n", "crate", "before", "now", "change");
    let mut row = |name: &str, before: u64, now: u64| {
        let change = i128::from(now) - i128::from(before);
        let _ = writeln!(out, "{name:width$} {before:>9} {now:>9} {change:>+9}");
    };
    since.iter().for_each(|d| row(&d.name, d.before, d.now));
    row("all sections", earlier.total(), now.total());
    out
}
