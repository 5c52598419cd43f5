//! The bootfs of an image from its entries.

use super::{PackContent, PackEntry};
use std::borrow::Cow;
use std::fmt;

/// Why entries are no bootfs: what the format's writer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootfsError(pub bootfs::write::Error);

impl fmt::Display for BootfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot pack the bootfs: {}", self.0)
    }
}

impl std::error::Error for BootfsError {}

/// The bootfs of `entries`, in whatever order, dated `mtime` (seconds since 1970), in parts
/// that follow each other: what files hold is not copied.
///
/// # Errors
/// When the entries are no tree, or the format cannot hold one of them.
pub fn bootfs<'a>(
    entries: &'a [PackEntry<'_>],
    mtime: i64,
) -> Result<Vec<Cow<'a, [u8]>>, BootfsError> {
    let entries: Vec<_> = entries
        .iter()
        .map(|e| bootfs::write::Entry {
            path: &e.path,
            permissions: e.mode,
            uid: e.uid,
            gid: e.gid,
            content: match &e.content {
                PackContent::File(data, _) => bootfs::write::Content::File(data),
                PackContent::Dir => bootfs::write::Content::Dir,
                PackContent::Link(to) => bootfs::write::Content::Link(to),
            },
        })
        .collect();
    bootfs::write::write_parts(&entries, mtime).map_err(BootfsError)
}
