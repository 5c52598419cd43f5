//! The relocate step: from the static PIE that the linker wrote, at address 0, to an
//! executable at the planned address with nothing left to relocate.

use super::elf::{ElfError, ElfFile, PAGE};
use super::{debug, dynamic, patch, relocs};
use object::LittleEndian as LE;
use object::elf::{self, Sym64};
use object::pod;
use std::borrow::Cow;
use std::fmt;

/// Where a kernel goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelocatePlan {
    /// Physical address of the kernel's first byte.
    pub base: u64,
    /// Virtual minus physical address of the kernel image.
    pub high_half: u64,
    /// ELF `e_machine` that the file must have: 62 (x86-64) or 183 (AArch64).
    pub machine: u16,
}

impl RelocatePlan {
    /// Virtual address of the kernel's first byte: what is added to link-time addresses.
    #[must_use]
    pub fn virtual_base(&self) -> u64 {
        self.high_half.wrapping_add(self.base)
    }
}

/// A relocated kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocated {
    /// `loader.elf`: type EXEC, symbols and DWARF kept, all at the planned address.
    pub elf: Vec<u8>,
    /// `loader.relocs`: see [`super::relocs`].
    pub relocs: Vec<u8>,
}

/// Why a kernel cannot be relocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelocateError {
    /// The input is no ELF file that this can work on.
    Elf(ElfError),
    /// A well-formed ELF file, but not the PIE that the plan is about.
    Input(String),
    /// A base that cannot be: not on a page, or the image would not fit behind it.
    Base { base: u64, why: &'static str },
    /// The dynamic section, or a table that it names, is malformed.
    Dynamic(String),
    /// A relocation that a fixed image cannot carry out.
    Kind { at: u64, kind: String },
    /// A relocation against a symbol that nothing defines.
    Undefined { at: u64, symbol: String },
    /// A relocation of a place that cannot be written.
    Target { at: u64, why: &'static str },
    /// Two relocations of the same word.
    Overlap { at: u64 },
    /// A relocated word points outside the address space.
    Value { at: u64 },
    /// Debug information that cannot be moved along; the text says why.
    Debug(String),
    /// Something that boot protocols or Osier's own header need is absent or wrong.
    Missing(String),
}

impl fmt::Display for RelocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot relocate the kernel: ")?;
        match self {
            Self::Elf(e) => e.fmt(f),
            Self::Input(why) | Self::Debug(why) | Self::Missing(why) => f.write_str(why),
            Self::Base { base, why } => write!(f, "the kernel base {base:#x} {why}"),
            Self::Dynamic(why) => write!(f, "dynamic section: {why}"),
            Self::Kind { at, kind } => write!(
                f,
                "relocation {kind} at offset {at:#x} needs a run-time loader; \
                 no thread-locals, IFUNCs or copies of data are possible in a kernel"
            ),
            Self::Undefined { at, symbol } => {
                write!(f, "relocation at offset {at:#x} against undefined symbol `{symbol}`")
            }
            Self::Target { at, why } => write!(f, "relocation at offset {at:#x}, which {why}"),
            Self::Overlap { at } => write!(f, "two relocations of the word at offset {at:#x}"),
            Self::Value { at } => {
                write!(f, "the word at offset {at:#x} points outside the address space")
            }
        }
    }
}

impl std::error::Error for RelocateError {}

impl From<ElfError> for RelocateError {
    fn from(e: ElfError) -> Self {
        Self::Elf(e)
    }
}

/// Moves a static PIE linked at 0 to `plan`'s address: applies its relocations, moves
/// segments, sections, symbols and DWARF, drops what described relocations, and fills in
/// the headers that hold addresses (the PVH note, the `Image` header, the loader header).
///
/// # Errors
/// When the file is malformed or not such a PIE, a relocation cannot be carried out, or
/// a header that the arch boots by is absent.
pub fn relocate(bytes: &[u8], plan: &RelocatePlan) -> Result<Relocated, RelocateError> {
    let mut file = ElfFile::parse(bytes)?;
    check_input(&file, plan)?;
    let fixups = dynamic::fixups(&file)?;
    debug::shift(&mut file, plan.virtual_base())?;
    drop_dynamic_load(&mut file)?;
    check_fits(&file, plan)?;
    let moved = apply(&mut file, &fixups, plan.virtual_base())?;
    drop_sections(&mut file);
    move_addresses(&mut file, plan);
    patch::boot_headers(&mut file, plan)?;
    Ok(Relocated { elf: file.to_bytes(), relocs: relocs::encode(&moved) })
}

