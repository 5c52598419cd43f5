//! The steps after the linker on a hand-made kernel, good and hostile.

mod check;
mod hostile;
mod relocate;
mod size;

use super::elf::testing::Sample;
use super::{CheckPlan, RelocatePlan};
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
