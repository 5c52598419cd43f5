//! `/proc`: what programs look up about themselves and the machine (`proc(5)`). A small part
//! of Linux's; each file is written when it is read. The tree is here, what the files say is
//! the kernel's ([`ProcessFiles`]).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use driver_api::process::{ProcessFiles, Target, Text, process_files};
use driver_api::vfs::{DeviceNumber, DirEntry, FileType, FsStat, Inode, Metadata, Timestamp};
use driver_api::{BOOT_FILE_SYSTEMS, BootFileSystem, DRIVERS, Driver, Error, Result};

/// It has no device to find.
#[driver_api::linkme::distributed_slice(DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "procfs", early: None, probe: |_| Ok(()) };

#[driver_api::linkme::distributed_slice(BOOT_FILE_SYSTEMS)]
#[linkme(crate = driver_api::linkme)]
static PROC: BootFileSystem = BootFileSystem {
    name: "proc",
    at: "proc",
    source: "proc",
    mode: 0o555,
    read_only: true,
    root: |_, _| Ok(root(process_files())),
};

/// `PROC_SUPER_MAGIC`.
const MAGIC: u64 = 0x9fa0;

#[derive(Clone, Copy)]
enum Kind {
    Root,
    Process,
    Fds,
    File(Text),
    /// `self`: the process's folder.
    Own,
    Link(Target),
    Fd(i32),
}

struct Node {
    source: &'static ProcessFiles,
    kind: Kind,
    ino: u64,
}

/// Text in memory that may not be had: what does not fit is an error.
struct Buffer(Vec<u8>);

impl Write for Buffer {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        self.0.try_reserve(s.len()).map_err(|_| core::fmt::Error)?;
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// The root of the file system.
fn root(source: &'static ProcessFiles) -> Arc<dyn Inode> {
    Arc::new(Node { source, kind: Kind::Root, ino: 1 })
}

/// A number in decimal, without anything else.
fn number(name: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(name).ok()?;
    let plain = text.len() == 1 || !text.starts_with('0');
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|_| plain)
}

impl Node {
    fn child(&self, kind: Kind, ino: u64) -> Arc<dyn Inode> {
        Arc::new(Self { source: self.source, kind, ino })
    }

    fn kind(&self) -> FileType {
        match self.kind {
            Kind::Root | Kind::Process | Kind::Fds => FileType::Directory,
            Kind::File(_) => FileType::Regular,
            Kind::Own | Kind::Link(_) | Kind::Fd(_) => FileType::Symlink,
        }
    }

    /// The entries: name, number, kind.
    fn entries(&self) -> Vec<(Box<[u8]>, u64, Kind)> {
        let source = self.source;
        let text = |n: u64| {
            let mut out = Buffer(Vec::new());
            let _ = write!(out, "{n}");
            out.0.into_boxed_slice()
        };
        let mut out: Vec<(Box<[u8]>, u64, Kind)> = Vec::new();
        let files = |list: &'static [(&'static str, Text)], first: u64| {
            list.iter()
                .zip(first..)
                .map(|((name, text), ino)| (Box::from(name.as_bytes()), ino, Kind::File(*text)))
        };
        match self.kind {
            Kind::Root => {
                out.push((Box::from(*b"self"), 2, Kind::Own));
                out.push((text(u64::from(source.pid)), 3, Kind::Process));
                out.extend(files(source.machine, 0x100));
            }
            Kind::Process => {
                out.push((Box::from(*b"fd"), 4, Kind::Fds));
                out.extend(files(source.own, 0x200));
                out.extend(source.links.iter().zip(0x300..).map(|((name, target), ino)| {
                    (Box::from(name.as_bytes()), ino, Kind::Link(*target))
                }));
            }
            Kind::Fds => {
                let fds = (source.fds)();
                out.extend(fds.into_iter().map(|fd| {
                    let n = u64::from(fd.unsigned_abs());
                    (text(n), 0x1000 + n, Kind::Fd(fd))
                }));
            }
            _ => {}
        }
        out
    }
}

