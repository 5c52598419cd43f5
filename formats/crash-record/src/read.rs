//! xtask's side: the record out of a guest's RAM, which may hold anything.

use crate::{Announcement, Arch, HEADER, MAGIC, PREFIX, kind};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

/// Most items: Linux's and the kernel's bound of mappings (65 530) and of threads (4096), and
/// the crash, rounded up.
const MAX_ITEMS: usize = 70_000;
/// Longest payload in bytes: registers and vectors of a thread, a path of 4096 bytes, the
/// arguments of a program (2 MiB).
const MAX_PAYLOAD: usize = 4 << 20;
/// Most bytes of all items.
const MAX_TOTAL: usize = 1 << 30;

/// Memory by physical address.
pub trait Memory {
    /// Fills `into` with what lies at `at`; `false` when not all of it is RAM.
    fn read(&self, at: u64, into: &mut [u8]) -> bool;
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecord {
    /// An item is not in RAM.
    NotRam(u64),
    /// What lies there is no item.
    NoItem(u64),
    /// An item of a kind that nobody knows.
    Kind(u64, u32),
    /// An item is longer than any can be, in bytes.
    TooLong(u64, u32),
    /// An item has less, or more, in it than its kind says.
    Fields(u64),
    /// A number that cannot be (an arch, a mapping's end before its start).
    Value(u64),
    /// An item comes after itself.
    Loop(u64),
    /// More items, or bytes, than there can be.
    TooMany,
    /// Not one item is about the crash, or several are.
    Crashes(usize),
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRam(at) => write!(f, "its item at {at:#x} is not in the guest's RAM"),
            Self::NoItem(at) => write!(f, "what lies at {at:#x} is no item of it"),
            Self::Kind(at, kind) => write!(f, "its item at {at:#x} is of the unknown kind {kind}"),
            Self::TooLong(at, len) => write!(f, "its item at {at:#x} has {len} bytes"),
            Self::Fields(at) => write!(f, "its item at {at:#x} is not whole"),
            Self::Value(at) => write!(f, "its item at {at:#x} holds a number that cannot be"),
            Self::Loop(at) => write!(f, "its item at {at:#x} comes after itself"),
            Self::TooMany => f.write_str("it has more items than there can be"),
            Self::Crashes(n) => write!(f, "{n} of its items are about the crash itself"),
        }
    }
}

impl core::error::Error for BadRecord {}

/// The crash itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Of the kernel.
    pub arch: Arch,
    /// Physical address of the root of the app's page tables.
    pub root: u64,
    /// The app's stack pointer when it began: argument count, arguments, environment and
    /// auxiliary vector lie there, unless the app has overwritten them.
    pub stack: u64,
    /// How many threads there were.
    pub threads: u64,
    /// Which of them crashed.
    pub tid: u32,
    /// On whose behalf it ran.
    pub uid: u32,
    /// And of which group.
    pub gid: u32,
    /// `siginfo_t`: the signal first.
    pub siginfo: [u8; 128],
    /// Path of the program in the image.
    pub program: Vec<u8>,
    /// Its arguments, each with a NUL.
    pub arguments: Vec<u8>,
}

/// A mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// See [`crate::flags`].
    pub flags: u64,
    /// Where it begins in its file, in bytes.
    pub offset: u64,
    /// Path of its file, empty without one.
    pub path: Vec<u8>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub tid: u32,
    /// The signals that it blocks.
    pub blocked: u64,
    /// The signals that are pending for it.
    pub pending: u64,
    /// How long it ran, in ns.
    pub user_ns: u64,
    /// How long the kernel ran for it, in ns.
    pub system_ns: u64,
    /// TLS register.
    pub tls: u64,
    /// x64: the states that XSAVE wrote, 0 when it was FXSAVE.
    pub xcr0: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// General registers, as `elf_gregset_t`.
    pub registers: Vec<u8>,
    /// Floating-point and vector registers.
    pub vectors: Vec<u8>,
}

/// The whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The crash.
    pub crash: Crash,
    /// The app's mappings, in no order.
    pub mappings: Vec<Mapping>,
    /// Its threads, in no order. One that did not come to rest in time is missing.
    pub threads: Vec<Thread>,
}

