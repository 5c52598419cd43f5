//! The writer, for the packer on the host. The same entries, in whatever order, give the
//! same bytes.

use crate::{
    CHECKSUM, HEADER_LEN, MAGIC, NODE_LEN, PAGE, PERMISSIONS, TYPE_DIR, TYPE_FILE, TYPE_LINK,
    VERSION, is_name, is_target,
};
use alloc::borrow::{Cow, ToOwned as _};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Small files begin on a multiple of this many bytes.
const SMALL_ALIGN: usize = 8;

/// One file, folder or link to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Absolute: `/bin/hello`; `/` is the root folder.
    pub path: &'a str,
    /// Permission bits, 0 … 0o7777.
    pub permissions: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// What it is.
    pub content: Content<'a>,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A file with these bytes.
    File(&'a [u8]),
    /// A folder.
    Dir,
    /// A symbolic link to this target.
    Link(&'a str),
}

/// Why entries are no tree that the format can hold. Each names the path at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not absolute, or a component is empty, `.`, `..`, longer than 255 bytes, or holds a
    /// 0 byte.
    Path(String),
    /// Two entries have this path.
    Duplicate(String),
    /// Entries lie below this path, which is no folder.
    NotDir(String),
    /// The permissions have bits beyond 0o7777.
    Permissions(String),
    /// The link's target is empty, longer than 4095 bytes, or holds a 0 byte.
    Target(String),
    /// More nodes or bytes of names than the format can count.
    TooMany,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(p) => write!(
                f,
                "`{p}` is no path in an image: paths are absolute, without `.`, `..` and empty \
                 components, and each component has at most 255 bytes"
            ),
            Self::Duplicate(p) => write!(f, "`{p}` is there twice"),
            Self::NotDir(p) => write!(f, "`{p}` is no folder, but other entries lie below it"),
            Self::Permissions(p) => write!(f, "the mode of `{p}` is more than 7777 octal"),
            Self::Target(p) => write!(
                f,
                "the target of the link `{p}` is empty, longer than 4095 bytes, or holds a 0 byte"
            ),
            Self::TooMany => f.write_str("too many files for one bootfs"),
        }
    }
}

impl core::error::Error for Error {}

/// A node of the tree while it grows.
struct Draft<'a> {
    name: &'a str,
    parent: usize,
    children: BTreeMap<&'a str, usize>,
    /// `None` for a folder that exists because something lies below it: 0755, root's.
    entry: Option<Entry<'a>>,
}

/// The image of these entries, with `mtime` (seconds since 1970) for every node. Folders
/// that no entry names but that others lie in are made with mode 0755 and owner 0:0.
///
/// # Errors
/// When the entries are no tree, or one cannot be represented.
pub fn write(entries: &[Entry<'_>], mtime: i64) -> Result<Vec<u8>, Error> {
    let parts = write_parts(entries, mtime)?;
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(out)
}

/// The image as [`write`] makes it, in parts that follow each other: files are not copied.
///
/// # Errors
/// As [`write`].
pub fn write_parts<'a>(entries: &[Entry<'a>], mtime: i64) -> Result<Vec<Cow<'a, [u8]>>, Error> {
    let drafts = grow(entries)?;
    let order = breadth_first(&drafts);
    let mut strings = Strings::default();
    let mut nodes = Vec::with_capacity(order.len());
    let mut number = vec![0u32; drafts.len()];
    for (new, old) in order.iter().enumerate() {
        if let Some(n) = number.get_mut(*old) {
            *n = u32::try_from(new).map_err(|_| Error::TooMany)?;
        }
    }
    let mut next_child = 1u64;
    for draft in order.iter().filter_map(|i| drafts.get(*i)) {
        let name = strings.add(draft.name)?;
        let entry = draft.entry.unwrap_or(Entry {
            path: "",
            permissions: 0o755,
            uid: 0,
            gid: 0,
            content: Content::Dir,
        });
        let (kind, start, size, data) = match entry.content {
            Content::Dir => (TYPE_DIR, next_child, draft.children.len() as u64, &[][..]),
            Content::Link(to) => (TYPE_LINK, strings.add(to)?.into(), to.len() as u64, &[][..]),
            Content::File(data) => (TYPE_FILE, 0, data.len() as u64, data),
        };
        if kind == TYPE_DIR {
            next_child += size;
        }
        nodes.push(Placed {
            mode: kind | entry.permissions,
            owner: (entry.uid, entry.gid),
            parent: number.get(draft.parent).copied().unwrap_or(0),
            name: (name, draft.name.len() as u32),
            start,
            size,
            data,
        });
    }
    Ok(assemble(nodes, &strings.bytes, mtime))
}

