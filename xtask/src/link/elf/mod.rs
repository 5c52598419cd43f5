//! An ELF64 file of a kernel as a value: what is loaded, what is not, and nothing about
//! where in the file it lies. The steps after the linker are transformations of it;
//! [`ElfFile::to_bytes`] decides the layout anew each time.

mod read;
#[cfg(test)]
pub mod testing;
mod write;

use object::LittleEndian as LE;
use object::elf::{self, Sym64};
use object::pod;
use std::borrow::Cow;
use std::fmt;

/// A page: LOAD segments begin on one, since the kernel maps each with its own rights.
pub const PAGE: u64 = 4096;
/// The largest alignment that a segment or section may ask for (bytes): a large page.
const MAX_ALIGN: u64 = 2 << 20;
/// The largest extent of a kernel in memory (bytes). Generous, and it keeps a hostile
/// file from making the packer allocate without bound.
pub const MAX_EXTENT: u64 = 1 << 30;

/// Why bytes are not an ELF file that the steps here can work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// Headers or tables that cannot be read; the text says which.
    Malformed(String),
    /// A type, class or machine that is no kernel's.
    Unsupported(String),
    /// A LOAD segment that breaks a rule, by its address as written.
    Segment { vaddr: u64, why: &'static str },
    /// A section that breaks a rule.
    Section { name: String, why: &'static str },
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "malformed ELF file: {why}"),
            Self::Unsupported(why) => write!(f, "not a kernel's ELF file: {why}"),
            Self::Segment { vaddr, why } => write!(f, "the LOAD segment at {vaddr:#x} {why}"),
            Self::Section { name, why } => write!(f, "section {name} {why}"),
        }
    }
}

impl std::error::Error for ElfError {}

/// A kernel's ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfFile<'d> {
    pub kind: elf::FileType,
    pub machine: elf::Machine,
    pub flags: elf::FileFlags,
    /// Virtual address of the entry.
    pub entry: u64,
    /// LOAD segments, sorted by address, disjoint.
    pub loads: Vec<Load<'d>>,
    /// Other program headers, each a view of bytes that a LOAD segment holds.
    pub views: Vec<View>,
    /// Sections as in the file, the null section at index 0. Empty when there is no table.
    pub sections: Vec<Section<'d>>,
}

/// A LOAD segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load<'d> {
    pub flags: elf::ProgramFlags,
    pub vaddr: u64,
    pub paddr: u64,
    /// Bytes in memory; those after `data` are zero.
    pub memsz: u64,
    pub align: u64,
    /// Bytes in the file, at most `memsz`.
    pub data: Cow<'d, [u8]>,
}

/// A program header that is no LOAD: a note, the dynamic section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub kind: elf::ProgramType,
    pub flags: elf::ProgramFlags,
    pub vaddr: u64,
    /// Bytes in the file and in memory.
    pub size: u64,
    pub align: u64,
}

/// A section. One that is loaded (`SHF_ALLOC`) has its bytes in a [`Load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'d> {
    pub name: String,
    pub kind: elf::SectionType,
    pub flags: elf::SectionFlags,
    pub addr: u64,
    /// Bytes in memory, or in `data`.
    pub size: u64,
    /// Index into [`ElfFile::sections`], by kind.
    pub link: u32,
    pub info: u32,
    pub align: u64,
    pub entsize: u64,
    /// The bytes of a section that is not loaded.
    pub data: Cow<'d, [u8]>,
}

impl Load<'_> {
    /// First address after the segment.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.vaddr.saturating_add(self.memsz)
    }

    /// Whether `vaddr .. vaddr + len` lies inside the segment.
    #[must_use]
    pub fn covers(&self, vaddr: u64, len: u64) -> bool {
        vaddr >= self.vaddr && vaddr.checked_add(len).is_some_and(|end| end <= self.end())
    }

    /// Whether the segment is executable.
    #[must_use]
    pub fn executable(&self) -> bool {
        self.flags.0 & elf::PF_X.0 != 0
    }
}

