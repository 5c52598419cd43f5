//! What a command can end in, and the exit status that says so.
//!
//! A command returns `anyhow::Result<Status>`. An error that holds a [`Refusal`] anywhere
//! in its chain was the request's or the configuration's fault and ends with status 2;
//! every other error is a failed build or test and ends with status 1.

use std::fmt;

/// The exit status of xtask: 0 for success, or a guest program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// All went well.
    pub const OK: Status = Status(0);
    /// A build or a test failed, and the report about it has been printed.
    pub const FAILED: Status = Status(1);
}

/// A wrong request or configuration: exit status 2. Says what is wrong and what to type next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong and where, in one or several lines, without the leading `error:`.
    pub message: String,
    /// What to do about it, each a line after `help:`.
    pub help: Vec<String>,
    /// The message is a finished report (as the configuration loader renders it) and is
    /// printed as it stands.
    pub rendered: bool,
}

impl Refusal {
    /// A refusal that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Vec::new(), rendered: false }
    }

    /// A refusal whose text is already laid out, with its own `error:` lines.
    pub fn rendered(report: impl Into<String>) -> Self {
        Self { message: report.into(), help: Vec::new(), rendered: true }
    }

    /// Adds what to type next.
    #[must_use]
    pub fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The exit status of a command that ended in `error`.
#[must_use]
pub fn status(error: &anyhow::Error) -> u8 {
    if error.chain().any(|e| e.is::<Refusal>()) { 2 } else { 1 }
}

/// `error` as the lines that the user reads on stderr.
#[must_use]
pub fn render(error: &anyhow::Error) -> String {
    let mut out = String::new();
    let mut help = Vec::new();
    for (i, cause) in error.chain().enumerate() {
        let refusal = cause.downcast_ref::<Refusal>();
        help.extend(refusal.into_iter().flat_map(|r| r.help.iter()));
        if refusal.is_some_and(|r| r.rendered) {
            out.push_str(cause.to_string().trim_end());
        } else {
            out.push_str(if i == 0 { "error: " } else { "  because: " });
            out.push_str(&cause.to_string().replace('\n', "\n    "));
        }
        out.push('\n');
    }
    for line in help {
        out.push_str("  help: ");
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_refusal_anywhere_in_the_chain_is_status_2() {
        let e = anyhow::Error::new(Refusal::new("no such arch").help("cargo xtask doctor"));
        assert_eq!(status(&e), 2);
        let e = Err::<(), _>(e).context("reading the request").unwrap_err();
        assert_eq!(status(&e), 2);
        assert_eq!(
            render(&e),
            "error: reading the request\n  because: no such arch\n  help: cargo xtask doctor\n"
        );
        assert_eq!(status(&anyhow::anyhow!("lld failed")), 1);
    }

    #[test]
    fn a_rendered_report_stands_as_it_is() {
        let e = anyhow::Error::new(Refusal::rendered("error: unknown key\n --> a.toml:1:2\n"));
        assert_eq!(render(&e), "error: unknown key\n --> a.toml:1:2\n");
    }
}
