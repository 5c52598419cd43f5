//! Whether every relocation was carried out, and nothing else.
//!
//! Three witnesses, none of which the relocator can colour: the dynamic relocations,
//! decoded here a second time; the static relocations that `--emit-relocs` kept, which
//! name every 64-bit address in code, data and DWARF whether or not the linker remembered
//! to make a dynamic one of it; and the linked bytes, which must be the same elsewhere.

use super::super::{patch, relocs};
use super::view::{FileView, SHT_RELR};
use super::{Finding, RelocatePlan};
use goblin::elf::{Reloc, Sym, reloc, section_header};
use std::collections::{BTreeMap, BTreeSet};

/// Compares both files, and `relocs` (`loader.relocs`) with the linked one.
pub fn check(
    linked: &FileView<'_>,
    relocated: &FileView<'_>,
    relocs: &[u8],
    plan: &RelocatePlan,
    found: &mut Vec<Finding>,
) {
    let bias = plan.virtual_base();
    // Link-time address → what must be there.
    let mut want: BTreeMap<u64, u64> = BTreeMap::new();
    let moving = dynamic(linked, bias, &mut want);
    let listed = relocs::decode(relocs).map(|l| l.into_iter().map(u64::from).collect());
    if listed != Some(moving) {
        found.push(Finding::RelocsFile);
    }
    if !statics(linked, relocated, bias, &mut want, found) {
        found.push(Finding::NoWitness);
    }
    for (at, want) in &want {
        let (at, want) = (at.wrapping_add(bias), *want);
        let is = relocated.word(at);
        if is != Some(want) {
            let symbol = relocated.nearest(at);
            found.push(Finding::NotApplied { at, is, want, symbol });
        }
    }
    stray(linked, relocated, bias, &want, found);
}

/// The dynamic relocations of the linked file, noted in `want`. Returns the places of
/// those whose words move with the kernel.
fn dynamic(linked: &FileView<'_>, bias: u64, want: &mut BTreeMap<u64, u64>) -> BTreeSet<u64> {
    let mut moving = BTreeSet::new();
    let elf = &linked.elf;
    // Both psABIs have a relocation 0 that does nothing; AArch64 also has 256.
    let does_nothing = |r: &Reloc| matches!(r.r_type, 0 | 256);
    for r in elf.dynrelas.iter().chain(elf.pltrelocs.iter()).filter(|r| !does_nothing(r)) {
        let addend = r.r_addend.unwrap_or(0);
        let symbol = elf.dynsyms.get(r.r_sym).filter(|_| r.r_sym != 0);
        let value = symbol.map_or(0, |s| s.st_value).wrapping_add_signed(addend);
        let moves = symbol.is_none_or(|s| s.st_shndx != 0 && !is_absolute(s.st_shndx));
        want.insert(r.r_offset, if moves { value.wrapping_add(bias) } else { value });
        if moves {
            moving.insert(r.r_offset);
        }
    }
    let mut word_at = |at: u64| {
        if let Some(word) = linked.word(at) {
            want.insert(at, word.wrapping_add(bias));
            moving.insert(at);
        }
    };
    for section in elf.section_headers.iter().filter(|s| s.sh_type == SHT_RELR) {
        let bytes = linked.section_bytes(section).unwrap_or(&[]);
        let mut next = 0u64;
        for entry in bytes.as_chunks::<8>().0 {
            let entry = u64::from_le_bytes(*entry);
            if entry & 1 == 0 {
                word_at(entry);
                next = entry.wrapping_add(8);
            } else {
                for bit in 1..64 {
                    if entry & (1 << bit) != 0 {
                        word_at(next.wrapping_add((bit - 1) * 8));
                    }
                }
                next = next.wrapping_add(63 * 8);
            }
        }
    }
    moving
}

fn is_absolute(section: usize) -> bool {
    section == section_header::SHN_ABS as usize
}

