use super::{X64, both, word};
use crate::link::elf::testing::{
    DATA_AT, Dynamic, GOT_AT, RELATIVE_AT, RELR_AT, SYMBOLIC_AT, Sample, TARGET,
};
use crate::link::elf::{ElfError, ElfFile};
use crate::link::{RelocateError, RelocatePlan, relocate, relocs};
use goblin::elf::Elf;
use object::elf;

fn error(sample: &Sample) -> RelocateError {
    relocate(&sample.bytes(), &X64).unwrap_err()
}

#[test]
fn every_kind_is_applied_at_every_base() {
    for (sample, plan) in both() {
        for move_by in [0, 0xe0_0000, 0x1000] {
            let plan = RelocatePlan { base: plan.base + move_by, ..plan };
            let bias = plan.virtual_base();
            let done = relocate(&sample.bytes(), &plan).unwrap();
            let at = |link_time| word(&done.elf, bias + link_time);
            assert_eq!(at(RELR_AT), bias + TARGET);
            assert_eq!(at(RELATIVE_AT), bias + TARGET);
            assert_eq!(at(SYMBOLIC_AT), bias + TARGET + 4);
            assert_eq!(at(GOT_AT), bias + TARGET);
            assert_eq!(at(DATA_AT), bias + DATA_AT);
            // Neighbours are untouched.
            assert_eq!(at(RELR_AT + 8), 0x1111);
            assert_eq!(at(DATA_AT + 8), 7);
            let offsets = [RELR_AT, RELATIVE_AT, SYMBOLIC_AT, GOT_AT, DATA_AT].map(|o| o as u32);
            assert_eq!(relocs::decode(&done.relocs), Some(offsets.to_vec()));
        }
    }
}

#[test]
fn the_result_is_an_executable_at_the_planned_address() {
    for (sample, plan) in both() {
        let bias = plan.virtual_base();
        let done = relocate(&sample.bytes(), &plan).unwrap();
        let file = Elf::parse(&done.elf).unwrap();
        assert_eq!(file.header.e_type, goblin::elf::header::ET_EXEC);
        assert_eq!(file.entry, bias + 0x40);
        let loads: Vec<_> = file.program_headers.iter().filter(|p| p.p_type == 1).collect();
        assert_eq!(loads.len(), 3);
        assert_eq!((loads[0].p_vaddr, loads[0].p_paddr), (bias, plan.base));
        assert_eq!((loads[2].p_vaddr, loads[2].p_paddr), (bias + 0x2000, plan.base + 0x2000));
        assert!(loads.iter().all(|l| l.p_offset % 4096 == l.p_vaddr % 4096));
        assert!(file.dynamic.is_none());
        let name = |s: &goblin::elf::SectionHeader| file.shdr_strtab.get_at(s.sh_name).unwrap();
        let names: Vec<_> = file.section_headers.iter().map(name).collect();
        assert_eq!(
            names[1..],
            [
                ".head.text",
                ".text",
                ".rodata",
                ".note.Xen",
                "linkme_DRIVERS",
                ".data.rel.ro",
                ".data",
                ".bss",
                ".symtab",
                ".strtab",
                ".debug_info",
                ".shstrtab"
            ]
        );
        // Links between sections have followed the renumbering.
        assert_eq!(names[file.section_headers[9].sh_link as usize], ".strtab");
    }
}

#[test]
fn symbols_move_numbers_do_not_and_dynamic_ones_go() {
    for (sample, plan) in both() {
        let done = relocate(&sample.bytes(), &plan).unwrap();
        let file = Elf::parse(&done.elf).unwrap();
        let value = |name: &str| {
            let found = file.syms.iter().find(|s| file.strtab.get_at(s.st_name) == Some(name));
            found.map(|s| s.st_value)
        };
        assert_eq!(value("target"), Some(plan.virtual_base() + TARGET));
        assert_eq!(value("__kernel_start"), Some(plan.virtual_base()));
        assert_eq!(value("an_absolute_number"), Some(0x1234));
        assert_eq!(value("_DYNAMIC"), None);
        // sh_info: the first symbol that is not local.
        assert_eq!(file.section_headers[9].sh_info, 2);
    }
}

