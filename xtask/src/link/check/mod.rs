//! The post-link check: holds a relocated kernel against the PIE that it was made from and
//! against the plan. It reads both with `goblin`, and decodes relocations by itself, so
//! that it shares no code with the relocator whose work it judges.

mod drivers;
mod relocations;
mod view;

use super::patch::PVH_ENTRY;
use super::relocate::{RelocatePlan, Relocated};
use goblin::elf::{header, program_header, section_header, sym};
use loader_header::LoaderHeader;
use std::fmt;
use view::{FileView, page_up};

/// What the kernel must be.
#[derive(Clone, Copy, Debug)]
pub struct CheckPlan<'a> {
    pub relocate: RelocatePlan,
    /// The names of the solved drivers that register with the kernel.
    pub drivers: &'a [&'a str],
}

/// Something that is wrong with a kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The file cannot be read.
    Unreadable { file: &'static str, why: String },
    /// A symbol that nothing defines.
    Undefined(String),
    /// A word that should hold a moved address and does not. Addresses as in the
    /// relocated kernel; `symbol` is where the word lies, when known.
    NotApplied { at: u64, is: Option<u64>, want: u64, symbol: String },
    /// Bytes that differ from the linked kernel's though no relocation is there.
    Stray { at: u64 },
    /// `loader.relocs` does not list the words that hold moved addresses.
    RelocsFile,
    /// The linked kernel has no static relocations to check against.
    NoWitness,
    /// What relocation should have dropped is still there.
    Left(String),
    /// A segment that is writable and executable.
    WritableCode { at: u64 },
    /// The entry is not in the kernel's code.
    Entry { at: u64 },
    /// Something lies elsewhere than planned.
    Place { what: String, at: u64, want: u64 },
    /// A driver registered that is not in the plan.
    UnplannedDriver(String),
    /// A driver is planned but did not register.
    MissingDriver(String),
    /// The list of drivers cannot be told apart into crates.
    DriverList(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, why } => write!(f, "{file} is unreadable: {why}"),
            Self::Undefined(symbol) => write!(f, "undefined symbol `{symbol}`"),
            Self::NotApplied { at, is: Some(is), want, symbol } => write!(
                f,
                "relocation not applied: the word at {at:#x} ({symbol}) is {is:#x}, not {want:#x}"
            ),
            Self::NotApplied { at, is: None, want, symbol } => write!(
                f,
                "relocation not applied: no word at {at:#x} ({symbol}), which should be {want:#x}"
            ),
            Self::Stray { at } => write!(f, "the byte at {at:#x} changed without a relocation"),
            Self::RelocsFile => {
                f.write_str("loader.relocs does not list the words that hold addresses")
            }
            Self::NoWitness => f.write_str(
                "the linked kernel has no static relocations to check against; \
                 link with --emit-relocs",
            ),
            Self::Left(what) => write!(f, "{what} is left after relocation"),
            Self::WritableCode { at } => {
                write!(f, "the segment at {at:#x} is writable and executable")
            }
            Self::Entry { at } => write!(f, "the entry {at:#x} is outside .text"),
            Self::Place { what, at, want } => {
                write!(f, "{what} is at {at:#x}, but planned at {want:#x}")
            }
            Self::UnplannedDriver(name) => {
                write!(f, "driver `{name}` is in the kernel, but not in the plan")
            }
            Self::MissingDriver(name) => write!(
                f,
                "driver `{name}` is in the plan, but did not register with the kernel \
                 (a static in driver_api::DRIVERS, and an `extern crate` in the final crate)"
            ),
            Self::DriverList(why) => write!(f, "the list of drivers is unreadable: {why}"),
        }
    }
}

/// All that is wrong with a kernel, worst first; at least one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckError(pub Vec<Finding>);

/// Findings beyond this many are counted, not listed.
const LISTED: usize = 20;

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the linked kernel does not pass the post-link check:")?;
        for finding in self.0.iter().take(LISTED) {
            write!(f, "\n{finding}")?;
        }
        if let Some(more) = self.0.len().checked_sub(LISTED).filter(|n| *n > 0) {
            write!(f, "\n… and {more} more")?;
        }
        Ok(())
    }
}

impl std::error::Error for CheckError {}

/// Checks what the relocate step made from `linked` against the plan.
///
/// # Errors
/// All findings together.
pub fn check(linked: &[u8], made: &Relocated, plan: &CheckPlan<'_>) -> Result<(), CheckError> {
    let open = |file, bytes| {
        FileView::open(bytes).map_err(|why| CheckError(vec![Finding::Unreadable { file, why }]))
    };
    let linked = open("the linked kernel", linked)?;
    let relocated = open("loader.elf", &made.elf)?;
    let mut found = Vec::new();
    undefined(&linked, &mut found);
    undefined(&relocated, &mut found);
    leftovers(&relocated, &mut found);
    segments(&relocated, &plan.relocate, &mut found);
    entry(&relocated, &mut found);
    relocations::check(&linked, &relocated, &made.relocs, &plan.relocate, &mut found);
    symbols(&linked, &relocated, &plan.relocate, &mut found);
    headers(&relocated, &plan.relocate, &mut found);
    drivers::check(&relocated, plan.drivers, &mut found);
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(CheckError(found)) }
}

/// Symbols that another file would have to define. An absent weak one is 0 by definition;
/// lld writes a hidden one, which no other file could define, as local.
fn undefined(file: &FileView<'_>, found: &mut Vec<Finding>) {
    let undefined = file.elf.syms.iter().filter(|s| {
        s.st_shndx == section_header::SHN_UNDEF as usize
            && s.st_name != 0
            && s.st_bind() == sym::STB_GLOBAL
    });
    found.extend(undefined.map(|s| Finding::Undefined(file.name(&s).to_owned())));
}

