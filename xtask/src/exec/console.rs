//! A person at a guest's console, or a pipe in their place: what the guest prints goes to
//! stdout as it comes, what is typed goes to the guest, Ctrl-C ends the machine.

use super::qemu::{Event, Vm};
use super::terminal::GuestMode;
use crate::run::outcome::Outcome;
use crate::symbols::{Annotator, LineTail};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a signal may wait for being noticed.
const TICK: Duration = Duration::from_millis(50);

/// What ends a machine besides itself.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// A time limit, from its start.
    pub limit: Option<Duration>,
    /// SIGINT, SIGTERM and SIGHUP to xtask.
    pub signals: bool,
}

/// Where the guest's output goes.
pub struct Console {
    annotator: Annotator,
    tail: LineTail,
    /// Lines as events instead of bytes.
    json: bool,
    line: Vec<u8>,
    /// Stdout is a terminal.
    raw: bool,
    /// A carriage return was held back: what follows it decides.
    held: bool,
}

impl Console {
    /// A console on stdout. With `json` each line is an event.
    #[must_use]
    pub fn new(annotator: Annotator, json: bool) -> Self {
        let raw = stdout().is_terminal();
        Self { annotator, tail: LineTail::default(), json, line: Vec::new(), raw, held: false }
    }

    /// Relays until the machine ends, and says how it did.
    ///
    /// # Errors
    /// When stdout cannot be written or the process cannot be waited for.
    pub fn attend(&mut self, mut vm: Vm, ends: &Ends) -> io::Result<Outcome> {
        let signal = Arc::new(AtomicUsize::new(0));
        let mut hooks = Vec::new();
        if ends.signals {
            for number in [SIGINT, SIGTERM, SIGHUP] {
                let value = usize::try_from(number).unwrap_or(0);
                let seen = Arc::clone(&signal);
                hooks.push(signal_hook::flag::register_usize(number, seen, value)?);
            }
        }
        let mode = GuestMode::enter();
        relay_keys(&vm);
        let deadline = ends.limit.map(|limit| vm.started + limit);
        let why = loop {
            let tick = Instant::now() + TICK;
            match vm.next(deadline.map_or(tick, |d| d.min(tick))) {
                Event::Console(bytes, _) => self.show(&bytes)?,
                Event::Closed => break None,
                Event::Quiet => {}
            }
            let seen = signal.load(Ordering::Relaxed);
            if seen != 0 {
                break Some(Outcome::Interrupted(i32::try_from(seen).unwrap_or(0)));
            }
            if let (Some(at), Some(limit)) = (deadline, ends.limit)
                && Instant::now() >= at
            {
                break Some(Outcome::Timeout(limit));
            }
        };
        let outcome = vm.finish(why);
        self.flush()?;
        drop(mode);
        for hook in hooks {
            signal_hook::low_level::unregister(hook);
        }
        outcome
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut shown = Vec::with_capacity(bytes.len());
        self.tail.feed(bytes, &mut self.annotator, &mut shown);
        let mut out = stdout().lock();
        if self.json {
            for b in shown {
                if b == b'\n' {
                    event(&mut out, &mut self.line)?;
                } else {
                    self.line.push(b);
                }
            }
        } else if self.raw {
            out.write_all(&shown)?;
        } else {
            // A file or a pipe gets line ends as every program writes them.
            for b in shown {
                if std::mem::replace(&mut self.held, b == b'\r') && b != b'\n' {
                    out.write_all(b"\r")?;
                }
                if b != b'\r' {
                    out.write_all(&[b])?;
                }
            }
        }
        out.flush()
    }

    /// Ends a line that the guest left open, so that what follows starts a new one.
    fn flush(&mut self) -> io::Result<()> {
        let mut out = stdout().lock();
        if self.json && !self.line.is_empty() {
            event(&mut out, &mut self.line)?;
        } else if self.raw && self.tail.is_open() {
            out.write_all(b"\r\n")?;
        }
        out.flush()
    }
}

fn event(out: &mut impl io::Write, line: &mut Vec<u8>) -> io::Result<()> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    writeln!(out, "{}", json!({"format": 1, "event": "console", "line": text}))?;
    line.clear();
    Ok(())
}

/// Sends what is typed to the guest. The thread ends with stdin, or with xtask.
fn relay_keys(vm: &Vm) {
    let keyboard = vm.keyboard();
    thread::spawn(move || {
        let mut stdin = stdin().lock();
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stdin.read(&mut buffer) {
            if keyboard.send(buffer.get(..n).unwrap_or_default().to_vec()).is_err() {
                return;
            }
        }
    });
}
