//! bootfs: the root file system that travels with the kernel.
//!
//! A read-only tree in one run of bytes, made to be used where it lies: nothing is copied
//! or allocated to read it, files of a page and more begin on a page of the image and have
//! their last page to themselves, so that they can be mapped as they are, and a folder's
//! children are sorted, so that a name is found by binary search.
//!
//! All integers are little-endian; offsets count from the start of the image.
//!
//! ```text
//! header, 64 bytes
//! 0x00  8  magic            "OSIERBFS"
//! 0x08  4  version          2
//! 0x0c  4  incompatible     flags; an unknown one is refused
//! 0x10  4  ro-compatible    flags; an unknown one forbids writing, which nobody does
//! 0x14  4  nodes            count, the root included
//! 0x18  8  length           bytes of the whole image, a multiple of 4096
//! 0x20  8  checksum         XXH64 of all that follows; its seed is that of all before (seed 0)
//! 0x28  8  mtime            seconds since 1970, signed: the time of every node
//! 0x30  8  strings          offset of names and link targets (UTF-8, not terminated)
//! 0x38  8  strings length
//!
//! 0x40     nodes, 40 bytes each, breadth first from the root, so that the children of
//!          one folder are consecutive; among them sorted by the bytes of their names
//! +0x00 4  mode             type and permissions as in Linux's st_mode
//! +0x04 4  uid
//! +0x08 4  gid
//! +0x0c 4  parent           index of the node; the root's is its own, 0
//! +0x10 4  name             offset in the strings
//! +0x14 4  name length      1 … 255; the root's is 0
//! +0x18 8  start            file: offset of its bytes; folder: index of its first child;
//!                           link: offset of its target in the strings
//! +0x20 8  size             file: bytes; folder: children; link: bytes of the target
//!
//!          strings, then files below 4096 bytes, then the others, each on a page;
//!          all gaps are zero
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "write"))]
extern crate alloc;

mod read;
#[cfg(feature = "write")]
pub mod write;

pub use read::{Bootfs, Children, Error, Kind, Node};

/// First bytes of an image.
pub const MAGIC: [u8; 8] = *b"OSIERBFS";
/// The one version there is.
pub const VERSION: u32 = 2;
/// Files of this size and more (bytes) begin on a multiple of it.
pub const PAGE: u64 = 4096;
/// The longest name of a file or folder (bytes), as Linux's `NAME_MAX`.
pub const NAME_MAX: usize = 255;
/// The longest target of a symbolic link (bytes): Linux's `PATH_MAX` less the terminator.
pub const TARGET_MAX: usize = 4095;

/// `S_IFMT`: the bits of a mode that say what a node is.
pub const TYPE_MASK: u32 = 0o170_000;
/// `S_IFREG`.
pub const TYPE_FILE: u32 = 0o100_000;
/// `S_IFDIR`.
pub const TYPE_DIR: u32 = 0o040_000;
/// `S_IFLNK`.
pub const TYPE_LINK: u32 = 0o120_000;
/// Permission bits, set-id and sticky bits included.
pub const PERMISSIONS: u32 = 0o7777;

const HEADER_LEN: usize = 0x40;
const NODE_LEN: usize = 40;
const CHECKSUM: core::ops::Range<usize> = 0x20..0x28;

/// Whether `name` may be the name of a node.
#[must_use]
pub fn is_name(name: &str) -> bool {
    // Empty, `.` and `..` are what has no more than two bytes, all of them dots.
    let special = name.len() <= 2 && name.bytes().all(|b| b == b'.');
    !special && name.len() <= NAME_MAX && !name.bytes().any(|b| b == b'/' || b == 0)
}

/// Whether `target` may be what a symbolic link points at.
#[must_use]
pub fn is_target(target: &str) -> bool {
    !target.is_empty() && target.len() <= TARGET_MAX && !target.bytes().any(|b| b == 0)
}

/// The checksum that an image of these bytes must have: two hashes of one piece each, for a
/// kernel that hashes pieces one after the other holds, and runs at each boot, much more code.
fn checksum(image: &[u8]) -> u64 {
    use xxhash_rust::xxh64::xxh64;
    let seed = xxh64(image.get(..CHECKSUM.start).unwrap_or(image), 0);
    xxh64(image.get(CHECKSUM.end..).unwrap_or(&[]), seed)
}
