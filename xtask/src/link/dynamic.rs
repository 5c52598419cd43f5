//! The dynamic relocations of a static PIE: what the linker left for a loader to do,
//! decoded into the words to write.

use super::elf::{ElfFile, c_string};
use super::relocate::RelocateError;
use object::LittleEndian as LE;
use object::elf::{self, Dyn64, Rela64, RelocationType, Sym64};
use object::pod;

/// A word of the image that relocation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixup {
    /// Link-time address of the 8-byte word.
    pub at: u64,
    /// What to write, before the move.
    pub value: u64,
    /// Whether the value is an address of the image, and so moves with it.
    pub moves: bool,
}

/// The relocation kinds of a machine that are words written once: `S + A` or `B + A`.
struct Kinds {
    none: &'static [u32],
    relative: u32,
    /// `S + A` for the 64-bit absolute kind; `S` (with the addend, 0 for both psABIs in
    /// what linkers emit) for GOT and PLT slots.
    symbolic: [u32; 3],
    named: &'static [(u32, &'static str)],
}

/// x86-64 psABI 1.0, table 4.9.
const X86_64: Kinds = Kinds {
    none: &[0],
    relative: 8,
    symbolic: [1, 6, 7],
    named: &[
        (5, "R_X86_64_COPY"),
        (10, "R_X86_64_32"),
        (16, "R_X86_64_DTPMOD64"),
        (17, "R_X86_64_DTPOFF64"),
        (18, "R_X86_64_TPOFF64"),
        (36, "R_X86_64_TLSDESC"),
        (37, "R_X86_64_IRELATIVE"),
    ],
};

/// ELF for the Arm 64-bit Architecture (AAELF64), "Dynamic relocations".
const AARCH64: Kinds = Kinds {
    none: &[0, 256],
    relative: 1027,
    symbolic: [257, 1025, 1026],
    named: &[
        (258, "R_AARCH64_ABS32"),
        (1024, "R_AARCH64_COPY"),
        (1028, "R_AARCH64_TLS_DTPMOD64"),
        (1029, "R_AARCH64_TLS_DTPREL64"),
        (1030, "R_AARCH64_TLS_TPREL64"),
        (1031, "R_AARCH64_TLSDESC"),
        (1032, "R_AARCH64_IRELATIVE"),
    ],
};

/// Tags of the dynamic section, as far as they matter here (gABI, "Dynamic Section").
#[derive(Default)]
struct Dynamic {
    rela: Table,
    relr: Table,
    plt: Table,
    plt_kind: Option<u64>,
    symtab: Option<u64>,
    strtab: Option<u64>,
    strsz: Option<u64>,
}

/// Address and length in bytes of a table.
#[derive(Clone, Copy, Default)]
struct Table {
    at: Option<u64>,
    len: Option<u64>,
}

/// Every word that relocation must write, sorted by address, no two overlapping.
///
/// # Errors
/// When there is no dynamic section, it or a table of it is malformed, a relocation is of
/// a kind that a fixed image cannot carry out, or its symbol is undefined.
pub fn fixups(file: &ElfFile<'_>) -> Result<Vec<Fixup>, RelocateError> {
    let dynamic = read_dynamic(file)?;
    let mut out = Vec::new();
    for table in [dynamic.rela, dynamic.plt] {
        for rela in entries::<Rela64<LE>>(file, table, "a relocation table")? {
            out.extend(from_rela(file, &dynamic, rela)?);
        }
    }
    relr(file, dynamic.relr, &mut out)?;
    out.sort_unstable();
    for pair in out.windows(2) {
        if let [a, b] = pair
            && b.at - a.at < 8
        {
            return Err(RelocateError::Overlap { at: b.at });
        }
    }
    Ok(out)
}

fn read_dynamic(file: &ElfFile<'_>) -> Result<Dynamic, RelocateError> {
    let bad = |what: &str| RelocateError::Dynamic(what.to_owned());
    let view = file.views.iter().find(|v| v.kind == elf::PT_DYNAMIC);
    let view = view.ok_or_else(|| bad("there is none; link with -pie"))?;
    let bytes = file.bytes_at(view.vaddr, view.size);
    let bytes = bytes.ok_or_else(|| bad("it lies outside the file"))?;
    let (entries, _) = pod::slice_from_bytes::<Dyn64<LE>>(bytes, bytes.len() / 16)
        .map_err(|()| bad("its length is no multiple of 16"))?;
    let mut dynamic = Dynamic::default();
    for entry in entries {
        let value = entry.d_val.get(LE);
        match entry.d_tag.get(LE) {
            elf::DT_NULL => break,
            elf::DT_RELA => dynamic.rela.at = Some(value),
            elf::DT_RELASZ => dynamic.rela.len = Some(value),
            elf::DT_RELR => dynamic.relr.at = Some(value),
            elf::DT_RELRSZ => dynamic.relr.len = Some(value),
            elf::DT_JMPREL => dynamic.plt.at = Some(value),
            elf::DT_PLTRELSZ => dynamic.plt.len = Some(value),
            elf::DT_PLTREL => dynamic.plt_kind = Some(value),
            elf::DT_SYMTAB => dynamic.symtab = Some(value),
            elf::DT_STRTAB => dynamic.strtab = Some(value),
            elf::DT_STRSZ => dynamic.strsz = Some(value),
            elf::DT_RELAENT if value != 24 => return Err(bad("DT_RELAENT is not 24")),
            elf::DT_RELRENT if value != 8 => return Err(bad("DT_RELRENT is not 8")),
            elf::DT_SYMENT if value != 24 => return Err(bad("DT_SYMENT is not 24")),
            elf::DT_REL => return Err(bad("DT_REL: x64 and aarch64 use RELA")),
            elf::DT_NEEDED => return Err(bad("DT_NEEDED: a kernel has no shared libraries")),
            elf::DT_TEXTREL => return Err(bad("DT_TEXTREL: code would have to be relocated")),
            elf::DT_FLAGS if value & elf::DF_TEXTREL.0 != 0 => {
                return Err(bad("DF_TEXTREL: code would have to be relocated"));
            }
            _ => {}
        }
    }
    if dynamic.plt_kind.is_some_and(|k| i64::try_from(k) != Ok(elf::DT_RELA.0)) {
        return Err(bad("DT_PLTREL is not DT_RELA"));
    }
    Ok(dynamic)
}