/// Where the record is, if the end channel's text says that there is one: the last line counts.
#[must_use]
pub fn announced(channel: &[u8]) -> Option<Announcement> {
    let whole = channel.iter().rposition(|&b| b == b'\n')?;
    channel.get(..whole)?.rsplit(|&b| b == b'\n').find_map(|line| {
        let line = core::str::from_utf8(line).ok()?.strip_prefix(PREFIX)?;
        let (first, ram_end) = line.split_once(' ')?;
        Some(Announcement { first: hex(first)?, ram_end: hex(ram_end)? })
    })
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    // `from_str_radix` would take a sign.
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// What is left of a payload.
struct Fields<'a> {
    at: u64,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], BadRecord> {
        let len = usize::try_from(len).map_err(|_| BadRecord::Fields(self.at))?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(BadRecord::Fields(self.at))?;
        self.rest = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u64, BadRecord> {
        let bytes = self.take(8)?.first_chunk().ok_or(BadRecord::Fields(self.at))?;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn small(&mut self) -> Result<u32, BadRecord> {
        u32::try_from(self.word()?).map_err(|_| BadRecord::Value(self.at))
    }

    fn text(&mut self) -> Result<Vec<u8>, BadRecord> {
        let len = self.word()?;
        Ok(self.take(len)?.to_vec())
    }

    fn crash(&mut self) -> Result<Crash, BadRecord> {
        let arch = match self.word()? {
            1 => Arch::X64,
            2 => Arch::Aarch64,
            _ => return Err(BadRecord::Value(self.at)),
        };
        Ok(Crash {
            arch,
            root: self.word()?,
            stack: self.word()?,
            threads: self.word()?,
            tid: self.small()?,
            uid: self.small()?,
            gid: self.small()?,
            siginfo: self.text()?.try_into().map_err(|_| BadRecord::Value(self.at))?,
            program: self.text()?,
            arguments: self.text()?,
        })
    }

    fn mapping(&mut self) -> Result<Mapping, BadRecord> {
        let [start, end, flags, offset] = [self.word()?, self.word()?, self.word()?, self.word()?];
        if start >= end {
            return Err(BadRecord::Value(self.at));
        }
        Ok(Mapping { start, end, flags, offset, path: self.text()? })
    }

    fn thread(&mut self) -> Result<Thread, BadRecord> {
        Ok(Thread {
            tid: self.small()?,
            blocked: self.word()?,
            pending: self.word()?,
            user_ns: self.word()?,
            system_ns: self.word()?,
            tls: self.word()?,
            xcr0: self.word()?,
            name: self.text()?,
            registers: self.text()?,
            vectors: self.text()?,
        })
    }
}

impl Record {
    /// The record whose first item is at `first`.
    ///
    /// # Errors
    /// See [`BadRecord`].
    pub fn read(memory: &impl Memory, first: u64) -> Result<Self, BadRecord> {
        let (mut crash, mut crashes) = (None, 0);
        let (mut mappings, mut threads) = (Vec::new(), Vec::new());
        let (mut seen, mut total) = (BTreeSet::new(), 0);
        let mut at = first;
        loop {
            if !seen.insert(at) {
                return Err(BadRecord::Loop(at));
            }
            let (kind, payload, next) = item(memory, at)?;
            total += payload.len();
            if seen.len() > MAX_ITEMS || total > MAX_TOTAL {
                return Err(BadRecord::TooMany);
            }
            let mut fields = Fields { at, rest: &payload };
            match kind {
                kind::CRASH => {
                    crashes += 1;
                    crash = Some(fields.crash()?);
                }
                kind::MAPPING => mappings.push(fields.mapping()?),
                kind::THREAD => threads.push(fields.thread()?),
                other => return Err(BadRecord::Kind(at, other)),
            }
            if !fields.rest.is_empty() {
                return Err(BadRecord::Fields(at));
            }
            if next == 0 {
                break;
            }
            at = next;
        }
        match crash {
            Some(crash) if crashes == 1 => Ok(Self { crash, mappings, threads }),
            _ => Err(BadRecord::Crashes(crashes)),
        }
    }
}

/// The item at `at`: its kind, its payload, and where the next one is.
fn item(memory: &impl Memory, at: u64) -> Result<(u32, Vec<u8>, u64), BadRecord> {
    let mut header = [0; HEADER];
    if !memory.read(at, &mut header) {
        return Err(BadRecord::NotRam(at));
    }
    let [magic, sizes, next] = [0, 8, 16].map(|from| {
        header.get(from..).and_then(|h| h.first_chunk::<8>()).copied().unwrap_or_default()
    });
    if magic != MAGIC {
        return Err(BadRecord::NoItem(at));
    }
    // The kind in the lower half, the length in the upper.
    let sizes = u64::from_le_bytes(sizes);
    let len = (sizes >> 32) as u32;
    let wanted = len as usize;
    if wanted > MAX_PAYLOAD {
        return Err(BadRecord::TooLong(at, len));
    }
    let mut payload = alloc::vec![0; wanted];
    let from = at.checked_add(HEADER as u64).ok_or(BadRecord::NotRam(at))?;
    if !memory.read(from, &mut payload) {
        return Err(BadRecord::NotRam(at));
    }
    Ok((sizes as u32, payload, u64::from_le_bytes(next)))
}
