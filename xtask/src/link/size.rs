//! The size ledger: which crate and which section each loaded byte of a kernel belongs to.

use super::elf::{ElfError, ElfFile, Section};
use super::names::crate_of;
use object::LittleEndian as LE;
use object::elf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes of symbols whose names are no Rust paths: assembly, and functions with C names
/// (`memcpy`, `sys_read`).
pub const C_NAMES: &str = "(C names)";
/// Bytes that no symbol covers: string literals, vtables, constants, padding.
pub const UNNAMED: &str = "(unnamed)";

/// The ledger of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeTable {
    /// Version of this structure when it is saved; 1.
    pub format: u32,
    /// Loaded sections in the order of their addresses.
    pub sections: Vec<SectionSize>,
    /// By crate, largest first.
    pub owners: Vec<OwnerSize>,
}

/// A loaded section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionSize {
    pub name: String,
    /// Bytes in memory.
    pub bytes: u64,
}

/// What a crate takes. Bytes in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerSize {
    /// The package's name, or one in parentheses for what has none.
    pub name: String,
    /// Whether it is one of the solved drivers.
    pub driver: bool,
    /// Executable.
    pub code: u64,
    /// Read-only.
    pub rodata: u64,
    /// Writable, with bytes in the file.
    pub data: u64,
    /// Writable, zero at the start.
    pub bss: u64,
}

impl OwnerSize {
    /// Bytes that it adds to the image file: all but bss.
    #[must_use]
    pub fn in_file(&self) -> u64 {
        self.code + self.rodata + self.data
    }

    /// Bytes that it adds to memory.
    #[must_use]
    pub fn in_memory(&self) -> u64 {
        self.in_file() + self.bss
    }
}

/// A change between two ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeDelta {
    /// The crate, as in [`OwnerSize::name`].
    pub name: String,
    /// Bytes in memory before; 0 when the crate is new.
    pub before: u64,
    /// Bytes in memory now; 0 when the crate is gone.
    pub now: u64,
}

impl SizeTable {
    /// Bytes of all loaded sections in memory.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sections.iter().map(|s| s.bytes).sum()
    }

    /// The crates whose sizes differ from those of an earlier ledger, the largest change
    /// first.
    #[must_use]
    pub fn since(&self, earlier: &SizeTable) -> Vec<SizeDelta> {
        let mut all: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for owner in &earlier.owners {
            all.entry(&owner.name).or_default().0 += owner.in_memory();
        }
        for owner in &self.owners {
            all.entry(&owner.name).or_default().1 += owner.in_memory();
        }
        let mut deltas: Vec<_> = all
            .into_iter()
            .filter(|(_, (before, now))| before != now)
            .map(|(name, (before, now))| SizeDelta { name: name.to_owned(), before, now })
            .collect();
        deltas.sort_by_key(|d| std::cmp::Reverse(d.before.abs_diff(d.now)));
        deltas
    }
}

/// A run of bytes with one symbol.
struct Span {
    section: usize,
    start: u64,
    end: u64,
    owner: String,
}

/// The ledger of `loader.elf`. `drivers` are the names of the solved drivers.
///
/// Each byte counts once: where symbols overlap, for the one that begins first.
///
/// # Errors
/// When `loader_elf` is no kernel's ELF file.
pub fn size_table(loader_elf: &[u8], drivers: &[&str]) -> Result<SizeTable, ElfError> {
    let file = ElfFile::parse(loader_elf)?;
    let packages: BTreeMap<String, &str> =
        drivers.iter().map(|d| (d.replace('-', "_"), *d)).collect();
    let mut spans: Vec<Span> = spans(&file);
    spans.sort_by(|a, b| (a.section, a.start, b.end).cmp(&(b.section, b.start, a.end)));

    let mut owners: BTreeMap<String, OwnerSize> = BTreeMap::new();
    let mut count = |section: &Section<'_>, owner: &str, bytes: u64| {
        let driver = packages.get(owner);
        let name = driver.map_or(owner, |package| package).to_owned();
        let size = owners.entry(name.clone()).or_insert_with(|| OwnerSize {
            name,
            driver: driver.is_some(),
            ..OwnerSize::default()
        });
        *kind(section, size) += bytes;
    };
    let mut spans = spans.into_iter().peekable();
    for (index, section) in file.sections.iter().enumerate().filter(|(_, s)| s.loaded()) {
        let section_end = section.addr.saturating_add(section.size);
        let mut reached = section.addr;
        while let Some(span) = spans.next_if(|s| s.section <= index) {
            let start = span.start.max(reached);
            let end = span.end.min(section_end);
            if span.section == index && start < end {
                count(section, UNNAMED, start - reached);
                count(section, &span.owner, end - start);
                reached = end;
            }
        }
        count(section, UNNAMED, section_end - reached);
    }
    let mut owners: Vec<_> = owners.into_values().filter(|o| o.in_memory() > 0).collect();
    owners.sort_by(|a, b| (b.in_memory(), &a.name).cmp(&(a.in_memory(), &b.name)));
    let sections = file.sections.iter().filter(|s| s.loaded() && s.size > 0);
    let sections = sections.map(|s| SectionSize { name: s.name.clone(), bytes: s.size });
    Ok(SizeTable { format: 1, sections: sections.collect(), owners })
}

/// The loaded symbols that have a size.
fn spans(file: &ElfFile<'_>) -> Vec<Span> {
    let span = |named: super::elf::NamedSymbol<'_>| {
        let section = usize::from(named.symbol.st_shndx.get(LE).0);
        let loaded = file.sections.get(section).is_some_and(Section::loaded);
        (loaded && named.size() > 0).then(|| Span {
            section,
            start: named.value(),
            end: named.value().saturating_add(named.size()),
            owner: owner(named.name),
        })
    };
    file.symbols().filter_map(span).collect()
}

fn owner(symbol: &str) -> String {
    match crate_of(symbol) {
        Some(name) => name,
        // Constants to which the compiler gave a name of its own.
        None if symbol.starts_with(".L") || symbol.starts_with("anon.") => UNNAMED.to_owned(),
        None => C_NAMES.to_owned(),
    }
}

/// The column that a section's bytes count in. What only relocation writes is read-only
/// in a kernel, though its section is flagged writable.
fn kind<'s>(section: &Section<'_>, size: &'s mut OwnerSize) -> &'s mut u64 {
    if section.flags.0 & elf::SHF_EXECINSTR.0 != 0 {
        &mut size.code
    } else if section.kind == elf::SHT_NOBITS {
        &mut size.bss
    } else if section.name == ".data" {
        &mut size.data
    } else {
        &mut size.rodata
    }
}
