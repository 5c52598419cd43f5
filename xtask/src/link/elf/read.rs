//! Bytes to [`ElfFile`]. `object` reads the tables; the rules that kernels keep beyond
//! what ELF asks for are checked here.

use super::{ElfError, ElfFile, LE, Load, MAX_ALIGN, MAX_EXTENT, PAGE, Section, View, range};
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::pod;
use object::read::elf::FileHeader as _;
use std::borrow::Cow;

impl<'d> ElfFile<'d> {
    /// Reads an ELF64 little-endian executable or PIE.
    ///
    /// # Errors
    /// When a table or what it points at lies outside `bytes`, LOAD segments overlap, are
    /// unsorted, do not begin on pages or wrap around, a loaded section lies outside them,
    /// or the symbol table is not one.
    pub fn parse(bytes: &'d [u8]) -> Result<Self, ElfError> {
        let malformed = |e: object::read::Error| ElfError::Malformed(e.to_string());
        let header = FileHeader64::<LE>::parse(bytes).map_err(malformed)?;
        let endian = header.endian().map_err(malformed)?;
        let kind = header.e_type(endian);
        if kind != elf::ET_EXEC && kind != elf::ET_DYN {
            let why = format!("ELF type {}, neither EXEC nor DYN", kind.0);
            return Err(ElfError::Unsupported(why));
        }
        let program_headers = header.program_headers(endian, bytes).map_err(malformed)?;
        let mut file = ElfFile {
            kind,
            machine: header.e_machine(endian),
            flags: header.e_flags(endian),
            entry: header.e_entry(endian),
            loads: Vec::new(),
            views: Vec::new(),
            sections: Vec::new(),
        };
        for ph in program_headers {
            if ph.p_type.get(LE) == elf::PT_LOAD {
                file.loads.push(load(ph, bytes)?);
            } else {
                file.views.push(view(ph));
            }
        }
        check_loads(&file.loads)?;
        let table = header.sections(endian, bytes).map_err(malformed)?;
        if table.len() >= usize::from(elf::SHN_LORESERVE) {
            return Err(ElfError::Unsupported(format!("{} sections", table.len())));
        }
        for sh in table.iter() {
            let name = table.section_name(endian, sh).map_err(malformed)?;
            let name = String::from_utf8_lossy(name).into_owned();
            let section = section(name, sh, bytes)?;
            if section.loaded() && section.size > 0 {
                let inside = file.loads.iter().any(|l| l.covers(section.addr, section.size));
                if !inside {
                    let why = "is loaded, but lies in no LOAD segment";
                    return Err(ElfError::Section { name: section.name, why });
                }
            }
            file.sections.push(section);
        }
        check_symtab(&file)?;
        Ok(file)
    }
}

fn load<'d>(ph: &ProgramHeader64<LE>, bytes: &'d [u8]) -> Result<Load<'d>, ElfError> {
    let vaddr = ph.p_vaddr.get(LE);
    let fail = |why| Err(ElfError::Segment { vaddr, why });
    let Some(data) = range(ph.p_offset.get(LE), ph.p_filesz.get(LE)).and_then(|at| bytes.get(at))
    else {
        return fail("lies outside the file");
    };
    let load = Load {
        flags: ph.p_flags.get(LE),
        vaddr,
        paddr: ph.p_paddr.get(LE),
        memsz: ph.p_memsz.get(LE),
        align: ph.p_align.get(LE),
        data: Cow::Borrowed(data),
    };
    if ph.p_filesz.get(LE) > load.memsz {
        return fail("has more bytes in the file than in memory");
    }
    if vaddr.checked_add(load.memsz).is_none() || load.paddr.checked_add(load.memsz).is_none() {
        return fail("wraps around the address space");
    }
    if !vaddr.is_multiple_of(PAGE) || !load.paddr.is_multiple_of(PAGE) {
        return fail("does not begin on a page");
    }
    if !load.align.is_power_of_two() || load.align > MAX_ALIGN {
        return fail("has an alignment that is no power of two up to 2 MiB");
    }
    Ok(load)
}

fn view(ph: &ProgramHeader64<LE>) -> View {
    View {
        kind: ph.p_type.get(LE),
        flags: ph.p_flags.get(LE),
        vaddr: ph.p_vaddr.get(LE),
        size: ph.p_filesz.get(LE),
        align: ph.p_align.get(LE),
    }
}

fn check_loads(loads: &[Load<'_>]) -> Result<(), ElfError> {
    let (Some(first), Some(last)) = (loads.first(), loads.last()) else {
        return Err(ElfError::Unsupported("no LOAD segment".into()));
    };
    for pair in loads.windows(2) {
        if let [a, b] = pair
            && b.vaddr < a.end()
        {
            let why = "overlaps the one before it, or is not sorted by address";
            return Err(ElfError::Segment { vaddr: b.vaddr, why });
        }
    }
    if last.end() - first.vaddr > MAX_EXTENT {
        let why = "ends more than 1 GiB after the first";
        return Err(ElfError::Segment { vaddr: last.vaddr, why });
    }
    Ok(())
}

fn section<'d>(
    name: String,
    sh: &SectionHeader64<LE>,
    bytes: &'d [u8],
) -> Result<Section<'d>, ElfError> {
    let mut section = Section {
        name,
        kind: sh.sh_type.get(LE),
        flags: sh.sh_flags.get(LE),
        addr: sh.sh_addr.get(LE),
        size: sh.sh_size.get(LE),
        link: sh.sh_link.get(LE),
        info: sh.sh_info.get(LE),
        // ELF writes "no alignment" as 0 or as 1.
        align: sh.sh_addralign.get(LE).max(1),
        entsize: sh.sh_entsize.get(LE),
        data: Cow::Borrowed(&[]),
    };
    let fail = |section: Section<'_>, why| Err(ElfError::Section { name: section.name, why });
    if !section.align.is_power_of_two() || section.align > MAX_ALIGN {
        return fail(section, "has an alignment that is no power of two up to 2 MiB");
    }
    if section.kind == elf::SHT_NULL {
        // Section 0 keeps counts that do not fit the header: no kernel has that many.
        section.size = 0;
    } else if !section.loaded() && section.kind != elf::SHT_NOBITS {
        match range(sh.sh_offset.get(LE), section.size).and_then(|at| bytes.get(at)) {
            Some(data) => section.data = Cow::Borrowed(data),
            None => return fail(section, "lies outside the file"),
        }
    }
    Ok(section)
}

/// The symbol table must consist of whole symbols and name a string table.
fn check_symtab(file: &ElfFile<'_>) -> Result<(), ElfError> {
    let Some(symtab) = file.symtab_index().and_then(|i| file.sections.get(i)) else {
        return Ok(());
    };
    let fail = |why| Err(ElfError::Section { name: symtab.name.clone(), why });
    if symtab.loaded() || pod::slice_from_all_bytes::<Sym64<LE>>(&symtab.data).is_err() {
        return fail("is not a table of 24-byte symbols");
    }
    match file.sections.get(symtab.link as usize) {
        Some(s) if s.kind == elf::SHT_STRTAB && !s.loaded() => Ok(()),
        _ => fail("names no string table"),
    }
}