fn check_input(file: &ElfFile<'_>, plan: &RelocatePlan) -> Result<(), RelocateError> {
    let input = |why: String| Err(RelocateError::Input(why));
    if plan.machine != elf::EM_X86_64.0 && plan.machine != elf::EM_AARCH64.0 {
        return input(format!("ELF machine {} is neither x86-64 nor AArch64", plan.machine));
    }
    if file.machine.0 != plan.machine {
        let (is, planned) = (file.machine.0, plan.machine);
        return input(format!("it is for ELF machine {is}, but the plan is for {planned}"));
    }
    if file.kind != elf::ET_DYN {
        return input("it is not position-independent (ELF type DYN); link with -pie".into());
    }
    match file.loads.first() {
        Some(first) if first.vaddr == 0 => Ok(()),
        _ => input("it is not linked at address 0".into()),
    }
}

/// Removes the segment that held the dynamic section, which the link script makes the last.
fn drop_dynamic_load(file: &mut ElfFile<'_>) -> Result<(), RelocateError> {
    let dynamic = file.views.iter().find(|v| v.kind == elf::PT_DYNAMIC).map_or(0, |v| v.vaddr);
    let Some(last) = file.loads.pop() else {
        return Err(RelocateError::Dynamic("no segment holds it".into()));
    };
    if !last.covers(dynamic, 1) || file.loads.is_empty() {
        let why = "it is not in a last segment of its own; see kernel-config/link";
        return Err(RelocateError::Dynamic(why.into()));
    }
    let foreign = |s: &&super::elf::Section<'_>| {
        s.loaded() && s.size > 0 && last.covers(s.addr, s.size) && !describes_relocation(s.kind)
    };
    if let Some(s) = file.sections.iter().find(foreign) {
        let why = format!("section {} shares its segment and would be lost", s.name);
        return Err(RelocateError::Dynamic(why));
    }
    file.views.retain(|v| last.vaddr > v.vaddr || v.vaddr >= last.end());
    Ok(())
}

/// Whether sections of this kind serve relocation alone. String tables too: the one that
/// is loaded is `.dynstr`.
fn describes_relocation(kind: elf::SectionType) -> bool {
    [
        elf::SHT_DYNSYM,
        elf::SHT_HASH,
        elf::SHT_GNU_HASH,
        elf::SHT_STRTAB,
        elf::SHT_RELA,
        elf::SHT_REL,
        elf::SHT_RELR,
        elf::SHT_DYNAMIC,
    ]
    .contains(&kind)
}

fn check_fits(file: &ElfFile<'_>, plan: &RelocatePlan) -> Result<(), RelocateError> {
    let fail = |why| Err(RelocateError::Base { base: plan.base, why });
    let (_, end) = file.extent();
    if !plan.base.is_multiple_of(PAGE) || !plan.high_half.is_multiple_of(PAGE) {
        return fail("is no multiple of 4096");
    }
    // `- 1`: the last byte may be the last of the address space.
    let last = end.saturating_sub(1);
    let physical = plan.base.checked_add(last);
    if physical.and_then(|p| p.checked_add(plan.high_half)).is_none() {
        return fail("leaves no room for the kernel below the end of the address space");
    }
    Ok(())
}

/// Writes the relocated words; returns the offsets of those that hold addresses.
fn apply(
    file: &mut ElfFile<'_>,
    fixups: &[dynamic::Fixup],
    bias: u64,
) -> Result<Vec<u32>, RelocateError> {
    let mut moved = Vec::with_capacity(fixups.len());
    for fixup in fixups {
        let at = fixup.at;
        if file.loads.iter().any(|l| l.executable() && l.covers(at, 1)) {
            return Err(RelocateError::Target { at, why: "is code" });
        }
        let value = if fixup.moves {
            moved.push(u32::try_from(at).map_err(|_| RelocateError::Value { at })?);
            fixup.value.checked_add(bias).ok_or(RelocateError::Value { at })?
        } else {
            fixup.value
        };
        file.set_word_at(at, value)
            .ok_or(RelocateError::Target { at, why: "holds no bytes of the image" })?;
    }
    Ok(moved)
}

