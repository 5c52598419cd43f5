//! Events as the lines that people read: the same on a terminal, in a pipe and in the log.

use super::event::{Event, Outcome};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers the finished steps and knows how much the user wants to see.
#[derive(Debug)]
pub struct Lines {
    verbose: u8,
    total: AtomicUsize,
    ended: AtomicUsize,
}

impl Lines {
    /// With `verbose` 1 causes and command lines are shown, with 2 also what was up to date
    /// and every packed file.
    #[must_use]
    pub fn new(verbose: u8) -> Self {
        Self { verbose, total: AtomicUsize::new(0), ended: AtomicUsize::new(0) }
    }

    /// Steps that have ended, of how many.
    pub fn count(&self) -> (usize, usize) {
        (self.ended.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// The line for `event`, if it has one. Failures are told in full at the end of a run, not
    /// here.
    pub fn of(&self, event: &Event) -> Option<String> {
        match event {
            Event::RunStarted { run, command, steps, stripped, overridden, .. } => {
                self.total.store(*steps, Ordering::Relaxed);
                let mut lines = Vec::new();
                if self.verbose > 0 {
                    lines.push(format!("run {run}: {command}"));
                    let told = |what: &str, names: &[String]| {
                        (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
                    };
                    lines.extend(told("kept from the build's environment", stripped));
                    lines.extend(told("kept from cargo's own configuration", overridden));
                }
                (!lines.is_empty()).then(|| lines.join("\n"))
            }
            Event::StepStarted { step, cause } => {
                (self.verbose > 0).then(|| format!("{step}  ({cause})"))
            }
            Event::Command { line, .. } => (self.verbose > 0).then(|| format!("+ {line}")),
            Event::Diagnostics { text, .. } => Some(text.trim_end().to_owned()),
            Event::Packed { line, .. } => (self.verbose > 1).then(|| line.clone()),
            Event::StepFinished { step, outcome, ms, .. } => {
                let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
                let word = match outcome {
                    Outcome::Fresh if self.verbose < 2 => return None,
                    Outcome::Fresh => "up to date",
                    Outcome::Unchanged => "same bytes",
                    Outcome::Rebuilt => "done",
                    Outcome::Failed => "FAILED",
                    Outcome::Skipped => "skipped",
                };
                let total = self.total.load(Ordering::Relaxed);
                let width = total.to_string().len();
                Some(format!("[{ended:width$}/{total}] {step}: {word} {}", seconds(*ms)))
            }
            Event::Progress { .. } | Event::RunFinished { .. } => None,
        }
    }
}

/// Milliseconds as `1.25s`.
#[must_use]
pub fn seconds(ms: u64) -> String {
    format!("{}.{:02}s", ms / 1000, ms % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(outcome: Outcome) -> Event {
        Event::StepFinished {
            step: "link k".into(),
            outcome,
            ms: 1234,
            bytes: 0,
            rebuilt: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn what_was_up_to_date_is_counted_but_not_told() {
        let lines = Lines::new(0);
        lines.of(&Event::RunStarted {
            format: 1,
            run: "1".into(),
            command: "cargo xtask build".into(),
            plan: String::new(),
            steps: 12,
            stripped: Vec::new(),
            overridden: Vec::new(),
        });
        assert_eq!(lines.of(&finished(Outcome::Fresh)), None);
        let line = lines.of(&finished(Outcome::Rebuilt));
        assert_eq!(line.as_deref(), Some("[ 2/12] link k: done 1.23s"));
        assert_eq!(lines.count(), (2, 12));
    }
}
