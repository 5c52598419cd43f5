//! A small hand-made kernel as a linker leaves it, for the tests of every step after the
//! linker. Link-time addresses:
//!
//! ```text
//! 0x0000  .head.text, .text   entry, `target` at 0x60; Image header on aarch64
//! 0x1000  .rodata             loader header; 0x1040 .note.Xen on x64
//!         0x1080 linkme_DRIVERS (one entry of two words), 0x1090 .data.rel.ro
//! 0x2000  .data, 0x2010 .bss
//! 0x4000  .dynsym .dynstr .rela.dyn .relr.dyn .dynamic
//! ```

use super::{ElfFile, LE, Load, Section, View};
use loader_header::LoaderHeader;
use object::elf::{self, Rela64, Sym64};
use object::endian::{I64, U16, U32, U64};
use object::pod;

/// Address of the function `target`, at which pointers point.
pub const TARGET: u64 = 0x60;
/// A word with a packed relative relocation, in linkme's list; holds `TARGET`.
pub const RELR_AT: u64 = 0x1080;
/// Words of `.data.rel.ro`: relative, absolute against `target` + 4, GOT slot of `target`.
pub const RELATIVE_AT: u64 = 0x1090;
/// `S + A` with A = 4.
pub const SYMBOLIC_AT: u64 = 0x1098;
/// `GLOB_DAT`.
pub const GOT_AT: u64 = 0x10a0;
/// A pointer in `.data`, packed; holds 0x2000.
pub const DATA_AT: u64 = 0x2000;
/// The mangled name of the one driver, of crate `ns16550`.
pub const DRIVER_SYMBOL: &str = "_RNvCs7oSTxnknZZm_7ns165506DRIVER";

/// A dynamic relocation as the sample's table lists it.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic {
    pub at: u64,
    pub kind: u32,
    pub symbol: u32,
    pub addend: i64,
}

/// What tests vary.
#[derive(Clone, Debug)]
pub struct Sample {
    pub machine: elf::Machine,
    pub rela: Vec<Dynamic>,
    pub relr: Vec<u64>,
    /// Section index and binding of the dynamic symbol `target`.
    pub dynsym: (elf::SymbolSection, elf::SymbolBind),
    /// Further entries of the dynamic section.
    pub dynamic: Vec<(i64, u64)>,
    pub driver_symbol: &'static str,
}

impl Sample {
    /// The kernel that all steps accept.
    pub fn new(machine: elf::Machine) -> Self {
        let [abs64, glob_dat, relative] =
            if machine == elf::EM_X86_64 { [1, 6, 8] } else { [257, 1025, 1027] };
        let rela = |at, kind, symbol, addend| Dynamic { at, kind, symbol, addend };
        Self {
            machine,
            rela: vec![
                rela(RELATIVE_AT, relative, 0, TARGET as i64),
                rela(SYMBOLIC_AT, abs64, 1, 4),
                rela(GOT_AT, glob_dat, 1, 0),
                rela(0, 0, 0, 0),
            ],
            // An address, a bitmap that names none, an address.
            relr: vec![RELR_AT, 1, DATA_AT],
            dynsym: (elf::SymbolSection(2), elf::STB_GLOBAL),
            dynamic: Vec::new(),
            driver_symbol: DRIVER_SYMBOL,
        }
    }

