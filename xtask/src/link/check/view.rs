//! A kernel's ELF file as `goblin` reads it, with the few look-ups that the checks share.

use goblin::elf::{Elf, ProgramHeader, SectionHeader, Sym, program_header, section_header};

/// A parsed file and its bytes.
pub struct FileView<'a> {
    pub elf: Elf<'a>,
    pub bytes_of_file: &'a [u8],
}

/// `at` rounded up to a page.
pub fn page_up(at: u64) -> u64 {
    at.checked_next_multiple_of(4096).unwrap_or(u64::MAX)
}

/// Whether `at` is one of the `len` addresses from `start` on.
pub fn holds(start: u64, len: u64, at: u64) -> bool {
    at.checked_sub(start).is_some_and(|inside| inside < len)
}

/// `SHT_RELR`, which goblin does not name (gABI, section types).
pub const SHT_RELR: u32 = 19;

impl<'a> FileView<'a> {
    /// Parses the file.
    pub fn open(bytes_of_file: &'a [u8]) -> Result<Self, String> {
        let elf = Elf::parse(bytes_of_file).map_err(|e| e.to_string())?;
        if !elf.is_64 || !elf.little_endian {
            return Err("not a 64-bit little-endian ELF file".to_owned());
        }
        Ok(Self { elf, bytes_of_file })
    }

    /// The LOAD segments, in the order of their headers.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.elf.program_headers.iter().filter(|p| p.p_type == program_header::PT_LOAD)
    }

    /// The `len` bytes that the file loads at `vaddr`.
    pub fn bytes(&self, vaddr: u64, len: usize) -> Option<&'a [u8]> {
        let load = self.loads().find(|l| holds(l.p_vaddr, l.p_memsz, vaddr))?;
        let inside = usize::try_from(vaddr.checked_sub(load.p_vaddr)?).ok()?;
        self.load_bytes(load)?.get(inside..inside.checked_add(len)?)
    }

    /// The bytes that the file holds for a segment.
    pub fn load_bytes(&self, load: &ProgramHeader) -> Option<&'a [u8]> {
        let start = usize::try_from(load.p_offset).ok()?;
        self.bytes_of_file.get(start..start.checked_add(usize::try_from(load.p_filesz).ok()?)?)
    }

    /// The word that the file loads at `vaddr`.
    pub fn word(&self, vaddr: u64) -> Option<u64> {
        Some(u64::from_le_bytes(*self.bytes(vaddr, 8)?.first_chunk()?))
    }

    /// The bytes of a section in the file.
    pub fn section_bytes(&self, section: &SectionHeader) -> Option<&'a [u8]> {
        let start = usize::try_from(section.sh_offset).ok()?;
        self.bytes_of_file.get(start..start.checked_add(usize::try_from(section.sh_size).ok()?)?)
    }

    /// A section's name.
    pub fn section_name(&self, section: &SectionHeader) -> &'a str {
        self.elf.shdr_strtab.get_at(section.sh_name).unwrap_or("?")
    }

    /// A symbol's name.
    pub fn name(&self, symbol: &Sym) -> &'a str {
        self.elf.strtab.get_at(symbol.st_name).unwrap_or("?")
    }

    /// The value of a defined symbol.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        let defined = |s: &Sym| s.st_shndx != section_header::SHN_UNDEF as usize;
        self.elf.syms.iter().find(|s| defined(s) && self.name(s) == name).map(|s| s.st_value)
    }

    /// Whether a symbol lies in the image, and not in what serves relocation alone.
    pub fn in_image(&self, symbol: &Sym) -> bool {
        self.elf.section_headers.get(symbol.st_shndx).is_some_and(|s| {
            s.is_alloc()
                && !matches!(
                    s.sh_type,
                    section_header::SHT_RELA
                        | section_header::SHT_REL
                        | SHT_RELR
                        | section_header::SHT_DYNAMIC
                        | section_header::SHT_DYNSYM
                        | section_header::SHT_HASH
                        | section_header::SHT_GNU_HASH
                        | section_header::SHT_STRTAB
                )
        })
    }

    /// Name and value of the symbols of the image, in the order of the table.
    pub fn image_symbols(&self) -> impl Iterator<Item = (&'a str, u64)> {
        let symbols = self.elf.syms.iter().filter(|s| s.st_shndx != 0 && self.in_image(s));
        symbols.map(|s| (self.name(&s), s.st_value))
    }

    /// The symbol that holds `at`, or the nearest one below it, for messages.
    pub fn nearest(&self, at: u64) -> String {
        let below = self.elf.syms.iter().filter(|s| s.st_value <= at && self.in_image(s));
        let nearest = below.filter(|s| s.st_name != 0).max_by_key(|s| s.st_value);
        nearest.map_or_else(
            || "no symbol".to_owned(),
            |s| format!("{}+{:#x}", self.name(&s), at - s.st_value),
        )
    }

    /// The descriptor of the PVH note: name "Xen", type 18, 8 bytes.
    pub fn pvh_entry(&self) -> Option<u64> {
        let notes = self.elf.iter_note_headers(self.bytes_of_file)?;
        let mut notes = notes.filter_map(Result::ok);
        let note = notes.find(|n| n.name.trim_end_matches('\0') == "Xen" && n.n_type == 18)?;
        let desc: [u8; 8] = note.desc.try_into().ok()?;
        Some(u64::from_le_bytes(desc))
    }
}
