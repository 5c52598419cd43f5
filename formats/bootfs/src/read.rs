//! The reader. [`Bootfs::new`] checks the whole structure once; after it no image, however
//! hostile, makes an accessor loop, and what an accessor returns lies inside the image.

use crate::{
    CHECKSUM, HEADER_LEN, MAGIC, NODE_LEN, PAGE, PERMISSIONS, TYPE_DIR, TYPE_FILE, TYPE_LINK,
    TYPE_MASK, VERSION, checksum, is_name, is_target,
};
use core::fmt;

/// Why bytes are not a bootfs that this code can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than the header or than the length in it.
    Truncated,
    /// The magic is another.
    BadMagic,
    /// A version that this code does not know.
    UnknownVersion(u32),
    /// Incompatible flags that this code does not know.
    UnknownFlags(u32),
    /// A table or a length in the header is impossible.
    BadHeader,
    /// The node of this index breaks a rule of the format.
    BadNode(u32),
    /// The bytes are not those that were written.
    BadChecksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bootfs is cut short"),
            Self::BadMagic => f.write_str("not a bootfs: wrong magic"),
            Self::UnknownVersion(v) => write!(f, "bootfs version {v} is unknown"),
            Self::UnknownFlags(flags) => write!(f, "bootfs flags {flags:#x} are unknown"),
            Self::BadHeader => f.write_str("the header of the bootfs is impossible"),
            Self::BadNode(n) => write!(f, "node {n} of the bootfs is malformed"),
            Self::BadChecksum => f.write_str("the checksum of the bootfs is wrong"),
        }
    }
}

impl core::error::Error for Error {}

/// An image whose structure has been checked.
#[derive(Clone, Copy)]
pub struct Bootfs<'a> {
    image: &'a [u8],
    nodes: &'a [[u8; NODE_LEN]],
    strings: &'a [u8],
    mtime: i64,
}

/// A file, folder or link.
#[derive(Clone, Copy)]
pub struct Node<'f, 'a> {
    fs: &'f Bootfs<'a>,
    index: u32,
    raw: &'a [u8; NODE_LEN],
}

