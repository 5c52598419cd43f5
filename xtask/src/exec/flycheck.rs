//! Several calls of cargo whose JSON messages become one stream on stdout.

use crate::editor::Merge;
use anyhow::Context as _;
use camino::Utf8Path;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

/// Runs each of `lanes` beside the others, and the commands of one after each other, all in
/// `root`. Whether all succeeded and found nothing.
///
/// The commands stay in xtask's process group, which an editor ends as one when a file is
/// saved again.
///
/// # Errors
/// When a command cannot be started or its output not be handed on.
pub fn run(root: &Utf8Path, lanes: Vec<Vec<Command>>) -> anyhow::Result<bool> {
    let merge = Mutex::new(Merge::new(root));
    let lanes: Vec<anyhow::Result<bool>> = thread::scope(|scope| {
        let lane = |commands: Vec<Command>| {
            let merge = &merge;
            scope.spawn(move || {
                let each = commands.into_iter().map(|c| one(c, root, merge));
                // All of them, also after one that failed.
                each.collect::<Vec<_>>().into_iter().try_fold(true, |ok, c| Ok(ok & c?))
            })
        };
        let threads: Vec<_> = lanes.into_iter().map(lane).collect();
        let join = |t: thread::ScopedJoinHandle<'_, _>| {
            t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    let succeeded = lanes.iter().all(|lane| matches!(lane, Ok(true)));
    let merge = merge.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (line, good) = merge.finish(succeeded);
    say(&line)?;
    lanes.into_iter().find_map(Result::err).map_or(Ok(good), Err)
}

fn one(mut command: Command, root: &Utf8Path, merge: &Mutex<Merge>) -> anyhow::Result<bool> {
    command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped());
    let program = command.get_program().display().to_string();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let mut handed_on = Ok(());
    for line in child.stdout.take().into_iter().flat_map(|s| BufReader::new(s).split(b'\n')) {
        let line = line.with_context(|| format!("cannot read what {program} says"))?;
        let mut merge = merge.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Said under the lock, so that lines stay whole.
        if let Some(line) = merge.take(&String::from_utf8_lossy(&line)) {
            handed_on = say(&line);
        }
        if handed_on.is_err() {
            // Nobody listens any more.
            let _ = child.kill();
            break;
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {program}"))?;
    handed_on?;
    Ok(status.success())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}