#[test]
fn dwarf_moves_but_for_tombstones_and_numbers() {
    for (sample, plan) in both() {
        let done = relocate(&sample.bytes(), &plan).unwrap();
        let file = ElfFile::parse(&done.elf).unwrap();
        let debug = &file.section(".debug_info").unwrap().data;
        let want = [plan.virtual_base() + TARGET, 0x77, 0];
        assert_eq!(debug[..], want.map(u64::to_le_bytes).concat());
    }
}

#[test]
fn dwarf_that_cannot_move_is_refused() {
    let mut file = Sample::new(elf::EM_X86_64).file();
    let at = file.section_index(".rela.debug_info").unwrap();
    file.sections[at].name = ".other".into();
    let e = relocate(&file.to_bytes(), &X64).unwrap_err();
    assert!(e.to_string().contains("link with --emit-relocs"), "{e}");

    let mut file = Sample::new(elf::EM_X86_64).file();
    let at = file.section_index(".debug_info").unwrap();
    file.sections[at].data.to_mut()[0] ^= 1;
    let e = relocate(&file.to_bytes(), &X64).unwrap_err();
    assert!(e.to_string().contains("is not what its relocation says"), "{e}");
}

#[test]
fn boot_headers_are_filled_in() {
    let [(x64, x64_plan), (aarch64, aarch64_plan)] = both();
    let plan = RelocatePlan { base: 0x100_0000, ..x64_plan };
    let done = relocate(&x64.bytes(), &plan).unwrap();
    // The note's descriptor: physical.
    assert_eq!(word(&done.elf, plan.virtual_base() + 0x1050), 0x100_0010);
    let header = |bytes: &[u8], base: u64| {
        let at = |offset| word(bytes, base + 0x1000 + offset);
        (at(0x30), at(0x38))
    };
    // 0x2000 + 0x1010, rounded up to a page.
    assert_eq!(header(&done.elf, plan.virtual_base()), (0x100_0000, 0x4000));

    let plan = RelocatePlan { base: 0x4108_0000, ..aarch64_plan };
    let done = relocate(&aarch64.bytes(), &plan).unwrap();
    assert_eq!(word(&done.elf, plan.virtual_base() + 8), 0x108_0000);
    assert_eq!(word(&done.elf, plan.virtual_base() + 16), 0x4000);
    assert_eq!(header(&done.elf, plan.virtual_base()), (0x4108_0000, 0x4000));
}

#[test]
fn absent_headers_are_named() {
    let missing = |edit: fn(&mut ElfFile<'_>), plan: &RelocatePlan, machine| {
        let mut file = Sample::new(machine).file();
        edit(&mut file);
        match relocate(&file.to_bytes(), plan).unwrap_err() {
            RelocateError::Missing(why) => why,
            other => panic!("{other}"),
        }
    };
    let plans = both().map(|(s, p)| (s.machine, p));
    let [(x64, x64_plan), (aarch64, aarch64_plan)] = plans;
    let why = missing(|f| f.loads[1].data.to_mut()[0x48] = 17, &x64_plan, x64);
    assert!(why.starts_with("no PVH note"), "{why}");
    let why = missing(|f| f.loads[0].data.to_mut()[56] = 0, &aarch64_plan, aarch64);
    assert!(why.starts_with("no arm64 `Image` header"), "{why}");
    for (machine, plan) in plans {
        let why = missing(|f| f.loads[1].data.to_mut()[0] = 0, &plan, machine);
        assert!(why.contains("BadMagic"), "{why}");
    }
    let rename = |f: &mut ElfFile<'_>| {
        let at = f.section_index(".strtab").unwrap();
        for byte in f.sections[at].data.to_mut() {
            *byte = byte.to_ascii_uppercase();
        }
    };
    assert_eq!(missing(rename, &x64_plan, x64), "no symbol `pvh_start` for the PVH note");
}

