//! `cargo xtask rust-analyzer`: the language server with this workspace's settings.

use super::build;
use crate::context::Context;
use crate::editor::{Proxy, settings};
use crate::error::{Refusal, Status};
use crate::exec::{editor, setup};
use crate::model::Arch;
use crate::setup::Need;
use anyhow::Context as _;

/// rust-analyzer for an editor, with this workspace's settings, for one arch
///
/// Speaks LSP on stdin and stdout. An editor needs no settings of its own then; see
/// docs/editors.md.
#[derive(clap::Args, Debug)]
pub struct RustAnalyzer {
    /// The arch whose hardware-only code is analysed (default: the host's; env ARCH)
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Prints the settings as JSON instead
    #[arg(long)]
    pub settings: bool,
    /// Further arguments for rust-analyzer
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

impl RustAnalyzer {
    /// Runs the command. The status is the server's.
    ///
    /// # Errors
    /// A `Refusal` for an unknown arch or a missing server; other errors when editor or
    /// server do not speak the protocol.
    pub fn run(self, cx: &Context) -> anyhow::Result<Status> {
        let asked = self.arch.as_ref().or_else(|| cx.env.get("ARCH"));
        let arch: Option<Arch> = asked.map(|a| a.parse().map_err(Refusal::new)).transpose()?;
        let target = match arch.filter(|arch| Arch::host() != Some(*arch)) {
            // What compiles for the host compiles without a target: one set of build scripts.
            None => None,
            Some(arch) => {
                let workspace = build::workspace(cx)?;
                let config = workspace.arches.get(&arch).ok_or_else(|| {
                    Refusal::new(format!("there is no kernel-config/arch/{arch}.toml"))
                })?;
                Some(config.app_target.clone())
            }
        };
        let settings = settings(target.as_deref());
        if self.settings {
            println!("{}", serde_json::to_string_pretty(&settings)?);
            return Ok(Status::OK);
        }
        setup::ensure(cx, &[Need::Rust, Need::RustSrc, Need::RustAnalyzer])?;
        let found = setup::look(cx, &[Need::RustAnalyzer]).into_iter().find_map(|f| f.found);
        let server = found.context("rust-analyzer is gone")?;
        let ended = editor::serve(&server, &self.args, Proxy::new(settings))?;
        // Killed: the editor was gone before, and nobody is left to be told a status.
        Ok(match ended {
            Some(status) if !status.success() => Status::FAILED,
            _ => Status::OK,
        })
    }
}
