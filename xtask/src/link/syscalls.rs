//! The system-call table: an object file whose one array the kernel's entry code indexes
//! by Linux's call number. A kernel has the calls whose symbols its archive defines. What
//! else a kernel may have or not by the link step's choice stands in the same object.

use crate::model::Arch;
use linux_abi::{SYMBOL_PREFIX, SYSCALLS, Syscall};
use object::read::archive::ArchiveFile;
use object::write::{Object, Relocation, Symbol, SymbolFlags, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind,
    SymbolKind, SymbolScope,
};
use std::collections::BTreeSet;
use std::fmt;

/// Name of the array of `i32`: where the code of each call is, counted in bytes from the array's
/// own start; 0 where the kernel lacks the call. Half the size of addresses, and nothing to
/// relocate.
pub const TABLE_SYMBOL: &str = "OSIER_SYSCALL_TABLE";
/// Name of the `u64` that holds the array's length.
pub const COUNT_SYMBOL: &str = "OSIER_SYSCALL_COUNT";
/// Name of the `i32` that says where the code is that divides CPU time, counted in bytes from
/// itself; 0 in a kernel with none of [`TIME_CALLS`] and no driver that needs it.
pub const TIMES_SYMBOL: &str = "OSIER_CPU_TIMES";
/// Name of that code.
const TIMES_CODE: &str = "osier_cpu_times";
/// What drivers call it that need it.
pub const CPU_TIMES: &str = "cpu-times";
/// The calls that tell the app's CPU time from the kernel's, and the one that C libraries ask
/// for the clock of somebody's CPU time.
const TIME_CALLS: [&str; 7] = [
    "clock_getres",
    "clock_nanosleep",
    "getitimer",
    "getrusage",
    "setitimer",
    "timer_create",
    "times",
];
/// The same for `fcntl`'s locks of ranges, which kernels with `flock` have: programs that lock
/// nothing, which are most, ask `fcntl` for other things.
pub const LOCKS_SYMBOL: &str = "OSIER_RECORD_LOCKS";
const LOCKS_CODE: &str = "osier_record_locks";
/// The same for the queue of real-time signals and of those with values, which kernels have with
/// one of [`QUEUE_CALLS`]. Without it signals that are pending already merge.
pub const QUEUE_SYMBOL: &str = "OSIER_SIGNAL_QUEUE";
const QUEUE_CODE: &str = "osier_signal_queue";
/// The calls that send signals, but for `tkill`, with which programs end themselves.
const QUEUE_CALLS: [&str; 5] =
    ["kill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tgkill", "timer_create"];
/// Name of the `i32` that says where the code is that leaves crash records, counted in bytes
/// from itself; 0 in a kernel that leaves none, which does not hold the code either.
pub const DUMP_SYMBOL: &str = "OSIER_CRASH_DUMP";
/// Name of that code.
const DUMP_CODE: &str = "osier_crash_dump";

/// Why no system-call table can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyscallTableError {
    /// The static library cannot be read; the text says why.
    Archive(String),
    /// The static library has no symbol index.
    NoIndex,
    /// Functions named `sys_…` after no call of Linux.
    Unknown(Vec<String>),
    /// An image lists calls that the kernel does not define on its arch.
    Lacking(Vec<&'static str>),
    /// The object file cannot be written; the text says why.
    Object(String),
}

impl fmt::Display for SyscallTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(why) => write!(f, "the kernel's static library cannot be read: {why}"),
            Self::NoIndex => f.write_str("the kernel's static library has no symbol index"),
            Self::Unknown(names) => write!(
                f,
                "the kernel defines {}, but Linux has no such system call; \
                 the names are those of formats/linux-abi",
                names.join(", ")
            ),
            Self::Lacking(names) => write!(
                f,
                "the image's `system-calls` lists {}, which the kernel does not have; \
                 docs/linux-calls.md lists what it has",
                names.join(", ")
            ),
            Self::Object(why) => write!(f, "the system-call table cannot be written: {why}"),
        }
    }
}

impl std::error::Error for SyscallTableError {}

