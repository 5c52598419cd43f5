//! The link scripts and the steps after the linker with the real `rust-lld`, on an object
//! file that holds one of each thing that a kernel makes the linker do.

use super::host::Tools;
use crate::link::tests::word;
use crate::link::{
    CheckPlan, LinkInputs, RelocatePlan, check, lld_args, relocate, relocs, strip, syscall_object,
    syscalls_defined,
};
use crate::model::Arch;
use crate::pack::loader_img;
use camino::{Utf8Path, Utf8PathBuf};
use goblin::elf::Elf;
use loader_header::LoaderHeader;
use object::elf;
use object::write::{Object, Relocation, SectionId, Symbol, SymbolFlags, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolKind, SymbolScope,
};
use std::collections::BTreeSet;
use std::process::Command;

/// The mangled name of `ns16550::DRIVER`.
const DRIVER: &str = "_RNvCs7oSTxnknZZm_7ns165506DRIVER";

fn plan(arch: Arch) -> RelocatePlan {
    match arch {
        Arch::X64 => {
            RelocatePlan { base: 0x20_0000, high_half: 0xffff_ffff_8000_0000, machine: 62 }
        }
        Arch::Aarch64 => {
            RelocatePlan { base: 0x4008_0000, high_half: 0xffff_ff80_0000_0000, machine: 183 }
        }
    }
}

/// The kernel object under construction.
struct Kernel {
    arch: Arch,
    object: Object<'static>,
}

impl Kernel {
    fn new(arch: Arch) -> Self {
        let machine = match arch {
            Arch::X64 => Architecture::X86_64,
            Arch::Aarch64 => Architecture::Aarch64,
        };
        let object = Object::new(BinaryFormat::Elf, machine, Endianness::Little);
        Self { arch, object }
    }

    fn section(&mut self, name: &str, kind: SectionKind, data: &[u8], align: u64) -> SectionId {
        let id = self.object.add_section(Vec::new(), name.into(), kind);
        self.object.append_section_data(id, data, align);
        id
    }

    fn symbol(&mut self, name: &str, section: SymbolSection, value: u64, size: u64) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.into(),
            value,
            size,
            kind: SymbolKind::Data,
            scope: SymbolScope::Linkage,
            weak: name.starts_with("weak"),
            section,
            flags: SymbolFlags::None,
        })
    }

    /// A relocation by its number in the arch's psABI.
    fn relocation(&mut self, place: (SectionId, u64), kind: [u32; 2], to: SymbolId, addend: i64) {
        let kind = kind[usize::from(self.arch == Arch::Aarch64)];
        let flags = RelocationFlags::Elf { r_type: elf::RelocationType(kind) };
        let relocation = Relocation { offset: place.1, symbol: to, addend, flags };
        self.object.add_relocation(place.0, relocation).unwrap();
    }
}

/// `R_X86_64_64` and `R_AARCH64_ABS64`.
const ABS64: [u32; 2] = [1, 257];
/// A GOT slot that lld cannot relax away: `R_X86_64_GOTPCREL`; `R_AARCH64_ADR_GOT_PAGE`
/// without the load that usually follows.
const GOT: [u32; 2] = [9, 311];

