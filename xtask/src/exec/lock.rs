//! Builds in one build directory take turns, by a lock that says who holds it.

use super::fsx;
use anyhow::{Context as _, Result};
use camino::Utf8Path;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

/// Holds the build directory. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct BuildLock {
    file: File,
}

impl BuildLock {
    /// The open file that the lock belongs to: it is held while anyone has this one open.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Takes the lock at `path`. When another process holds it, tells `waiting` who, and waits.
///
/// `me` is what others will read while this process holds it: a command line.
///
/// # Errors
/// When the lock file cannot be made, or the file system has no locks.
pub fn acquire(path: &Utf8Path, me: &str, waiting: impl FnOnce(&str)) -> Result<BuildLock> {
    if let Some(folder) = path.parent() {
        fsx::create_dir_all(folder)?;
    }
    let open = || format!("cannot lock {path}");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(open)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Best effort: the holder may be writing its name at this moment.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            waiting(if holder.is_empty() { "another build" } else { holder });
            file.lock().with_context(open)?;
        }
        Err(TryLockError::Error(e)) => return Err(e).with_context(open),
    }
    let name = format!("pid {}: {me}\n", std::process::id());
    file.set_len(0).with_context(open)?;
    file.rewind().with_context(open)?;
    file.write_all(name.as_bytes()).with_context(open)?;
    Ok(BuildLock { file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_second_waits_and_reads_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("d/lock")).unwrap();
        let first = acquire(&path, "xtask build one", |_| panic!("nobody holds it")).unwrap();
        let (tell, told) = mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || acquire(&path, "two", |holder| tell.send(holder.to_owned()).unwrap()).is_ok()
        });
        let holder = told.recv().unwrap();
        assert_eq!(holder, format!("pid {}: xtask build one", std::process::id()));
        drop(first);
        assert!(second.join().unwrap());
    }
}
