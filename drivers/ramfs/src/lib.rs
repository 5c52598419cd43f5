//! A file system in RAM: the root, filled from a bootfs and writable from then on. Other file
//! systems whose inodes are in memory only (`/dev`) keep theirs in one too.
//!
//! Contents are in the page cache. What a bootfs holds keeps lying where it was packed and is
//! mapped from there; pages that are written to move to the cache.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod directory;
mod initial;
mod node;
#[cfg(test)]
mod tests;

pub use node::{Node, RamFs};

use driver_api::{BOOT_FILE_SYSTEMS, BootFileSystem, DRIVERS, Driver};

/// It has no device to find.
#[driver_api::linkme::distributed_slice(DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "ramfs", early: None, probe: |_| Ok(()) };

#[driver_api::linkme::distributed_slice(BOOT_FILE_SYSTEMS)]
#[linkme(crate = driver_api::linkme)]
static ROOT: BootFileSystem = BootFileSystem {
    name: "ramfs",
    at: "",
    source: "rootfs",
    mode: 0,
    read_only: false,
    root: |packed, _| Ok(initial::root(packed)?),
};
