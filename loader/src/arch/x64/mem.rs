//! Comparing memory. The compiler's own `memcmp` compares wide words first: many branches, for
//! the names of a few bytes that the kernel compares, which a boot runs once.

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
    .previous
    "#,
    options(att_syntax)
);
