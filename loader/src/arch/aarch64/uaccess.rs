//! Access to the app's memory.
//!
//! LDTR and STTR access memory with EL0's permissions, so they work with PAN on and fault
//! where the app itself would. Each is in the fix-up table (`__ex_table`: pairs of 32-bit
//! offsets, each from its own place, of the instruction and of where to go on): when the
//! process cannot handle the fault, the copy ends with [`Fault`].

use core::arch::global_asm;

use super::USER_END;
use super::cpu::{has_pan, set_pan};
use crate::arch::Fault;

global_asm!(
    r#"
    .macro may_fault resume, instruction:vararg
9999: \instruction
    .pushsection __ex_table, "a"
    .balign 4
    .long   9999b - .
    .long   \resume - .
    .popsection
    .endm

    .section .text.uaccess, "ax"
    // (kernel destination, user source, length) -> bytes left
aarch64_copy_from_user:
    cmp     x2, #32
    b.lo    2f
1:  may_fault 3f, ldtr x3, [x1]
    may_fault 3f, ldtr x4, [x1, #8]
    may_fault 3f, ldtr x5, [x1, #16]
    may_fault 3f, ldtr x6, [x1, #24]
    stp     x3, x4, [x0], #16
    stp     x5, x6, [x0], #16
    add     x1, x1, #32
    sub     x2, x2, #32
    cmp     x2, #32
    b.hs    1b
2:  cbz     x2, 3f
    may_fault 3f, ldtrb w3, [x1]
    strb    w3, [x0], #1
    add     x1, x1, #1
    sub     x2, x2, #1
    b       2b
3:  mov     x0, x2
    ret

    // (user destination, kernel source, length) -> bytes left
aarch64_copy_to_user:
    cmp     x2, #32
    b.lo    2f
1:  ldp     x3, x4, [x1], #16
    ldp     x5, x6, [x1], #16
    may_fault 3f, sttr x3, [x0]
    may_fault 3f, sttr x4, [x0, #8]
    may_fault 3f, sttr x5, [x0, #16]
    may_fault 3f, sttr x6, [x0, #24]
    add     x0, x0, #32
    sub     x2, x2, #32
    cmp     x2, #32
    b.hs    1b
2:  cbz     x2, 3f
    ldrb    w3, [x1], #1
    may_fault 3f, sttrb w3, [x0]
    add     x0, x0, #1
    sub     x2, x2, #1
    b       2b
3:  mov     x0, x2
    ret

    // (user destination, length) -> bytes left
aarch64_zero_user:
1:  cmp     x1, #8
    b.lo    2f
    may_fault 3f, sttr xzr, [x0]
    add     x0, x0, #8
    sub     x1, x1, #8
    b       1b
2:  cbz     x1, 3f
    may_fault 3f, sttrb wzr, [x0]
    add     x0, x0, #1
    sub     x1, x1, #1
    b       2b
3:  mov     x0, x1
    ret

    // (user address, out) -> 0, or 1 on a fault
aarch64_read_user_u32:
    may_fault 3f, ldtr w2, [x0]
    str     w2, [x1]
    mov     x0, xzr
    ret

    // (user address, value) -> 0, or 1 on a fault
aarch64_write_user_u32:
    may_fault 3f, sttr w1, [x0]
    mov     x0, xzr
    ret

    // (user address, expected, new, out previous) -> 0, or 1 on a fault. PAN is off.
aarch64_compare_exchange_user_u32:
1:  may_fault 3f, ldaxr w4, [x0]
    cmp     w4, w1
    b.ne    2f
    may_fault 3f, stlxr w5, w2, [x0]
    cbnz    w5, 1b
2:  clrex
    str     w4, [x3]
    mov     x0, xzr
    ret
3:  mov     x0, #1
    ret

    // (kernel address, out) -> 0, or 1 on a fault
aarch64_try_read:
    may_fault 3b, ldr x2, [x0]
    str     x2, [x1]
    mov     x0, xzr
    ret
"#
);

unsafe extern "C" {
    fn aarch64_copy_from_user(dst: *mut u8, src: usize, len: usize) -> usize;
    fn aarch64_copy_to_user(dst: usize, src: *const u8, len: usize) -> usize;
    fn aarch64_zero_user(dst: usize, len: usize) -> usize;
    fn aarch64_read_user_u32(src: usize, out: &mut u32) -> usize;
    fn aarch64_write_user_u32(dst: usize, value: u32) -> usize;
    fn aarch64_compare_exchange_user_u32(
        at: usize,
        expected: u32,
        new: u32,
        previous: &mut u32,
    ) -> usize;
    fn aarch64_try_read(at: usize, out: &mut usize) -> usize;

    static __ex_table_start: [i32; 2];
    static __ex_table_end: [i32; 2];
}

/// Where to go on after a fault of the instruction at `pc`, when it may fault.
pub(super) fn fix_up(pc: usize) -> Option<usize> {
    let mut entry = &raw const __ex_table_start;
    let end = &raw const __ex_table_end;
    while entry < end {
        // SAFETY: inside the table, which the linker made of whole pairs.
        let [at, resume] = unsafe { entry.read() };
        let base = entry as usize;
        if base.wrapping_add_signed(at as isize) == pc {
            return Some((base + 4).wrapping_add_signed(resume as isize));
        }
        // SAFETY: at most one past the end.
        entry = unsafe { entry.add(1) };
    }
    None
}

/// Whether `len` bytes from `start` are all below [`USER_END`].
fn check(start: usize, len: usize) -> Result<(), Fault> {
    match start.checked_add(len) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(Fault),
    }
}

fn done(left: usize) -> Result<(), Fault> {
    if left == 0 { Ok(()) } else { Err(Fault) }
}

/// Fills `dst` from user memory at `src`.
///
/// # Errors
/// [`Fault`] when not all of it can be read; `dst` may be filled in part.
pub fn copy_from_user(dst: &mut [u8], src: usize) -> Result<(), Fault> {
    check(src, dst.len())?;
    // SAFETY: writes inside `dst`; faults on `src` are fixed up.
    done(unsafe { aarch64_copy_from_user(dst.as_mut_ptr(), src, dst.len()) })
}

/// Writes `src` to user memory at `dst`.
///
/// # Errors
/// [`Fault`] when not all of it can be written; part of it may be.
pub fn copy_to_user(dst: usize, src: &[u8]) -> Result<(), Fault> {
    check(dst, src.len())?;
    // SAFETY: writes user memory only; faults on it are fixed up.
    done(unsafe { aarch64_copy_to_user(dst, src.as_ptr(), src.len()) })
}

/// Writes `len` zero bytes to user memory at `dst`.
///
/// # Errors
/// As for [`copy_to_user`].
pub fn zero_user(dst: usize, len: usize) -> Result<(), Fault> {
    check(dst, len)?;
    // SAFETY: as for `copy_to_user`.
    done(unsafe { aarch64_zero_user(dst, len) })
}

/// Reads a word of user memory in one access.
///
/// # Errors
/// [`Fault`] when it cannot be read, or `src` is misaligned.
pub fn read_user_u32(src: usize) -> Result<u32, Fault> {
    check_word(src)?;
    let mut value = 0;
    // SAFETY: faults on `src` are fixed up.
    done(unsafe { aarch64_read_user_u32(src, &mut value) })?;
    Ok(value)
}

/// Writes a word of user memory in one access.
///
/// # Errors
/// [`Fault`] when it cannot be written, or `dst` is misaligned.
pub fn write_user_u32(dst: usize, value: u32) -> Result<(), Fault> {
    check_word(dst)?;
    // SAFETY: writes user memory only; faults on it are fixed up.
    done(unsafe { aarch64_write_user_u32(dst, value) })
}

/// Replaces the word at `at` by `new` if it is `expected`, atomically. Returns what it was:
/// it was replaced when that is `expected`.
///
/// # Errors
/// [`Fault`] when it cannot be read and written, or `at` is misaligned.
pub fn compare_exchange_user_u32(at: usize, expected: u32, new: u32) -> Result<u32, Fault> {
    check_word(at)?;
    let mut previous = 0;
    // There is no unprivileged LDXR, so PAN goes off; EL1 may write no page that EL0 may
    // only read (AP[2]), and the address is one of user mode.
    if has_pan() {
        set_pan(false);
    }
    // SAFETY: writes user memory only; faults on it are fixed up.
    let left = unsafe { aarch64_compare_exchange_user_u32(at, expected, new, &mut previous) };
    if has_pan() {
        set_pan(true);
    }
    done(left)?;
    Ok(previous)
}

fn check_word(at: usize) -> Result<(), Fault> {
    check(at, 4)?;
    if at.is_multiple_of(4) { Ok(()) } else { Err(Fault) }
}

/// Reads a word of kernel memory that may not be mapped (backtraces).
pub(super) fn try_read(at: usize) -> Option<usize> {
    let mut value = 0;
    // SAFETY: a fault is fixed up; the value is only looked at.
    let failed = unsafe { aarch64_try_read(at, &mut value) };
    (failed == 0 && at.is_multiple_of(8)).then_some(value)
}