/// What a [`Node`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A file and its bytes. Of 4096 and more, they begin at a multiple of 4096 from the
    /// start of the image, and zeros follow to the end of the last page.
    File(&'a [u8]),
    /// A folder.
    Dir,
    /// A symbolic link and its target.
    Link(&'a str),
}

impl<'a> Bootfs<'a> {
    /// Checks the image at the start of `bytes`; what follows it is ignored. The checksum
    /// is [`Bootfs::verify`]'s.
    ///
    /// # Errors
    /// When the bytes are too few, of another format, or break a rule of this one.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Error::Truncated)?;
        if !header.starts_with(&MAGIC) {
            return Err(Error::BadMagic);
        }
        let version = u32_at(header, 8);
        if version != VERSION {
            return Err(Error::UnknownVersion(version));
        }
        let flags = u32_at(header, 0x0c);
        if flags != 0 {
            return Err(Error::UnknownFlags(flags));
        }
        let length = usize::try_from(u64_at(header, 0x18)).map_err(|_| Error::Truncated)?;
        let image = bytes.get(..length).ok_or(Error::Truncated)?;
        let count = u32_at(header, 0x14) as usize;
        let nodes_len = count.checked_mul(NODE_LEN).ok_or(Error::BadHeader)?;
        let nodes = slice(image, HEADER_LEN as u64, nodes_len as u64).ok_or(Error::BadHeader)?;
        let strings = slice(image, u64_at(header, 0x30), u64_at(header, 0x38));
        let fs = Bootfs {
            image,
            nodes: nodes.as_chunks().0,
            strings: strings.ok_or(Error::BadHeader)?,
            mtime: u64_at(header, 0x28).cast_signed(),
        };
        if fs.nodes.is_empty() {
            return Err(Error::BadHeader);
        }
        fs.check_nodes()?;
        Ok(fs)
    }

    /// Compares the checksum, which reads every byte of the image.
    ///
    /// # Errors
    /// [`Error::BadChecksum`] when the bytes are not those that were written.
    pub fn verify(&self) -> Result<(), Error> {
        let stored = self.image.get(CHECKSUM).map(|b| u64_at(b, 0));
        if stored == Some(checksum(self.image)) { Ok(()) } else { Err(Error::BadChecksum) }
    }

    /// Bytes of the image.
    #[must_use]
    pub fn image(&self) -> &'a [u8] {
        self.image
    }

    /// Number of nodes, the root included.
    #[must_use]
    pub fn node_count(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// The time of every node, in seconds since 1970.
    #[must_use]
    pub fn mtime(&self) -> i64 {
        self.mtime
    }

    /// The root folder, node 0.
    #[must_use]
    pub fn root(&self) -> Node<'_, 'a> {
        // `new` refused an image without nodes; the fallback keeps this free of panics.
        const NONE: [u8; NODE_LEN] = [0; NODE_LEN];
        Node { fs: self, index: 0, raw: self.nodes.first().unwrap_or(&NONE) }
    }

    /// The node with this index, as [`Node::index`] gives it.
    #[must_use]
    pub fn node(&self, index: u32) -> Option<Node<'_, 'a>> {
        let raw = self.nodes.get(usize::try_from(index).ok()?)?;
        Some(Node { fs: self, index, raw })
    }

    /// The node at an absolute path, `/` or `/a/b`. Links are not followed; `.` and `..`
    /// are no names.
    #[must_use]
    pub fn lookup(&self, path: &str) -> Option<Node<'_, 'a>> {
        let below = path.strip_prefix('/')?;
        let mut node = self.root();
        if below.is_empty() {
            return Some(node);
        }
        for name in below.split('/') {
            node = node.child(name)?;
        }
        Some(node)
    }

    /// Checks every node. The child ranges of the folders, taken in order, must be exactly
    /// 1, 2, … and every folder must come before its children: so each node but the root has
    /// one parent, and walking up or down ends.
    fn check_nodes(&self) -> Result<(), Error> {
        let mut next_child = 1u64;
        for (index, raw) in (0..).zip(self.nodes) {
            let bad = Error::BadNode(index);
            let node = Node { fs: self, index, raw };
            // Those that are children of an earlier folder were checked with it.
            let placed = match index {
                0 => node.is_dir() && node.parent_index() == 0 && node.name_len() == 0,
                _ => u64::from(index) < next_child,
            };
            let good = placed
                && node.raw_mode() & !(TYPE_MASK | PERMISSIONS) == 0
                && match node.raw_mode() & TYPE_MASK {
                    TYPE_DIR => {
                        let first = next_child;
                        next_child = next_child.checked_add(node.size()).ok_or(bad)?;
                        if node.start() != first || next_child > self.nodes.len() as u64 {
                            return Err(bad);
                        }
                        self.check_children(&node)?;
                        true
                    }
                    TYPE_FILE => self.is_file(&node),
                    TYPE_LINK => self.string(node.start(), node.size()).is_some_and(is_target),
                    _ => false,
                };
            if !good {
                return Err(bad);
            }
        }
        if next_child == self.nodes.len() as u64 { Ok(()) } else { Err(Error::BadHeader) }
    }

    /// Checks that the children of `folder`, which are there, say that they are, and that their
    /// names are ascending and such as can stand in a folder.
    fn check_children(&self, folder: &Node<'_, '_>) -> Result<(), Error> {
        let mut previous = "";
        for child in folder.children() {
            let name = self.string(child.name_start(), child.name_len());
            let good = |name: &&str| {
                child.parent_index() == folder.index && *name > previous && is_name(name)
            };
            previous = name.filter(good).ok_or(Error::BadNode(child.index))?;
        }
        Ok(())
    }

    /// Whether a file's bytes are in the image and, from a page on, can be mapped.
    fn is_file(&self, node: &Node<'_, '_>) -> bool {
        let (start, size) = (node.start(), node.size());
        if slice(self.image, start, size).is_none() {
            return false;
        }
        if size < PAGE {
            return true;
        }
        let (end, padding) = (start + size, size.next_multiple_of(PAGE) - size);
        start.is_multiple_of(PAGE)
            && slice(self.image, end, padding).is_some_and(|tail| tail.iter().all(|b| *b == 0))
    }

    fn string(&self, start: u64, len: u64) -> Option<&'a str> {
        core::str::from_utf8(slice(self.strings, start, len)?).ok()
    }
}

