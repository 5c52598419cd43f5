//! `/dev`: the character devices that every program expects (Linux's
//! `Documentation/admin-guide/devices.txt` gives their numbers).

use super::disks;
use super::file::Stream;
use super::ramfs::Node;
use super::tty::TtyFile;
use alloc::sync::Arc;
use driver_api::vfs::{DeviceNumber, FileType, NewInode, Timestamp};
use driver_api::{Error, Result};

/// Name, number, mode.
const DEVICES: [(&[u8], u32, u32, u16); 7] = [
    (b"null", 1, 3, 0o666),
    (b"zero", 1, 5, 0o666),
    (b"full", 1, 7, 0o666),
    (b"random", 1, 8, 0o666),
    (b"urandom", 1, 9, 0o666),
    (b"tty", 5, 0, 0o666),
    (b"console", 5, 1, 0o600),
];

/// Where programs look for their own descriptors: names and targets.
const LINKS: [(&[u8], &[u8]); 4] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
];

/// Makes the device files in `dir`. Those that are there already stay.
///
/// # Errors
/// `NoMemory`.
pub fn populate(dir: &Node, now: Timestamp) -> Result<()> {
    let base = NewInode {
        kind: FileType::CharDevice,
        mode: 0,
        uid: 0,
        gid: 0,
        device: DeviceNumber::default(),
        target: b"",
        now,
    };
    let keep = |result: Result<Arc<Node>>| match result {
        Ok(_) | Err(Error::Exists) => Ok(()),
        Err(other) => Err(other),
    };
    for (name, major, minor, mode) in DEVICES {
        let device = DeviceNumber { major, minor };
        keep(dir.add(name, &NewInode { device, mode, ..base }))?;
    }
    if let Some(disks) = disks::get() {
        disks.populate(dir, &base)?;
    }
    for (name, target) in LINKS {
        let link = NewInode { kind: FileType::Symlink, mode: 0o777, target, ..base };
        keep(dir.add(name, &link))?;
    }
    Ok(())
}

/// What an open of the device gives; `None` when nobody drives it.
#[must_use]
pub fn open(device: DeviceNumber) -> Option<Arc<dyn Stream>> {
    Some(match (device.major, device.minor) {
        (1, 3) => Arc::new(Null),
        (1, 5) => Arc::new(Zero { full: false }),
        (1, 7) => Arc::new(Zero { full: true }),
        (1, 8 | 9) => Arc::new(Random),
        (5, 0 | 1) => Arc::new(TtyFile),
        (disks::MAJOR, index) => return disks::get()?.open(index as usize),
        _ => return None,
    })
}

struct Null;

impl Stream for Null {
    fn read(&self, _buf: &mut [u8], _nonblock: bool) -> Result<usize> {
        Ok(0)
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize> {
        Ok(buf.len())
    }
}

struct Zero {
    full: bool,
}

impl Stream for Zero {
    fn read(&self, buf: &mut [u8], _nonblock: bool) -> Result<usize> {
        buf.fill(0);
        Ok(buf.len())
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize> {
        if self.full { Err(Error::NoSpace) } else { Ok(buf.len()) }
    }
}

#[cfg(target_os = "none")]
fn fill_random(buf: &mut [u8]) -> Result<()> {
    crate::entropy::fill(buf).map_err(|_| Error::WouldBlock)
}

/// The host's tests have no generator, and get nothing rather than zeroes.
#[cfg(not(target_os = "none"))]
fn fill_random(_buf: &mut [u8]) -> Result<()> {
    Err(Error::WouldBlock)
}

struct Random;

impl Stream for Random {
    fn read(&self, buf: &mut [u8], _nonblock: bool) -> Result<usize> {
        fill_random(buf)?;
        Ok(buf.len())
    }

    /// What is written may not be trusted to be random: it is taken and forgotten.
    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize> {
        Ok(buf.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ramfs::RamFs;

    #[test]
    fn every_device_file_can_be_opened_and_populating_twice_is_harmless() {
        let fs = RamFs::new(0o755, Timestamp::default());
        populate(fs.root_node(), Timestamp::default()).unwrap();
        populate(fs.root_node(), Timestamp::default()).unwrap();
        for (name, ..) in DEVICES {
            assert!(open(fs.root().lookup(name).unwrap().metadata().device).is_some());
        }
        assert!(open(DeviceNumber { major: 1, minor: 99 }).is_none());
    }

    #[test]
    fn null_and_zero() {
        let mut buf = [1; 4];
        assert_eq!(Null.read(&mut buf, false), Ok(0));
        assert_eq!(Zero { full: true }.read(&mut buf, false), Ok(4));
        assert_eq!(buf, [0; 4]);
        assert_eq!(Zero { full: true }.write(&buf, false), Err(Error::NoSpace));
    }
}
