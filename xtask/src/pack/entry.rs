//! The entries of an image, as every packer takes them.

use crate::model::Digest;
use std::collections::BTreeSet;

/// A file, folder or link of an image, with the bytes that go in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackEntry<'a> {
    /// Absolute path in the image.
    pub path: String,
    /// Permission bits, 0 … 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The owner as written: a name or a number.
    pub owner: String,
    /// The group as written: a name or a number.
    pub group: String,
    pub content: PackContent<'a>,
}

/// What a [`PackEntry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackContent<'a> {
    /// A file with these bytes, whose digest is known from elsewhere.
    File(&'a [u8], Digest),
    Dir,
    /// A symbolic link's target.
    Link(String),
}

/// Permission bits of a folder that no entry names.
const PARENT_MODE: u32 = 0o755;

/// The entries, sorted by path, with the folders that they lie in: one that no entry
/// names is root's, mode 0755. So the image and its manifest say the same.
#[must_use]
pub fn complete(mut entries: Vec<PackEntry<'_>>) -> Vec<PackEntry<'_>> {
    let named: BTreeSet<&str> = entries.iter().map(|e| e.path.as_str()).collect();
    let mut absent = BTreeSet::new();
    for path in &named {
        let parents = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        absent.extend(parents.filter(|p| !p.is_empty() && !named.contains(p)).map(str::to_owned));
    }
    entries.extend(absent.into_iter().map(|path| PackEntry {
        path,
        mode: PARENT_MODE,
        uid: 0,
        gid: 0,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        content: PackContent::Dir,
    }));
    entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_no_entry_names_are_added_once() {
        let dir = |path: &str, mode| PackEntry {
            path: path.to_owned(),
            mode,
            uid: 7,
            gid: 7,
            owner: "x".to_owned(),
            group: "x".to_owned(),
            content: PackContent::Dir,
        };
        let done = complete(vec![dir("/a/b/c", 0o700), dir("/a/b/d", 0o700), dir("/a", 0o711)]);
        let list: Vec<_> = done.iter().map(|e| (e.path.as_str(), e.mode, e.uid)).collect();
        assert_eq!(
            list,
            [("/a", 0o711, 7), ("/a/b", 0o755, 0), ("/a/b/c", 0o700, 7), ("/a/b/d", 0o700, 7)]
        );
    }
}
