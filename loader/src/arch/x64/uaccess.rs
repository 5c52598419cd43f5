//! The only instructions of the kernel that touch the app's memory.
//!
//! Each may fault. The page-fault handler first tries to bring the page in; when there is
//! none, it looks the instruction up in the table of the section `__ex_table` and goes on
//! where that says. No check of the app's mappings is made before, for it could be stale at
//! the access; only the address must be the app's.
//!
//! Where the CPU has SMAP, user memory is closed to the kernel except between `stac` and
//! `clac` here. An interrupt in between saves the flag with the others, and `close`s.

use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

use super::cpu::SMAP;
use super::trap::TrapFrame;
use crate::arch::Fault;

// An entry is two 32-bit offsets, each relative to its own place: of the instruction, and of
// where to go on. Such a table needs no relocation.
global_asm!(
    r#"
    .macro EX from, to
    .pushsection __ex_table, "a"
    .balign 4
    .long \from - .
    .long \to - .
    .popsection
    .endm

    .pushsection .text.uaccess, "ax"
    /* rdi = to, rsi = from, rdx = length; returns how many bytes were not copied. */
    .balign 16
    .globl x64_user_copy
    .hidden x64_user_copy
x64_user_copy:
    pushq %rbp
    movq %rsp, %rbp
    cmpb $0, {smap}(%rip)
    je 1f
    stac
1:  movq %rdx, %rcx
    shrq $3, %rcx
2:  rep movsq
    movl %edx, %ecx
    andl $7, %ecx
3:  rep movsb
    xorl %eax, %eax
4:  cmpb $0, {smap}(%rip)
    je 5f
    clac
5:  popq %rbp
    retq
6:  andl $7, %edx               /* in quadwords: rcx of them, and the rest */
    leaq (%rdx, %rcx, 8), %rax
    jmp 4b
7:  movq %rcx, %rax
    jmp 4b
    EX 2b, 6b
    EX 3b, 7b

    /* rdi = to, rsi = length; as above. */
    .balign 16
    .globl x64_user_zero
    .hidden x64_user_zero
x64_user_zero:
    pushq %rbp
    movq %rsp, %rbp
    cmpb $0, {smap}(%rip)
    je 1f
    stac
1:  xorl %eax, %eax
    movq %rsi, %rcx
    shrq $3, %rcx
2:  rep stosq
    movl %esi, %ecx
    andl $7, %ecx
3:  rep stosb
4:  cmpb $0, {smap}(%rip)
    je 5f
    clac
5:  popq %rbp
    retq
6:  andl $7, %esi
    leaq (%rsi, %rcx, 8), %rax
    jmp 4b
7:  movq %rcx, %rax
    jmp 4b
    EX 2b, 6b
    EX 3b, 7b

    /* rdi = address, esi = expected, edx = new; eax = what was there, edx = 0 when done and
       1 after a fault. */
    .balign 16
    .globl x64_user_cmpxchg
    .hidden x64_user_cmpxchg
x64_user_cmpxchg:
    pushq %rbp
    movq %rsp, %rbp
    cmpb $0, {smap}(%rip)
    je 1f
    stac
1:  movl %esi, %eax
2:  lock cmpxchgl %edx, (%rdi)
    xorl %edx, %edx
3:  cmpb $0, {smap}(%rip)
    je 4f
    clac
4:  shlq $32, %rdx
    movl %eax, %eax
    orq %rdx, %rax
    popq %rbp
    retq
5:  movl $1, %edx
    jmp 3b
    EX 2b, 5b

    /* rdi = address, rsi = value, edx = 0: read, else write; the value in eax, edx as above. */
    .balign 16
    .globl x64_user_word
    .hidden x64_user_word
x64_user_word:
    pushq %rbp
    movq %rsp, %rbp
    cmpb $0, {smap}(%rip)
    je 1f
    stac
1:  movl %esi, %eax
    testl %edx, %edx
    movl $0, %edx
    jnz 3f
2:  movl (%rdi), %eax
    jmp 4f
3:  movl %eax, (%rdi)
4:  cmpb $0, {smap}(%rip)
    je 5f
    clac
5:  shlq $32, %rdx
    movl %eax, %eax
    orq %rdx, %rax
    popq %rbp
    retq
6:  movl $1, %edx
    jmp 4b
    EX 2b, 6b
    EX 3b, 6b
    .popsection
"#,
    smap = sym SMAP,
    options(att_syntax)
);