/// The entries of a table that may be absent.
fn entries<'a, T: pod::Pod>(
    file: &'a ElfFile<'_>,
    table: Table,
    what: &str,
) -> Result<&'a [T], RelocateError> {
    let bad = |why: &str| RelocateError::Dynamic(format!("{what} {why}"));
    match table {
        Table { at: _, len: None | Some(0) } => Ok(&[]),
        Table { at: Some(at), len: Some(len) } => {
            let bytes = file.bytes_at(at, len).ok_or_else(|| bad("lies outside the file"))?;
            pod::slice_from_all_bytes(bytes).map_err(|()| bad("ends within an entry"))
        }
        Table { at: None, len: Some(_) } => Err(bad("has a length and no address")),
    }
}

fn from_rela(
    file: &ElfFile<'_>,
    dynamic: &Dynamic,
    rela: &Rela64<LE>,
) -> Result<Option<Fixup>, RelocateError> {
    let kinds = if file.machine == elf::EM_X86_64 { &X86_64 } else { &AARCH64 };
    let RelocationType(kind) = rela.r_type(LE, false);
    let (at, addend) = (rela.r_offset.get(LE), rela.r_addend.get(LE));
    if kinds.none.contains(&kind) {
        return Ok(None);
    }
    if kind == kinds.relative {
        return Ok(Some(Fixup { at, value: addend.cast_unsigned(), moves: true }));
    }
    if !kinds.symbolic.contains(&kind) {
        let known = kinds.named.iter().find(|(k, _)| *k == kind);
        let kind = known.map_or_else(|| format!("type {kind}"), |(_, n)| (*n).to_owned());
        return Err(RelocateError::Kind { at, kind });
    }
    let (symbol, name) = dynamic_symbol(file, dynamic, rela.r_sym(LE, false))?;
    let value = symbol.st_value.get(LE).wrapping_add_signed(addend);
    let moves = match symbol.st_shndx.get(LE) {
        elf::SHN_UNDEF if symbol.st_bind() == elf::STB_WEAK => false,
        elf::SHN_UNDEF => return Err(RelocateError::Undefined { at, symbol: name.to_owned() }),
        elf::SHN_ABS => false,
        _ => true,
    };
    Ok(Some(Fixup { at, value, moves }))
}

fn dynamic_symbol<'a>(
    file: &'a ElfFile<'_>,
    dynamic: &Dynamic,
    index: u32,
) -> Result<(&'a Sym64<LE>, &'a str), RelocateError> {
    let bad = || RelocateError::Dynamic(format!("symbol {index} of a relocation is unreadable"));
    let at = dynamic.symtab.and_then(|t| t.checked_add(u64::from(index) * 24)).ok_or_else(bad)?;
    let bytes = file.bytes_at(at, 24).ok_or_else(bad)?;
    let (symbol, _) = pod::from_bytes::<Sym64<LE>>(bytes).map_err(|()| bad())?;
    let strings = dynamic.strtab.zip(dynamic.strsz).and_then(|(at, len)| file.bytes_at(at, len));
    let name = strings.and_then(|s| c_string(s, symbol.st_name.get(LE)));
    Ok((symbol, name.ok_or_else(bad)?))
}

/// Decodes packed relative relocations (gABI, "Relative Relocation Table"): an even entry
/// is the address of a word to move; an odd one a bitmap over the 63 words that follow.
fn relr(file: &ElfFile<'_>, table: Table, out: &mut Vec<Fixup>) -> Result<(), RelocateError> {
    let wraps = || RelocateError::Dynamic("the RELR table wraps around".to_owned());
    let mut next: Option<u64> = None;
    // Ascending, as linkers write them: so the table cannot name a word twice, and a
    // hostile one cannot ask for more words than the image has. An address may lie inside
    // the range of the bitmap before it: a word that is not aligned like the bitmap's.
    let mut free = 0;
    let mut push = |at: u64| {
        if at < free {
            return Err(RelocateError::Overlap { at });
        }
        free = at.checked_add(8).ok_or_else(wraps)?;
        out.push(relative_in_place(file, at)?);
        Ok(())
    };
    for entry in entries::<object::U64<LE>>(file, table, "the RELR table")? {
        let entry = entry.get(LE);
        if entry & 1 == 0 {
            push(entry)?;
            next = Some(entry.checked_add(8).ok_or_else(wraps)?);
            continue;
        }
        let Some(base) = next else {
            return Err(RelocateError::Dynamic("the RELR table begins with a bitmap".to_owned()));
        };
        for bit in (0..63).filter(|bit| entry >> (bit + 1) & 1 == 1) {
            push(base.checked_add(bit * 8).ok_or_else(wraps)?)?;
        }
        next = Some(base.checked_add(63 * 8).ok_or_else(wraps)?);
    }
    Ok(())
}

/// A packed relocation keeps its addend in the word itself.
fn relative_in_place(file: &ElfFile<'_>, at: u64) -> Result<Fixup, RelocateError> {
    let value = file.word_at(at).ok_or(RelocateError::Target { at, why: "holds no bytes" })?;
    Ok(Fixup { at, value, moves: true })
}
