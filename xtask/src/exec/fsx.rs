//! Writing files so that nothing half-written is ever seen under an artifact's name, and
//! reading them with errors that name the path.
//!
//! A file is written beside its place as `.<name>.part` and renamed. The name is fixed: only
//! the holder of the build directory's lock writes there, and what a killed build left is
//! overwritten by the next one. Nothing is synced to the disk: the guarantee is against a
//! killed process, not against a power cut.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use std::fs;
use std::io::{self, Write as _};

/// The name under which `path` is written before it is renamed.
#[must_use]
pub fn part_name(path: &Utf8Path) -> Utf8PathBuf {
    path.with_file_name(format!(".{}.part", path.file_name().unwrap_or("file")))
}

/// Writes `bytes` at `path`, making its folder.
///
/// # Errors
/// The file system's, with the path; nothing is left behind.
pub fn write(path: &Utf8Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Writes what `fill` writes at `path`, making its folder.
///
/// # Errors
/// The file system's, with the path; nothing is left behind.
pub fn write_with(
    path: &Utf8Path,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> Result<()> {
    write_beside(path, fill)?;
    let part = part_name(path);
    if let Err(error) = fs::rename(&part, path) {
        // Best effort: the error that matters is the one being reported.
        let _ = fs::remove_file(&part);
        return Err(error).with_context(|| format!("cannot write {path}"));
    }
    Ok(())
}

/// Writes what `fill` writes under [`part_name`] of `path`, making its folder.
///
/// # Errors
/// The file system's, with the path; nothing is left behind.
pub fn write_beside(
    path: &Utf8Path,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_dir_all(folder)?;
    }
    let part = part_name(path);
    let written = fs::File::create(&part).and_then(|mut file| fill(&mut file));
    if let Err(error) = written {
        // Best effort, as above.
        let _ = fs::remove_file(&part);
        return Err(error).with_context(|| format!("cannot write {path}"));
    }
    Ok(())
}

/// Writes `bytes` at `path` unless they stand there already. True when it wrote.
///
/// # Errors
/// The file system's, with the path.
pub fn write_if_changed(path: &Utf8Path, bytes: &[u8]) -> Result<bool> {
    let same_length =
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == bytes.len() as u64);
    if same_length && fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    write(path, bytes)?;
    Ok(true)
}

/// Makes `link` a symbolic link to `target` unless it is one already.
///
/// # Errors
/// The file system's, with the path; something else under that name is an error too.
pub fn symlink(target: &Utf8Path, link: &Utf8Path) -> Result<()> {
    match fs::read_link(link) {
        Ok(old) if old == target.as_std_path() => return Ok(()),
        Ok(_) => fs::remove_file(link).with_context(|| format!("cannot replace {link}"))?,
        Err(_) => {}
    }
    if let Some(folder) = link.parent() {
        create_dir_all(folder)?;
    }
    std::os::unix::fs::symlink(target, link)
        .with_context(|| format!("cannot link {link} to {target}"))
}

/// A private copy of `from` at `to`: bytes shared where the file system can, never an alias.
///
/// # Errors
/// The file system's, with both paths.
pub fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    let mut source = fs::File::open(from).with_context(|| format!("cannot read {from}"))?;
    // io::copy between files is copy_file_range: no pass through our memory.
    write_with(to, |file| io::copy(&mut source, file).map(|_| ()))
        .with_context(|| format!("copying {from}"))
}

/// The whole file.
///
/// # Errors
/// The file system's, with the path.
pub fn read(path: &Utf8Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {path}"))
}

/// The whole file as UTF-8.
///
/// # Errors
/// The file system's, with the path; bytes that are not UTF-8.
pub fn read_text(path: &Utf8Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// Removes a file. True when there was one.
///
/// # Errors
/// The file system's, with the path; not when there is none.
pub fn remove(path: &Utf8Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).with_context(|| format!("cannot remove {path}")),
    }
}

/// Bytes that an ordinary user can still write on the file system of `path`; none when it does
/// not say.
#[must_use]
pub fn free_bytes(path: &Utf8Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path.as_std_path()).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Makes a folder and those above it.
///
/// # Errors
/// The file system's, with the path.
pub fn create_dir_all(path: &Utf8Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make the folder {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_path_buf()).unwrap();
        (dir, path)
    }

    #[test]
    fn equal_bytes_are_not_written_again() {
        let (_keep, dir) = scratch();
        let file = dir.join("a/b");
        assert!(write_if_changed(&file, b"one").unwrap());
        assert!(!write_if_changed(&file, b"one").unwrap());
        assert!(write_if_changed(&file, b"two").unwrap());
        assert_eq!(read(&file).unwrap(), b"two");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let (_keep, dir) = scratch();
        let file = dir.join("a");
        write(&file, b"old").unwrap();
        let failed = write_with(&file, |f| {
            f.write_all(b"ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(failed.unwrap_err().to_string().contains(file.as_str()));
        assert_eq!(read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn links_follow_their_target() {
        let (_keep, dir) = scratch();
        let link = dir.join("x/link");
        symlink(Utf8Path::new("/one"), &link).unwrap();
        symlink(Utf8Path::new("/two"), &link).unwrap();
        symlink(Utf8Path::new("/two"), &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), std::path::Path::new("/two"));
        write(&dir.join("file"), b"").unwrap();
        assert!(symlink(Utf8Path::new("/one"), &dir.join("file")).is_err());
    }
}
