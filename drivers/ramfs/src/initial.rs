//! The root file system at boot: what the bootfs holds.

use crate::{Node, RamFs};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bootfs::{Bootfs, Kind};
use driver_api::vfs::{DeviceNumber, FileType, NewInode, Timestamp};
use driver_api::{Error, Result, log};

/// The root directory of a file system with everything that was packed with the kernel; of an
/// empty one when nothing was.
///
/// # Errors
/// `NoMemory`, `Invalid` for a bootfs that is none or damaged.
pub fn root(packed: &'static [u8]) -> Result<Arc<Node>> {
    if packed.is_empty() {
        log::warn!(target: "ramfs", "the image holds no files");
        return Ok(RamFs::new(0o755, Timestamp::default()).root_node().clone());
    }
    match &Bootfs::new(packed) {
        Ok(image) => match image.verify() {
            Ok(()) => fill(image),
            Err(e) => Err(damaged(e)),
        },
        Err(e) => Err(damaged(*e)),
    }
}

fn damaged(e: bootfs::Error) -> Error {
    log::error!(target: "ramfs", "{e}");
    Error::Invalid
}

/// The root directory over everything that `image` holds. Files of a page and more stay where
/// they are; smaller ones too, but they cannot be mapped in place.
fn fill(image: &Bootfs<'static>) -> Result<Arc<Node>> {
    // Parents come before their children.
    let mut made: Vec<Arc<Node>> = Vec::new();
    made.try_reserve_exact(image.node_count() as usize).map_err(|_| Error::NoMemory)?;
    for index in 0..image.node_count() {
        let node = image.node(index).ok_or(Error::Invalid)?;
        let (kind, target, bytes) = match node.kind() {
            Kind::File(bytes) => (FileType::Regular, "", bytes),
            Kind::Dir => (FileType::Directory, "", [].as_slice()),
            Kind::Link(target) => (FileType::Symlink, target, [].as_slice()),
        };
        let new = NewInode {
            kind,
            mode: node.permissions() as u16,
            uid: node.uid(),
            gid: node.gid(),
            device: DeviceNumber::default(),
            target: target.as_bytes(),
            now: Timestamp { secs: image.mtime(), nanos: 0 },
        };
        let inode = match made.get(node.parent_index() as usize) {
            Some(parent) => parent.add(node.name().as_bytes(), &new)?,
            None => Node::root(&new),
        };
        if kind == FileType::Regular {
            inode.set_resident(bytes);
        }
        made.push(inode);
    }
    made.first().cloned().ok_or(Error::Invalid)
}
