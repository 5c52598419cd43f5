//! `--audit`: the files that a program run by a step opens, held against what its plan names.
//!
//! In-process steps need no tracing: all they can read goes through `exec::io`, which refuses
//! what is not declared. Programs run under `strace`. Of the host nothing is allowed but what
//! the program itself is made of: shared libraries, the loader's cache, and the kernel's own
//! file systems.

use crate::error::Refusal;
use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeSet;
use std::process::{Command, Output};

/// Folders in which nothing is a file of the host's: what is read there decides no byte.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];
/// What the dynamic loader reads before a program begins.
const LOADER: [&str; 2] = ["/etc/ld.so.cache", "/etc/ld.so.preload"];

/// Runs `command` (a program and its arguments) traced. `trace` is a file for the tracer. The
/// program may write `output`, under that name or, as lld does, first under one that begins so.
///
/// # Errors
/// When it opens a file that is neither in `declared` nor its own; when strace is missing.
pub fn run(
    command: &[&str],
    declared: &BTreeSet<Utf8PathBuf>,
    output: &Utf8Path,
    trace: &Utf8Path,
) -> Result<Output> {
    // -y is left out on purpose: paths are told as the program named them.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "4096", "-e", "trace=open,openat,openat2,execve", "-o"]);
    strace.arg(trace).arg("--").args(command).env_clear();
    strace.env("PATH", std::env::var("PATH").unwrap_or_default());
    let out = match strace.output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Refusal::new("--audit needs strace, which is not here")
                .help("apt-get install strace")
                .into());
        }
        other => other.context("cannot start strace")?,
    };
    let text = super::fsx::read(trace)?;
    std::fs::remove_file(trace).with_context(|| format!("cannot remove {trace}"))?;
    let mut strangers = undeclared(&opened(&String::from_utf8_lossy(&text)), declared);
    strangers.retain(|path| !path.as_str().starts_with(output.as_str()));
    if !strangers.is_empty() {
        let list: Vec<&str> = strangers.iter().map(|p| p.as_str()).collect();
        bail!("{} opens what its step does not declare: {}", command.join(" "), list.join(", "));
    }
    Ok(out)
}

/// The files that were opened (or started) with success, out of strace's lines.
fn opened(trace: &str) -> BTreeSet<Utf8PathBuf> {
    let path = |line: &str| {
        let (call, result) = line.rsplit_once(" = ")?;
        // A call that another thread interrupts is told in two lines; the second has the result,
        // the first the name. The first is taken: an open that may have failed is no harm.
        let failed = result.starts_with('-');
        let (_, rest) = call.split_once('"')?;
        let (path, _) = rest.split_once('"')?;
        (!failed).then(|| Utf8PathBuf::from(path))
    };
    let unfinished = |line: &str| {
        let head = line.strip_suffix("<unfinished ...>")?;
        let (_, rest) = head.split_once('"')?;
        Some(Utf8PathBuf::from(rest.split_once('"')?.0))
    };
    trace.lines().filter_map(|line| unfinished(line).or_else(|| path(line))).collect()
}

/// Those of `opened` that neither the plan nor the program accounts for.
fn undeclared(
    opened: &BTreeSet<Utf8PathBuf>,
    declared: &BTreeSet<Utf8PathBuf>,
) -> Vec<Utf8PathBuf> {
    let library =
        |p: &Utf8Path| p.file_name().is_some_and(|n| n.ends_with(".so") || n.contains(".so."));
    let allowed = |p: &Utf8PathBuf| {
        declared.contains(p)
            || LOADER.iter().any(|l| p == l)
            || KERNELS.iter().any(|k| p.starts_with(k))
            || library(p)
    };
    opened.iter().filter(|p| !allowed(p)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
12 execve(\"/tool/rust-lld\", [\"rust-lld\"], 0x7ffd /* 0 vars */) = 0
12 openat(AT_FDCWD, \"/etc/ld.so.cache\", O_RDONLY|O_CLOEXEC) = 3
12 openat(AT_FDCWD, \"/lib/x86_64-linux-gnu/libc.so.6\", O_RDONLY|O_CLOEXEC) = 3
12 openat(AT_FDCWD, \"/b/libkernel.a\", O_RDONLY|O_CLOEXEC) = 4
12 openat(AT_FDCWD, \"/usr/lib/missing.a\", O_RDONLY) = -1 ENOENT (No such file or directory)
13 openat(AT_FDCWD, \"/usr/lib/crt1.o\", O_RDONLY <unfinished ...>
13 <... openat resumed>) = 5
12 openat(AT_FDCWD, \"/sys/fs/cgroup/cpu.max\", O_RDONLY) = 6
12 openat(AT_FDCWD, \"/usr/include/stdio.h\", O_RDONLY) = 7
";

    #[test]
    fn what_the_plan_does_not_name_is_told() {
        let declared = ["/tool/rust-lld", "/b/libkernel.a"].map(Utf8PathBuf::from).into();
        let strangers = undeclared(&opened(TRACE), &declared);
        assert_eq!(strangers, ["/usr/include/stdio.h", "/usr/lib/crt1.o"].map(Utf8PathBuf::from));
    }

    #[test]
    fn a_program_is_traced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let secret = dir.join("secret");
        super::super::fsx::write(&secret, b"x").unwrap();
        let (trace, sh) = (dir.join("trace"), "/bin/cat");
        let declared = [Utf8PathBuf::from(sh)].into();
        let told = match run(&[sh, secret.as_str()], &declared, &dir.join("out"), &trace) {
            Err(e) if e.is::<Refusal>() => {
                eprintln!("skipped: strace is not here");
                return;
            }
            other => other.unwrap_err().to_string(),
        };
        assert!(told.contains("opens what its step does not declare"), "{told}");
        assert!(told.contains(secret.as_str()), "{told}");
        let declared = [Utf8PathBuf::from(sh), secret.clone()].into();
        assert_eq!(
            run(&[sh, secret.as_str()], &declared, &dir.join("out"), &trace).unwrap().stdout,
            b"x"
        );
    }
}