impl<'f, 'a> Node<'f, 'a> {
    /// The node's index, by which [`Bootfs::node`] finds it again: 0 for the root.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The name in its folder; empty for the root.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.fs.string(self.name_start(), self.name_len()).unwrap_or("")
    }

    /// The folder that it is in; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> Node<'f, 'a> {
        self.fs.node(self.parent_index()).unwrap_or_else(|| self.fs.root())
    }

    /// The index of the folder that it is in: less than its own, but for the root's, which is 0.
    #[must_use]
    pub fn parent_index(&self) -> u32 {
        u32_at(self.raw, 0x0c)
    }

    /// Permission bits, 0 … 0o7777.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        self.raw_mode() & PERMISSIONS
    }

    /// Type and permissions as in Linux's `st_mode`.
    #[must_use]
    pub fn raw_mode(&self) -> u32 {
        u32_at(self.raw, 0)
    }

    /// Numeric owner.
    #[must_use]
    pub fn uid(&self) -> u32 {
        u32_at(self.raw, 4)
    }

    /// Numeric group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        u32_at(self.raw, 8)
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.raw_mode() & TYPE_MASK == TYPE_DIR
    }

    /// What it is, with a file's bytes or a link's target.
    #[must_use]
    pub fn kind(&self) -> Kind<'a> {
        match self.raw_mode() & TYPE_MASK {
            TYPE_FILE => Kind::File(slice(self.fs.image, self.start(), self.size()).unwrap_or(&[])),
            TYPE_LINK => Kind::Link(self.fs.string(self.start(), self.size()).unwrap_or("")),
            _ => Kind::Dir,
        }
    }

    /// Offset of a file's bytes from the start of the image.
    #[must_use]
    pub fn file_offset(&self) -> Option<u64> {
        (self.raw_mode() & TYPE_MASK == TYPE_FILE).then(|| self.start())
    }

    /// A folder's children, sorted by the bytes of their names; nothing for others.
    #[must_use]
    pub fn children(&self) -> Children<'f, 'a> {
        let range = self.child_range();
        Children { fs: self.fs, next: range.start, end: range.end }
    }

    /// The child named `name`, by binary search.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Node<'f, 'a>> {
        let core::ops::Range { start: mut low, end: mut high } = self.child_range();
        while low < high {
            let middle = low + (high - low) / 2;
            let node = self.fs.node(middle)?;
            match node.name().cmp(name) {
                core::cmp::Ordering::Equal => return Some(node),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn child_range(&self) -> core::ops::Range<u32> {
        if !self.is_dir() {
            return 0..0;
        }
        // Both fit: `new` held them against the number of nodes, which is a u32.
        let first = self.start() as u32;
        first..first.saturating_add(self.size() as u32)
    }

    fn name_start(&self) -> u64 {
        u32_at(self.raw, 0x10).into()
    }

    fn name_len(&self) -> u64 {
        u32_at(self.raw, 0x14).into()
    }

    fn start(&self) -> u64 {
        u64_at(self.raw, 0x18)
    }

    fn size(&self) -> u64 {
        u64_at(self.raw, 0x20)
    }
}

impl fmt::Debug for Node<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:o} #{}", self.name(), self.raw_mode(), self.index)
    }
}

/// Iterator over a folder's children.
#[derive(Clone)]
pub struct Children<'f, 'a> {
    fs: &'f Bootfs<'a>,
    next: u32,
    end: u32,
}

impl<'f, 'a> Iterator for Children<'f, 'a> {
    type Item = Node<'f, 'a>;

    fn next(&mut self) -> Option<Node<'f, 'a>> {
        if self.next >= self.end {
            return None;
        }
        let node = self.fs.node(self.next)?;
        self.next += 1;
        Some(node)
    }
}

/// `bytes[start .. start + len]`.
fn slice(bytes: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// The word at a fixed offset of a header or node; 0 past the end, which fixed offsets
/// never reach.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |w| u32::from_le_bytes(*w))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |w| u64::from_le_bytes(*w))
}