#[test]
fn kinds_that_need_a_loader_are_named() {
    for (kind, name) in [(37, "R_X86_64_IRELATIVE"), (18, "R_X86_64_TPOFF64"), (99, "type 99")] {
        let mut sample = Sample::new(elf::EM_X86_64);
        sample.rela[0].kind = kind;
        let e = error(&sample);
        assert_eq!(e, RelocateError::Kind { at: RELATIVE_AT, kind: name.into() });
    }
    let (mut sample, plan) = both()[1].clone();
    sample.rela[0].kind = 1032;
    let e = relocate(&sample.bytes(), &plan).unwrap_err();
    assert!(e.to_string().contains("R_AARCH64_IRELATIVE at offset 0x1090"), "{e}");
}

#[test]
fn undefined_symbols() {
    let mut sample = Sample::new(elf::EM_X86_64);
    sample.dynsym = (elf::SHN_UNDEF, elf::STB_GLOBAL);
    let symbol = "target".to_owned();
    assert_eq!(error(&sample), RelocateError::Undefined { at: SYMBOLIC_AT, symbol });
    // An absent weak symbol is 0, wherever the kernel is; so is an absolute one itself.
    for section in [(elf::SHN_UNDEF, elf::STB_WEAK), (elf::SHN_ABS, elf::STB_GLOBAL)] {
        sample.dynsym = section;
        let done = relocate(&sample.bytes(), &X64).unwrap();
        assert_eq!(word(&done.elf, X64.virtual_base() + SYMBOLIC_AT), TARGET + 4);
        assert_eq!(relocs::decode(&done.relocs).unwrap().len(), 3);
    }
    sample.rela[1].symbol = 1 << 20;
    assert!(matches!(error(&sample), RelocateError::Dynamic(_)));
}

#[test]
fn places_that_cannot_be_relocated() {
    let place = |at| {
        let mut sample = Sample::new(elf::EM_X86_64);
        sample.rela[0].at = at;
        error(&sample)
    };
    // Code; bss; between segments; the dropped segment; across the end of .data; nowhere.
    assert_eq!(place(0x48), RelocateError::Target { at: 0x48, why: "is code" });
    for at in [0x2020, 0x3fff, 0x4008, 0x200c, u64::MAX - 3] {
        assert!(matches!(place(at), RelocateError::Target { .. } | RelocateError::Value { .. }));
    }
    for at in [SYMBOLIC_AT, SYMBOLIC_AT + 4, DATA_AT] {
        assert!(matches!(place(at), RelocateError::Overlap { .. }), "{at:#x}");
    }
    let mut sample = Sample::new(elf::EM_X86_64);
    sample.rela[0].addend = -8;
    assert_eq!(error(&sample), RelocateError::Value { at: RELATIVE_AT });
}

#[test]
fn packed_relocations() {
    let relr = |table: &[u64]| {
        let mut sample = Sample::new(elf::EM_X86_64);
        sample.relr = table.to_vec();
        relocate(&sample.bytes(), &X64)
    };
    // Bit 1 of a bitmap is the word after the address, bit 2 the one after that, …
    let done = relr(&[RELR_AT, 0b11]).unwrap();
    assert_eq!(word(&done.elf, X64.virtual_base() + RELR_AT + 8), X64.virtual_base() + 0x1111);
    assert_eq!(word(&done.elf, X64.virtual_base() + DATA_AT), DATA_AT);
    assert!(matches!(relr(&[1]), Err(RelocateError::Dynamic(_))), "a bitmap first");
    assert!(matches!(relr(&[RELR_AT, RELR_AT]), Err(RelocateError::Overlap { .. })));
    assert!(matches!(relr(&[DATA_AT, RELR_AT]), Err(RelocateError::Overlap { .. })));
    assert!(matches!(relr(&[RELR_AT, u64::MAX]), Err(RelocateError::Target { .. })));
    assert!(matches!(relr(&[u64::MAX - 9]), Err(RelocateError::Target { .. })));
    assert!(matches!(relr(&[u64::MAX - 7]), Err(RelocateError::Dynamic(_))));
    // An address within the range of the bitmap before it: a word at an odd place.
    let mut sample = Sample::new(elf::EM_X86_64);
    sample.rela.clear();
    sample.relr = vec![RELR_AT, 1, RELR_AT + 0xc];
    let done = relocate(&sample.bytes(), &X64).unwrap();
    assert_eq!(relocs::decode(&done.relocs), Some(vec![0x1080, 0x108c]));
    // 63 words a bitmap: the second one begins 64 words after the address.
    assert!(matches!(
        relr(&[DATA_AT, 1, 1, 3]),
        Err(RelocateError::Target { at, .. }) if at == DATA_AT + 8 + 2 * 63 * 8
    ));
}

