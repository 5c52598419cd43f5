//! `cargo xtask plan`: the resolved build, doing nothing.

use super::build;
use crate::cli::Selectors;
use crate::context::Context;
use crate::error::Status;
use crate::plan::show;
use anyhow::Result;

/// Shows the resolved build as JSON, doing nothing
#[derive(clap::Args, Debug)]
pub struct Plan {
    #[command(flatten)]
    pub selectors: Selectors,
    /// As a graph in Graphviz's language
    #[arg(long, conflicts_with = "mermaid")]
    pub dot: bool,
    /// As a Mermaid flowchart
    #[arg(long)]
    pub mermaid: bool,
}

impl Plan {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong request or configuration.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let workspace = build::workspace(cx)?;
        let plan = build::plan(cx, &workspace, &self.selectors)?;
        let text = match (self.dot, self.mermaid) {
            (true, _) => show::dot(&plan),
            (_, true) => show::mermaid(&plan),
            _ => serde_json::to_string_pretty(&plan)?,
        };
        crate::report::stdout(&text)?;
        Ok(Status::OK)
    }
}
