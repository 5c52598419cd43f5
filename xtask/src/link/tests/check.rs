use super::{X64, both, check_plan};
use crate::link::elf::testing::{DATA_AT, GOT_AT, RELATIVE_AT, RELR_AT, SYMBOLIC_AT, Sample};
use crate::link::elf::{ElfFile, Section};
use crate::link::{CheckPlan, Finding, RelocatePlan, Relocated, check, relocate, relocs};
use object::elf;

fn with_elf(done: &Relocated, elf: Vec<u8>) -> Relocated {
    Relocated { elf, relocs: done.relocs.clone() }
}

/// What the check finds after `edit` on the relocated kernel.
fn findings(edit: impl FnOnce(&mut ElfFile<'_>)) -> Vec<Finding> {
    let linked = Sample::new(elf::EM_X86_64).bytes();
    let done = relocate(&linked, &X64).unwrap();
    let mut file = ElfFile::parse(&done.elf).unwrap();
    edit(&mut file);
    check(&linked, &with_elf(&done, file.to_bytes()), &check_plan(X64))
        .map_or_else(|e| e.0, |()| Vec::new())
}

#[test]
fn a_good_kernel_passes() {
    for (sample, plan) in both() {
        let linked = sample.bytes();
        let done = relocate(&linked, &plan).unwrap();
        assert_eq!(check(&linked, &done, &check_plan(plan)), Ok(()));
    }
    assert_eq!(findings(|_| ()), []);
}

#[test]
fn each_skipped_relocation_fails() {
    for (sample, plan) in both() {
        let linked = sample.bytes();
        let done = relocate(&linked, &plan).unwrap();
        for at in [RELR_AT, RELATIVE_AT, SYMBOLIC_AT, GOT_AT, DATA_AT] {
            let before = ElfFile::parse(&linked).unwrap().word_at(at).unwrap();
            let mut file = ElfFile::parse(&done.elf).unwrap();
            let at = plan.virtual_base() + at;
            file.set_word_at(at, before).unwrap();
            let e =
                check(&linked, &with_elf(&done, file.to_bytes()), &check_plan(plan)).unwrap_err();
            assert!(
                matches!(e.0[..], [Finding::NotApplied { at: a, is, .. }]
                    if a == at && is == Some(before)),
                "{e}"
            );
        }
    }
}

#[test]
fn a_relocation_that_the_linker_forgot_is_found_by_its_static_twin() {
    let mut sample = Sample::new(elf::EM_X86_64);
    sample.rela.remove(0);
    let linked = sample.bytes();
    let done = relocate(&linked, &X64).unwrap();
    let e = check(&linked, &done, &check_plan(X64)).unwrap_err();
    let at = X64.virtual_base() + RELATIVE_AT;
    assert!(e.to_string().contains(&format!("not applied: the word at {at:#x}")), "{e}");
}

#[test]
fn a_list_of_relocations_that_lacks_one_fails() {
    for (sample, plan) in both() {
        let linked = sample.bytes();
        let mut done = relocate(&linked, &plan).unwrap();
        let mut listed = relocs::decode(&done.relocs).unwrap();
        listed.pop();
        for relocs in [relocs::encode(&listed), vec![]] {
            done.relocs = relocs;
            let e = check(&linked, &done, &check_plan(plan)).unwrap_err();
            assert_eq!(e.0, [Finding::RelocsFile]);
        }
    }
}

#[test]
fn dwarf_left_behind_fails() {
    let found = findings(|f| {
        let at = f.section_index(".debug_info").unwrap();
        f.sections[at].data.to_mut()[..8].copy_from_slice(&0x60u64.to_le_bytes());
    });
    assert!(matches!(&found[..], [Finding::NotApplied { symbol, .. }]
        if symbol == "section .debug_info"));
}

#[test]
fn without_static_relocations_there_is_no_witness() {
    let mut file = Sample::new(elf::EM_X86_64).file();
    let keep = |s: &Section<'_>| s.loaded() || s.kind != elf::SHT_RELA;
    file.sections.retain(|s| keep(s) && s.name != ".debug_info");
    let linked = file.to_bytes();
    let done = relocate(&linked, &X64).unwrap();
    let e = check(&linked, &done, &check_plan(X64)).unwrap_err();
    assert!(e.0.contains(&Finding::NoWitness), "{e}");
}

#[test]
fn a_byte_changed_without_reason_fails() {
    let at = X64.virtual_base() + RELR_AT + 8;
    assert_eq!(findings(|f| f.set_word_at(at, 0x1112).unwrap()), [Finding::Stray { at }]);
    let at = X64.virtual_base() + 0x50;
    assert_eq!(findings(|f| f.loads[0].data.to_mut()[0x50] = 0), [Finding::Stray { at }]);
}

#[test]
fn writable_code_fails() {
    let found = findings(|f| f.loads[0].flags = elf::ProgramFlags(7));
    assert_eq!(found, [Finding::WritableCode { at: X64.virtual_base() }]);
}

#[test]
fn an_entry_outside_of_text_fails() {
    for entry in [0, X64.virtual_base() + 0x1000, X64.virtual_base() + 0x80, 0x40] {
        assert_eq!(findings(|f| f.entry = entry), [Finding::Entry { at: entry }]);
    }
}

#[test]
fn another_address_than_planned_fails() {
    let linked = Sample::new(elf::EM_X86_64).bytes();
    let elsewhere = RelocatePlan { base: 0x100_0000, ..X64 };
    let done = relocate(&linked, &elsewhere).unwrap();
    let e = check(&linked, &done, &check_plan(X64)).unwrap_err();
    let place =
        |what: &str| e.0.iter().any(|f| matches!(f, Finding::Place { what: w, .. } if w == what));
    assert!(place("the first byte of the kernel"), "{e}");
    assert!(place("the first byte of the kernel (physical)"), "{e}");
    assert!(place("symbol `target`"), "{e}");
    assert!(place("symbol `__kernel_start`"), "{e}");
    assert!(place("the base in the loader header"), "{e}");
    let found = findings(|f| f.loads[1].paddr += 0x1000);
    assert!(matches!(found[..], [Finding::Place { .. }]), "{found:?}");
}

#[test]
fn undefined_symbols_and_leftovers_fail() {
    let undefine = |f: &mut ElfFile<'_>| {
        let at = f.symtab_index().unwrap();
        // The section index of symbol 7, `pointer`.
        f.sections[at].data.to_mut()[7 * 24 + 6..7 * 24 + 8].fill(0);
    };
    assert!(findings(undefine).contains(&Finding::Undefined("pointer".into())));
    let found = findings(|f| f.kind = elf::ET_DYN);
    assert!(matches!(&found[..], [Finding::Left(what)] if what == "ELF type 3"));
    let found = findings(|f| f.views[0].kind = elf::PT_DYNAMIC);
    assert!(found.iter().any(|f| matches!(f, Finding::Left(_))), "{found:?}");
    let found = findings(|f| f.sections[7].kind = elf::SHT_RELR);
    assert!(found.contains(&Finding::Left("section .data".into())), "{found:?}");
}