/// The names (without `sys_`) of the system calls that a static library defines, as its
/// symbol index says.
///
/// # Errors
/// When `archive` is no archive with an index, or defines a `sys_` symbol after which
/// Linux has no call on any arch.
pub fn syscalls_defined(archive: &[u8]) -> Result<BTreeSet<&'static str>, SyscallTableError> {
    let broken = |e: object::read::Error| SyscallTableError::Archive(e.to_string());
    let file = ArchiveFile::parse(archive).map_err(broken)?;
    let symbols = file.symbols().map_err(broken)?.ok_or(SyscallTableError::NoIndex)?;
    let (mut defined, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for symbol in symbols {
        let name = symbol.map_err(broken)?.name();
        let Some(call) = name.strip_prefix(SYMBOL_PREFIX.as_bytes()) else { continue };
        let call = String::from_utf8_lossy(call);
        match linux_abi::by_name(&call) {
            Some(known) => defined.insert(known.name),
            None => unknown.insert(format!("{SYMBOL_PREFIX}{call}")),
        };
    }
    if unknown.is_empty() {
        Ok(defined)
    } else {
        Err(SyscallTableError::Unknown(unknown.into_iter().collect()))
    }
}

/// The calls of a kernel that defines `defined` and is to keep `only` (all when `None`).
/// What `only` lists for another arch alone is left out.
///
/// # Errors
/// When `only` lists a call of this arch that is not defined.
pub fn syscalls_kept(
    arch: Arch,
    defined: BTreeSet<&'static str>,
    only: Option<&BTreeSet<&'static str>>,
) -> Result<BTreeSet<&'static str>, SyscallTableError> {
    let Some(only) = only else { return Ok(defined) };
    let here = |name: &str| linux_abi::by_name(name).is_some_and(|c| number(c, arch).is_some());
    let wanted: BTreeSet<_> = only.iter().copied().filter(|name| here(name)).collect();
    let lacking: Vec<_> = wanted.difference(&defined).copied().collect();
    if lacking.is_empty() { Ok(wanted) } else { Err(SyscallTableError::Lacking(lacking)) }
}

/// The call's number on `arch`.
fn number(call: &Syscall, arch: Arch) -> Option<u16> {
    match arch {
        Arch::X64 => call.x64,
        Arch::Aarch64 => call.aarch64,
    }
}

/// The relocatable object file that defines the table for the calls in `defined`: entry N
/// is the place of the symbol `sys_<name>` of call N, and 0 where N is unassigned or its
/// call is not in `defined`. The table ends after the highest number among them. `keeps` are
/// parts that drivers need ([`CPU_TIMES`]); with `crash_dump` the kernel leaves crash records.
///
/// # Errors
/// When the object cannot be written.
pub fn syscall_object(
    arch: Arch,
    defined: &BTreeSet<&str>,
    keeps: &BTreeSet<&str>,
    crash_dump: bool,
) -> Result<Vec<u8>, SyscallTableError> {
    let failed = |e: object::write::Error| SyscallTableError::Object(e.to_string());
    let machine = match arch {
        Arch::X64 => Architecture::X86_64,
        Arch::Aarch64 => Architecture::Aarch64,
    };
    let mut object = Object::new(BinaryFormat::Elf, machine, Endianness::Little);
    let assigned = SYSCALLS.iter().filter_map(|s| Some((u64::from(number(s, arch)?), s.name)));
    let kept = assigned.filter(|(_, name)| defined.contains(name));
    let count = kept.clone().map(|(n, _)| n + 1).max().unwrap_or(0);
    let size = count * 4;

    let rodata = object.section_id(object::write::StandardSection::ReadOnlyData);
    let at = object.append_section_data(rodata, &count.to_le_bytes(), 8);
    define(&mut object, COUNT_SYMBOL, rodata, at, 8);

    let zeros = vec![0; usize::try_from(size).unwrap_or(0)];
    let start = object.append_section_data(rodata, &zeros, 8);
    define(&mut object, TABLE_SYMBOL, rodata, start, size);
    for (n, name) in kept {
        let symbol = undefined(&mut object, &format!("{SYMBOL_PREFIX}{name}"));
        // A relative relocation counts from its own place.
        let addend = i64::try_from(n * 4).unwrap_or(0);
        object.add_relocation(rodata, distance(start + n * 4, symbol, addend)).map_err(failed)?;
    }
    let times = keeps.contains(CPU_TIMES) || TIME_CALLS.iter().any(|call| defined.contains(call));
    for (word, code, wanted) in [
        (TIMES_SYMBOL, TIMES_CODE, times),
        (LOCKS_SYMBOL, LOCKS_CODE, defined.contains("flock")),
        (QUEUE_SYMBOL, QUEUE_CODE, QUEUE_CALLS.iter().any(|call| defined.contains(call))),
        (DUMP_SYMBOL, DUMP_CODE, crash_dump),
    ] {
        let at = object.append_section_data(rodata, &[0; 4], 4);
        define(&mut object, word, rodata, at, 4);
        if wanted {
            let symbol = undefined(&mut object, code);
            object.add_relocation(rodata, distance(at, symbol, 0)).map_err(failed)?;
        }
    }
    object.write().map_err(failed)
}

