//! The root file system at boot: what the bootfs holds.

use crate::{Node, RamFs};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bootfs::{Bootfs, Kind};
use driver_api::vfs::{DeviceNumber, FileType, Inode, NewInode, SetMetadata, Timestamp};
use driver_api::{Error, Result, log};

/// A file system with everything that was packed with the kernel; an empty one when nothing
/// was.
///
/// # Errors
/// `NoMemory`, `Invalid` for a bootfs that is none or damaged.
pub fn root(packed: &'static [u8]) -> Result<RamFs> {
    if packed.is_empty() {
        log::warn!(target: "ramfs", "the image holds no files");
        return Ok(RamFs::new(0o755, Timestamp::default()));
    }
    let checked = Bootfs::new(packed).and_then(|image| {
        image.verify()?;
        Ok(image)
    });
    match checked {
        Ok(image) => fill(&image),
        Err(e) => {
            log::error!(target: "ramfs", "{e}");
            Err(Error::Invalid)
        }
    }
}

/// A file system with everything that `image` holds. Files of a page and more stay where
/// they are; smaller ones too, but they cannot be mapped in place.
fn fill(image: &Bootfs<'static>) -> Result<RamFs> {
    let now = Timestamp { secs: image.mtime(), nanos: 0 };
    let root = image.root();
    let fs = RamFs::new(root.permissions() as u16, now);
    let owner =
        SetMetadata { uid: Some(root.uid()), gid: Some(root.gid()), now, ..SetMetadata::default() };
    fs.root_node().set_metadata(&owner)?;
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