fn leftovers(file: &FileView<'_>, found: &mut Vec<Finding>) {
    if file.elf.header.e_type != header::ET_EXEC {
        found.push(Finding::Left(format!("ELF type {}", file.elf.header.e_type)));
    }
    for ph in &file.elf.program_headers {
        if matches!(ph.p_type, program_header::PT_DYNAMIC | program_header::PT_INTERP) {
            found.push(Finding::Left(format!("program header of type {}", ph.p_type)));
        }
    }
    for section in &file.elf.section_headers {
        let relocates = matches!(
            section.sh_type,
            section_header::SHT_RELA
                | section_header::SHT_REL
                | view::SHT_RELR
                | section_header::SHT_DYNAMIC
                | section_header::SHT_DYNSYM
        );
        if relocates {
            found.push(Finding::Left(format!("section {}", file.section_name(section))));
        }
    }
}

fn segments(file: &FileView<'_>, plan: &RelocatePlan, found: &mut Vec<Finding>) {
    let mut loads = file.loads();
    let Some(first) = loads.next() else {
        found.push(Finding::Unreadable { file: "loader.elf", why: "no LOAD segment".into() });
        return;
    };
    let mut place = |what: &str, at, want| {
        if at != want {
            found.push(Finding::Place { what: what.to_owned(), at, want });
        }
    };
    place("the first byte of the kernel (physical)", first.p_paddr, plan.base);
    place("the first byte of the kernel", first.p_vaddr, plan.virtual_base());
    for load in file.loads() {
        let want = load.p_vaddr.wrapping_sub(plan.high_half);
        place(&format!("the segment at {:#x} (physical)", load.p_vaddr), load.p_paddr, want);
    }
    let mut end = 0;
    for load in file.loads() {
        if load.is_write() && load.is_executable() {
            found.push(Finding::WritableCode { at: load.p_vaddr });
        }
        // Each is mapped with rights of its own, so no page may be shared.
        if load.p_vaddr < end {
            let what = format!("the segment at {:#x}", load.p_vaddr);
            found.push(Finding::Place { what, at: load.p_vaddr, want: end });
        }
        end = page_up(load.p_vaddr.saturating_add(load.p_memsz));
    }
}

fn entry(file: &FileView<'_>, found: &mut Vec<Finding>) {
    let at = file.elf.entry;
    let in_text = file.elf.section_headers.iter().any(|s| {
        matches!(file.section_name(s), ".text" | ".head.text")
            && view::holds(s.sh_addr, s.sh_size, at)
    });
    let executable =
        file.loads().any(|l| l.is_executable() && view::holds(l.p_vaddr, l.p_memsz, at));
    if !(in_text && executable) {
        found.push(Finding::Entry { at });
    }
}

/// Every symbol of the image must have moved by exactly the virtual base.
fn symbols(
    linked: &FileView<'_>,
    relocated: &FileView<'_>,
    plan: &RelocatePlan,
    found: &mut Vec<Finding>,
) {
    let bias = plan.virtual_base();
    let mut after = relocated.image_symbols();
    for (name, value) in linked.image_symbols() {
        let want = value.wrapping_add(bias);
        match after.next() {
            Some((n, at)) if n == name && at == want => {}
            Some((n, at)) if n == name => {
                let what = format!("symbol `{name}`");
                found.push(Finding::Place { what, at, want });
            }
            // The tables are no longer in step: what follows would be noise.
            other => {
                let is = other.map_or("nothing", |(n, _)| n);
                let why = format!("symbol `{name}` was expected, but {is} follows");
                found.push(Finding::Unreadable { file: "loader.elf", why });
                return;
            }
        }
    }
    match relocated.symbol("__kernel_start") {
        Some(at) if at == bias => {}
        Some(at) => found.push(Finding::Place {
            what: "symbol `__kernel_start`".to_owned(),
            at,
            want: bias,
        }),
        None => found.push(Finding::Undefined("__kernel_start".to_owned())),
    }
}

/// The headers that the relocate step fills in: by them the kernel is found and started.
fn headers(file: &FileView<'_>, plan: &RelocatePlan, found: &mut Vec<Finding>) {
    let end = file.loads().map(|l| l.p_vaddr.saturating_add(l.p_memsz)).max().unwrap_or(0);
    let size = page_up(end.wrapping_sub(plan.virtual_base()));
    let mut place = |what: &str, at: Option<u64>, want: u64| match at {
        Some(at) if at == want => {}
        Some(at) => found.push(Finding::Place { what: what.to_owned(), at, want }),
        None => found.push(Finding::Undefined(what.to_owned())),
    };
    let header = file
        .symbol(loader_header::SYMBOL)
        .and_then(|at| file.bytes(at, loader_header::LEN))
        .and_then(|b| LoaderHeader::from_bytes(b).ok());
    place("the base in the loader header", header.map(|h| h.planned_base), plan.base);
    place("the size in the loader header", header.map(|h| h.image_size), size);
    if file.elf.header.e_machine == header::EM_X86_64 {
        let want = file.symbol(PVH_ENTRY).unwrap_or(0).wrapping_sub(plan.high_half);
        place("the entry in the PVH note", file.pvh_entry(), want);
    } else {
        let word = |at| file.word(plan.virtual_base().wrapping_add(at));
        place("the size in the `Image` header", word(super::patch::IMAGE_SIZE), size);
        // QEMU and Linux's boot protocol place the image text_offset bytes from a
        // multiple of 2 MiB.
        let text_offset = word(super::patch::IMAGE_TEXT_OFFSET).map(|t| t % (2 << 20));
        place("text_offset in the `Image` header", text_offset, plan.base % (2 << 20));
    }
}