#[test]
fn a_wrong_pvh_entry_fails() {
    let at = X64.virtual_base() + 0x1050;
    // What a pointer to the entry would become: its virtual address.
    let found = findings(|f| f.set_word_at(at, X64.virtual_base() + 0x10).unwrap());
    assert!(
        matches!(&found[..], [Finding::Place { what, .. }] if what == "the entry in the PVH note"),
        "{found:?}"
    );
}

#[test]
fn drivers_are_those_of_the_plan() {
    let (sample, relocate_plan) = both()[0].clone();
    let linked = sample.bytes();
    let done = relocate(&linked, &relocate_plan).unwrap();
    let with = |drivers: &[&str]| {
        let plan = CheckPlan { relocate: relocate_plan, drivers };
        check(&linked, &done, &plan).map_or_else(|e| e.0, |()| Vec::new())
    };
    let missing = |d: &str| Finding::MissingDriver(d.into());
    assert_eq!(with(&["ns16550"]), []);
    assert_eq!(with(&["virtio-blk", "ns16550"]), [missing("virtio-blk")]);
    assert_eq!(with(&[]), [Finding::UnplannedDriver("ns16550".into())]);

    let sample = Sample { driver_symbol: "memcpy", ..sample };
    let linked = sample.bytes();
    let done = relocate(&linked, &relocate_plan).unwrap();
    let e = check(&linked, &done, &check_plan(relocate_plan)).unwrap_err();
    assert!(e.to_string().contains("`memcpy` is no Rust symbol"), "{e}");
}

#[test]
fn long_lists_are_cut() {
    let linked = Sample::new(elf::EM_X86_64).bytes();
    let many = vec![Finding::Undefined("x".into()); 25];
    assert!(super::super::CheckError(many).to_string().ends_with("… and 5 more"));
    let done = relocate(&linked, &X64).unwrap();
    let e = check(&linked, &with_elf(&done, vec![]), &check_plan(X64)).unwrap_err();
    assert!(e.to_string().contains("loader.elf is unreadable"), "{e}");
}
