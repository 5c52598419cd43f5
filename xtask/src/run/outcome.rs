//! How a virtual machine ended: who ended it and why, in one sentence, as JSON, and as
//! xtask's exit status.
//!
//! The app's status comes back as it is, 0 … 255. An end that was not the app's doing has
//! a status of its own; as every status can also be an app's, the last line and `--json`
//! are what tells them apart for certain.

use crate::error::Status;
use end_record::End;
use serde_json::{Value, json};
use std::time::Duration;

/// What ended a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest said so over the end channel.
    Guest(End),
    /// The time limit passed.
    Timeout(Duration),
    /// The user pressed Ctrl-C, or xtask got this signal.
    Interrupted(i32),
    /// QEMU ended successfully without an end record: the guest reset (a triple fault on
    /// x64) or powered off without a word.
    Silent,
    /// QEMU itself failed: its exit status as a sentence, and what it said last.
    Vmm { status: String, said: String },
}

/// Statuses of ends that were not the app's. Signals are 128 + n, as in a shell.
pub mod status {
    /// The kernel panicked.
    pub const PANIC: u8 = 250;
    /// Memory ran out.
    pub const OOM: u8 = 251;
    /// The kernel halted.
    pub const HALT: u8 = 252;
    /// The time limit passed.
    pub const TIMEOUT: u8 = 253;
    /// QEMU failed, or ended without an end record.
    pub const VMM: u8 = 254;
}

impl Outcome {
    /// xtask's exit status.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(match self {
            Outcome::Guest(End::Exit(status)) => *status,
            Outcome::Guest(End::Signal(signal)) => 128u8.saturating_add(*signal),
            Outcome::Guest(End::Panic) => status::PANIC,
            Outcome::Guest(End::Oom) => status::OOM,
            Outcome::Guest(End::Halt) => status::HALT,
            Outcome::Timeout(_) => status::TIMEOUT,
            Outcome::Interrupted(signal) => {
                128u8.saturating_add(u8::try_from(*signal).unwrap_or(u8::MAX))
            }
            Outcome::Silent | Outcome::Vmm { .. } => status::VMM,
        })
    }

    /// Who ended the machine: `app`, `kernel`, `xtask`, `user` or `qemu`.
    #[must_use]
    pub const fn by(&self) -> &'static str {
        match self {
            Outcome::Guest(End::Exit(_) | End::Signal(_)) => "app",
            Outcome::Guest(End::Panic | End::Oom | End::Halt) => "kernel",
            Outcome::Timeout(_) => "xtask",
            Outcome::Interrupted(_) => "user",
            Outcome::Silent | Outcome::Vmm { .. } => "qemu",
        }
    }

    /// The words that a scenario's `exit` key is compared with.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Outcome::Guest(end) => end.to_string(),
            Outcome::Timeout(_) => "timeout".to_owned(),
            Outcome::Interrupted(_) => "interrupted".to_owned(),
            Outcome::Silent => "reset".to_owned(),
            Outcome::Vmm { .. } => "vmm".to_owned(),
        }
    }

    /// What happened, for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Outcome::Guest(End::Exit(n)) => format!("the app ended with status {n}"),
            Outcome::Guest(End::Signal(n)) => {
                format!("the app was ended by signal {n}{}", signal_name(*n))
            }
            Outcome::Guest(End::Panic) => "the kernel panicked".to_owned(),
            Outcome::Guest(End::Oom) => "the kernel ran out of memory".to_owned(),
            Outcome::Guest(End::Halt) => {
                "the kernel halted; the console's last lines say why".to_owned()
            }
            Outcome::Timeout(limit) => {
                format!("xtask ended it: the time limit of {} s passed", limit.as_secs_f64())
            }
            Outcome::Interrupted(n) => format!(
                "the user ended it (signal {n}{})",
                signal_name(u8::try_from(*n).unwrap_or(0))
            ),
            Outcome::Silent => "the machine was reset or powered off without an end record \
                 (a triple fault resets an x64 machine)"
                .to_owned(),
            Outcome::Vmm { status, said } if said.is_empty() => format!("QEMU failed: {status}"),
            Outcome::Vmm { status, said } => format!("QEMU failed ({status}): {said}"),
        }
    }

    /// Whether the sentence is worth a line: not when the app ended by itself.
    #[must_use]
    pub const fn is_plain_exit(&self) -> bool {
        matches!(self, Outcome::Guest(End::Exit(_)))
    }

    /// The closing event of `run-qemu --json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "format": 1,
            "event": "end",
            "by": self.by(),
            "end": self.words(),
            "why": self.sentence(),
            "status": self.status().0,
        })
    }
}

/// ` (SIGSEGV)`; nothing for real-time signals.
fn signal_name(signal: u8) -> String {
    /// Signals from 1 on; the numbers are the same on both arches (signal(7)).
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::from(signal).checked_sub(1).and_then(|n| NAMES.get(n));
    name.map_or_else(String::new, |name| format!(" (SIG{name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_app_status_comes_back() {
        for n in 0..=255 {
            let o = Outcome::Guest(End::Exit(n));
            assert_eq!((o.status(), o.by()), (Status(n), "app"));
        }
    }

    #[test]
    fn other_ends_say_who_and_why() {
        let vmm = Outcome::Vmm { status: "exit status: 1".into(), said: "no such machine".into() };
        for (outcome, status, by, words, says) in [
            (Outcome::Guest(End::Signal(11)), 139, "app", "signal 11", "SIGSEGV"),
            (Outcome::Guest(End::Signal(14)), 142, "app", "signal 14", "14 (SIGALRM)"),
            (Outcome::Guest(End::Signal(31)), 159, "app", "signal 31", "31 (SIGSYS)"),
            (Outcome::Guest(End::Signal(64)), 192, "app", "signal 64", "by signal 64"),
            (Outcome::Guest(End::Panic), 250, "kernel", "panic", "panicked"),
            (Outcome::Guest(End::Oom), 251, "kernel", "oom", "out of memory"),
            (Outcome::Guest(End::Halt), 252, "kernel", "halt", "halted"),
            (Outcome::Timeout(Duration::from_secs(3)), 253, "xtask", "timeout", "limit of 3 s"),
            (Outcome::Interrupted(2), 130, "user", "interrupted", "SIGINT"),
            (Outcome::Silent, 254, "qemu", "reset", "triple fault"),
            (vmm, 254, "qemu", "vmm", "no such machine"),
        ] {
            assert_eq!(outcome.status(), Status(status), "{outcome:?}");
            assert_eq!(outcome.by(), by);
            assert_eq!(outcome.words(), words);
            assert!(outcome.sentence().contains(says), "{}", outcome.sentence());
            let json = outcome.to_json();
            assert_eq!((&json["by"], &json["status"]), (&json!(by), &json!(status)));
        }
    }
}
