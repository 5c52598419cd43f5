//! A thread's registers as a core file has them.

use super::context::{self, FpuState};
use super::trap::TrapFrame;
use crash_record::{Arch, Item};

/// The arch that the crash record names.
pub const ARCH: Arch = Arch::Aarch64;

/// Length of Linux's `struct user_fpsimd_state` (arch/arm64/include/uapi/asm/ptrace.h): q0-q31,
/// FPSR and FPCR of 32 bits each, 8 bytes of nothing.
const FPSIMD_LEN: u64 = 32 * 16 + 16;

/// Adds the registers of the thread that runs, which entered the kernel with `frame`: TLS
/// register, 0 for XCR0, then what `name` adds, general and vector registers (`crash_record`).
pub fn add(item: &mut Item, frame: &TrapFrame, fpu: &mut FpuState, name: &dyn Fn(&mut Item)) {
    item.words(&[context::user_tls() as u64, 0]);
    name(item);
    // Linux's `struct user_pt_regs`: x0-x30, sp, pc, pstate.
    item.words(&[34 * 8]);
    for register in frame.regs {
        item.words(&[register as u64]);
    }
    item.words(&[frame.sp() as u64, frame.pc() as u64, frame.flags() as u64]);
    item.words(&[FPSIMD_LEN]);
    let state = fpu.registers();
    for vector in &state.vectors {
        item.put(&vector.to_le_bytes());
    }
    item.words(&[state.fpcr << 32 | state.fpsr & 0xffff_ffff, 0]);
}
