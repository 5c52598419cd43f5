//! A thread's registers as a core file has them.

use super::context::{self, FpuState};
use super::trap::TrapFrame;
use crash_record::{Arch, Item};

/// The arch that the crash record names.
pub const ARCH: Arch = Arch::X64;

/// Selectors that Linux shows for the segments that user mode has flat: DS, ES, FS, GS.
const FLAT: [u64; 4] = [0; 4];

/// Adds the registers of the thread that runs, which entered the kernel with `frame`: TLS
/// register, XCR0, then what `name` adds, general and vector registers (`crash_record`).
pub fn add(item: &mut Item, frame: &TrapFrame, fpu: &mut FpuState, name: &dyn Fn(&mut Item)) {
    let tls = context::user_tls() as u64;
    item.words(&[tls, context::states()]);
    name(item);
    // Linux's `struct user_regs_struct` (arch/x86/include/asm/user_64.h).
    let general = frame.to_elf();
    item.words(&[(general.len() as u64 + 6) * 8]);
    for register in general {
        item.words(&[register as u64]);
    }
    item.words(&[tls, context::user_gs() as u64]);
    item.words(&FLAT);
    item.text(fpu.bytes());
}
