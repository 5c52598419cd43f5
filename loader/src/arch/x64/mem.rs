//! Comparing, copying and filling memory. The compiler's own `memcmp` compares wide words first:
//! many branches, for the names of a few bytes that the kernel compares, which a boot runs once.
//! Its `memcpy` and `memset` bring the destination to a word's boundary first: a third repeated
//! instruction, which an emulator translates into as much as ten others.

use core::arch::global_asm;

// `int memcmp(rdi, rsi, rdx)`; `bcmp` only tells whether they differ.
global_asm!(
    r#"
    .section .text.memcmp, "ax"
    .globl memcmp
    .hidden memcmp
    .globl bcmp
    .hidden bcmp
memcmp:
bcmp:
    pushq %rbp
    movq %rsp, %rbp
    xorl %ecx, %ecx
    xorl %eax, %eax
1:  cmpq %rdx, %rcx
    je 2f
    movzbl (%rdi, %rcx), %eax
    movzbl (%rsi, %rcx), %r8d
    incq %rcx
    subl %r8d, %eax
    je 1b
2:  popq %rbp
    retq

// `void *memcpy(rdi, rsi, rdx)`: words, then what is left. The direction flag is clear.
    .section .text.memcpy, "ax"
    .globl memcpy
    .hidden memcpy
memcpy:
    pushq %rbp
    movq %rsp, %rbp
    movq %rdi, %rax
    movq %rdx, %rcx
    shrq $3, %rcx
    rep movsq
    movl %edx, %ecx
    andl $7, %ecx
    rep movsb
    popq %rbp
    retq

// `void *memset(rdi, esi, rdx)`, likewise.
    .section .text.memset, "ax"
    .globl memset
    .hidden memset
memset:
    pushq %rbp
    movq %rsp, %rbp
    movq %rdi, %r8
    movzbl %sil, %esi
    movabsq $0x0101010101010101, %rax
    imulq %rsi, %rax
    movq %rdx, %rcx
    shrq $3, %rcx
    rep stosq
    movl %edx, %ecx
    andl $7, %ecx
    rep stosb
    movq %r8, %rax
    popq %rbp
    retq
    .previous
    "#,
    options(att_syntax)
);
