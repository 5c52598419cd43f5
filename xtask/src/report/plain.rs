//! Progress as plain lines on stderr: what a log of a CI run or a pipe gets.

use super::event::{Event, Observer, Outcome};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Writes a line for each step that ran.
#[derive(Debug)]
pub struct Plain {
    verbose: u8,
    total: AtomicUsize,
    ended: AtomicUsize,
}

impl Plain {
    /// With `verbose` 1 command lines are shown, with 2 also what was up to date.
    #[must_use]
    pub fn new(verbose: u8) -> Self {
        Self { verbose, total: AtomicUsize::new(0), ended: AtomicUsize::new(0) }
    }
}

impl Observer for Plain {
    fn hear(&self, event: &Event) {
        let mut err = std::io::stderr().lock();
        // A closed stderr must not fail a build.
        let _ = match event {
            Event::RunStarted { steps, .. } => {
                self.total.store(*steps, Ordering::Relaxed);
                Ok(())
            }
            Event::StepStarted { step, cause } if self.verbose > 0 => {
                writeln!(err, "{step}  ({cause})")
            }
            Event::Command { line, .. } if self.verbose > 0 => writeln!(err, "+ {line}"),
            Event::Diagnostics { text, .. } => writeln!(err, "{}", text.trim_end()),
            Event::StepFinished { step, outcome, ms, error, .. } => {
                let n = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
                let total = self.total.load(Ordering::Relaxed);
                let width = total.to_string().len();
                let word = match outcome {
                    Outcome::Fresh if self.verbose < 2 => return,
                    Outcome::Fresh => "up to date",
                    Outcome::Unchanged => "same bytes",
                    Outcome::Rebuilt => "done",
                    Outcome::Failed => "FAILED",
                    Outcome::Skipped => "skipped",
                };
                let seconds = *ms as f64 / 1000.0;
                let shown = writeln!(err, "[{n:width$}/{total}] {step}: {word} {seconds:.2}s");
                // Reported once more, in full, at the end.
                let _ = error;
                shown
            }
            _ => Ok(()),
        };
    }
}
