//! Structures and flags that differ between the archs' ABIs.

use crate::fs::file::flags;
use driver_api::vfs::{Metadata, Timestamp};

/// Whether this arch has x86-64's own numbers and layouts; all others have the generic ones.
const X64: bool = cfg!(target_arch = "x86_64");

/// `open`'s flags whose numbers differ: x86-64's, arm64's
/// (`arch/arm64/include/uapi/asm/fcntl.h`).
const MOVED: [(u32, u32); 2] = [(flags::DIRECTORY, 0o40_000), (flags::NOFOLLOW, 0o100_000)];

/// The app's flags in the kernel's numbers.
#[must_use]
pub fn open_flags_in(raw: u32) -> u32 {
    if X64 {
        return raw;
    }
    let moved = MOVED.iter().fold(0, |bits, (_, from)| bits | from);
    // What arm64 has at the kernel's places (O_DIRECT, O_LARGEFILE) has no effect.
    let taken = MOVED.iter().fold(0, |bits, (to, _)| bits | to);
    let mut out = raw & !moved & !taken;
    for (to, from) in MOVED {
        if raw & from != 0 {
            out |= to;
        }
    }
    out
}

/// The kernel's flags in the app's numbers, with `O_LARGEFILE`, which is always on.
#[must_use]
pub fn open_flags_out(ours: u32) -> u32 {
    if X64 {
        return ours | 0o100_000;
    }
    let mut out = ours;
    for (from, to) in MOVED {
        if ours & from != 0 {
            out = out & !from | to;
        }
    }
    out | 0o400_000
}

/// Bytes written one after the other.
struct Out<const N: usize> {
    raw: [u8; N],
    at: usize,
}

impl<const N: usize> Out<N> {
    const fn new() -> Self {
        Self { raw: [0; N], at: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(to) = self.raw.get_mut(self.at..self.at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn time(&mut self, time: Timestamp) {
        self.u64(time.secs.cast_unsigned());
        self.u64(u64::from(time.nanos));
    }
}

/// A device number as `stat` has it (`new_encode_dev`).
#[must_use]
pub const fn device(major: u32, minor: u32) -> u64 {
    (minor as u64 & 0xff) | (major as u64 & 0xfff) << 8 | (minor as u64 & !0xff) << 12
}

/// `struct stat`: 144 bytes on x86-64 (`arch/x86/include/uapi/asm/stat.h`), 128 elsewhere
/// (`asm-generic/stat.h`).
pub const STAT_LEN: usize = if X64 { 144 } else { 128 };

/// Fills a `struct stat`; `dev` is the number of the file system.
#[must_use]
pub fn stat(m: &Metadata, dev: u64) -> [u8; STAT_LEN] {
    let mut out = Out::<STAT_LEN>::new();
    let mode = m.kind.mode_bits() | u32::from(m.mode);
    let rdev = device(m.device.major, m.device.minor);
    out.u64(dev);
    out.u64(m.ino);
    if X64 {
        out.u64(u64::from(m.nlink));
        out.u32(mode);
        out.u32(m.uid);
        out.u32(m.gid);
        out.u32(0);
        out.u64(rdev);
        out.u64(m.size);
        out.u64(u64::from(m.block_size));
        out.u64(m.blocks);
    } else {
        out.u32(mode);
        out.u32(m.nlink);
        out.u32(m.uid);
        out.u32(m.gid);
        out.u64(rdev);
        out.u64(0);
        out.u64(m.size);
        out.u32(m.block_size);
        out.u32(0);
        out.u64(m.blocks);
    }
    out.time(m.atime);
    out.time(m.mtime);
    out.time(m.ctime);
    out.raw
}

/// Length of `struct statx` (`linux/stat.h`).
pub const STATX_LEN: usize = 256;
/// `STATX_BASIC_STATS`: what is filled in.
const STATX_BASIC: u32 = 0x7ff;

/// Fills a `struct statx`; `mount` is the number of the mount, the minor part of the file
/// system's device.
#[must_use]
pub fn statx(m: &Metadata, mount: u32) -> [u8; STATX_LEN] {
    let mut out = Out::<STATX_LEN>::new();
    out.u32(STATX_BASIC);
    out.u32(m.block_size);
    out.u64(0);
    out.u32(m.nlink);
    out.u32(m.uid);
    out.u32(m.gid);
    out.u16((m.kind.mode_bits() | u32::from(m.mode)) as u16);
    out.u16(0);
    out.u64(m.ino);
    out.u64(m.size);
    out.u64(m.blocks);
    out.u64(0);
    // atime, btime (not known), ctime, mtime: 16 bytes each.
    for time in [m.atime, Timestamp::default(), m.ctime, m.mtime] {
        out.u64(time.secs.cast_unsigned());
        out.u32(time.nanos);
        out.u32(0);
    }
    out.u32(m.device.major);
    out.u32(m.device.minor);
    out.u32(0);
    out.u32(mount);
    out.raw
}
