//! The steps of a scenario as a machine: console bytes in, actions out.

use crate::config::resolved::ScenarioStep;
use regex_lite::{Regex, RegexBuilder};
use std::fmt;

/// Console output that no step has consumed is kept up to this many bytes; a guest that
/// prints without end must not fill the host's memory.
const KEPT: usize = 1 << 20;

/// The steps of one scenario and how far they have come.
#[derive(Debug)]
pub struct Script {
    steps: Vec<Step>,
    next: usize,
    /// Console output not consumed yet, line ends as `\n`.
    pending: String,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
    /// Nothing will follow: the guest is gone.
    closed: bool,
}

#[derive(Debug)]
enum Step {
    Expect(Expect),
    Do(Action),
}

#[derive(Debug)]
struct Expect {
    regex: Regex,
    pattern: String,
    /// The pattern asks for a line's end. What has come of a line is not the line: `7$` is not
    /// met by the first digit of 71, and who resets a guest in the middle of a line gets the
    /// next boot's first words behind it.
    whole_line: bool,
}

/// What the runner has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// More console output is needed.
    Wait,
    /// Type this on the console.
    Send(Vec<u8>),
    /// Send this command over QMP and await its answer.
    Qmp(String),
    /// Start the helper of this name.
    Peer(String),
    /// Wait until the guest has reset.
    Reboot,
    /// Every step is done.
    Done,
}

/// A step that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// From 1.
    pub step: usize,
    pub why: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.why)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Compiles the steps.
    ///
    /// # Errors
    /// For an `expect` that is not a regular expression.
    pub fn new(steps: &[ScenarioStep]) -> Result<Self, ScriptError> {
        let compile = |(i, step): (usize, &ScenarioStep)| {
            Ok(match step {
                ScenarioStep::Expect(pattern) => {
                    let regex = RegexBuilder::new(pattern).multi_line(true).build();
                    let regex =
                        regex.map_err(|e| ScriptError { step: i + 1, why: e.to_string() })?;
                    let whole_line = asks_for_line_end(pattern);
                    Step::Expect(Expect { regex, pattern: pattern.clone(), whole_line })
                }
                ScenarioStep::Send(text) => Step::Do(Action::Send(text.clone().into_bytes())),
                ScenarioStep::Qmp(json) => Step::Do(Action::Qmp(json.clone())),
                ScenarioStep::Peer(name) => Step::Do(Action::Peer(name.clone())),
                ScenarioStep::Reboot => Step::Do(Action::Reboot),
            })
        };
        let steps = steps.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { steps, next: 0, pending: String::new(), partial: Vec::new(), closed: false })
    }

    /// Takes in console output.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        // A character may be cut by the chunk's end; a carriage return's partner too.
        let mut whole = match std::str::from_utf8(&self.partial) {
            Ok(_) => self.partial.len(),
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(_) => self.partial.len(),
        };
        if self.partial.get(..whole).is_some_and(|p| p.ends_with(b"\r")) {
            whole -= 1;
        }
        let taken: Vec<u8> = self.partial.drain(..whole).collect();
        self.pending.push_str(&String::from_utf8_lossy(&taken).replace("\r\n", "\n"));
        if self.pending.len() > KEPT {
            let mut cut = self.pending.len() - KEPT;
            while !self.pending.is_char_boundary(cut) {
                cut += 1;
            }
            self.pending.drain(..cut);
        }
    }

    /// Notes that the output has ended, and with it its last line.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The next thing to do. An action other than [`Action::Wait`] and [`Action::Done`] is
    /// handed out once.
    pub fn next(&mut self) -> Action {
        loop {
            match self.steps.get(self.next) {
                None => return Action::Done,
                Some(Step::Expect(expect)) => {
                    let Some(end) = expect.regex.find(&self.pending).map(|m| m.end()) else {
                        return Action::Wait;
                    };
                    if expect.whole_line && end == self.pending.len() && !self.closed {
                        return Action::Wait;
                    }
                    self.pending.drain(..end);
                    self.next += 1;
                }
                Some(Step::Do(action)) => {
                    self.next += 1;
                    return action.clone();
                }
            }
        }
    }

    /// The `expect` that is still waited for: its number from 1, and its pattern.
    #[must_use]
    pub fn unmet(&self) -> Option<(usize, &str)> {
        match self.steps.get(self.next) {
            Some(Step::Expect(expect)) => Some((self.next + 1, &expect.pattern)),
            _ => None,
        }
    }

    /// Whether a step resets the guest: it itself, or whoever pushes the machine's button.
    #[must_use]
    pub fn reboots(&self) -> bool {
        self.steps.iter().any(|s| match s {
            Step::Do(Action::Reboot) => true,
            Step::Do(Action::Qmp(json)) => json.contains("\"system_reset\""),
            _ => false,
        })
    }

    /// Whether a step starts a peer.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Do(Action::Peer(_))))
    }

    /// Whether a step speaks QMP.
    #[must_use]
    pub fn needs_qmp(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Do(Action::Qmp(_) | Action::Reboot)))
    }
}

