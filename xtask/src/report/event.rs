//! What happens during a build, as values: the display, the log and `--json` each hear all
//! of it and show their part.

use crate::exec::cargo::Rebuilt;
use serde::Serialize;

/// The format of the events' JSON.
pub const FORMAT: u32 = 1;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run begins.
    RunStarted {
        format: u32,
        run: String,
        command: String,
        plan: String,
        steps: usize,
        /// Environment variables that were kept from the build.
        stripped: Vec<String>,
        /// Keys of the user's own cargo configuration that were overridden.
        overridden: Vec<String>,
    },
    /// A step begins, because of `cause`.
    StepStarted { step: String, cause: String },
    /// What a running step is at.
    Progress { step: String, text: String },
    /// A command line that a step runs.
    Command { step: String, line: String },
    /// A compiler's or linker's words.
    Diagnostics { step: String, text: String },
    /// One packed file, as the log shows it.
    Packed { step: String, line: String },
    /// A step is done.
    StepFinished {
        step: String,
        outcome: Outcome,
        ms: u64,
        /// Bytes written.
        bytes: u64,
        /// What cargo compiled.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        rebuilt: Vec<Rebuilt>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A run is over.
    RunFinished { ok: bool, ms: u64, ran: usize, fresh: usize, failed: usize, skipped: usize },
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Its inputs are as they were: it did not run. For cargo: it compiled nothing.
    Fresh,
    /// It ran, and its outputs came out the same.
    Unchanged,
    /// It ran and made other bytes than before.
    Rebuilt,
    Failed,
    /// Something that it needs failed.
    Skipped,
}

/// Hears events, from several threads.
pub trait Observer: Sync {
    /// Takes one.
    fn hear(&self, event: &Event);
}