unsafe extern "C" {
    fn x64_user_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    fn x64_user_zero(to: *mut u8, len: usize) -> usize;
    fn x64_user_cmpxchg(at: usize, expected: u32, new: u32) -> u64;
    fn x64_user_word(at: usize, value: u32, write: u32) -> u64;
    safe static __ex_table_start: [i32; 2];
    safe static __ex_table_end: [i32; 2];
}

/// Whether `len` bytes at `address` can be the app's.
fn check(address: usize, len: usize) -> Result<(), Fault> {
    match address.checked_add(len) {
        Some(end) if end <= super::USER_END => Ok(()),
        _ => Err(Fault),
    }
}

fn done(left: usize) -> Result<(), Fault> {
    if left == 0 { Ok(()) } else { Err(Fault) }
}

/// Copies from the app. After a fault, what came before it has been copied.
///
/// # Errors
/// When not all of it is the app's to read.
pub fn copy_from_user(dst: &mut [u8], src: usize) -> Result<(), Fault> {
    check(src, dst.len())?;
    // SAFETY: writes `dst` alone; reads the app's half, and a fault there is fixed up.
    done(unsafe { x64_user_copy(dst.as_mut_ptr(), src as *const u8, dst.len()) })
}

/// Copies to the app. After a fault, what came before it has been copied.
///
/// # Errors
/// When not all of it is the app's to write.
pub fn copy_to_user(dst: usize, src: &[u8]) -> Result<(), Fault> {
    check(dst, src.len())?;
    // SAFETY: reads `src` alone; writes the app's half, and a fault there is fixed up.
    done(unsafe { x64_user_copy(dst as *mut u8, src.as_ptr(), src.len()) })
}

/// Fills memory of the app with zeroes.
///
/// # Errors
/// As [`copy_to_user`].
pub fn zero_user(dst: usize, len: usize) -> Result<(), Fault> {
    check(dst, len)?;
    // SAFETY: writes the app's half, and a fault there is fixed up.
    done(unsafe { x64_user_zero(dst as *mut u8, len) })
}

/// Reads a word, in one access when it is aligned.
///
/// # Errors
/// As [`copy_from_user`].
pub fn read_user_u32(address: usize) -> Result<u32, Fault> {
    check(address, 4)?;
    // SAFETY: reads one word in the app's half, and a fault there is fixed up.
    word(unsafe { x64_user_word(address, 0, 0) })
}

/// Writes a word, in one access when it is aligned.
///
/// # Errors
/// As [`copy_to_user`].
pub fn write_user_u32(address: usize, value: u32) -> Result<(), Fault> {
    check(address, 4)?;
    // SAFETY: writes one word in the app's half, and a fault there is fixed up.
    word(unsafe { x64_user_word(address, value, 1) }).map(drop)
}

/// What the assembly returns: a value in the lower half, whether it faulted in the upper.
fn word(result: u64) -> Result<u32, Fault> {
    if result >> 32 == 0 { Ok(result as u32) } else { Err(Fault) }
}

/// Writes `new` if the word is `expected`, atomically; returns what was there.
///
/// # Errors
/// As [`copy_to_user`].
pub fn compare_exchange_user_u32(address: usize, expected: u32, new: u32) -> Result<u32, Fault> {
    check(address, 4)?;
    // SAFETY: touches one word in the app's half, and a fault there is fixed up.
    word(unsafe { x64_user_cmpxchg(address, expected, new) })
}

/// Closes user memory to the kernel: entries from interrupted code keep its AC flag.
pub(super) fn close() {
    if SMAP.load(Ordering::Relaxed) {
        // SAFETY: the CPU has SMAP.
        unsafe { asm!("clac", options(nomem, nostack)) };
    }
}

/// Where to go on after a fault at `pc`.
fn lookup(pc: usize) -> Option<usize> {
    let mut entry = &raw const __ex_table_start;
    let end = &raw const __ex_table_end;
    // A handful of entries: nothing to sort or search.
    while entry < end {
        // SAFETY: the linker put whole entries between the two symbols.
        let [from, to] = unsafe { *entry };
        let at = entry as usize;
        if at.wrapping_add_signed(from as isize) == pc {
            return Some((at + 4).wrapping_add_signed(to as isize));
        }
        entry = entry.wrapping_add(1);
    }
    None
}

/// Whether a fault at `pc` is expected.
pub(super) fn has_fix_up(pc: usize) -> bool {
    lookup(pc).is_some()
}

/// Makes the interrupted code go on where the table says; `false` when it says nothing.
pub(super) fn fix_up(frame: &mut TrapFrame) -> bool {
    match lookup(frame.pc()) {
        Some(to) => {
            frame.set_pc(to);
            true
        }
        None => false,
    }
}
