//! The digest of a file without reading it again: remembered under its path, and believed
//! while size, times and inode are as they were.
//!
//! A file can change twice within one tick of the file system's clock and keep its times.
//! So a remembered digest of a file that had changed less than [`SETTLED`] before it was
//! read is not believed: the file is read once more, later. Files that this process wrote
//! under the build directory's lock are believed at once.

use super::fsx;
use crate::model::Digest;
use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// Coarser than the time stamps of every file system in use (FAT: 2 s).
const SETTLED: Duration = Duration::from_secs(2);

/// What of a file's metadata changes when its content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stat {
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
    device: u64,
    inode: u64,
}

impl Stat {
    fn of(meta: &std::fs::Metadata) -> Self {
        let ns = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
        Self {
            size: meta.size(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    stat: Stat,
    digest: Digest,
    /// The file had been at rest when it was read (or we wrote it).
    settled: bool,
    /// It was read by this process.
    #[serde(skip)]
    of_this_run: bool,
}

/// The digests of one build directory. Shared by all steps of a run.
#[derive(Debug)]
pub struct Memo {
    /// Where it is kept between runs.
    store: Utf8PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: BTreeMap<Utf8PathBuf, Entry>,
    dirty: bool,
}

impl Memo {
    /// The memo kept at `store`; an empty one when there is none, it is damaged, or `rehash`
    /// asks to distrust it.
    #[must_use]
    pub fn open(store: &Utf8Path, rehash: bool) -> Self {
        let kept = (!rehash).then(|| std::fs::read(store).ok()).flatten();
        let entries = kept.and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        let state = State { entries, dirty: rehash };
        Self { store: store.to_owned(), state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst an entry missing: the map is still sound.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The digest and size of the file at `path` (absolute; links are followed).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self, path: &Utf8Path) -> Result<(Digest, u64)> {
        self.lookup(path, |e| e.settled)
    }

    /// As [`Memo::digest`], but a source file is read only once in a run. One that changes
    /// after that, and keeps size and times, is found by the next run, which reads it again.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest_of_source(&self, path: &Utf8Path) -> Result<(Digest, u64)> {
        self.lookup(path, |e| e.settled || e.of_this_run)
    }

    fn lookup(&self, path: &Utf8Path, believed: fn(&Entry) -> bool) -> Result<(Digest, u64)> {
        let read = || format!("cannot read {path}");
        let before = Stat::of(&std::fs::metadata(path).with_context(read)?);
        if let Some(e) = self.state().entries.get(path)
            && believed(e)
            && e.stat == before
        {
            return Ok((e.digest, before.size));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut file = std::fs::File::open(path).with_context(read)?;
        let (digest, size) = Digest::of_reader(&mut file).with_context(read)?;
        let after = Stat::of(&file.metadata().with_context(read)?);
        let age = i128::try_from(now.as_nanos()).unwrap_or(0) - before.ctime_ns;
        let settled = before == after && age > SETTLED.as_nanos().cast_signed();
        self.insert(path, Entry { stat: after, digest, settled, of_this_run: true });
        Ok((digest, size))
    }

    /// Remembers the digest of a file that this process has just written.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn wrote(&self, path: &Utf8Path, digest: Digest) -> Result<()> {
        let meta = std::fs::metadata(path).with_context(|| format!("cannot read {path}"))?;
        self.insert(
            path,
            Entry { stat: Stat::of(&meta), digest, settled: true, of_this_run: true },
        );
        Ok(())
    }

    fn insert(&self, path: &Utf8Path, entry: Entry) {
        let mut state = self.state();
        state.entries.insert(path.to_owned(), entry);
        state.dirty = true;
    }

    /// Keeps it for the next run. Entries of files that are gone are dropped.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<()> {
        let mut state = self.state();
        if !state.dirty {
            return Ok(());
        }
        state.entries.retain(|path, _| path.exists());
        let bytes = serde_json::to_vec(&state.entries)?;
        state.dirty = false;
        fsx::write(&self.store, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch {
        _keep: tempfile::TempDir,
        file: Utf8PathBuf,
        store: Utf8PathBuf,
    }

    fn scratch() -> Scratch {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_path_buf()).unwrap();
        Scratch { _keep: keep, file: dir.join("f"), store: dir.join("memo") }
    }

    #[test]
    fn a_file_that_has_just_changed_is_read_again() {
        let s = scratch();
        std::fs::write(&s.file, "one").unwrap();
        let memo = Memo::open(&s.store, false);
        assert_eq!(memo.digest(&s.file).unwrap().0, Digest::of(b"one"));
        // Same size, and quite possibly the same tick of the clock.
        std::fs::write(&s.file, "two").unwrap();
        assert_eq!(memo.digest(&s.file).unwrap().0, Digest::of(b"two"));
    }

    #[test]
    fn a_source_is_read_once_in_a_run_and_again_in_the_next() {
        let s = scratch();
        std::fs::write(&s.file, "one").unwrap();
        let memo = Memo::open(&s.store, false);
        assert_eq!(memo.digest_of_source(&s.file).unwrap().0, Digest::of(b"one"));
        // What the memo remembers, not what is there: as if it had changed within one tick.
        for entry in memo.state().entries.values_mut() {
            entry.digest = Digest::of(b"before");
        }
        assert_eq!(memo.digest_of_source(&s.file).unwrap().0, Digest::of(b"before"));
        memo.save().unwrap();
        let next = Memo::open(&s.store, false);
        assert_eq!(next.digest_of_source(&s.file).unwrap().0, Digest::of(b"one"));
    }

    #[test]
    fn what_we_wrote_is_believed_across_runs_until_rehash() {
        let s = scratch();
        std::fs::write(&s.file, "one").unwrap();
        let memo = Memo::open(&s.store, false);
        let lie = Digest::of(b"not what is there");
        memo.wrote(&s.file, lie).unwrap();
        memo.save().unwrap();
        assert_eq!(Memo::open(&s.store, false).digest(&s.file).unwrap(), (lie, 3));
        assert_eq!(Memo::open(&s.store, true).digest(&s.file).unwrap().0, Digest::of(b"one"));
        // Another inode under the same name is another file.
        fsx::write(&s.file, b"two").unwrap();
        assert_eq!(Memo::open(&s.store, false).digest(&s.file).unwrap().0, Digest::of(b"two"));
    }

    #[test]
    fn a_damaged_memo_is_an_empty_one() {
        let s = scratch();
        std::fs::write(&s.file, "one").unwrap();
        std::fs::write(&s.store, "{\"half\":").unwrap();
        assert_eq!(Memo::open(&s.store, false).digest(&s.file).unwrap().0, Digest::of(b"one"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let s = scratch();
        let e = Memo::open(&s.store, false).digest(&s.file).unwrap_err();
        assert!(e.to_string().contains(s.file.as_str()));
    }
}
