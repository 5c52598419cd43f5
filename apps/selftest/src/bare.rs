//! A kernel with nothing but the root file system: no `/dev`, no `/proc`.

use crate::{Test, failed, same};
use rustix::fs::{FileType, fstat};
use std::fs;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

pub const TESTS: &[Test] = &[
    ("bare: nothing but the root", root_alone),
    ("bare: the standard streams are the console", console),
    ("bare: files", files),
];

fn root_alone() -> Result<(), String> {
    for path in ["/dev", "/dev/null", "/dev/console", "/proc", "/proc/mounts"] {
        same!(
            (path, fs::metadata(path).map_err(|e| e.kind()).err()),
            (path, Some(ErrorKind::NotFound))
        );
    }
    let names = fs::read_dir("/").map_err(failed("/"))?.flatten();
    let mut names: Vec<_> = names.map(|e| e.file_name()).collect();
    names.sort();
    same!(names, ["bin", "etc", "tmp"]);
    Ok(())
}

fn console() -> Result<(), String> {
    fn check(fd: BorrowedFd<'_>) -> Result<(), String> {
        let stat = fstat(fd).map_err(failed("fstat"))?;
        same!(FileType::from_raw_mode(stat.st_mode), FileType::CharacterDevice);
        same!(stat.st_mode & 0o777, 0o600);
        // 5:1, as Linux packs it.
        same!(stat.st_rdev, 0x501);
        same!(fd.is_terminal(), true);
        Ok(())
    }
    check(std::io::stdin().as_fd())?;
    check(std::io::stdout().as_fd())?;
    check(std::io::stderr().as_fd())?;
    let mut copy = std::io::stdout().as_fd().try_clone_to_owned().map(fs::File::from);
    let copy = copy.as_mut().map_err(|e| format!("dup: {e}"))?;
    copy.write_all(b"bare: by a copy\n").map_err(failed("write"))?;
    Ok(())
}

/// `/dev` is a name like any other.
fn files() -> Result<(), String> {
    fs::create_dir("/dev").map_err(failed("/dev"))?;
    fs::write("/dev/null", b"kept").map_err(failed("write"))?;
    same!(fs::read("/dev/null").map_err(failed("read"))?, b"kept");
    fs::remove_file("/dev/null").map_err(failed("unlink"))?;
    fs::remove_dir("/dev").map_err(failed("rmdir"))?;
    Ok(())
}
