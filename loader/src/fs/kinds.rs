//! The kinds of file systems that drivers offer.

use alloc::vec::Vec;
use driver_api::paged::FileSystemType;
use driver_api::sync::IrqLock;

static KINDS: IrqLock<Vec<&'static dyn FileSystemType>> = IrqLock::new(Vec::new());

/// A driver offers one.
pub fn add(kind: &'static dyn FileSystemType) {
    KINDS.lock().push(kind);
}

/// The kind of this name.
#[must_use]
pub fn get(name: &[u8]) -> Option<&'static dyn FileSystemType> {
    KINDS.lock().iter().find(|k| k.name().as_bytes() == name).copied()
}

/// All of them.
#[must_use]
pub fn list() -> Vec<&'static dyn FileSystemType> {
    KINDS.lock().clone()
}
