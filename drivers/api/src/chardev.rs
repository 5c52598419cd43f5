//! Character devices that are no hardware's, and the device files that there are.

use crate::vfs::{DeviceNumber, FileType};
use crate::{Error, Result};

/// A character device whose reads and writes never wait: `poll` says that it is ready, and
/// it has no requests (`ioctl`).
pub trait CharDevice: Send + Sync {
    /// Reads into `buf`. 0 is the end.
    ///
    /// # Errors
    /// The device's.
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        let _ = buf;
        Err(Error::Invalid)
    }

    /// Writes from `buf`.
    ///
    /// # Errors
    /// The device's.
    fn write(&self, buf: &[u8]) -> Result<usize> {
        let _ = buf;
        Err(Error::Invalid)
    }
}

/// A character device and its file.
pub struct CharFile {
    /// The file's name in `/dev`.
    pub name: &'static str,
    /// Its number, by which files find it wherever they are.
    pub number: DeviceNumber,
    /// Permission bits of the file.
    pub mode: u16,
    /// The device.
    pub device: &'static dyn CharDevice,
}

/// A device file to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFile<'a> {
    /// Its name in `/dev`.
    pub name: &'a str,
    /// `CharDevice` or `BlockDevice`.
    pub kind: FileType,
    /// The device's number.
    pub number: DeviceNumber,
    /// Permission bits.
    pub mode: u16,
}

/// What is done with each device file.
pub type Emit<'a> = dyn FnMut(&DeviceFile<'_>) -> Result<()> + 'a;

#[cfg(target_os = "none")]
unsafe extern "Rust" {
    /// Both in the kernel (`loader/src/drivers/files.rs`).
    safe fn osier_add_char_devices(devices: &'static [CharFile]);
    safe fn osier_device_files(emit: &mut Emit<'_>) -> Result<()>;
}

#[cfg(not(target_os = "none"))]
use host::{osier_add_char_devices, osier_device_files};

/// On the host, what the test's thread has added is all there is.
#[cfg(not(target_os = "none"))]
mod host {
    use super::{CharFile, DeviceFile, Emit, FileType};
    use crate::Result;
    use core::cell::RefCell;
    use std::thread_local;
    use std::vec::Vec;

    thread_local! {
        static ADDED: RefCell<Vec<&'static CharFile>> = const { RefCell::new(Vec::new()) };
    }

    pub fn osier_add_char_devices(devices: &'static [CharFile]) {
        ADDED.with_borrow_mut(|added| added.extend(devices));
    }

    pub fn osier_device_files(emit: &mut Emit<'_>) -> Result<()> {
        ADDED.with_borrow(Clone::clone).iter().try_for_each(|file| {
            let (number, mode) = (file.number, file.mode);
            emit(&DeviceFile { name: file.name, kind: FileType::CharDevice, number, mode })
        })
    }
}

/// Makes character devices known: files with their numbers can be opened. For `probe`.
pub fn add_char_devices(devices: &'static [CharFile]) {
    osier_add_char_devices(devices);
}

/// Calls `emit` for each device of which there is a file: those that drivers have made known,
/// the terminal, the disks.
///
/// # Errors
/// The first of `emit`.
pub fn device_files(emit: &mut Emit<'_>) -> Result<()> {
    osier_device_files(emit)
}
