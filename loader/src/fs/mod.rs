//! Files: names, mounts, open files, descriptors, and the file systems in the kernel itself.
//!
//! - [`dentry`]: names and mounts; [`walk`]: from a path to a [`Path`]; [`access`]: who may.
//! - [`ramfs`]: the root file system in RAM, filled from a bootfs.
//! - [`cache`]: the contents of regular files.
//! - [`file`]: open files; [`table`]: descriptors.
//! - [`kinds`]: what can be mounted; [`disks`]: disks as files.
//! - [`devfs`]: `/dev`; [`tty`]: the console's line discipline.
//!
//! Errors are `driver_api::Error`; only `crate::syscall` knows an errno.

pub mod access;
pub mod cache;
pub mod dentry;
pub mod devfs;
pub mod disks;
pub mod epoll;
pub mod eventfd;
pub mod file;
pub mod flock;
pub mod initial;
pub mod kinds;
pub mod pipe;
pub mod poll;
pub mod ramfs;
pub mod record_locks;
pub mod table;
pub mod tty;
pub mod walk;

pub use access::Credentials;
pub use dentry::{Dentry, Mount, MountTable, NewMount, Path};
