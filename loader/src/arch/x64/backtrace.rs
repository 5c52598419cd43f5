//! Backtraces by frame pointers, which every function of the kernel keeps that calls another. So
//! a fault in one that calls none shows it and not its caller, but the callers from there on.

use core::ops::Range;

/// Most return addresses that are reported.
const MAX_FRAMES: usize = 64;

/// Where this is called: an address in it, and its frame pointer.
#[must_use]
#[inline(always)]
pub fn here() -> (usize, usize) {
    let (pc, fp): (usize, usize);
    // SAFETY: reads two registers.
    unsafe {
        core::arch::asm!("lea {}, [rip]", "mov {}, rbp", out(reg) pc, out(reg) fp,
            options(nomem, nostack, preserves_flags));
    }
    (pc, fp)
}

/// Calls `each` with every return address of the chain from `fp`, as long as the chain stays
/// inside the stack `within` and goes up it. Every frame is two words: the caller's frame
/// pointer, and the return address.
pub fn walk(mut fp: usize, within: Range<usize>, each: &mut dyn FnMut(usize)) {
    for _ in 0..MAX_FRAMES {
        let inside = fp >= within.start && fp.checked_add(16).is_some_and(|e| e <= within.end);
        if !inside || !fp.is_multiple_of(8) {
            return;
        }
        // SAFETY: two aligned words inside of a stack that is mapped (the caller's `within`).
        let [next, pc] = unsafe { (fp as *const [usize; 2]).read_volatile() };
        if pc == 0 {
            return;
        }
        each(pc);
        if next <= fp {
            return;
        }
        fp = next;
    }
}
