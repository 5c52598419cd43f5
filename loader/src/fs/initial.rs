//! The root file system at boot: a ramfs with what the bootfs holds.

use super::ramfs::{Node, RamFs};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bootfs::{Bootfs, Kind};
use driver_api::vfs::{DeviceNumber, FileType, NewInode, SetMetadata, Timestamp};
use driver_api::{Error, Result};

/// A file system with everything that `image` holds. Files of a page and more stay where
/// they are; smaller ones too, but they cannot be mapped in place.
///
/// # Errors
/// `NoMemory`, `Invalid` for an image that contradicts itself.
pub fn ramfs(image: &Bootfs<'static>) -> Result<RamFs> {
    let now = Timestamp { secs: image.mtime(), nanos: 0 };
    let root = image.root();
    let fs = RamFs::new(root.permissions() as u16, now);
    driver_api::vfs::Inode::set_metadata(
        &**fs.root_node(),
        &SetMetadata {
            uid: Some(root.uid()),
            gid: Some(root.gid()),
            now,
            ..SetMetadata::default()
        },
    )?;
    // Parents come before their children.
    let mut made: Vec<Arc<Node>> = Vec::new();
    made.try_reserve_exact(image.node_count() as usize).map_err(|_| Error::NoMemory)?;
    made.push(fs.root_node().clone());
    for index in 1..image.node_count() {
        let node = image.node(index).ok_or(Error::Invalid)?;
        let parent = made.get(node.parent().index() as usize).ok_or(Error::Invalid)?;
        let (kind, target) = match node.kind() {
            Kind::File(_) => (FileType::Regular, ""),
            Kind::Dir => (FileType::Directory, ""),
            Kind::Link(target) => (FileType::Symlink, target),
        };
        let new = NewInode {
            kind,
            mode: node.permissions() as u16,
            uid: node.uid(),
            gid: node.gid(),
            device: DeviceNumber::default(),
            target: target.as_bytes(),
            now,
        };
        let inode = parent.add(node.name().as_bytes(), &new)?;
        if let Kind::File(bytes) = node.kind() {
            inode.set_resident(bytes);
        }
        made.push(inode);
    }
    Ok(fs)
}
