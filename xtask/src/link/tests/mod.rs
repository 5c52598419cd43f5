//! The steps after the linker on a hand-made kernel, good and hostile.

mod check;
mod hostile;
mod relocate;
mod size;

use super::elf::testing::Sample;
use super::{CheckPlan, RelocatePlan};
use goblin::elf::Elf;
use object::elf;

pub const X64: RelocatePlan =
    RelocatePlan { base: 0x20_0000, high_half: 0xffff_ffff_8000_0000, machine: 62 };
pub const AARCH64: RelocatePlan =
    RelocatePlan { base: 0x4008_0000, high_half: 0xffff_ff80_0000_0000, machine: 183 };

/// Both archs, each with its default plan.
pub fn both() -> [(Sample, RelocatePlan); 2] {
    [(Sample::new(elf::EM_X86_64), X64), (Sample::new(elf::EM_AARCH64), AARCH64)]
}

pub fn check_plan(relocate: RelocatePlan) -> CheckPlan<'static> {
    CheckPlan { relocate, drivers: &["ns16550"] }
}

/// The word at a virtual address, as goblin finds it.
pub fn word(bytes: &[u8], at: u64) -> u64 {
    let file = Elf::parse(bytes).unwrap();
    let load = file
        .program_headers
        .iter()
        .find(|p| p.p_type == 1 && (p.p_vaddr..p.p_vaddr + p.p_filesz).contains(&at))
        .unwrap();
    let at = (at - load.p_vaddr + load.p_offset) as usize;
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
