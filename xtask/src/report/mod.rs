//! What a build did, for people and as JSON.

pub mod difference;
mod event;
mod ledger;
mod lines;
mod plain;
mod screen;
mod table;

pub use event::{Event, FORMAT, Observer, Outcome};
pub use ledger::ledger;
pub use lines::Lines;
pub use plain::Plain;
pub use screen::Screen;
pub use table::{Row, size, table};

use std::io::{IsTerminal as _, Write as _};

/// Writes a result on stdout, with a newline at its end. A reader that has had enough
/// (`| head`) is no error.
///
/// # Errors
/// When stdout cannot be written to.
pub fn stdout(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The observer for people: a live display on a terminal, plain lines elsewhere.
#[must_use]
pub fn for_people(verbose: u8) -> Box<dyn Observer> {
    if std::io::stderr().is_terminal() {
        Box::new(Screen::new(verbose))
    } else {
        Box::new(Plain::new(verbose))
    }
}

/// Passes every event on to all of several observers.
pub struct Fan(pub Vec<Box<dyn Observer>>);

impl Observer for Fan {
    fn hear(&self, event: &Event) {
        self.0.iter().for_each(|o| o.hear(event));
    }
}

/// `--json`: every event on stdout, one a line.
#[derive(Debug)]
pub struct Json;

impl Observer for Json {
    fn hear(&self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            // A reader that is gone must not fail a build.
            let _ = stdout(&line);
        }
    }
}
