//! The files that a load may read, behind a trait: the disk for users, a map for tests.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use std::io;

/// What stands in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name.
    pub name: String,
    /// Whether it is a folder (symbolic links followed).
    pub is_dir: bool,
}

/// Read-only access to files. Paths are absolute.
pub trait Tree {
    /// The bytes of the file `path`.
    ///
    /// # Errors
    /// As `std::fs::read`.
    fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>>;
    /// The entries of the folder `path`, sorted by name; none when it does not exist.
    ///
    /// # Errors
    /// As `std::fs::read_dir`, but not for a folder that does not exist.
    fn list(&self, path: &Utf8Path) -> io::Result<Vec<DirEntry>>;
    /// Whether `path` is a file (symbolic links followed).
    fn is_file(&self, path: &Utf8Path) -> bool;
    /// `path` without symbolic links, `.` and `..`, where it exists; else only tidied up.
    fn canonical(&self, path: &Utf8Path) -> Utf8PathBuf;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Tree for Disk {
    fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, path: &Utf8Path) -> io::Result<Vec<DirEntry>> {
        let entries = match path.read_dir_utf8() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let is_dir = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
            list.push(DirEntry { name: entry.file_name().to_owned(), is_dir });
        }
        list.sort();
        Ok(list)
    }

    fn is_file(&self, path: &Utf8Path) -> bool {
        path.is_file()
    }

    fn canonical(&self, path: &Utf8Path) -> Utf8PathBuf {
        path.canonicalize_utf8().unwrap_or_else(|_| tidy(path))
    }
}

/// `path` without `.` and `..`, by its text alone.
fn tidy(path: &Utf8Path) -> Utf8PathBuf {
    let mut out = Utf8PathBuf::new();
    for part in path.components() {
        match part {
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Files in memory, by absolute path.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub struct Memory(pub std::collections::BTreeMap<Utf8PathBuf, Vec<u8>>);

#[cfg(test)]
impl Tree for Memory {
    fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Utf8Path) -> io::Result<Vec<DirEntry>> {
        let mut list: Vec<DirEntry> = Vec::new();
        for file in self.0.keys() {
            let Ok(below) = file.strip_prefix(path) else { continue };
            let mut parts = below.components();
            if let Some(first) = parts.next() {
                let is_dir = parts.next().is_some();
                list.push(DirEntry { name: first.to_string(), is_dir });
            }
        }
        list.sort();
        list.dedup();
        Ok(list)
    }

    fn is_file(&self, path: &Utf8Path) -> bool {
        self.0.contains_key(path)
    }

    fn canonical(&self, path: &Utf8Path) -> Utf8PathBuf {
        tidy(path)
    }
}
