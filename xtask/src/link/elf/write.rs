//! [`ElfFile`] to bytes: file header, program headers, segments, sections that are not
//! loaded, section headers, with no more padding than alignment asks for.

use super::{ElfFile, LE, Load, Section};
use object::elf::{self, FileHeader64, Ident, ProgramHeader64, SectionHeader64};
use object::endian::{U16, U32, U64};
use object::pod;

/// Name of the section that holds the sections' names.
const SHSTRTAB: &str = ".shstrtab";
const EHDR: usize = size_of::<FileHeader64<LE>>();
const PHDR: usize = size_of::<ProgramHeader64<LE>>();
const SHDR: usize = size_of::<SectionHeader64<LE>>();

impl ElfFile<'_> {
    /// The file as bytes. The same value gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes(None).0
    }

    /// The file as bytes around those of its last LOAD segment, which are `size` bytes that
    /// the caller puts in between; whatever its [`Load::data`] holds is left out.
    #[must_use]
    pub fn to_bytes_around(&self, size: u64) -> (Vec<u8>, Vec<u8>) {
        let (mut before, at) = self.bytes(Some(size));
        let after = before.split_off(at);
        (before, after)
    }

    /// The bytes, and where the left out ones of the last segment belong.
    fn bytes(&self, last: Option<u64>) -> (Vec<u8>, usize) {
        let phnum = self.loads.len() + self.views.len();
        let mut out = Out { bytes: vec![0; EHDR + phnum * PHDR], left_out: 0 };
        let own = self.loads.len() - usize::from(last.is_some() && !self.loads.is_empty());
        let (own, appended) = self.loads.split_at(own);
        let mut offsets: Vec<u64> = own.iter().map(|l| out.append_load(l)).collect();
        for load in appended {
            out.align(load.align, load.vaddr);
            offsets.push(out.len());
        }
        let gap = out.bytes.len();
        out.left_out = last.unwrap_or(0);
        let (shoff, shnum, shstrndx) = self.append_sections(&mut out, &offsets);
        let header = FileHeader64::<LE> {
            e_ident: Ident {
                magic: elf::ELFMAG,
                class: elf::ELFCLASS64,
                data: elf::ELFDATA2LSB,
                version: elf::EV_CURRENT,
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                padding: [0; 7],
            },
            e_type: U16::new(LE, self.kind),
            e_machine: U16::new(LE, self.machine),
            e_version: U32::new(LE, u32::from(elf::EV_CURRENT.0)),
            e_entry: U64::new(LE, self.entry),
            e_phoff: U64::new(LE, EHDR as u64),
            e_shoff: U64::new(LE, shoff),
            e_flags: U32::new(LE, self.flags),
            e_ehsize: U16::new(LE, EHDR as u16),
            e_phentsize: U16::new(LE, PHDR as u16),
            e_phnum: U16::new(LE, phnum as u16),
            e_shentsize: U16::new(LE, if shnum == 0 { 0 } else { SHDR as u16 }),
            e_shnum: U16::new(LE, shnum),
            e_shstrndx: U16::new(LE, elf::SymbolSection(shstrndx)),
        };
        let mut head = pod::bytes_of(&header).to_vec();
        let sizes = own.iter().map(|l| l.data.len() as u64).chain(last);
        for ((load, offset), size) in self.loads.iter().zip(&offsets).zip(sizes) {
            let memsz = load.memsz;
            let place = (*offset, load.vaddr, load.paddr);
            head.extend(phdr(elf::PT_LOAD, load.flags, place, size, memsz, load.align));
        }
        for view in &self.views {
            let (offset, paddr) = self.place(&offsets, view.vaddr);
            let place = (offset, view.vaddr, paddr);
            head.extend(phdr(view.kind, view.flags, place, view.size, view.size, view.align));
        }
        for (to, from) in out.bytes.iter_mut().zip(head) {
            *to = from;
        }
        (out.bytes, gap)
    }

    /// File offset and physical address of a virtual address that is loaded.
    fn place(&self, offsets: &[u64], vaddr: u64) -> (u64, u64) {
        // An address that ends one segment and begins the next belongs to the next.
        let at = self.loads.iter().zip(offsets).rfind(|(l, _)| l.covers(vaddr, 0));
        at.map_or((0, 0), |(l, offset)| {
            let inside = vaddr - l.vaddr;
            (offset.saturating_add(inside), l.paddr.saturating_add(inside))
        })
    }

    /// Appends the bytes of sections that are not loaded, then the section header table.
    /// Returns the table's offset and length, and the index of the names' section.
    fn append_sections(&self, out: &mut Out, loads: &[u64]) -> (u64, u16, u16) {
        if self.sections.is_empty() {
            return (0, 0, 0);
        }
        let own_names = Section {
            name: SHSTRTAB.to_owned(),
            kind: elf::SHT_STRTAB,
            flags: elf::SectionFlags(0),
            addr: 0,
            size: 0,
            link: 0,
            info: 0,
            align: 1,
            entsize: 0,
            data: (&[]).into(),
        };
        let names_at = self.section_index(SHSTRTAB);
        let mut names = vec![0];
        let mut table = Vec::new();
        let all = || self.sections.iter().chain(names_at.is_none().then_some(&own_names));
        let name_offsets: Vec<u32> = all().map(|s| append_name(&mut names, &s.name)).collect();
        for (section, name) in all().zip(name_offsets) {
            let is_names = section.name == SHSTRTAB;
            let data = if is_names { &names } else { &*section.data };
            let offset = if section.kind == elf::SHT_NULL {
                0
            } else if section.loaded() {
                self.place(loads, section.addr).0
            } else {
                out.align(section.align, 0);
                out.append(data)
            };
            table.push(SectionHeader64::<LE> {
                sh_name: U32::new(LE, name),
                sh_type: U32::new(LE, section.kind),
                sh_flags: U64::new(LE, section.flags),
                sh_addr: U64::new(LE, section.addr),
                sh_offset: U64::new(LE, offset),
                sh_size: U64::new(LE, if is_names { names.len() as u64 } else { section.size }),
                sh_link: U32::new(LE, section.link),
                sh_info: U32::new(LE, section.info),
                sh_addralign: U64::new(LE, section.align),
                sh_entsize: U64::new(LE, section.entsize),
            });
        }
        out.align(8, 0);
        let at = out.append(pod::bytes_of_slice(&table));
        let names_at = names_at.unwrap_or(self.sections.len());
        (at, table.len() as u16, names_at as u16)
    }
}