/// The static relocations. Those of sections that are not loaded (DWARF) are checked at
/// once, the others are noted in `want`. Returns whether there were any.
fn statics(
    linked: &FileView<'_>,
    relocated: &FileView<'_>,
    bias: u64,
    want: &mut BTreeMap<u64, u64>,
    found: &mut Vec<Finding>,
) -> bool {
    let mut any = false;
    let symbols: Vec<Sym> = linked.elf.syms.iter().collect();
    let in_image: Vec<bool> = symbols.iter().map(|s| linked.in_image(s)).collect();
    let is_rela =
        |s: &&section_header::SectionHeader| s.sh_type == section_header::SHT_RELA && !s.is_alloc();
    for table in linked.elf.section_headers.iter().filter(is_rela) {
        let Some(section) = linked.elf.section_headers.get(table.sh_info as usize) else {
            continue;
        };
        any = true;
        let entries = linked.section_bytes(table).unwrap_or(&[]).as_chunks::<24>().0;
        let words = entries.iter().filter_map(|entry| {
            let r = Static::read(entry);
            let known = r.symbol != 0 && in_image.get(r.symbol) == Some(&true);
            let symbol = symbols.get(r.symbol).filter(|_| known && r.is_address())?;
            let value = symbol.st_value.wrapping_add_signed(r.addend);
            Some((r.at, value.wrapping_add(bias)))
        });
        if section.is_alloc() {
            want.extend(words);
            continue;
        }
        let name = linked.section_name(section);
        let same = |s: &&section_header::SectionHeader| relocated.section_name(s) == name;
        let Some(data) = relocated
            .elf
            .section_headers
            .iter()
            .find(same)
            .and_then(|s| relocated.section_bytes(s))
        else {
            continue;
        };
        for (at, want) in words {
            let start = usize::try_from(at).unwrap_or(usize::MAX);
            let is =
                data.get(start..).and_then(|d| d.first_chunk()).map(|w| u64::from_le_bytes(*w));
            // Words about code that was removed hold a tombstone, and their symbol is gone.
            if is != Some(want) {
                let symbol = format!("section {name}");
                found.push(Finding::NotApplied { at, is, want, symbol });
            }
        }
    }
    any
}

/// An entry of a static relocation table. There are as many as a kernel has addresses in
/// its DWARF, so they are decoded here: goblin's own iterator takes ten times as long in
/// the unoptimised build that developers run.
struct Static {
    at: u64,
    kind: u32,
    symbol: usize,
    addend: i64,
}

impl Static {
    /// `Elf64_Rela` (gABI, "Relocation"): offset, type and symbol, addend.
    fn read(entry: &[u8; 24]) -> Self {
        let word = |at: usize| {
            let bytes = entry.get(at..).and_then(|b| b.first_chunk());
            bytes.map_or(0, |b| u64::from_le_bytes(*b))
        };
        let info = word(8);
        Self {
            at: word(0),
            kind: info as u32,
            symbol: (info >> 32) as usize,
            addend: word(16).cast_signed(),
        }
    }

    /// Whether it stands for a 64-bit address.
    fn is_address(&self) -> bool {
        matches!(self.kind, reloc::R_X86_64_64 | reloc::R_AARCH64_ABS64)
    }
}

/// Bytes that changed, though neither a relocation nor a header field is there.
fn stray(
    linked: &FileView<'_>,
    relocated: &FileView<'_>,
    bias: u64,
    want: &BTreeMap<u64, u64>,
    found: &mut Vec<Finding>,
) {
    // Link-time ranges that may differ. The Image header's two fields exist on aarch64 only.
    let mut allowed: Vec<(u64, u64)> = want.keys().map(|at| (*at, 8)).collect();
    if linked.elf.header.e_machine == goblin::elf::header::EM_AARCH64 {
        allowed.extend([(patch::IMAGE_TEXT_OFFSET, 8), (patch::IMAGE_SIZE, 8)]);
    } else {
        allowed.extend(pvh_descriptor(linked).map(|at| (at, 8)));
    }
    if let Some(header) = linked.symbol(loader_header::SYMBOL) {
        allowed.push((header, loader_header::LEN as u64));
    }
    allowed.sort_unstable();
    for load in relocated.loads() {
        let start = load.p_vaddr.wrapping_sub(bias);
        let after = relocated.load_bytes(load).unwrap_or(&[]);
        let before = linked.bytes(start, after.len());
        let Some(before) = before.filter(|_| !after.is_empty()) else {
            if !after.is_empty() {
                found.push(Finding::Stray { at: load.p_vaddr });
            }
            continue;
        };
        for (i, _) in before.iter().zip(after).enumerate().filter(|(_, (a, b))| a != b) {
            let at = start + i as u64;
            let before_or_at = allowed.partition_point(|(s, _)| *s <= at);
            let covered = allowed
                .get(..before_or_at)
                .and_then(<[_]>::last)
                .is_some_and(|(s, len)| at - s < *len);
            if !covered {
                found.push(Finding::Stray { at: at.wrapping_add(bias) });
                break;
            }
        }
    }
}

/// Link-time address of the PVH note's descriptor: the last 8 bytes of its section.
fn pvh_descriptor(linked: &FileView<'_>) -> Option<u64> {
    let mut sections = linked.elf.section_headers.iter();
    let section = sections.find(|s| linked.section_name(s) == ".note.Xen")?;
    section.sh_addr.checked_add(section.sh_size)?.checked_sub(8)
}
