//! Osier's host program. The data's way is one line, and the modules mirror it:
//! config → plan → compile → link → relocate → pack → image → run.
#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod config;
mod context;
mod core_dump;
mod editor;
mod error;
mod exec;
mod link;
mod model;
mod pack;
mod plan;
mod report;
mod run;
mod scenario;
mod setup;
mod solve;
mod symbols;
mod tidy;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(ended) = exec::supervise::guard().or_else(exec::keeper::keeper) {
        return ended;
    }
    let cli = cli::Cli::parse();
    let ended = context::Context::gather(&cli.global).and_then(|cx| cli.command.run(&cx));
    match ended {
        Ok(status) => ExitCode::from(status.0),
        Err(error) => {
            eprint!("{}", error::render(&error));
            ExitCode::from(error::status(&error))
        }
    }
}