fn phdr(
    kind: elf::ProgramType,
    flags: elf::ProgramFlags,
    (offset, vaddr, paddr): (u64, u64, u64),
    filesz: u64,
    memsz: u64,
    align: u64,
) -> Vec<u8> {
    let header = ProgramHeader64::<LE> {
        p_type: U32::new(LE, kind),
        p_flags: U32::new(LE, flags),
        p_offset: U64::new(LE, offset),
        p_vaddr: U64::new(LE, vaddr),
        p_paddr: U64::new(LE, paddr),
        p_filesz: U64::new(LE, filesz),
        p_memsz: U64::new(LE, memsz),
        p_align: U64::new(LE, align),
    };
    pod::bytes_of(&header).to_vec()
}

/// A file that grows at its end.
struct Out {
    bytes: Vec<u8>,
    /// How many bytes of the file are not among `bytes`.
    left_out: u64,
}

impl Out {
    /// Bytes of the file so far.
    fn len(&self) -> u64 {
        (self.bytes.len() as u64).saturating_add(self.left_out)
    }

    /// Appends bytes and returns their offset.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let at = self.len();
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Appends a segment's bytes at an offset congruent to its address modulo its alignment,
    /// as ELF asks. A segment without bytes takes no room.
    fn append_load(&mut self, load: &Load<'_>) -> u64 {
        if !load.data.is_empty() {
            self.align(load.align, load.vaddr);
        }
        self.append(&load.data)
    }

    /// Appends zeros until the length is congruent to `to` modulo `align`, a power of two.
    fn align(&mut self, align: u64, to: u64) {
        let pad = to.wrapping_sub(self.len()) & (align - 1);
        self.bytes.resize(self.bytes.len() + pad as usize, 0);
    }
}

/// Appends a name to a string table and returns its offset; the empty name is at 0.
fn append_name(names: &mut Vec<u8>, name: &str) -> u32 {
    if name.is_empty() {
        return 0;
    }
    let at = names.len() as u32;
    names.extend_from_slice(name.as_bytes());
    names.push(0);
    at
}
