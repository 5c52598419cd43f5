//! The core file of a crashed app: out of the file that was the guest's RAM.

use super::fsx;
use crate::core_dump::{Core, Piece, RamLayout, core};
use crate::error::Refusal;
use crate::model::Arch;
use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use crash_record::{Memory, announced};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// How much is copied at once, in bytes.
const CHUNK: usize = 1 << 20;
/// What is zero throughout is left a hole, in units of a page.
const PAGE: usize = 4096;

/// The file that `typed` names, seen from `cwd`.
///
/// # Errors
/// A [`Refusal`] when no file can be written there.
pub fn place(cwd: &Utf8Path, typed: &Utf8Path) -> Result<Utf8PathBuf, Refusal> {
    let path = cwd.join(typed);
    let folder = path.parent().filter(|_| path.file_name().is_some());
    if path.is_dir() || typed.as_str().is_empty() || typed.as_str().ends_with('/') {
        return Err(Refusal::new(format!("--dump {typed} is not the name of a file"))
            .help("for example --dump core"));
    }
    match folder {
        Some(folder) if folder.is_dir() => Ok(path),
        _ => Err(Refusal::new(format!("--dump {typed}: there is no such folder"))
            .help(format!("mkdir -p {}", folder.unwrap_or(cwd)))),
    }
}

/// The guest's RAM.
struct Ram<'a> {
    file: &'a File,
    layout: RamLayout,
}

impl Memory for Ram<'_> {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let offset = self.layout.offset(at, into.len() as u64);
        offset.is_some_and(|offset| self.file.read_exact_at(into, offset).is_ok())
    }
}

/// Makes the core file `to` when the guest has left a crash record: `channel` is what it said
/// over its end channel, `ram` the file that was its RAM. `None` without a record.
///
/// # Errors
/// A damaged record; files that cannot be read or written. Nothing is left at `to` then that
/// was not there before.
pub fn write(
    arch: Arch,
    channel: &Utf8Path,
    ram: &Utf8Path,
    to: &Utf8Path,
) -> Result<Option<Core>> {
    // A machine that never began has no channel.
    let said = std::fs::read(channel).unwrap_or_default();
    let Some(record) = announced(&said) else { return Ok(None) };
    let file = File::open(ram).with_context(|| format!("cannot read {ram}"))?;
    let len = file.metadata().with_context(|| format!("cannot read {ram}"))?.len();
    let no_core = || "no core file can be made";
    let layout = RamLayout::new(arch, len, record.ram_end).with_context(no_core)?;
    let memory = Ram { file: &file, layout };
    let made = core(&memory, &layout, record.first).with_context(no_core)?;
    fsx::write_with(to, |out| {
        // The length first: a file system that cannot hold it says so before the work.
        out.set_len(made.len)?;
        out.write_all_at(&made.head, 0)?;
        made.pieces.iter().try_for_each(|piece| copy(&file, out, *piece))
    })?;
    Ok(Some(made))
}

fn copy(ram: &File, out: &File, piece: Piece) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(usize::try_from(piece.len).unwrap_or(CHUNK))];
    let mut done = 0;
    while done < piece.len {
        let left = usize::try_from(piece.len - done).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..left).unwrap_or_default();
        ram.read_exact_at(part, piece.from + done)?;
        for (page, at) in part.chunks(PAGE).zip((piece.at + done..).step_by(PAGE)) {
            if page.iter().any(|&b| b != 0) {
                out.write_all_at(page, at)?;
            }
        }
        done += left as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_file_can_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = Utf8Path::from_path(dir.path()).unwrap();
        assert_eq!(place(cwd, "core".into()).unwrap(), cwd.join("core"));
        for (bad, says) in [
            ("", "is not the name of a file"),
            ("/", "is not the name of a file"),
            (".", "is not the name of a file"),
            ("new/", "is not the name of a file"),
            ("none/core", "there is no such folder"),
        ] {
            let e = place(cwd, bad.into()).unwrap_err();
            assert!(e.message.contains(says) && !e.help.is_empty(), "{bad}: {e}");
        }
    }

    #[test]
    fn without_a_record_there_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Utf8Path::from_path(dir.path()).unwrap().join(name);
        let (channel, ram, to) = (at("end"), at("ram"), at("core"));
        assert!(write(Arch::X64, &channel, &ram, &to).unwrap().is_none(), "no channel at all");
        std::fs::write(&channel, "osier-end 1 exit 0\n").unwrap();
        assert!(write(Arch::X64, &channel, &ram, &to).unwrap().is_none());
        std::fs::write(&channel, "osier-dump 1 0x1000 0x10000\nosier-end 1 signal 11\n").unwrap();
        std::fs::write(&ram, vec![0; 0x10000]).unwrap();
        let e = format!("{:#}", write(Arch::X64, &channel, &ram, &to).unwrap_err());
        assert!(e.contains("no core file can be made") && e.contains("0x1000 is no item"), "{e}");
        std::fs::write(&ram, vec![0; 0x100]).unwrap();
        let e = format!("{:#}", write(Arch::X64, &channel, &ram, &to).unwrap_err());
        assert!(e.contains("256 bytes cannot be"), "{e}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing half-written");
    }
}
