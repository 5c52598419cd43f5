//! `cargo xtask doctor`: every tool, its version, and the command that mends what is missing.

use crate::context::Context;
use crate::error::Status;
use crate::exec::setup;
use crate::run::args::shell_line;
use crate::setup::{Finding, Host, Mend, Need, install_command};
use camino::Utf8Path;
use serde_json::json;

/// Shows every tool, its version, and what mends what is missing
#[derive(clap::Args, Debug)]
pub struct Doctor {
    /// Gets what is missing
    #[arg(long)]
    pub fix: bool,
}

impl Doctor {
    /// Runs the command.
    ///
    /// # Errors
    /// With `--fix`, when something could not be got.
    pub fn run(self, cx: &Context) -> anyhow::Result<Status> {
        let mut findings = setup::look(cx, &Need::ALL);
        if self.fix {
            let missing: Vec<Finding> =
                findings.iter().filter(|f| f.found.is_none()).cloned().collect();
            setup::mend(cx, &missing)?;
            findings = setup::look(cx, &Need::ALL);
        }
        let rows: Vec<Row> = findings.iter().map(|f| row(cx, f)).collect();
        let ok = findings.iter().all(|f| f.found.is_some() || f.need.is_optional());
        if cx.json {
            let tools: Vec<_> = rows
                .iter()
                .map(|r| json!({"tool": r.name, "ok": r.ok, "found": r.found, "for": r.purpose, "mend": r.mend}))
                .collect();
            println!("{}", json!({"format": 1, "ok": ok, "tools": tools}));
        } else {
            print!("{}", table(&rows));
            if !ok && !self.fix {
                eprintln!("`cargo xtask doctor --fix` gets what is missing");
            }
        }
        Ok(if ok { Status::OK } else { Status(2) })
    }
}

struct Row {
    name: String,
    purpose: &'static str,
    ok: bool,
    found: Option<String>,
    mend: Option<String>,
}

fn row(cx: &Context, finding: &Finding) -> Row {
    let host = Host { env: &cx.env, exists: &|p: &Utf8Path| p.exists() };
    let found = finding.found.as_deref().map(|path| {
        let is_program = !matches!(finding.need, Need::RustSrc | Need::AppStd(_) | Need::GnuStd(_));
        // rust-lld alone does not know which of its flavours it is to be.
        let version =
            if finding.need == Need::Linker || !is_program { None } else { setup::version(path) };
        version.unwrap_or_else(|| path.to_owned())
    });
    let mend = finding.mend.as_ref().map(|mend| match mend {
        Mend::Rustup(command) => shown(command),
        Mend::Advice(advice) => advice.clone(),
        Mend::Package(package) => install_command(&host, &[*package])
            .map_or_else(|| "install it with the system's package manager".into(), |c| shown(&c)),
    });
    Row {
        name: finding.need.name(),
        purpose: finding.need.purpose(),
        ok: finding.found.is_some(),
        found,
        mend,
    }
}

fn shown(command: &[String]) -> String {
    command.split_first().map_or_else(String::new, |(p, args)| shell_line(p, args))
}

fn table(rows: &[Row]) -> String {
    let width = |f: fn(&Row) -> &str| rows.iter().map(|r| f(r).len()).max().unwrap_or(0);
    let (names, purposes) = (width(|r| &r.name), width(|r| r.purpose));
    let mut out = String::new();
    for r in rows {
        let mark = if r.ok { "ok     " } else { "MISSING" };
        let rest = r.found.as_deref().or(r.mend.as_deref()).unwrap_or_default();
        out.push_str(&format!("{mark}  {:names$}  {:purposes$}  {rest}\n", r.name, r.purpose));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_shows_its_command() {
        let rows = [
            Row {
                name: "a".into(),
                purpose: "x",
                ok: true,
                found: Some("a 1.0".into()),
                mend: None,
            },
            Row {
                name: "bcd".into(),
                purpose: "yy",
                ok: false,
                found: None,
                mend: Some("get bcd".into()),
            },
        ];
        assert_eq!(table(&rows), "ok       a    x   a 1.0\nMISSING  bcd  yy  get bcd\n");
    }
}