impl Inode for Node {
    fn metadata(&self) -> Metadata {
        let kind = self.kind();
        let never = Timestamp::default();
        Metadata {
            ino: self.ino,
            kind,
            mode: match kind {
                FileType::Directory => 0o555,
                FileType::Symlink => 0o777,
                _ => 0o444,
            },
            uid: 0,
            gid: 0,
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            size: 0,
            blocks: 0,
            block_size: 1024,
            device: DeviceNumber::default(),
            atime: never,
            mtime: never,
            ctime: never,
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Kind::File(text) = self.kind else {
            return Err(if self.kind() == FileType::Directory {
                Error::IsDirectory
            } else {
                Error::Invalid
            });
        };
        let mut all = Buffer(Vec::new());
        text(&mut all).map_err(|_| Error::NoMemory)?;
        let rest = usize::try_from(offset).ok().and_then(|o| all.0.get(o..)).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if self.kind() != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        // Descriptors come and go: no list is made for one of them.
        if matches!(self.kind, Kind::Fds) {
            let fd = number(name).and_then(|n| i32::try_from(n).ok()).ok_or(Error::NotFound)?;
            (self.source.fd)(fd).ok_or(Error::NotFound)?;
            return Ok(self.child(Kind::Fd(fd), 0x1000 + u64::from(fd.unsigned_abs())));
        }
        let found = self.entries().into_iter().find(|e| *e.0 == *name).ok_or(Error::NotFound)?;
        Ok(self.child(found.2, found.1))
    }

    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        if self.kind() != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        // An entry's number is its cursor: they ascend in each directory.
        for (name, ino, kind) in self.entries().into_iter().filter(|e| e.1 > cursor) {
            let kind = Node { source: self.source, kind, ino }.kind();
            if !emit(&DirEntry { name: &name, ino, kind, next: ino }) {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match self.kind {
            Kind::Own => {
                let mut out = Buffer(Vec::new());
                write!(out, "{}", self.source.pid).map_err(|_| Error::NoMemory)?;
                Ok(out.0)
            }
            Kind::Link(target) => target().ok_or(Error::NotFound),
            Kind::Fd(fd) => (self.source.fd)(fd).ok_or(Error::NotFound),
            _ => Err(Error::Invalid),
        }
    }

    fn statfs(&self) -> FsStat {
        FsStat { magic: MAGIC, block_size: 4096, ..FsStat::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    static SOURCE: ProcessFiles = ProcessFiles {
        machine: &[("uptime", |out| out.write_str("1.00 1.00\n"))],
        own: &[("stat", |out| out.write_str("1 (x) R\n")), ("maps", |_| Ok(()))],
        links: &[("exe", || Some(b"/bin/x".to_vec()))],
        fds: || Vec::from([0, 7]),
        fd: |fd| (fd == 0 || fd == 7).then(|| b"/dev/null".to_vec()),
        pid: 1,
    };

    fn names(dir: &dyn Inode) -> Vec<String> {
        let mut all = Vec::new();
        dir.read_dir(0, &mut |e| {
            all.push(String::from_utf8(e.name.to_vec()).unwrap());
            true
        })
        .unwrap();
        all
    }

    #[test]
    fn the_tree() {
        let root = root(&SOURCE);
        assert_eq!(names(&*root), ["self", "1", "uptime"]);
        assert_eq!(root.lookup(b"self").unwrap().read_link().unwrap(), b"1");
        let own = root.lookup(b"1").unwrap();
        assert_eq!(names(&*own), ["fd", "stat", "maps", "exe"]);
        assert_eq!(own.lookup(b"exe").unwrap().read_link().unwrap(), b"/bin/x");
        let fds = own.lookup(b"fd").unwrap();
        assert_eq!(names(&*fds), ["0", "7"]);
        assert_eq!(fds.lookup(b"7").unwrap().read_link().unwrap(), b"/dev/null");
        for bad in [&b"1"[..], b"07", b"-1", b"x", b"", b"99999999999"] {
            assert_eq!(fds.lookup(bad).err(), Some(Error::NotFound));
        }
        assert_eq!(root.lookup(b"2").err(), Some(Error::NotFound));
    }

    #[test]
    fn a_file_is_read_in_parts() {
        let file = root(&SOURCE).lookup(b"uptime").unwrap();
        let mut buf = [0; 5];
        assert_eq!(file.read_at(0, &mut buf), Ok(5));
        assert_eq!(&buf, b"1.00 ");
        assert_eq!(file.read_at(5, &mut buf), Ok(5));
        assert_eq!(file.read_at(10, &mut buf), Ok(0));
        assert_eq!(file.read_at(u64::MAX, &mut buf), Ok(0));
        assert_eq!(root(&SOURCE).read_at(0, &mut buf), Err(Error::IsDirectory));
        assert_eq!(file.write_at(0, b"x"), Err(Error::ReadOnly));
    }
}
