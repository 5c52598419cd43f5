//! Progress as plain lines on stderr: what a log of a CI run or a pipe gets.

use super::{Event, Lines, Observer};
use std::io::Write as _;

/// Writes a line for each step that ran.
#[derive(Debug)]
pub struct Plain(Lines);

impl Plain {
    /// See [`Lines::new`].
    #[must_use]
    pub fn new(verbose: u8) -> Self {
        Self(Lines::new(verbose))
    }
}

impl Observer for Plain {
    fn hear(&self, event: &Event) {
        if let Some(line) = self.0.of(event) {
            // A closed stderr must not fail a build.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}
