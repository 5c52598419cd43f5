//! `/dev`: the device files that every program expects. Its nodes are in RAM, and it can be
//! written to; the disks and the terminal are the kernel's, the devices that are nobody's
//! hardware are here (Linux's `Documentation/admin-guide/devices.txt` gives their numbers).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::sync::Arc;
use driver_api::chardev::{CharDevice, CharFile, add_char_devices, device_files};
use driver_api::vfs::{DeviceNumber, FileType, Inode, NewInode, Timestamp};
use driver_api::{BOOT_FILE_SYSTEMS, BootFileSystem, DRIVERS, Driver, Error, Result, entropy};
use ramfs::{Node, RamFs};

#[driver_api::linkme::distributed_slice(DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver {
    name: "devfs",
    early: None,
    probe: |_| {
        add_char_devices(&DEVICES);
        Ok(())
    },
};

#[driver_api::linkme::distributed_slice(BOOT_FILE_SYSTEMS)]
#[linkme(crate = driver_api::linkme)]
static DEV: BootFileSystem = BootFileSystem {
    name: "devtmpfs",
    at: "dev",
    source: "dev",
    mode: 0o755,
    read_only: false,
    root: |_, now| root(now),
};

const fn memory(
    name: &'static str,
    minor: u32,
    device: &'static (dyn CharDevice + 'static),
) -> CharFile {
    CharFile { name, number: DeviceNumber { major: 1, minor }, mode: 0o666, device }
}

/// The devices of major number 1, "memory".
static DEVICES: [CharFile; 5] = [
    memory("null", 3, &Null),
    memory("zero", 5, &Zero { full: false }),
    memory("full", 7, &Zero { full: true }),
    memory("random", 8, &Random),
    memory("urandom", 9, &Random),
];

/// Where programs look for their own descriptors: names and targets.
const LINKS: [(&[u8], &[u8]); 4] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
];

/// The root directory, with a file for each device that there is.
///
/// # Errors
/// `NoMemory`.
fn root(now: Timestamp) -> Result<Arc<dyn Inode>> {
    let fs = RamFs::new(0o755, now);
    let dir = fs.root_node();
    let device = DeviceNumber::default();
    let base =
        NewInode { kind: FileType::Symlink, mode: 0o777, uid: 0, gid: 0, device, target: b"", now };
    // Of two of one name the first one stays.
    let keep = |result: Result<Arc<Node>>| match result {
        Ok(_) | Err(Error::Exists) => Ok(()),
        Err(other) => Err(other),
    };
    device_files(&mut |file| {
        let new = NewInode { kind: file.kind, device: file.number, mode: file.mode, ..base };
        keep(dir.add(file.name.as_bytes(), &new))
    })?;
    for (name, target) in LINKS {
        keep(dir.add(name, &NewInode { target, ..base }))?;
    }
    Ok(fs.root())
}

struct Null;

impl CharDevice for Null {
    fn read(&self, _buf: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn write(&self, buf: &[u8]) -> Result<usize> {
        Ok(buf.len())
    }
}

struct Zero {
    full: bool,
}

impl CharDevice for Zero {
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        buf.fill(0);
        Ok(buf.len())
    }

    fn write(&self, buf: &[u8]) -> Result<usize> {
        if self.full { Err(Error::NoSpace) } else { Ok(buf.len()) }
    }
}

struct Random;

impl CharDevice for Random {
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        entropy::random(buf)?;
        Ok(buf.len())
    }

    /// What is written may not be trusted to be random: it is taken and forgotten.
    fn write(&self, buf: &[u8]) -> Result<usize> {
        Ok(buf.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use driver_api::fake::Machine;

    #[test]
    fn there_is_a_file_for_each_device_and_links_to_the_descriptors() {
        // Twice: what is there already stays.
        (DRIVER.probe)(Machine::leaked()).unwrap();
        (DRIVER.probe)(Machine::leaked()).unwrap();
        let now = Timestamp { secs: 7, nanos: 0 };
        let root = (DEV.root)(&[], now).unwrap();
        for file in &DEVICES {
            let made = root.lookup(file.name.as_bytes()).unwrap().metadata();
            assert_eq!((made.kind, made.device), (FileType::CharDevice, file.number));
            assert_eq!((made.mode, made.mtime), (0o666, now));
        }
        assert_eq!(root.lookup(b"stdout").unwrap().read_link().unwrap(), b"/proc/self/fd/1");
        let mut names = Vec::new();
        root.read_dir(0, &mut |e| {
            names.push(e.name.to_vec());
            true
        })
        .unwrap();
        assert_eq!(names.len(), DEVICES.len() + LINKS.len());
    }

    #[test]
    fn the_devices() {
        let mut buf = [1; 4];
        assert_eq!(Null.read(&mut buf), Ok(0));
        assert_eq!(Null.write(&buf), Ok(4));
        assert_eq!(Zero { full: true }.read(&mut buf), Ok(4));
        assert_eq!(buf, [0; 4]);
        assert_eq!(Zero { full: true }.write(&buf), Err(Error::NoSpace));
        assert_eq!(Zero { full: false }.write(&buf), Ok(4));
        // The host has no generator: nothing is passed off as random.
        assert_eq!(Random.read(&mut buf), Err(Error::WouldBlock));
        assert_eq!(Random.write(&buf), Ok(4));
    }
}