impl Section<'_> {
    /// Whether the section is part of the loaded image.
    #[must_use]
    pub fn loaded(&self) -> bool {
        self.flags.0 & elf::SHF_ALLOC.0 != 0
    }
}

/// A symbol with its name.
#[derive(Clone, Copy, Debug)]
pub struct NamedSymbol<'a> {
    pub name: &'a str,
    pub symbol: &'a Sym64<LE>,
}

impl NamedSymbol<'_> {
    /// The symbol's address.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.symbol.st_value.get(LE)
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.symbol.st_size.get(LE)
    }
}

impl<'d> ElfFile<'d> {
    /// The `len` file-backed bytes at `vaddr`.
    #[must_use]
    pub fn bytes_at(&self, vaddr: u64, len: u64) -> Option<&[u8]> {
        let load = self.loads.iter().find(|l| l.covers(vaddr, len))?;
        load.data.get(range(vaddr - load.vaddr, len)?)
    }

    /// The same, to write. Copies the segment if it is borrowed.
    pub fn bytes_at_mut(&mut self, vaddr: u64, len: u64) -> Option<&mut [u8]> {
        let load = self.loads.iter_mut().find(|l| l.covers(vaddr, len))?;
        let at = range(vaddr - load.vaddr, len)?;
        if at.end > load.data.len() {
            return None;
        }
        load.data.to_mut().get_mut(at)
    }

    /// The little-endian word at `vaddr`.
    #[must_use]
    pub fn word_at(&self, vaddr: u64) -> Option<u64> {
        Some(u64::from_le_bytes(*self.bytes_at(vaddr, 8)?.first_chunk()?))
    }

    /// Writes the little-endian word at `vaddr`; `None` when the file holds no bytes there.
    pub fn set_word_at(&mut self, vaddr: u64, word: u64) -> Option<()> {
        self.bytes_at_mut(vaddr, 8)?.copy_from_slice(&word.to_le_bytes());
        Some(())
    }

    /// The index of the first section named `name`.
    #[must_use]
    pub fn section_index(&self, name: &str) -> Option<usize> {
        self.sections.iter().position(|s| s.name == name)
    }

    /// The first section named `name`.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section<'d>> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// The index of the static symbol table.
    #[must_use]
    pub fn symtab_index(&self) -> Option<usize> {
        self.sections.iter().position(|s| s.kind == elf::SHT_SYMTAB)
    }

    /// The static symbol table, the null symbol included; empty when there is none.
    #[must_use]
    pub fn symtab(&self) -> &[Sym64<LE>] {
        let section = self.symtab_index().and_then(|i| self.sections.get(i));
        section.and_then(|s| pod::slice_from_all_bytes(&s.data).ok()).unwrap_or(&[])
    }

    /// Every symbol of the static symbol table that has a readable name.
    pub fn symbols(&self) -> impl Iterator<Item = NamedSymbol<'_>> {
        let strings = self
            .symtab_index()
            .and_then(|i| self.sections.get(self.sections.get(i)?.link as usize))
            .map_or(&[][..], |s| &*s.data);
        self.symtab().iter().skip(1).filter_map(move |symbol| {
            Some(NamedSymbol { name: c_string(strings, symbol.st_name.get(LE))?, symbol })
        })
    }

    /// The symbol named `name` that this file defines.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<NamedSymbol<'_>> {
        self.symbols().find(|s| s.name == name && s.symbol.st_shndx.get(LE) != elf::SHN_UNDEF)
    }

    /// Addresses from the first LOAD segment to the end of the last.
    #[must_use]
    pub fn extent(&self) -> (u64, u64) {
        let first = self.loads.first().map_or(0, |l| l.vaddr);
        (first, self.loads.last().map_or(first, Load::end))
    }
}

/// The 0-terminated UTF-8 string at `at` of a string table.
pub fn c_string(table: &[u8], at: u32) -> Option<&str> {
    let tail = table.get(usize::try_from(at).ok()?..)?;
    let end = tail.iter().position(|b| *b == 0)?;
    std::str::from_utf8(tail.get(..end)?).ok()
}

/// `at .. at + len` as a range of `usize`.
pub fn range(at: u64, len: u64) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(at).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}