/// A kernel object; `edit` adds to it before it is written.
fn kernel(arch: Arch, edit: impl FnOnce(&mut Kernel)) -> Vec<u8> {
    let mut k = Kernel::new(arch);
    let mut head = vec![0; 0x48];
    if arch == Arch::Aarch64 {
        head[56..60].copy_from_slice(b"ARM\x64");
    }
    // An `adrp` or any other word: nothing here runs.
    head.extend(0x9000_0000u32.to_le_bytes());
    head.extend([0; 4]);
    let head = k.section(".head.text", SectionKind::Text, &head, 4);
    k.symbol("_start", SymbolSection::Section(head), 0x40, 4);
    k.symbol("pvh_start", SymbolSection::Section(head), 0x44, 4);
    let text = k.section(".text.sys_read", SectionKind::Text, &[0x90; 16], 16);
    let sys_read = k.symbol("sys_read", SymbolSection::Section(text), 0, 16);
    let unused = k.section(".text.unused", SectionKind::Text, &[0x90; 16], 16);
    let unused = k.symbol("unused", SymbolSection::Section(unused), 0, 16);

    let header = LoaderHeader::default().to_bytes();
    let rodata = k.section(".rodata.header", SectionKind::ReadOnlyData, &header, 8);
    let header = k.symbol(loader_header::SYMBOL, SymbolSection::Section(rodata), 0, 64);
    if arch == Arch::X64 {
        let note = [4u32, 8, 18, u32::from_le_bytes(*b"Xen\0"), 0, 0].map(u32::to_le_bytes);
        let note = k.section(".note.Xen", SectionKind::Note, note.as_flattened(), 4);
        let (sh_type, sh_flags) = (elf::SHT_NOTE, elf::SHF_ALLOC);
        k.object.section_mut(note).flags = object::SectionFlags::Elf { sh_type, sh_flags };
    }
    let list = k.section("linkme_DRIVERS", SectionKind::Data, &[0; 16], 8);
    k.symbol(DRIVER, SymbolSection::Section(list), 0, 16);
    k.relocation((list, 0), ABS64, sys_read, 0);
    // Aligned, at an odd place (RELR cannot say it), against a weak symbol that is absent.
    let data = k.section(".data.pointers", SectionKind::Data, &[7; 48], 8);
    let pointers = k.symbol("pointers", SymbolSection::Section(data), 0, 48);
    let weak = k.symbol("weak_and_absent", SymbolSection::Undefined, 0, 0);
    k.relocation((data, 0), ABS64, sys_read, 4);
    k.relocation((data, 12), ABS64, header, 0);
    k.relocation((data, 24), ABS64, weak, 0);
    // What the entry refers to is kept by --gc-sections.
    k.relocation((head, 0x48), GOT, pointers, -4 * i64::from(arch == Arch::X64));
    let table = k.symbol("OSIER_SYSCALL_TABLE", SymbolSection::Undefined, 0, 0);
    k.relocation((data, 32), ABS64, table, 0);
    let count = k.symbol("OSIER_SYSCALL_COUNT", SymbolSection::Undefined, 0, 0);
    k.relocation((data, 40), ABS64, count, 0);
    let bss =
        k.object.add_section(Vec::new(), b".bss.heap".to_vec(), SectionKind::UninitializedData);
    k.object.append_section_bss(bss, 10_000, 16);
    let bss = k.symbol("heap", SymbolSection::Section(bss), 0, 10_000);
    k.relocation((list, 8), ABS64, bss, 8);

    let debug = k.section(".debug_addr", SectionKind::Debug, &[0; 16], 1);
    k.relocation((debug, 0), ABS64, sys_read, 0);
    k.relocation((debug, 8), ABS64, unused, 0);
    k.section(".eh_frame", SectionKind::ReadOnlyData, &[0; 8], 8);
    edit(&mut k);
    k.object.write().unwrap()
}

/// A GNU archive with an index of `symbols` and one member.
fn archive(object: &[u8], symbols: &[&str]) -> Vec<u8> {
    let member = |name: &str, body: &[u8]| {
        let mut out = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, body.len())
            .into_bytes();
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(2), b'\n');
        out
    };
    let names: Vec<u8> = symbols.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()).collect();
    let index_len = (4 + symbols.len() * 4 + names.len()).next_multiple_of(2);
    let at = (8 + 60 + index_len) as u32;
    let mut index = (symbols.len() as u32).to_be_bytes().to_vec();
    index.extend(symbols.iter().flat_map(|_| at.to_be_bytes()));
    index.extend(names);
    [b"!<arch>\n".to_vec(), member("/", &index), member("kernel.o/", object)].concat()
}