/// The tree of the entries, the root first.
fn grow<'a>(entries: &[Entry<'a>]) -> Result<Vec<Draft<'a>>, Error> {
    let draft = |name, parent| Draft { name, parent, children: BTreeMap::new(), entry: None };
    let mut drafts = Vec::from([draft("", 0)]);
    for entry in entries {
        let path = || entry.path.to_owned();
        let below = entry.path.strip_prefix('/').ok_or_else(|| Error::Path(path()))?;
        let mut at = 0;
        for name in below.split('/').filter(|_| !below.is_empty()) {
            if !is_name(name) {
                return Err(Error::Path(path()));
            }
            let next = drafts.len();
            let Some(parent) = drafts.get_mut(at) else { return Err(Error::TooMany) };
            let child = *parent.children.entry(name).or_insert(next);
            if child == next {
                drafts.push(draft(name, at));
            }
            at = child;
        }
        if entry.permissions & !PERMISSIONS != 0 {
            return Err(Error::Permissions(path()));
        }
        if matches!(entry.content, Content::Link(to) if !is_target(to)) {
            return Err(Error::Target(path()));
        }
        let Some(node) = drafts.get_mut(at) else { return Err(Error::TooMany) };
        if node.entry.replace(*entry).is_some() {
            return Err(Error::Duplicate(path()));
        }
    }
    let is_leaf = |e: &Entry<'_>| e.content != Content::Dir;
    for (i, draft) in drafts.iter().enumerate() {
        let leaf = draft.entry.filter(is_leaf);
        if let Some(entry) = leaf.filter(|_| i == 0 || !draft.children.is_empty()) {
            return Err(Error::NotDir(entry.path.to_owned()));
        }
    }
    Ok(drafts)
}

/// The drafts' indices, root first, level by level, each folder's children by name.
fn breadth_first(drafts: &[Draft<'_>]) -> Vec<usize> {
    let mut order = Vec::from([0]);
    let mut done = 0;
    while let Some(draft) = order.get(done).and_then(|i| drafts.get(*i)) {
        order.extend(draft.children.values());
        done += 1;
    }
    order
}

/// Names and targets, each stored once.
#[derive(Default)]
struct Strings<'a> {
    bytes: Vec<u8>,
    known: BTreeMap<&'a str, u32>,
}

impl<'a> Strings<'a> {
    fn add(&mut self, string: &'a str) -> Result<u32, Error> {
        if let Some(at) = self.known.get(string) {
            return Ok(*at);
        }
        let at = u32::try_from(self.bytes.len()).map_err(|_| Error::TooMany)?;
        self.bytes.extend_from_slice(string.as_bytes());
        self.known.insert(string, at);
        Ok(at)
    }
}

/// A node with all its fields but, for files, where the bytes are.
struct Placed<'a> {
    mode: u32,
    owner: (u32, u32),
    parent: u32,
    name: (u32, u32),
    start: u64,
    size: u64,
    data: &'a [u8],
}

/// Parts of the image, as they follow each other.
struct Parts<'a> {
    parts: Vec<Cow<'a, [u8]>>,
    /// Bytes in all of them.
    len: usize,
}

impl<'a> Parts<'a> {
    fn push(&mut self, bytes: Cow<'a, [u8]>) {
        self.len += bytes.len();
        self.parts.push(bytes);
    }

    fn align(&mut self, to: usize) {
        let gap = self.len.next_multiple_of(to) - self.len;
        if gap > 0 {
            self.push(vec![0; gap].into());
        }
    }
}

fn assemble<'a>(mut nodes: Vec<Placed<'a>>, strings: &[u8], mtime: i64) -> Vec<Cow<'a, [u8]>> {
    let strings_at = HEADER_LEN + nodes.len() * NODE_LEN;
    // The header and the nodes come first, and are known last.
    let mut out = Parts { parts: Vec::new(), len: strings_at };
    out.push(strings.to_vec().into());
    // Equal files share their bytes.
    let mut written: BTreeMap<&[u8], u64> = BTreeMap::new();
    for large in [false, true] {
        let align = if large { PAGE as usize } else { SMALL_ALIGN };
        let files = nodes
            .iter_mut()
            .filter(|n| !n.data.is_empty() && (n.data.len() as u64 >= PAGE) == large);
        for node in files {
            node.start = *written.entry(node.data).or_insert_with(|| {
                out.align(align);
                let at = out.len as u64;
                out.push(node.data.into());
                at
            });
        }
    }
    // Also the last page of the last large file is its own.
    out.align(PAGE as usize);

    let mut head = Vec::with_capacity(strings_at);
    head.extend(MAGIC);
    for word in [VERSION, 0, 0, nodes.len() as u32] {
        head.extend(word.to_le_bytes());
    }
    head.extend((out.len as u64).to_le_bytes());
    head.extend([0; 8]);
    head.extend(mtime.to_le_bytes());
    for word in [strings_at as u64, strings.len() as u64] {
        head.extend(word.to_le_bytes());
    }
    for node in &nodes {
        let words = [node.mode, node.owner.0, node.owner.1, node.parent, node.name.0, node.name.1];
        head.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        head.extend([node.start, node.size].iter().flat_map(|w| w.to_le_bytes()));
    }
    let (before, rest) = head.split_at(CHECKSUM.start);
    let mut hasher = xxhash_rust::xxh64::Xxh64::new(xxhash_rust::xxh64::xxh64(before, 0));
    hasher.update(rest.get(CHECKSUM.len()..).unwrap_or(&[]));
    out.parts.iter().for_each(|part| hasher.update(part));
    for (to, from) in head.iter_mut().skip(CHECKSUM.start).zip(hasher.digest().to_le_bytes()) {
        *to = from;
    }
    out.parts.insert(0, head.into());
    out.parts
}
