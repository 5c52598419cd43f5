//! The app's pages, out of the guest's page tables.

use super::RamLayout;
use crash_record::{Arch, Memory};
use std::collections::HashSet;
use std::fmt;

/// Bytes of a page, and of a table.
pub const PAGE: u64 = 4096;
const ENTRIES: u64 = 512;
/// The level of the root; leaves of 4 KiB are at level 0.
const TOP: u32 = 3;
/// Bits 12 … 51 of an entry of x64 (Intel SDM vol. 3, 5.5), of which aarch64 with a 4 KiB
/// granule and 48-bit addresses uses those up to 47 (Arm ARM, D8.3).
const X64_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const AARCH64_ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// x64: present, and a leaf above level 0.
const X64_PRESENT: u64 = 1 << 0;
const X64_LARGE: u64 = 1 << 7;
/// aarch64: valid, and a table (above level 0).
const AARCH64_VALID: u64 = 1 << 0;
const AARCH64_TABLE: u64 = 1 << 1;
/// The kernel's own mark of a page that the app may not touch, in an entry that is not valid
/// (`crash_record`).
const NO_ACCESS: u64 = 1 << 10;

/// Why page tables cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTables {
    /// A table is not in RAM.
    NotRam(u64),
    /// A table is reached a second time.
    Twice(u64),
    /// The root holds a leaf.
    Leaf(u64),
}

impl fmt::Display for BadTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRam(at) => write!(f, "the table at {at:#x} is not in RAM"),
            Self::Twice(at) => write!(f, "the table at {at:#x} is reached twice"),
            Self::Leaf(at) => write!(f, "the root table at {at:#x} holds a page"),
        }
    }
}

impl std::error::Error for BadTables {}

/// Pages that follow each other, as the app sees them and in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub virt: u64,
    pub phys: u64,
    pub len: u64,
}

/// What an entry says.
enum Entry {
    Empty,
    Table(u64),
    Leaf(u64),
}

fn decode(arch: Arch, level: u32, entry: u64) -> Entry {
    let (valid, address, is_table) = match arch {
        Arch::X64 => (X64_PRESENT, X64_ADDRESS, entry & X64_LARGE == 0),
        Arch::Aarch64 => (AARCH64_VALID, AARCH64_ADDRESS, entry & AARCH64_TABLE != 0),
    };
    if entry & (valid | NO_ACCESS) == 0 {
        Entry::Empty
    } else if level > 0 && is_table {
        Entry::Table(entry & address)
    } else {
        Entry::Leaf(entry & address)
    }
}

/// The pages of the address space with the root table at `root` that lie in RAM, ascending.
/// Each table counts once, so the work is bounded by the RAM's size, whatever is in it.
///
/// # Errors
/// See [`BadTables`].
pub fn runs(
    memory: &impl Memory,
    ram: &RamLayout,
    arch: Arch,
    root: u64,
) -> Result<Vec<Run>, BadTables> {
    let mut walk = Walk { memory, ram, arch, seen: HashSet::new(), runs: Vec::new() };
    walk.table(TOP, root, 0)?;
    Ok(walk.runs)
}

struct Walk<'a, M> {
    memory: &'a M,
    ram: &'a RamLayout,
    arch: Arch,
    seen: HashSet<u64>,
    runs: Vec<Run>,
}

impl<M: Memory> Walk<'_, M> {
    /// The table at `table`, which shows addresses from `base` on.
    fn table(&mut self, level: u32, table: u64, base: u64) -> Result<(), BadTables> {
        if !self.seen.insert(table) {
            return Err(BadTables::Twice(table));
        }
        let mut bytes = [0; PAGE as usize];
        if self.ram.offset(table, PAGE).is_none() || !self.memory.read(table, &mut bytes) {
            return Err(BadTables::NotRam(table));
        }
        let size = PAGE << (9 * level);
        // The upper half of x64's root is the kernel's.
        let own = if level == TOP && self.arch == Arch::X64 { ENTRIES / 2 } else { ENTRIES };
        let (entries, _) = bytes.as_chunks::<8>();
        for (n, entry) in (0..own).zip(entries) {
            let virt = base + n * size;
            match decode(self.arch, level, u64::from_le_bytes(*entry)) {
                Entry::Empty => {}
                Entry::Table(next) => self.table(level.saturating_sub(1), next, virt)?,
                Entry::Leaf(_) if level == TOP => return Err(BadTables::Leaf(table)),
                Entry::Leaf(phys) => self.leaf(Run { virt, phys: phys & !(size - 1), len: size }),
            }
        }
        Ok(())
    }

    fn leaf(&mut self, page: Run) {
        // What is no RAM is a device's.
        if self.ram.offset(page.phys, page.len).is_none() {
            return;
        }
        match self.runs.last_mut() {
            Some(last)
                if last.virt + last.len == page.virt && last.phys + last.len == page.phys =>
            {
                last.len += page.len;
            }
            _ => self.runs.push(page),
        }
    }
}

/// The parts of `runs` (ascending) within `start..end`.
pub fn within(runs: &[Run], start: u64, end: u64) -> impl Iterator<Item = Run> + '_ {
    let first = runs.partition_point(|r| r.virt.saturating_add(r.len) <= start);
    let rest = runs.get(first..).unwrap_or_default();
    rest.iter().take_while(move |r| r.virt < end).map(move |r| {
        let from = r.virt.max(start);
        let to = r.virt.saturating_add(r.len).min(end);
        Run { virt: from, phys: r.phys + (from - r.virt), len: to - from }
    })
}

/// Reads the app's memory; `false` when not all of it is there.
pub fn read(memory: &impl Memory, runs: &[Run], at: u64, into: &mut [u8]) -> bool {
    let Some(end) = at.checked_add(into.len() as u64) else { return false };
    let mut rest = into;
    let mut next = at;
    for run in within(runs, at, end) {
        let len = usize::try_from(run.len).unwrap_or(usize::MAX);
        let Some((part, after)) = rest.split_at_mut_checked(len).filter(|_| run.virt == next)
        else {
            return false;
        };
        if !memory.read(run.phys, part) {
            return false;
        }
        (rest, next) = (after, next + run.len);
    }
    rest.is_empty()
}
