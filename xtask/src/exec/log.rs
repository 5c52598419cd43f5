//! A log per run, in `<build-dir>/log`: `<run>.log` for people (every command line, every
//! diagnostic, one line per packed file) and `<run>.jsonl` with the events, which `cargo xtask
//! log` reads. Runs are numbered; the last [`KEPT`] are kept.

use super::fsx;
use crate::model::Layout;
use crate::report::{Event, Lines, Observer};
use anyhow::{Context as _, Result};
use camino::Utf8Path;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::{Mutex, PoisonError};

/// How many runs' logs are kept.
const KEPT: usize = 50;

/// The log of one run.
pub struct RunLog {
    /// The run's number.
    pub run: String,
    lines: Lines,
    files: Mutex<Files>,
}

struct Files {
    people: BufWriter<File>,
    events: BufWriter<File>,
}

impl RunLog {
    /// Begins the log of the next run and drops the oldest ones. The caller holds the build
    /// directory's lock.
    ///
    /// # Errors
    /// When the folder or the files cannot be made.
    pub fn begin(layout: &Layout) -> Result<Self> {
        let folder = layout.log();
        fsx::create_dir_all(&folder)?;
        let mut runs = runs(&folder)?;
        let run = runs.last().map_or(1, |last| last + 1);
        runs.push(run);
        for old in runs.iter().rev().skip(KEPT) {
            for kind in ["log", "jsonl"] {
                // A log that someone else removed is removed.
                let _ = std::fs::remove_file(folder.join(format!("{old}.{kind}")));
            }
        }
        let open = |kind: &str| {
            let path = folder.join(format!("{run}.{kind}"));
            let file = File::create(&path).with_context(|| format!("cannot write {path}"))?;
            Ok::<_, anyhow::Error>(BufWriter::new(file))
        };
        let files = Files { people: open("log")?, events: open("jsonl")? };
        Ok(Self { run: run.to_string(), lines: Lines::new(2), files: Mutex::new(files) })
    }
}

/// The numbers of the runs that have a log, ascending.
///
/// # Errors
/// When the folder cannot be read.
pub fn runs(folder: &Utf8Path) -> Result<Vec<u64>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for entry in folder.read_dir_utf8().with_context(|| format!("cannot read {folder}"))? {
        let entry = entry?;
        let number = entry.file_name().strip_suffix(".jsonl").and_then(|n| n.parse::<u64>().ok());
        out.extend(number);
    }
    out.sort_unstable();
    Ok(out)
}

impl Observer for RunLog {
    fn hear(&self, event: &Event) {
        if matches!(event, Event::Progress { .. }) {
            return;
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not hide the error that it causes elsewhere: logs are best effort.
        if let Some(line) = self.lines.of(event) {
            let _ = writeln!(files.people, "{line}");
        }
        if let Event::StepFinished { error: Some(error), .. } = event {
            let _ = writeln!(files.people, "{error}");
        }
        if let Ok(line) = serde_json::to_string(event) {
            let _ = writeln!(files.events, "{line}");
        }
        if matches!(event, Event::RunFinished { .. } | Event::StepFinished { error: Some(_), .. }) {
            let _ = files.people.flush();
            let _ = files.events.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_numbered_and_the_oldest_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let root = camino::Utf8PathBuf::from_path_buf(dir.path().to_path_buf()).unwrap();
        let layout = Layout::new(root);
        for n in 1..=KEPT + 3 {
            assert_eq!(RunLog::begin(&layout).unwrap().run, n.to_string());
        }
        let left = runs(&layout.log()).unwrap();
        assert_eq!((left.first(), left.last()), (Some(&4), Some(&(KEPT as u64 + 3))));
    }
}