/// Removes the sections that only relocation needed, static relocations (`--emit-relocs`)
/// included, and renumbers what refers to sections by index.
fn drop_sections(file: &mut ElfFile<'_>) {
    let is_relocation = |k| k == elf::SHT_RELA || k == elf::SHT_REL || k == elf::SHT_RELR;
    let keep: Vec<bool> = file
        .sections
        .iter()
        .map(|s| !(is_relocation(s.kind) || s.loaded() && describes_relocation(s.kind)))
        .collect();
    retain_sections(file, &keep);
}

/// Keeps the sections whose flag is set. References to others become 0, and symbols that
/// lay in others are dropped.
pub fn retain_sections(file: &mut ElfFile<'_>, keep: &[bool]) {
    let mut next = 0u16;
    let new_index: Vec<Option<u16>> = keep
        .iter()
        .map(|k| {
            k.then(|| {
                next += 1;
                next - 1
            })
        })
        .collect();
    let lookup = |i: u32| new_index.get(i as usize).copied().flatten().unwrap_or(0);
    filter_symbols(file, &new_index);
    let mut flags = keep.iter();
    file.sections.retain(|_| flags.next().copied().unwrap_or(false));
    for section in &mut file.sections {
        section.link = lookup(section.link).into();
        if section.flags.0 & elf::SHF_INFO_LINK.0 != 0 {
            section.info = lookup(section.info).into();
        }
    }
}

/// Renumbers the symbols' sections, and drops symbols of sections that go.
fn filter_symbols(file: &mut ElfFile<'_>, new_index: &[Option<u16>]) {
    let mut kept: Vec<Sym64<LE>> = Vec::with_capacity(file.symtab().len());
    for symbol in file.symtab() {
        let mut symbol = *symbol;
        let section = symbol.st_shndx.get(LE);
        if section != elf::SHN_UNDEF && !section.is_reserved() {
            match new_index.get(usize::from(section.0)).copied().flatten() {
                Some(new) => symbol.st_shndx.set(LE, elf::SymbolSection(new)),
                None => continue,
            }
        }
        kept.push(symbol);
    }
    let locals = kept.iter().take_while(|s| s.st_bind() == elf::STB_LOCAL).count();
    if let Some(symtab) = file.symtab_index().and_then(|i| file.sections.get_mut(i)) {
        symtab.data = Cow::Owned(pod::bytes_of_slice(&kept).to_vec());
        symtab.size = symtab.data.len() as u64;
        // The index of the first symbol that is not local (gABI, "Symbol Table").
        symtab.info = locals as u32;
    }
}

/// Moves everything that says where something is.
fn move_addresses(file: &mut ElfFile<'_>, plan: &RelocatePlan) {
    let bias = plan.virtual_base();
    file.kind = elf::ET_EXEC;
    file.entry = file.entry.wrapping_add(bias);
    let loaded: Vec<bool> = file.sections.iter().map(super::elf::Section::loaded).collect();
    if let Some(symtab) = file.symtab_index().and_then(|i| file.sections.get_mut(i))
        && let Ok(symbols) = pod::slice_from_all_bytes_mut::<Sym64<LE>>(symtab.data.to_mut())
    {
        for symbol in symbols {
            let section = symbol.st_shndx.get(LE);
            if loaded.get(usize::from(section.0)) == Some(&true) {
                symbol.st_value.set(LE, symbol.st_value.get(LE).wrapping_add(bias));
            }
        }
    }
    for section in file.sections.iter_mut().filter(|s| s.loaded()) {
        section.addr = section.addr.wrapping_add(bias);
    }
    for view in &mut file.views {
        view.vaddr = view.vaddr.wrapping_add(bias);
    }
    for load in &mut file.loads {
        load.paddr = plan.base.wrapping_add(load.vaddr);
        load.vaddr = load.vaddr.wrapping_add(bias);
    }
}
