//! `cargo xtask clean`: this selection's artifacts, or with `--all` everything generated.

use super::build;
use crate::cli::Selectors;
use crate::context::Context;
use crate::error::Status;
use crate::exec::{self, clean};
use anyhow::Result;

/// Removes this selection's artifacts, or everything generated
#[derive(clap::Args, Debug)]
pub struct Clean {
    #[command(flatten)]
    pub selectors: Selectors,
    /// Everything generated; files that Osier did not make are left and listed
    #[arg(long)]
    pub all: bool,
}

impl Clean {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong request; a file that cannot be removed.
    pub fn run(self, cx: &Context) -> Result<Status> {
        if !cx.layout.root().join(exec::build_dir::MARK).is_file() {
            eprintln!("{} is no build directory: nothing to clean", cx.layout.root());
            return Ok(Status::OK);
        }
        let lock = build::lock(cx)?;
        if self.all {
            let left = clean::all(&cx.layout)?;
            drop(lock);
            clean::last(&cx.layout, left.is_empty())?;
            tell(&left);
            return Ok(Status::OK);
        }
        let workspace = build::workspace(cx)?;
        let plan = build::plan(cx, &workspace, &self.selectors)?;
        let (removed, left) = clean::steps(&cx.layout, &plan.steps)?;
        eprintln!("removed {removed} files; what cargo compiled stays until `clean --all`");
        tell(&left);
        Ok(Status::OK)
    }
}

/// Names what was found and is not ours.
fn tell(left: &[camino::Utf8PathBuf]) {
    if !left.is_empty() {
        eprintln!("left, for Osier did not make them:");
        left.iter().for_each(|path| eprintln!("  {path}"));
    }
}
