//! What the kernel says about itself.

use crate::{Test, same};

pub const TESTS: &[Test] = &[("system-names", names)];

/// Programs ask whether they run on Linux, and on which; who it really is stands in the
/// version.
fn names() -> Result<(), String> {
    let names = rustix::system::uname();
    same!(names.sysname().to_str(), Ok("Linux"));
    same!(names.nodename().to_str(), Ok("osier"));
    same!(names.machine().to_str(), Ok(std::env::consts::ARCH));
    let release = names.release().to_str().map_err(|e| e.to_string())?;
    let number = |part: Option<&str>| part.and_then(|p| p.parse::<u32>().ok());
    let mut parts = release.split(['.', '-']);
    let (major, minor) = (number(parts.next()), number(parts.next()));
    // 4.11 has statx, the youngest call that today's C libraries take for granted.
    same!(major.zip(minor).is_some_and(|version| version >= (4, 11)), true);
    same!(names.version().to_str().map(|v| v.starts_with("Osier ")), Ok(true));
    Ok(())
}
