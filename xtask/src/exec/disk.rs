//! The disks of scenarios: made in the run's folder, and looked at when the VM has ended.

use crate::config::resolved::{Disk, DiskCheck, DiskContent};
use anyhow::Context as _;
use camino::Utf8Path;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};

use crate::model::Pattern;

/// How many bytes are made or looked at in one piece.
const CHUNK: u64 = 1 << 20;

/// Makes the file of `disk`; zeros take no room.
///
/// # Errors
/// When it cannot be written.
pub fn create(path: &Utf8Path, disk: &Disk) -> anyhow::Result<()> {
    let whole = || format!("cannot make the disk {path}");
    let file = File::create_new(path).with_context(whole)?;
    let size = disk.size.0;
    if disk.pattern == Pattern::Zero {
        return file.set_len(size).with_context(whole);
    }
    let mut out = BufWriter::new(file);
    for (at, length) in pieces(0, size) {
        let mut bytes = vec![0; length];
        disk.pattern.fill(at, &mut bytes);
        out.write_all(&bytes).with_context(whole)?;
    }
    out.flush().with_context(whole)
}

/// Why what `check` says of the disk in the file `path` does not hold; `None` when it does.
///
/// # Errors
/// When it cannot be read.
pub fn check(path: &Utf8Path, check: &DiskCheck) -> anyhow::Result<Option<String>> {
    let mut file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    file.seek(SeekFrom::Start(check.offset))?;
    let mut hash = Sha256::new();
    for (at, length) in pieces(check.offset, check.length) {
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).with_context(|| format!("cannot read {path}"))?;
        match check.content {
            DiskContent::Sha256(_) => hash.update(&bytes),
            DiskContent::Pattern(pattern) => {
                if let Some((at, is, wanted)) = pattern.mismatch(at, &bytes) {
                    return Ok(Some(format!(
                        "disk {}: byte {at} is {is:#04x}, wanted {wanted:#04x}",
                        check.disk
                    )));
                }
            }
        }
    }
    let DiskContent::Sha256(wanted) = &check.content else { return Ok(None) };
    let is: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok((is != *wanted).then(|| {
        let (from, to) = (check.offset, check.offset.saturating_add(check.length));
        format!("disk {}: the SHA-256 of bytes {from}..{to} is {is}, wanted {wanted}", check.disk)
    }))
}

/// `length` bytes from `offset` on, in pieces: where each begins, and how long it is.
fn pieces(offset: u64, length: u64) -> impl Iterator<Item = (u64, usize)> {
    let end = offset.saturating_add(length);
    let mut at = offset;
    std::iter::from_fn(move || {
        let n = end.saturating_sub(at).min(CHUNK);
        let piece = (at, usize::try_from(n).ok()?);
        at = at.saturating_add(n);
        (n > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolved::MemorySize;
    use crate::model::Name;
    use camino::Utf8PathBuf;

    fn disk(size: u64, pattern: Pattern) -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("data")).unwrap();
        let disk = Disk { name: Name::new("data").unwrap(), size: MemorySize(size), pattern };
        create(&path, &disk).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        (dir, path)
    }

    fn of(offset: u64, length: u64, content: DiskContent) -> DiskCheck {
        DiskCheck { disk: Name::new("data").unwrap(), offset, length, content }
    }

    #[test]
    fn a_disk_holds_its_pattern_until_somebody_writes() {
        let size = 3 << 20 | 512;
        let (_dir, path) = disk(size, Pattern::Offset);
        let whole = of(0, size, DiskContent::Pattern(Pattern::Offset));
        assert_eq!(check(&path, &whole).unwrap(), None);
        let mut file = File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(2 << 20)).unwrap();
        let mut inverse = vec![0; 4096];
        Pattern::Inverse.fill(2 << 20, &mut inverse);
        file.write_all(&inverse).unwrap();
        let said = check(&path, &whole).unwrap();
        assert_eq!(said.as_deref(), Some("disk data: byte 2097152 is 0xff, wanted 0x00"));
        let part = of(2 << 20, 4096, DiskContent::Pattern(Pattern::Inverse));
        assert_eq!(check(&path, &part).unwrap(), None);
        let longer = of(2 << 20, 4097, DiskContent::Pattern(Pattern::Inverse));
        assert!(check(&path, &longer).unwrap().unwrap().contains("byte 2101248 is"));
        let beyond = of(size - 1, 2, DiskContent::Pattern(Pattern::Offset));
        assert!(check(&path, &beyond).is_err(), "a file that was cut");
    }

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let (_dir, path) = disk(1 << 20, Pattern::Zero);
        // head --bytes=512 /dev/zero | sha256sum
        let zeros = "076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c92b89b55f36560";
        let part = |length, hash: &str| of(512, length, DiskContent::Sha256(hash.to_owned()));
        assert_eq!(check(&path, &part(512, zeros)).unwrap(), None);
        let said = check(&path, &part(513, zeros)).unwrap().unwrap();
        assert!(said.contains("bytes 512..1025 is") && said.ends_with(zeros), "{said}");
    }
}
