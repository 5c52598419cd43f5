//! `cargo xtask log`: what recent builds did, and where the time went.

use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::{fsx, log};
use crate::report::{ledger, stdout};
use anyhow::Result;

/// Shows what recent builds did and where the time went
#[derive(clap::Args, Debug)]
pub struct Log {
    /// How many runs, the newest first
    #[arg(long, value_name = "N", default_value = "1")]
    pub last: std::num::NonZeroUsize,
    /// The whole log of one run: every command line, diagnostic and packed file
    #[arg(value_name = "RUN", conflicts_with = "last")]
    pub run: Option<u64>,
}

impl Log {
    /// Runs the command.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let folder = cx.layout.log();
        let runs = log::runs(&folder)?;
        let none = || {
            Refusal::new(format!("no build is logged in {}", cx.layout.root()))
                .help("cargo xtask build")
        };
        let newest = runs.last().ok_or_else(none)?;
        if let Some(run) = self.run {
            if !runs.contains(&run) {
                let kept =
                    format!("the runs {} to {newest} are kept", runs.first().unwrap_or(newest));
                return Err(Refusal::new(format!("run {run} has no log")).help(kept).into());
            }
            let kind = if cx.json { "jsonl" } else { "log" };
            stdout(&fsx::read_text(&folder.join(format!("{run}.{kind}")))?)?;
            return Ok(Status::OK);
        }
        for run in runs.iter().rev().take(self.last.get()) {
            let events = fsx::read_text(&folder.join(format!("{run}.jsonl")))?;
            stdout(&if cx.json { events } else { ledger(&events) })?;
        }
        Ok(Status::OK)
    }
}
