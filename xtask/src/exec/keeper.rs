//! Programs that start programs of their own (cargo, which starts rustc), none of which may
//! outlive xtask: what is left of a killed build would write into the next one's files.
//!
//! A death signal, as `exec::supervise` uses it, reaches a child and not what that started.
//! So xtask starts itself again as a *keeper*: it runs the program in a process group of its
//! own, waits for the end of either the program or xtask, and in the latter case kills the
//! group. It also holds the build directory's lock (flock(2) locks belong to the open file,
//! which the keeper inherits), so that the next build does not begin before that is done.
//!
//! It needs pidfd_open(2), Linux 5.3. Where that is missing, or a container forbids it, the
//! keeper becomes the program and gets the death signal: what that started may then go on for
//! as long as it takes to compile one crate.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use super::supervise::become_program;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process_group, pidfd_open,
    set_child_subreaper, waitpgid,
};

/// First argument of a keeper; no subcommand is named like it.
const KEEPER: &str = "__keep";
/// Exit status of a keeper that could not do its work; the shell's for "not found".
const CANNOT: u8 = 127;
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// `command`, which may neither inherit anything of the environment nor read input, as one
/// whose processes all end with this one. `lock` stays held until they have.
///
/// # Errors
/// When the lock's file cannot be duplicated.
pub fn kept(command: &Command, lock: Option<&File>) -> io::Result<Command> {
    // This link names the running file even after cargo has replaced it.
    let mut kept = Command::new("/proc/self/exe");
    kept.arg(KEEPER).arg(std::process::id().to_string());
    kept.arg(command.get_program()).args(command.get_args()).env_clear();
    kept.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.get_current_dir().map(|folder| kept.current_dir(folder));
    // Ctrl-C on the terminal reaches xtask, and the keeper sees it end.
    kept.process_group(0);
    kept.stdin(match lock {
        Some(lock) => Stdio::from(lock.try_clone()?),
        None => Stdio::null(),
    });
    Ok(kept)
}

/// Does a keeper's work when xtask was started as one; `None` otherwise. `main` calls it
/// before anything else.
#[must_use]
pub fn keeper() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != KEEPER {
        return None;
    }
    let status = keep(args).unwrap_or_else(|why| {
        eprintln!("xtask keeper: {why}");
        CANNOT
    });
    Some(ExitCode::from(status))
}

/// Runs the program to its end or its parent's.
fn keep(mut args: impl Iterator<Item = OsString>) -> Result<u8, String> {
    let said = |what: &'static str| move |e: Errno| format!("{what}: {e}");
    let parent = args.next().and_then(|a| a.to_str()?.parse::<i32>().ok()).and_then(Pid::from_raw);
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return Err("this command is xtask's own; it takes a process id and a program".to_owned());
    };
    // What the program leaves behind when it is killed becomes the keeper's to wait for.
    set_child_subreaper(Some(getpid())).map_err(said("prctl(PR_SET_CHILD_SUBREAPER)"))?;
    let above = match pidfd_open(parent, PidfdFlags::empty()) {
        Ok(above) => above,
        Err(Errno::NOSYS | Errno::PERM) => {
            return Err(become_program(Some(parent), &program, args));
        }
        Err(error) => return Err(said("pidfd_open")(error)),
    };
    // It may have died before, and its number be another's.
    if getppid() != Some(parent) {
        return Err("xtask is gone".to_owned());
    }
    let mut child = Command::new(&program)
        .args(args)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = group.ok_or("a child without a number")?;
    let below = pidfd_open(group, PidfdFlags::empty()).map_err(said("pidfd_open"))?;
    let mut ends = [PollFd::new(&above, PollFlags::IN), PollFd::new(&below, PollFlags::IN)];
    while let Err(error) = poll(&mut ends, None) {
        if error != Errno::INTR {
            return Err(said("poll")(error));
        }
    }
    let ended = ends.get(1).is_some_and(|p| p.revents().contains(PollFlags::IN));
    if !ended {
        // The group may end by itself at this moment: then there is nobody to kill.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().map_err(|e| format!("waiting for the program: {e}"))?;
    if !ended {
        // Until nobody of the group is left.
        while waitpgid(group, WaitOptions::empty()).is_ok() {}
    }
    Ok(code(status))
}

/// The status as one byte, as shells tell it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| SIGNALLED + s));
    code.and_then(|c| u8::try_from(c).ok()).unwrap_or(CANNOT)
}
