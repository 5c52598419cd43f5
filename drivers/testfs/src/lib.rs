//! A small journalled file system on any block device: the proof of the contracts of the page
//! cache, of write-back and of block devices.
//!
//! Cut at any write, with whatever the device still held in its cache lost, it mounts to the
//! state of a commit, not older than the last one that a `sync` had waited for, contents and
//! metadata together: metadata goes through a journal ([`journal`]), contents to units that no
//! committed state uses ([`space`]), so that a commit takes up both or neither. Everything on
//! the device is checksummed ([`layout`] says what lies where). An operation succeeds as a
//! whole or changes nothing ([`volume`]).
//!
//! What it does not do: many things at once (one lock), look names up otherwise than by
//! reading the directory, or tell by itself that the newest transaction was lost whose header
//! *and* its copy were damaged later: then it mounts the one before.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod block;
mod dir;
mod file;
mod format;
mod fs;
mod journal;
mod layout;
mod names;
mod node;
mod record;
mod space;
#[cfg(test)]
mod tests;
mod tree;
mod volume;

pub use fs::{Mounted, TestFs};

use driver_api::{DRIVERS, Driver};

#[driver_api::linkme::distributed_slice(DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver {
    name: "testfs",
    early: None,
    probe: |_| {
        driver_api::services().add_file_system(&TestFs);
        Ok(())
    },
};
