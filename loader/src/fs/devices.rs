//! Device files: what there is, and what an open of one gives. Files find their device by its
//! number, wherever they are.

use super::disks;
use super::file::Stream;
use super::tty::{self, TtyFile};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::chardev::{CharDevice, CharFile, DeviceFile, Emit};
use driver_api::sync::IrqLock;
use driver_api::vfs::{DeviceNumber, FileType};
use driver_api::{Once, Result};

/// The terminal's files: name, number, permission bits.
const TERMINAL: [(&str, DeviceNumber, u16); 2] =
    [("tty", tty::CURRENT, 0o666), ("console", tty::CONSOLE, 0o600)];

/// As [`open`].
type Open = fn(DeviceNumber) -> Option<Arc<dyn Stream>>;

/// What drivers have made known.
static OFFERED: IrqLock<Vec<&'static [CharFile]>> = IrqLock::new(Vec::new());

/// [`open_offered`] where there is anything: a kernel without such drivers does not hold it.
static OPEN_OFFERED: Once<Open> = Once::new();

/// A driver makes character devices known.
pub fn add(devices: &'static [CharFile]) {
    OFFERED.lock().push(devices);
    OPEN_OFFERED.call_once(|| open_offered);
}

/// What an open of the device gives; `None` when nobody drives it.
#[must_use]
pub fn open(device: DeviceNumber) -> Option<Arc<dyn Stream>> {
    match device {
        tty::CURRENT | tty::CONSOLE => Some(Arc::new(TtyFile)),
        DeviceNumber { major: disks::MAJOR, minor } => disks::get()?.open(minor as usize),
        _ => OPEN_OFFERED.get()?(device),
    }
}

/// Calls `emit` for each device of which there is to be a file.
///
/// # Errors
/// The first of `emit`.
pub fn each(emit: &mut Emit<'_>) -> Result<()> {
    let kind = FileType::CharDevice;
    let offered = OFFERED.lock().clone();
    for file in offered.into_iter().flatten() {
        emit(&DeviceFile { name: file.name, kind, number: file.number, mode: file.mode })?;
    }
    for (name, number, mode) in TERMINAL {
        emit(&DeviceFile { name, kind, number, mode })?;
    }
    for minor in 0..disks::get().map_or(0, |disks| disks.count() as u32) {
        let number = DeviceNumber { major: disks::MAJOR, minor };
        let name = &format!("blk{minor}");
        emit(&DeviceFile { name, kind: FileType::BlockDevice, number, mode: 0o660 })?;
    }
    Ok(())
}

/// A driver's device, opened.
struct Offered(&'static dyn CharDevice);

impl Stream for Offered {
    fn read(&self, buf: &mut [u8], _nonblock: bool) -> Result<usize> {
        self.0.read(buf)
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize> {
        self.0.write(buf)
    }
}

fn open_offered(device: DeviceNumber) -> Option<Arc<dyn Stream>> {
    let offered = OFFERED.lock();
    let file = offered.iter().copied().flatten().find(|file| file.number == device)?;
    Some(Arc::new(Offered(file.device)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_api::Error;

    struct Echo;

    impl CharDevice for Echo {
        fn read(&self, buf: &mut [u8]) -> Result<usize> {
            buf.fill(b'e');
            Ok(buf.len())
        }
    }

    #[test]
    fn what_has_a_file_can_be_opened() {
        const NUMBER: DeviceNumber = DeviceNumber { major: 10, minor: 200 };
        static ECHO: [CharFile; 1] =
            [CharFile { name: "echo", number: NUMBER, mode: 0o600, device: &Echo }];
        assert!(open(NUMBER).is_none());
        add(&ECHO);
        let mut names = Vec::new();
        each(&mut |file| {
            names.push((alloc::string::String::from(file.name), file.mode));
            assert!(open(file.number).is_some(), "{}", file.name);
            Ok(())
        })
        .unwrap();
        let names: Vec<_> = names.iter().map(|(name, mode)| (&name[..], *mode)).collect();
        assert_eq!(names, [("echo", 0o600), ("tty", 0o666), ("console", 0o600)]);
        let stream = open(NUMBER).unwrap();
        let mut buf = [0; 2];
        assert_eq!(stream.read(&mut buf, false), Ok(2));
        assert_eq!(&buf, b"ee");
        assert_eq!(stream.write(b"x", false), Err(Error::Invalid));
        assert!(open(DeviceNumber { major: 1, minor: 99 }).is_none());
    }
}
