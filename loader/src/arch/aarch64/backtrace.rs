//! Walks frame records: pairs of the caller's frame pointer and the return address.

use core::arch::asm;
use core::ops::Range;

use super::uaccess::try_read;

/// Longest walk.
const MAX_FRAMES: usize = 64;

/// Where the caller is, and its frame pointer.
#[must_use]
#[inline(always)]
pub fn here() -> (usize, usize) {
    let (pc, fp): (usize, usize);
    // SAFETY: reads two registers.
    unsafe {
        asm!("adr {}, .", "mov {}, x29", out(reg) pc, out(reg) fp,
            options(nomem, nostack, preserves_flags));
    }
    (pc, fp)
}

/// Calls `each` with every return address of the chain that begins at `fp` and stays inside
/// `within` (the stack), going up only; at most 64.
pub fn walk(fp: usize, within: Range<usize>, each: &mut dyn FnMut(usize)) {
    let mut fp = fp;
    let mut lowest = within.start;
    for _ in 0..MAX_FRAMES {
        if fp < lowest || !fp.is_multiple_of(8) || fp.saturating_add(16) > within.end {
            return;
        }
        let (Some(next), Some(pc)) = (try_read(fp), try_read(fp + 8)) else { return };
        if pc == 0 {
            return;
        }
        each(pc);
        lowest = fp + 16;
        fp = next;
    }
}
