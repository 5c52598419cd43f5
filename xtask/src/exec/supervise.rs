//! Child processes that cannot outlive xtask, however it ends.
//!
//! xtask starts itself again as a *guard*, which asks the kernel for SIGKILL on its parent's
//! death (`PR_SET_PDEATHSIG`, prctl(2): kept across execve), makes sure that the parent is
//! still there, and then becomes the wanted program. So no unsafe `pre_exec` is needed, and
//! even SIGKILL to xtask leaves nothing behind.
//!
//! Linux sends the death signal when the *thread* that forked ends, so [`spawn`] must be
//! called on a thread that lives at least as long as the child is wanted.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

/// First argument of a guard; no subcommand is named like it.
const GUARD: &str = "__guard";
/// Exit status of a guard that could not become the program; the shell's for "not found".
const CANNOT_EXEC: u8 = 127;

/// How long a killed child may take to be reaped. SIGKILL takes effect at once unless the
/// process hangs in the host's kernel, and then nobody can help.
const REAP: Duration = Duration::from_secs(5);

/// Starts `program`; it dies with this thread. `set` chooses its streams and the like. The
/// child has a process group of its own, so that Ctrl-C on the terminal reaches only xtask.
///
/// # Errors
/// When xtask cannot be started again. A program that cannot be started shows as exit
/// status 127 and a line on its stderr.
pub fn spawn(program: &str, args: &[String], set: impl FnOnce(&mut Command)) -> io::Result<Child> {
    // This link names the running file even after cargo has replaced it.
    let mut command = Command::new("/proc/self/exe");
    command.arg(GUARD).arg(std::process::id().to_string()).arg(program).args(args);
    command.process_group(0);
    set(&mut command);
    command.spawn()
}

/// Becomes the guarded program when xtask was started as a guard; `None` otherwise. `main`
/// calls it before anything else.
#[must_use]
pub fn guard() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != GUARD {
        return None;
    }
    let why = become_guarded(args);
    eprintln!("xtask guard: {why}");
    Some(ExitCode::from(CANNOT_EXEC))
}

/// Returns only when it failed.
fn become_guarded(mut args: impl Iterator<Item = OsString>) -> String {
    let parent = args.next().and_then(|a| a.to_str()?.parse::<i32>().ok()).and_then(Pid::from_raw);
    let Some(program) = args.next() else {
        return "this command is xtask's own; it takes a process id and a program".to_owned();
    };
    become_program(parent, &program, args)
}

/// Becomes `program`, to be killed when `parent` ends. Returns only when it failed.
pub(super) fn become_program(
    parent: Option<Pid>,
    program: &OsStr,
    args: impl Iterator<Item = OsString>,
) -> String {
    if let Err(e) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("prctl(PR_SET_PDEATHSIG): {e}");
    }
    // The parent may have died before the request: then its signal never comes.
    if parent.is_none() || getppid() != parent {
        return "xtask is gone".to_owned();
    }
    let error = Command::new(program).args(args).exec();
    format!("cannot start {}: {error}", program.display())
}

/// Waits for `child` until `deadline`, then kills it. The status, and whether it was killed.
///
/// # Errors
/// Those of waitpid(2), and a killed child that does not go.
pub fn reap(child: &mut Child, deadline: Instant) -> io::Result<(std::process::ExitStatus, bool)> {
    if let Some(status) = wait_until(child, deadline)? {
        return Ok((status, false));
    }
    child.kill()?;
    match wait_until(child, Instant::now() + REAP)? {
        Some(status) => Ok((status, true)),
        None => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("process {} does not end even by SIGKILL", child.id()),
        )),
    }
}

fn wait_until(
    child: &mut Child,
    deadline: Instant,
) -> io::Result<Option<std::process::ExitStatus>> {
    // std has no wait with a time limit; a child that is about to end is gone within the
    // first rounds.
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