/// Whether `pattern` holds a `$` that is neither escaped nor in a class.
fn asks_for_line_end(pattern: &str) -> bool {
    let mut class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => class = true,
            ']' => class = false,
            '$' if !class => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(steps: &[ScenarioStep]) -> Script {
        Script::new(steps).unwrap()
    }

    fn expect(p: &str) -> ScenarioStep {
        ScenarioStep::Expect(p.to_owned())
    }

    #[test]
    fn steps_follow_each_other() {
        let send = ScenarioStep::Send("ls\n".to_owned());
        let mut s = script(&[expect(r"^login: "), send, expect(r"files: (\d+)$")]);
        assert_eq!(s.next(), Action::Wait);
        s.feed(b"noise login: no\r\nlogin");
        assert_eq!(s.next(), Action::Wait);
        assert_eq!(s.unmet(), Some((1, "^login: ")));
        s.feed(b": ");
        assert_eq!(s.next(), Action::Send(b"ls\n".to_vec()));
        assert_eq!(s.next(), Action::Wait);
        s.feed(b"files: 7\r");
        assert_eq!(s.next(), Action::Wait, "the line may go on");
        s.close();
        assert_eq!(s.next(), Action::Done, "a line may end with the output");
        assert_eq!(s.unmet(), None);
    }

    #[test]
    fn the_end_of_a_line_is_waited_for() {
        let mut s = script(&[expect("^first: ok$"), ScenarioStep::Reboot, expect("^second: ok$")]);
        for part in ["first: ok", "\r"] {
            s.feed(part.as_bytes());
            assert_eq!(s.next(), Action::Wait, "a reset would cut the line");
        }
        s.feed(b"\n");
        assert_eq!(s.next(), Action::Reboot);
        s.feed(b"second: ok\r\n");
        assert_eq!(s.next(), Action::Done);
        for (pattern, waits) in [
            ("a$", true),
            ("(a|b$)", true),
            ("[^]a]$", true),
            ("a", false),
            (r"a\$", false),
            ("a[$]", false),
            (r"\[a$", true),
        ] {
            assert_eq!(asks_for_line_end(pattern), waits, "{pattern}");
        }
    }

    #[test]
    fn consumed_output_is_not_seen_again() {
        let mut s = script(&[expect("one"), expect("one")]);
        s.feed(b"one two");
        assert_eq!(s.next(), Action::Wait);
        assert_eq!(s.unmet(), Some((2, "one")));
        s.feed(b" one");
        assert_eq!(s.next(), Action::Done);
    }

    #[test]
    fn line_ends_and_characters_may_be_cut_anywhere() {
        let mut s = script(&[expect("^ä\nb$")]);
        for b in "ä\r\nb\n".bytes() {
            s.feed(&[b]);
        }
        assert_eq!(s.next(), Action::Done);
        let mut s = script(&[expect("end")]);
        s.feed(b"\xff\xfe\x80 end");
        assert_eq!(s.next(), Action::Done, "bytes that are no text do not hide what is");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut s = script(&[expect("never")]);
        for _ in 0..40 {
            s.feed("ü".repeat(KEPT / 16).as_bytes());
        }
        assert!(s.pending.len() <= KEPT, "{}", s.pending.len());
        s.feed(b"never");
        assert_eq!(s.next(), Action::Done);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let e = Script::new(&[expect("a"), expect("(")]).unwrap_err();
        assert_eq!(e.step, 2);
        assert!(!script(&[expect("a")]).needs_qmp());
        assert!(script(&[ScenarioStep::Reboot]).reboots());
        let button = r#"{"execute": "system_reset"}"#;
        assert!(script(&[ScenarioStep::Qmp(button.into())]).reboots());
        let peer = ScenarioStep::Peer("frames".to_owned());
        assert!(script(&[expect("a"), peer]).has_peers() && !script(&[expect("a")]).has_peers());
    }
}