/// Links an object as the build does. `Err` is what the linker says.
fn link(arch: Arch, object: &[u8]) -> Result<Vec<u8>, String> {
    let env = std::env::vars().collect();
    let lld = Tools::find(&env).unwrap().rust_lld;
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let library = archive(object, &["_start", "sys_read"]);
    let defined = syscalls_defined(&library).unwrap();
    assert_eq!(defined, BTreeSet::from(["read"]));
    let [archive, syscalls, output] =
        ["libkernel.a", "syscalls.o", "kernel.pie"].map(|f| dir.join(f));
    std::fs::write(&archive, library).unwrap();
    std::fs::write(&syscalls, syscall_object(arch, &defined, &BTreeSet::new(), false).unwrap())
        .unwrap();
    let root = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let args = lld_args(&LinkInputs {
        arch,
        archive: &archive,
        syscalls: &syscalls,
        script: &root.join(format!("../kernel-config/link/{arch}.ld")),
        lto: None,
        cache: None,
        output: &output,
        jobs: 1,
    });
    let out = Command::new(lld).args(args).output().unwrap();
    if out.status.success() {
        Ok(std::fs::read(output).unwrap())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

/// What the linker says to an object that it must refuse.
fn refused(arch: Arch, object: &[u8]) -> String {
    link(arch, object).err().unwrap_or_else(|| panic!("{arch}: it links"))
}

/// The word at the symbol `name` plus `offset`.
fn word_at(bytes: &[u8], name: &str, offset: u64) -> u64 {
    word(bytes, symbol(bytes, name).unwrap_or_else(|| panic!("no {name}")) + offset)
}

fn symbol(bytes: &[u8], name: &str) -> Option<u64> {
    let file = Elf::parse(bytes).unwrap();
    let found = file.syms.iter().find(|s| file.strtab.get_at(s.st_name) == Some(name));
    found.map(|s| s.st_value)
}

#[test]
fn what_lld_leaves_is_relocated_and_passes_the_check() {
    for arch in Arch::ALL {
        let linked = link(arch, &kernel(arch, |_| ())).unwrap();
        for move_by in [0, 0xe0_0000] {
            let plan = RelocatePlan { base: plan(arch).base + move_by, ..plan(arch) };
            let done = relocate(&linked, &plan).unwrap_or_else(|e| panic!("{arch}: {e}"));
            let drivers = CheckPlan { relocate: plan, drivers: &["ns16550"] };
            check(&linked, &done, &drivers).unwrap_or_else(|e| panic!("{arch}: {e}"));

            let at = |name| symbol(&done.elf, name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(at("__kernel_start"), plan.virtual_base());
            assert_eq!(word_at(&done.elf, "pointers", 0), at("sys_read") + 4);
            assert_eq!(word_at(&done.elf, "pointers", 12), at(loader_header::SYMBOL));
            assert_eq!(word_at(&done.elf, "pointers", 24), 0, "a weak symbol that is absent");
            assert_eq!(word_at(&done.elf, "pointers", 32), at("OSIER_SYSCALL_TABLE"));
            assert_eq!(word_at(&done.elf, DRIVER, 8), at("heap") + 8);
            let number = linux_abi::by_name("read").unwrap();
            let number = if arch == Arch::X64 { number.x64 } else { number.aarch64 };
            let number = u64::from(number.unwrap());
            let entry = |n: u64| {
                let word = word_at(&done.elf, "OSIER_SYSCALL_TABLE", n / 2 * 8);
                (word >> (n % 2 * 32)) as u32 as i32
            };
            let table = at("OSIER_SYSCALL_TABLE");
            assert_eq!(table.wrapping_add_signed(entry(number).into()), at("sys_read"));
            assert!((0..number).all(|n| entry(n) == 0));
            // It is the only one.
            assert_eq!(word_at(&done.elf, "OSIER_SYSCALL_COUNT", 0), number + 1);
            assert_eq!(symbol(&done.elf, "unused"), None, "--gc-sections");
            // Six pointers of the sections above, and the GOT slot.
            assert_eq!(relocs::decode(&done.relocs).unwrap().len(), 7, "{arch}");
        }
    }
}

#[test]
fn the_segments_are_those_of_the_script() {
    for arch in Arch::ALL {
        let linked = link(arch, &kernel(arch, |_| ())).unwrap();
        let done = relocate(&linked, &plan(arch)).unwrap();
        let file = Elf::parse(&done.elf).unwrap();
        let flags: Vec<u32> =
            file.program_headers.iter().filter(|p| p.p_type == 1).map(|p| p.p_flags).collect();
        assert_eq!(flags, [5, 4, 6], "{arch}");
        for edge in ["text", "rodata", "data", "bss"] {
            let start = symbol(&done.elf, &format!("__{edge}_start")).unwrap();
            let end = symbol(&done.elf, &format!("__{edge}_end")).unwrap();
            assert!(
                start.is_multiple_of(4096) && end.is_multiple_of(4096) && start <= end,
                "{edge}"
            );
        }
        assert_eq!(symbol(&done.elf, "__kernel_end"), symbol(&done.elf, "__bss_end"));
        assert!(
            file.section_headers
                .iter()
                .all(|s| { file.shdr_strtab.get_at(s.sh_name) != Some(".eh_frame") })
        );
    }
}

#[test]
fn loader_img_holds_the_payload_behind_the_kernel() {
    for arch in Arch::ALL {
        let linked = link(arch, &kernel(arch, |_| ())).unwrap();
        let done = relocate(&linked, &plan(arch)).unwrap();
        let header_at = symbol(&done.elf, loader_header::SYMBOL).unwrap();
        let end = symbol(&done.elf, "__kernel_end").unwrap() - plan(arch).virtual_base();
        let around = loader_img(&done.elf, 10, "init -x").unwrap();
        let image = [&around.before, &b"the bootfs"[..], &around.after].concat();
        // What is at an offset from the kernel base once the image is loaded.
        let memory: Vec<u8> = if arch == Arch::Aarch64 {
            assert_eq!(image[16..24], (image.len() as u64).to_le_bytes());
            image.clone()
        } else {
            let file = Elf::parse(&image).unwrap();
            let mut memory = vec![];
            for p in file.program_headers.iter().filter(|p| p.p_type == 1) {
                memory.resize((p.p_paddr - plan(arch).base) as usize, 0);
                memory.extend(&image[p.p_offset as usize..(p.p_offset + p.p_filesz) as usize]);
            }
            memory
        };
        let at = (header_at - plan(arch).virtual_base()) as usize;
        let header = LoaderHeader::from_bytes(&memory[at..]).unwrap();
        assert_eq!((header.bootfs_offset, header.bootfs_len), (end, 10));
        assert_eq!((header.cmdline_offset, header.cmdline_len), (end + 10, 7));
        assert_eq!(header.image_size, end + 4096);
        assert_eq!(memory[end as usize..end as usize + 17], *b"the bootfsinit -x");
        // Without a payload nothing is appended, and the header says so.
        let empty = loader_img(&done.elf, 0, "").unwrap();
        let empty = [empty.before, empty.after].concat();
        assert!(empty.len() < image.len());
        if arch == Arch::X64 {
            assert_eq!(empty, strip(&done.elf).unwrap());
        }
    }
}

#[test]
fn a_section_that_the_script_does_not_name_fails_the_link() {
    for arch in Arch::ALL {
        let object = kernel(arch, |k| {
            let odd = k.section("linkme_OTHERS", SectionKind::Data, &[1], 1);
            let other = k.symbol("other", SymbolSection::Section(odd), 0, 1);
            // Referred to, or --gc-sections removes it: R_X86_64_PC32; R_AARCH64_PREL32.
            let text = k.section(".head.text.more", SectionKind::Text, &[0; 8], 8);
            k.relocation((text, 0), [2, 261], other, 0);
        });
        let e = refused(arch, &object);
        assert!(e.contains("linkme_OTHERS"), "{e}");
    }
}

#[test]
fn an_undefined_symbol_fails_the_link() {
    for arch in Arch::ALL {
        let object = kernel(arch, |k| {
            let text = k.section(".head.text.more", SectionKind::Text, &[0; 8], 8);
            let absent = k.symbol("no_such_function", SymbolSection::Undefined, 0, 0);
            // R_X86_64_PC32; R_AARCH64_CALL26
            k.relocation((text, 0), [2, 283], absent, 0);
        });
        let e = refused(arch, &object);
        assert!(e.contains("symbol: no_such_function"), "{e}");
    }
}

#[test]
fn an_absolute_address_in_code_fails_the_link() {
    for arch in Arch::ALL {
        let object = kernel(arch, |k| {
            let text = k.section(".head.text.more", SectionKind::Text, &[0; 8], 8);
            let to = k.symbol("here", SymbolSection::Section(text), 0, 4);
            // R_X86_64_32: how 32-bit entry code must not refer to anything. R_AARCH64_ABS32.
            k.relocation((text, 0), [10, 258], to, 0);
        });
        let e = refused(arch, &object);
        assert!(e.contains("recompile with -fPIC"), "{e}");
    }
}