/// Makes the 32-bit word at `offset` say how far `symbol` is from it, plus `addend`.
fn distance(offset: u64, symbol: SymbolId, addend: i64) -> Relocation {
    let flags = RelocationFlags::Generic {
        kind: RelocationKind::Relative,
        encoding: RelocationEncoding::Generic,
        size: 32,
    };
    Relocation { offset, symbol, addend, flags }
}

fn define(
    object: &mut Object<'_>,
    name: &str,
    section: object::write::SectionId,
    value: u64,
    size: u64,
) {
    object.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value,
        size,
        kind: SymbolKind::Data,
        // Hidden: visible to the objects of this link, and to nothing outside.
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
}

fn undefined(object: &mut Object<'_>, name: &str) -> SymbolId {
    object.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: 0,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Undefined,
        flags: SymbolFlags::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goblin::elf::Elf;

    #[test]
    fn the_table_has_each_call_at_its_number() {
        for (arch, read, count) in [(Arch::X64, 0, 2), (Arch::Aarch64, 63, 65)] {
            let bytes =
                syscall_object(arch, &BTreeSet::from(["read", "write"]), &BTreeSet::new(), false)
                    .unwrap();
            // goblin: a reader that shares no code with the writer.
            let elf = Elf::parse(&bytes).unwrap();
            let symbol = |name: &str| {
                let s = elf.syms.iter().find(|s| elf.strtab.get_at(s.st_name) == Some(name));
                s.unwrap_or_else(|| panic!("no {name}"))
            };
            let table = symbol(TABLE_SYMBOL);
            assert_eq!(table.st_size, count * 4);
            let c = symbol(COUNT_SYMBOL);
            let at = elf.section_headers[c.st_shndx].sh_offset as usize + c.st_value as usize;
            assert_eq!(bytes[at..at + 8], count.to_le_bytes());
            assert!(symbol("sys_read").is_import());
            assert!(elf.syms.iter().all(|s| elf.strtab.get_at(s.st_name) != Some("sys_open")));
            let relocs: Vec<_> = elf.shdr_relocs.iter().flat_map(|(_, r)| r.iter()).collect();
            assert_eq!(relocs.len(), 2);
            let of_read = relocs
                .iter()
                .find(|r| {
                    let s = elf.syms.get(r.r_sym).unwrap();
                    elf.strtab.get_at(s.st_name) == Some("sys_read")
                })
                .unwrap();
            assert_eq!(of_read.r_offset, table.st_value + read * 4);
            assert_eq!(of_read.r_addend, Some(read as i64 * 4));
        }
    }

    #[test]
    fn an_image_keeps_what_it_lists() {
        let defined = BTreeSet::from(["open", "openat", "read", "write"]);
        let kept = |arch, only: Option<&[&'static str]>| {
            let only = only.map(|names| names.iter().copied().collect());
            syscalls_kept(arch, defined.clone(), only.as_ref())
        };
        assert_eq!(kept(Arch::X64, None), Ok(defined.clone()));
        assert_eq!(kept(Arch::X64, Some(&["open", "read"])), Ok(["open", "read"].into()));
        // aarch64 has no `open`: the list serves both archs.
        assert_eq!(kept(Arch::Aarch64, Some(&["open", "read"])), Ok(["read"].into()));
        assert_eq!(kept(Arch::Aarch64, Some(&["open", "fork"])), Ok(BTreeSet::new()));
        let refused = kept(Arch::X64, Some(&["fork", "read"])).unwrap_err();
        assert_eq!(refused, SyscallTableError::Lacking(vec!["fork"]));
        let text = refused.to_string();
        assert!(text.contains("lists fork,") && text.contains("docs/linux-calls.md"), "{text}");
    }

    /// Whether the word `name` of a kernel with these calls leads to `code`.
    fn leads(arch: Arch, calls: &[&str], dump: bool, name: &str, code: &str) -> bool {
        let calls = calls.iter().copied().collect();
        leads_with(&syscall_object(arch, &calls, &BTreeSet::new(), dump).unwrap(), name, code)
    }

    fn leads_with(bytes: &[u8], name: &str, code: &str) -> bool {
        let elf = Elf::parse(bytes).unwrap();
        let named =
            |name: &str| elf.syms.iter().position(|s| elf.strtab.get_at(s.st_name) == Some(name));
        let word = elf.syms.get(named(name).unwrap()).unwrap().st_value;
        let relocs: Vec<_> = elf.shdr_relocs.iter().flat_map(|(_, r)| r.iter()).collect();
        let at = relocs.iter().find(|r| r.r_offset == word);
        assert_eq!(at.map(|r| r.r_sym), named(code));
        assert!(at.is_none_or(|r| r.r_addend == Some(0)));
        at.is_some()
    }

    #[test]
    fn code_is_there_that_is_asked_for() {
        for arch in [Arch::X64, Arch::Aarch64] {
            for dump in [true, false] {
                assert_eq!(leads(arch, &["read"], dump, DUMP_SYMBOL, DUMP_CODE), dump);
            }
            let times = |calls: &[&str]| leads(arch, calls, true, TIMES_SYMBOL, TIMES_CODE);
            assert!(times(&["read", "times"]) && times(&["getrusage"]));
            assert!(!times(&["read", "clock_gettime"]));
            let (calls, keeps) = (["read"].into(), [CPU_TIMES].into());
            let kept = syscall_object(arch, &calls, &keeps, false).unwrap();
            assert!(leads_with(&kept, TIMES_SYMBOL, TIMES_CODE));
            let locks = |calls: &[&str]| leads(arch, calls, true, LOCKS_SYMBOL, LOCKS_CODE);
            assert!(locks(&["fcntl", "flock"]) && !locks(&["fcntl"]));
            let queue = |calls: &[&str]| leads(arch, calls, true, QUEUE_SYMBOL, QUEUE_CODE);
            assert!(queue(&["kill", "read"]) && !queue(&["tkill", "rt_sigaction"]));
        }
        let named = |calls: &[&str]| calls.iter().all(|call| linux_abi::by_name(call).is_some());
        assert!(named(&TIME_CALLS) && named(&QUEUE_CALLS));
    }

    #[test]
    fn the_same_calls_give_the_same_bytes() {
        let calls = BTreeSet::from(["mmap", "exit_group"]);
        let object = |dump| syscall_object(Arch::X64, &calls, &BTreeSet::new(), dump).unwrap();
        assert_eq!(object(false), object(false));
        assert_eq!(object(true), object(true));
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        for bytes in [&b""[..], b"!<arch>\nxxxx", b"\x7fELF"] {
            assert!(matches!(syscalls_defined(bytes), Err(SyscallTableError::Archive(_))));
        }
        assert_eq!(syscalls_defined(b"!<arch>\n"), Err(SyscallTableError::NoIndex));
    }

    /// An archive with only a GNU symbol index.
    fn archive(symbols: &[&str]) -> Vec<u8> {
        let mut body = (symbols.len() as u32).to_be_bytes().to_vec();
        body.extend(symbols.iter().flat_map(|_| 0u32.to_be_bytes()));
        body.extend(symbols.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()));
        let head =
            format!("!<arch>\n{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "/", 0, 0, 0, 0, body.len());
        [head.into_bytes(), body].concat()
    }

    #[test]
    fn the_index_names_the_calls() {
        let bytes = archive(&["sys_write", "kmain", "sys_exit_group"]);
        assert_eq!(syscalls_defined(&bytes), Ok(BTreeSet::from(["exit_group", "write"])));
        let bytes = archive(&["sys_reed", "sys_read"]);
        let e = syscalls_defined(&bytes).unwrap_err();
        assert_eq!(e, SyscallTableError::Unknown(vec!["sys_reed".into()]));
        assert!(e.to_string().contains("sys_reed, but Linux has no such system call"));
    }
}