#[test]
fn dynamic_sections_of_other_kinds_of_file() {
    for (tag, value, why) in [
        (elf::DT_REL.0, 0, "DT_REL"),
        (elf::DT_NEEDED.0, 1, "DT_NEEDED"),
        (elf::DT_TEXTREL.0, 0, "DT_TEXTREL"),
        (elf::DT_FLAGS.0, 4, "DF_TEXTREL"),
        (elf::DT_RELAENT.0, 12, "DT_RELAENT"),
        (elf::DT_RELRENT.0, 4, "DT_RELRENT"),
        (elf::DT_SYMENT.0, 16, "DT_SYMENT"),
        (elf::DT_PLTREL.0, 17, "DT_PLTREL"),
        (elf::DT_RELASZ.0, 25, "ends within an entry"),
        (elf::DT_RELASZ.0, 1 << 40, "lies outside the file"),
        (elf::DT_RELR.0, 0x9000_0000, "lies outside the file"),
        (elf::DT_PLTRELSZ.0, 24, "has a length and no address"),
    ] {
        let mut sample = Sample::new(elf::EM_X86_64);
        sample.dynamic.push((tag, value));
        let e = error(&sample).to_string();
        assert!(e.contains(why), "{e}");
    }
}

#[test]
fn inputs_that_are_no_pie_for_the_plan() {
    let (sample, _) = both()[1].clone();
    let e = relocate(&sample.bytes(), &X64).unwrap_err().to_string();
    assert!(e.contains("for ELF machine 183, but the plan is for 62"), "{e}");
    let refuse = |edit: fn(&mut ElfFile<'_>)| {
        let mut file = Sample::new(elf::EM_X86_64).file();
        edit(&mut file);
        relocate(&file.to_bytes(), &X64).unwrap_err().to_string()
    };
    assert!(refuse(|f| f.kind = elf::ET_EXEC).contains("link with -pie"));
    assert!(refuse(|f| f.loads[0].vaddr = 0x1000).contains("overlaps"));
    assert!(refuse(|f| drop(f.loads.remove(0))).contains("no LOAD segment"));
    assert!(refuse(|f| f.views.clear()).contains("there is none"));
    // Something else in the segment that is dropped.
    assert!(
        refuse(|f| f.sections[12].kind = elf::SHT_PROGBITS).contains("section .relr.dyn shares")
    );
    let e = relocate(b"#!/bin/sh\n", &X64).unwrap_err();
    assert!(matches!(e, RelocateError::Elf(ElfError::Malformed(_))), "{e}");
    let elf32 = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".repeat(8);
    assert!(matches!(relocate(&elf32, &X64), Err(RelocateError::Elf(_))));
}

#[test]
fn bases_that_cannot_be() {
    let sample = Sample::new(elf::EM_X86_64).bytes();
    let at = |base| relocate(&sample, &RelocatePlan { base, ..X64 });
    assert!(at(0x20_0800).unwrap_err().to_string().contains("is no multiple of 4096"));
    // The last pages of the address space, and one page too far.
    let last = 0u64.wrapping_sub(0x4000).wrapping_sub(X64.high_half);
    assert!(at(last).is_ok());
    assert!(matches!(at(last + 0x1000), Err(RelocateError::Base { .. })));
    assert!(matches!(at(u64::MAX - 0xfff), Err(RelocateError::Base { .. })));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for (sample, plan) in both() {
        assert_eq!(relocate(&sample.bytes(), &plan), relocate(&sample.bytes(), &plan));
    }
}

#[test]
fn a_relocation_without_a_place_is_skipped_only_when_none() {
    let mut sample = Sample::new(elf::EM_X86_64);
    sample.rela.push(Dynamic { at: 1 << 40, kind: 0, symbol: 0, addend: 0 });
    assert!(relocate(&sample.bytes(), &X64).is_ok());
}
