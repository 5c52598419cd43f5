//! `cargo xtask repro`: builds twice under different circumstances and compares every artifact.

use super::build;
use crate::cli::Selectors;
use crate::context::Context;
use crate::error::Status;
use crate::exec::{fsx, repro::Twins};
use crate::report::{difference::first_difference, size, stdout};
use anyhow::Result;

/// Builds twice under different circumstances and compares every artifact byte for byte
#[derive(clap::Args, Debug)]
pub struct Repro {
    #[command(flatten)]
    pub selectors: Selectors,
    /// Nothing is fetched
    #[arg(long)]
    pub offline: bool,
}

/// The artifacts of an image, `build.json` last: it lists the digests of the others.
const ARTIFACTS: [&str; 6] =
    ["loader.elf", "loader-stripped.elf", "loader.img", "manifest", "cmdline", "build.json"];

impl Repro {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong request; a build that fails.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let workspace = build::workspace(cx)?;
        let plan = build::plan(cx, &workspace, &self.selectors)?;
        let lock = build::lock(cx)?;
        let twins = Twins::build(cx, &self.arguments(cx))?;
        let mut rows = Vec::new();
        for selected in &plan.selections {
            // Apps with their symbols, which backtraces are made of, are artifacts, too.
            let paths = ARTIFACTS.iter().map(|name| selected.folder.join(name));
            for path in paths.chain(selected.apps.values().cloned()) {
                let a = fsx::read(&twins.first.join(&path))?;
                let b = fsx::read(&twins.second.join(&path))?;
                rows.push((path, a.len() as u64, first_difference(&a, &b)));
            }
        }
        let different = rows.iter().filter(|(_, _, d)| d.is_some()).count();
        if cx.json {
            let artifacts: Vec<_> = rows
                .iter()
                .map(|(p, size, d)| serde_json::json!({ "path": p, "size": size, "difference": d }))
                .collect();
            let all =
                serde_json::json!({ "format": 1, "same": different == 0, "artifacts": artifacts });
            stdout(&all.to_string())?;
        } else {
            let width = rows.iter().map(|(p, _, _)| p.as_str().chars().count()).max().unwrap_or(0);
            for (path, bytes, difference) in &rows {
                let told = difference.as_deref().unwrap_or("same");
                stdout(&format!("{path:width$}  {:>10}  {told}", size(*bytes)))?;
            }
        }
        if different > 0 {
            eprintln!(
                "{different} artifacts differ; both builds stay in {}",
                twins.first.with_file_name("")
            );
            return Ok(Status::FAILED);
        }
        twins.remove()?;
        drop(lock);
        Ok(Status::OK)
    }

    /// The selectors as they were typed.
    fn arguments(&self, cx: &Context) -> Vec<String> {
        let s = &self.selectors;
        let lists = [
            ("--arch", &s.arch),
            ("--mode", &s.mode),
            ("--profile", &s.profile),
            ("--image", &s.image),
        ];
        let lists = lists.into_iter().filter(|(_, values)| !values.is_empty());
        let mut out: Vec<String> =
            lists.flat_map(|(flag, values)| [flag.to_owned(), values.join(",")]).collect();
        out.extend(
            s.kernel_base.iter().flat_map(|base| ["--kernel-base".to_owned(), base.clone()]),
        );
        out.extend(s.matrix.then(|| "--matrix".to_owned()));
        out.extend(self.offline.then(|| "--offline".to_owned()));
        out.extend(cx.repos.iter().flat_map(|repo| ["--repo".to_owned(), repo.to_string()]));
        out
    }
}