    /// The linked kernel's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.file().to_bytes()
    }

    /// The linked kernel.
    pub fn file(&self) -> ElfFile<'static> {
        let x64 = self.machine == elf::EM_X86_64;
        let (dynload, [dynsym, dynstr, rela, relr, dynamic]) = self.dynload();
        let mut sections = vec![section("", elf::SHT_NULL, 0, 0, 0, &[])];
        let mut loaded = |name, kind, flags, at, size| {
            sections.push(section(name, kind, flags | elf::SHF_ALLOC.0, at, size, &[]));
        };
        let (bits, w, x) = (elf::SHT_PROGBITS, elf::SHF_WRITE.0, elf::SHF_EXECINSTR.0);
        loaded(".head.text", bits, x, 0, 0x40);
        loaded(".text", bits, x, 0x40, 0x40);
        loaded(".rodata", bits, 0, 0x1000, 0x40);
        loaded(".note.Xen", elf::SHT_NOTE, 0, 0x1040, if x64 { 24 } else { 0 });
        loaded("linkme_DRIVERS", bits, w, RELR_AT, 0x10);
        loaded(".data.rel.ro", bits, w, RELATIVE_AT, 0x18);
        loaded(".data", bits, w, 0x2000, 0x10);
        loaded(".bss", elf::SHT_NOBITS, w, 0x2010, 0x1000);
        loaded(".dynsym", elf::SHT_DYNSYM, 0, dynsym.0, dynsym.1);
        loaded(".dynstr", elf::SHT_STRTAB, 0, dynstr.0, dynstr.1);
        loaded(".rela.dyn", elf::SHT_RELA, 0, rela.0, rela.1);
        loaded(".relr.dyn", elf::SHT_RELR, 0, relr.0, relr.1);
        loaded(".dynamic", elf::SHT_DYNAMIC, 0, dynamic.0, dynamic.1);
        self.add_unloaded(&mut sections);
        let note = View { kind: elf::PT_NOTE, flags: elf::PF_R, vaddr: 0x1040, size: 24, align: 4 };
        let dynamic = View { kind: elf::PT_DYNAMIC, vaddr: dynamic.0, size: dynamic.1, ..note };
        ElfFile {
            kind: elf::ET_DYN,
            machine: self.machine,
            flags: elf::FileFlags(0),
            entry: 0x40,
            loads: vec![
                load(5, 0, self.text(), 0x80),
                load(4, 0x1000, self.rodata(), 0xa8),
                load(6, 0x2000, words(&[DATA_AT, 7]), 0x1010),
                load(4, 0x4000, dynload.clone(), dynload.len() as u64),
            ],
            views: if x64 { vec![note, dynamic] } else { vec![dynamic] },
            sections,
        }
    }

    fn text(&self) -> Vec<u8> {
        let mut text = vec![0x90; 0x80];
        if self.machine == elf::EM_AARCH64 {
            text[8..24].fill(0);
            text[56..60].copy_from_slice(b"ARM\x64");
        }
        text
    }

    fn rodata(&self) -> Vec<u8> {
        let mut rodata = LoaderHeader::default().to_bytes().to_vec();
        let note = [4u32, 8, 18, u32::from_le_bytes(*b"Xen\0"), 0, 0];
        rodata.extend(note.iter().flat_map(|w| w.to_le_bytes()));
        rodata.resize(0x80, 0);
        rodata.extend(words(&[TARGET, 0x1111, 0, 0, 0]));
        rodata
    }

    /// The last segment, and address and size of each of its five tables.
    fn dynload(&self) -> (Vec<u8>, [(u64, u64); 5]) {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        let mut put = |table: Vec<u8>| {
            bytes.resize(usize::next_multiple_of(bytes.len(), 8), 0);
            places.push((0x4000 + bytes.len() as u64, table.len() as u64));
            bytes.extend(table);
            places[places.len() - 1]
        };
        let symbols = [symbol(0, 0, elf::SHN_UNDEF, elf::STB_LOCAL, 0), {
            symbol(1, TARGET, self.dynsym.0, self.dynsym.1, 4)
        }];
        let dynsym = put(pod::bytes_of_slice(&symbols).to_vec());
        let dynstr = put(b"\0target\0".to_vec());
        let table: Vec<_> =
            self.rela.iter().map(|d| rela(d.at, d.kind, d.symbol, d.addend)).collect();
        let rela = put(pod::bytes_of_slice(&table).to_vec());
        let relr = put(words(&self.relr));
        let mut entries = vec![
            (elf::DT_SYMTAB.0, dynsym.0),
            (elf::DT_SYMENT.0, 24),
            (elf::DT_STRTAB.0, dynstr.0),
            (elf::DT_STRSZ.0, dynstr.1),
            (elf::DT_RELA.0, rela.0),
            (elf::DT_RELASZ.0, rela.1),
            (elf::DT_RELAENT.0, 24),
            (elf::DT_RELR.0, relr.0),
            (elf::DT_RELRSZ.0, relr.1),
            (elf::DT_RELRENT.0, 8),
        ];
        entries.extend(&self.dynamic);
        entries.push((0, 0));
        let flat: Vec<u64> =
            entries.iter().flat_map(|(tag, value)| [tag.cast_unsigned(), *value]).collect();
        let dynamic = put(words(&flat));
        (bytes, [dynsym, dynstr, rela, relr, dynamic])
    }

    /// Symbols, DWARF (an address, a word that is none), static relocations.
    fn add_unloaded(&self, sections: &mut Vec<Section<'static>>) {
        let mut strings = vec![0];
        let mut named = |name: &str, value, section, size| {
            let at = strings.len() as u32;
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            symbol(at, value, elf::SymbolSection(section), elf::STB_GLOBAL, size)
        };
        let symbols = [
            symbol(0, 0, elf::SHN_UNDEF, elf::STB_LOCAL, 0),
            symbol(0, 0, elf::SymbolSection(2), elf::STB_LOCAL, 0),
            named("__kernel_start", 0, 1, 0),
            named("target", TARGET, 2, 0x20),
            named("pvh_start", 0x10, 1, 0),
            named(loader_header::SYMBOL, 0x1000, 3, 64),
            named(self.driver_symbol, RELR_AT, 5, 0x10),
            named("pointer", DATA_AT, 7, 8),
            named("an_absolute_number", 0x1234, elf::SHN_ABS.0, 0),
            named("_DYNAMIC", 0x4000, 13, 0),
        ];
        let abs64 = if self.machine == elf::EM_X86_64 { 1 } else { 257 };
        let first = sections.len() as u32;
        let (symtab, strtab, debug) = (first, first + 1, first + 2);
        let mut push = |name, kind, link, info, entsize, data: &[u8]| {
            let mut s = section(name, kind, 0, 0, data.len() as u64, data);
            (s.link, s.info, s.entsize) = (link, info, entsize);
            sections.push(s);
        };
        let table = pod::bytes_of_slice(&symbols);
        push(".symtab", elf::SHT_SYMTAB, strtab, 2, 24, table);
        push(".strtab", elf::SHT_STRTAB, 0, 0, 0, &strings);
        push(".debug_info", elf::SHT_PROGBITS, 0, 0, 0, &words(&[TARGET, 0x77, 0]));
        push(".shstrtab", elf::SHT_STRTAB, 0, 0, 0, &[]);
        // The third is about code that --gc-sections removed: its symbol is gone.
        let of_debug = [rela(0, abs64, 3, 0), rela(16, abs64, 0, 0x500)];
        push(".rela.debug_info", elf::SHT_RELA, symtab, debug, 24, pod::bytes_of_slice(&of_debug));
        let of_data = [rela(SYMBOLIC_AT, abs64, 3, 4), rela(RELATIVE_AT, abs64, 3, 0)];
        push(".rela.data.rel.ro", elf::SHT_RELA, symtab, 6, 24, pod::bytes_of_slice(&of_data));
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn load(flags: u32, vaddr: u64, data: Vec<u8>, memsz: u64) -> Load<'static> {
    let flags = elf::ProgramFlags(flags);
    Load { flags, vaddr, paddr: vaddr, memsz, align: 4096, data: data.into() }
}

fn section(
    name: &str,
    kind: elf::SectionType,
    flags: u64,
    addr: u64,
    size: u64,
    data: &[u8],
) -> Section<'static> {
    Section {
        name: name.to_owned(),
        kind,
        flags: elf::SectionFlags(flags),
        addr,
        size,
        link: 0,
        info: 0,
        align: 1,
        entsize: 0,
        data: data.to_vec().into(),
    }
}

fn symbol(
    name: u32,
    value: u64,
    section: elf::SymbolSection,
    bind: elf::SymbolBind,
    size: u64,
) -> Sym64<LE> {
    Sym64 {
        st_name: U32::new(LE, name),
        st_info: elf::SymbolInfo::new(bind, elf::STT_OBJECT),
        st_other: elf::SymbolOther(0),
        st_shndx: U16::new(LE, section),
        st_value: U64::new(LE, value),
        st_size: U64::new(LE, size),
    }
}

fn rela(at: u64, kind: u32, symbol: u32, addend: i64) -> Rela64<LE> {
    Rela64 {
        r_offset: U64::new(LE, at),
        r_info: Rela64::<LE>::r_info(LE, false, symbol, elf::RelocationType(kind)),
        r_addend: I64::new(LE, addend),
    }
}
