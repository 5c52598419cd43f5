//! Files: names, mounts, open files, descriptors. File systems are drivers.
//!
//! - [`dentry`]: names and mounts; [`walk`]: from a path to a [`Path`]; [`access`]: who may.
//! - [`cache`]: the contents of regular files.
//! - [`file`]: open files; [`table`]: descriptors.
//! - [`kinds`]: what can be mounted; [`devices`]: device files; [`disks`]: disks as files.
//! - [`tty`]: the console's line discipline.
//!
//! Errors are `driver_api::Error`; only `crate::syscall` knows an errno.

pub mod access;
pub mod cache;
pub mod dentry;
pub mod devices;
pub mod disks;
pub mod epoll;
pub mod eventfd;
pub mod fifo;
pub mod file;
pub mod flock;
pub mod kinds;
pub mod pipe;
pub mod poll;
pub mod record_locks;
pub mod table;
pub mod tty;
pub mod walk;

pub use access::Credentials;
pub use dentry::{Dentry, Mount, MountTable, NewMount, Path};
