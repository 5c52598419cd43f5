//! Running cargo: a sanitised environment, its JSON messages parsed, its reasons kept.

use super::host::Tools;
use crate::context::Env;
use crate::plan::CargoCall;
use anyhow::{Context as _, Result, bail};
use camino::Utf8PathBuf;
use cargo_metadata::Message;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// A package that cargo compiled, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// `ns16550 v0.1.0`.
    pub package: String,
    /// Cargo's own words; none when it had never been compiled here.
    pub reason: Option<String>,
}

/// What a compiling call did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The artifacts that cargo names, fresh or not: (target name, files, executable).
    pub artifacts: Vec<Artifact>,
    /// In the order in which cargo started them.
    pub rebuilt: Vec<Rebuilt>,
    /// Units that were up to date.
    pub fresh: usize,
    /// The compiler's diagnostics and cargo's errors, as rendered.
    pub diagnostics: String,
}

/// One artifact message.
#[derive(Debug)]
pub struct Artifact {
    /// The cargo target's name (`kernel`, `hello`).
    pub target: String,
    pub files: Vec<Utf8PathBuf>,
    pub executable: Option<Utf8PathBuf>,
}

/// `call` as a command that can be started.
#[must_use]
pub fn command(call: &CargoCall, tools: &Tools, env: &Env, offline: bool) -> Command {
    let mut command = Command::new(&tools.toolchain.cargo);
    command.args(&call.args).current_dir("/").env_clear().envs(env);
    command.env("CARGO_HOME", &tools.cargo_home);
    command.env("RUSTC", &tools.toolchain.rustc).envs(&call.env).stdin(Stdio::null());
    if offline && !call.args.iter().any(|a| a == "--offline") {
        command.arg("--offline");
    }
    command
}

/// A command as a line that can be pasted into a shell.
#[must_use]
pub fn shown(call: &CargoCall) -> String {
    let quote = |s: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
        if !s.is_empty() && s.chars().all(plain) {
            s.to_owned()
        } else {
            format!("'{}'", s.replace('\'', "'\\''"))
        }
    };
    let env = call.env.iter().map(|(k, v)| format!("{k}={}", quote(v)));
    let args = call.args.iter().map(|a| quote(a));
    let words: Vec<String> = env.chain(["cargo".to_owned()]).chain(args).collect();
    format!("cd / && {}", words.join(" "))
}

/// Runs a compiling call. `progress` hears the package that cargo has begun to compile.
///
/// # Errors
/// When cargo cannot be started or fails; the error holds the diagnostics.
pub fn compile(mut command: Command, progress: impl Fn(&str) + Send + Sync) -> Result<Outcome> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut outcome = Outcome::default();
    let told = std::thread::scope(|scope| -> Result<Told> {
        let told = scope.spawn(|| {
            let mut told = Told::default();
            for line in stderr.into_iter().flat_map(|s| BufReader::new(s).split(b'\n')) {
                let Ok(line) = line else { break };
                if let Some(package) = told.hear(&String::from_utf8_lossy(&line)) {
                    progress(&package);
                }
            }
            told
        });
        if let Some(stdout) = stdout {
            for message in Message::parse_stream(BufReader::new(stdout)) {
                if let Message::CompilerArtifact(artifact) = message.context("cargo's messages")? {
                    outcome.fresh += usize::from(artifact.fresh);
                    outcome.artifacts.push(Artifact {
                        target: artifact.target.name,
                        files: artifact.filenames,
                        executable: artifact.executable,
                    });
                }
            }
        }
        Ok(told.join().unwrap_or_default())
    })?;
    let status = child.wait().context("waiting for cargo")?;
    outcome.rebuilt = told.rebuilt;
    outcome.diagnostics = told.diagnostics;
    if !status.success() {
        bail!("cargo failed ({status})\n{}", outcome.diagnostics.trim_end());
    }
    Ok(outcome)
}

/// What cargo says on stderr with `--verbose`, sorted: why it rebuilds (`Dirty`), what it
/// compiles, and everything that a person must read.
#[derive(Debug, Default)]
struct Told {
    rebuilt: Vec<Rebuilt>,
    /// The last `Dirty` line: cargo prints it just before it compiles the package.
    dirty: Vec<(String, String)>,
    diagnostics: String,
    /// Inside cargo's repetition of a failed command line.
    skipping: bool,
}

impl Told {
    /// Takes one line; gives the package when cargo begins to compile one.
    fn hear(&mut self, line: &str) -> Option<String> {
        let words = line.trim_start();
        let verb = words.split(' ').next().unwrap_or_default();
        // Cargo right-aligns its status verbs in 12 columns; a diagnostic that happens to
        // begin with such a word does not.
        let status = line.len() > 13 && line.get(..12).is_some_and(|v| v.trim_start() == verb);
        let rest = words.get(verb.len()..).unwrap_or_default().trim();
        match verb {
            "Dirty" if status => {
                let (package, reason) = rest.split_once(": ").unwrap_or((rest, ""));
                self.dirty.push((without_path(package), reason.to_owned()));
            }
            "Compiling" | "Checking" if status => {
                let package = without_path(rest);
                let reason = self.dirty.iter().rposition(|(p, _)| *p == package);
                let reason = reason.map(|at| self.dirty.swap_remove(at).1);
                self.rebuilt.push(Rebuilt { package: package.clone(), reason });
                return Some(package);
            }
            "Running" | "Fresh" | "Finished" | "Blocking" | "Downloading" | "Downloaded"
            | "Updating" | "Locking" | "Adding"
                if status => {}
            _ if line.starts_with("Caused by:") => self.skipping = true,
            _ if self.skipping && line.trim_start().starts_with("process didn't exit") => {}
            _ => {
                self.skipping = false;
                self.diagnostics.push_str(line);
                self.diagnostics.push('\n');
            }
        }
        None
    }
}

/// `ns16550 v0.1.0 (/where/it/lies)` without the folder, which is another one on every machine.
fn without_path(package: &str) -> String {
    package.split(" (").next().unwrap_or(package).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_reasons_are_kept_with_what_it_compiled() {
        let mut told = Told::default();
        let lines = "       Fresh log v0.4.35\n       Dirty pl011 v0.1.0 (/w/drivers/pl011): the file \
            `drivers/pl011/src/lib.rs` has changed (1.0s, 2s after last build at 0.5s)\n   \
            Compiling pl011 v0.1.0 (/w/drivers/pl011)\n     Running `rustc --crate-name pl011`\n\
            warning: unused\n  --> a.rs:1:1\n   Compiling loader v0.1.0 (/w/loader)\n    \
            Finished `release` profile [optimized] target(s) in 0.10s";
        let begun: Vec<String> = lines.lines().filter_map(|l| told.hear(l)).collect();
        assert_eq!(begun, ["pl011 v0.1.0", "loader v0.1.0"]);
        assert_eq!(told.diagnostics, "warning: unused\n  --> a.rs:1:1\n");
        let reasons: Vec<_> = told.rebuilt.iter().map(|r| r.reason.as_deref()).collect();
        let file =
            "the file `drivers/pl011/src/lib.rs` has changed (1.0s, 2s after last build at 0.5s)";
        assert_eq!(reasons, [Some(file), None]);
    }

    #[test]
    fn the_line_that_is_shown_can_be_pasted() {
        let call = CargoCall {
            args: vec!["build".into(), "--config=x=\"y z\"".into()],
            env: [("E".to_owned(), String::new())].into(),
        };
        assert_eq!(shown(&call), "cd / && E='' cargo build '--config=x=\"y z\"'");
    }
}
