//! The first instructions: from 32-bit protected mode without paging to Rust in the high half.
//!
//! PVH (Xen's `docs/misc/pvh.pandoc`) enters at the physical address in the ELF note of type
//! 18, with `ebx` = the physical address of `hvm_start_info`, flat segments, paging and
//! interrupts off, and no stack. The image may lie a multiple of 2 MiB away from where it was
//! planned, so everything is computed from where the code runs; virtual addresses stay.
//!
//! The early page tables map the first 4 GiB twice, at 0 (for the switch) and at
//! [`super::DIRECT_MAP`], and the kernel image at its planned virtual address. They are
//! writable and executable throughout: `mm` replaces them before anything else runs.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ops::Range;

use crate::mm::table::ENTRIES;
use crate::mm::{PhysAddr, phys_to_ptr};

/// Bytes of the stack that the boot CPU enters Rust on. `BootInfo` and sets of memory ranges
/// are values on it while there is no heap.
pub const BOOT_STACK_SIZE: usize = if cfg!(debug_assertions) { 64 << 10 } else { 32 << 10 };

unsafe extern "C" {
    /// First byte of the kernel, where the image begins.
    pub safe static __kernel_start: u8;
    safe static x64_boot_stack_guard: u8;
    safe static x64_early_tables: Table;
    safe static x64_early_pdpt_low: Table;
    safe static x64_early_rest: u8;
    safe static x64_early_tables_end: u8;
}

/// An early page table.
#[repr(transparent)]
struct Table(UnsafeCell<[u64; ENTRIES]>);

// SAFETY: written by the assembly and by `prepare_early_tables`, one after the other.
unsafe impl Sync for Table {}

/// Virtual address of the page below the boot stack, which `mm` leaves unmapped.
#[must_use]
pub fn stack_guard() -> crate::mm::VirtAddr {
    crate::mm::VirtAddr(&raw const x64_boot_stack_guard as usize)
}

/// Virtual addresses of the early page tables whose frames are free once `mm`'s own tables
/// are active. The first three stay if other CPUs are to be started.
#[must_use]
pub fn reclaimable() -> Range<usize> {
    let more_cpus = super::platform::tables().cpus.iter().flatten().count() > 1;
    let start = if more_cpus {
        &raw const x64_early_rest as usize
    } else {
        &raw const x64_early_tables as usize
    };
    start..&raw const x64_early_tables_end as usize
}

/// Makes what stays of the early tables show the first GiB where it is, and the kernel's half
/// as the kernel's root does; returns their root. While one thread starts CPUs, and none of
/// them runs on these tables yet.
pub(super) fn prepare_early_tables() -> PhysAddr {
    let kernel: *const u64 = phys_to_ptr(crate::mm::kernel::root()).cast();
    let (root, low) = (x64_early_tables.0.get(), x64_early_pdpt_low.0.get());
    // SAFETY: nobody else uses the two tables (see above); the kernel's root is a table, whose
    // upper half never changes.
    unsafe {
        for i in ENTRIES / 2..ENTRIES {
            (*root)[i] = kernel.add(i).read_volatile();
        }
        // The tables of the second to fourth GiB are somebody else's frames now.
        (&mut (*low))[1..4].fill(0);
    }
    let offset = (root as usize).wrapping_sub(&raw const __kernel_start as usize);
    PhysAddr(crate::mm::image::load_base().0 + offset as u64)
}

global_asm!(
    r#"
/* XEN_ELFNOTE_PHYS32_ENTRY (Xen's public/elfnote.h). The relocate step writes the physical
   address of pvh_start: a pointer here would be relocated to a virtual one. */
    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad 0
    .popsection

/* The planned virtual address of .Lhead, relocated by the host. */
    .pushsection .data.rel.ro.entry, "aw", @progbits
    .balign 8
.Lplanned:
    .quad .Lhead
    .popsection

    .pushsection .bss.entry, "aw", @nobits
    .balign 4096
    .globl x64_boot_stack_guard
    .hidden x64_boot_stack_guard
x64_boot_stack_guard:
    .skip 4096
boot_stack:
    .skip {stack_size}
boot_stack_top:
    .globl x64_early_tables
    .hidden x64_early_tables
x64_early_tables:
early_pml4:
    .skip 4096
    .globl x64_early_pdpt_low
    .hidden x64_early_pdpt_low
x64_early_pdpt_low:
early_pdpt_low:
    .skip 4096
early_pd_low:               /* 4 GiB in pages of 2 MiB; other CPUs need the first one */
    .skip 4096
    .globl x64_early_rest
    .hidden x64_early_rest
x64_early_rest:
    .skip 3 * 4096
early_pdpt_high:
    .skip 4096
early_pd_high:              /* the top 2 GiB of virtual addresses */
    .skip 2 * 4096
    .globl x64_early_tables_end
    .hidden x64_early_tables_end
x64_early_tables_end:
    .popsection

    .pushsection .head.text, "ax"
    .code32
.Lhead:
    .globl _start
    .globl pvh_start
_start:
pvh_start:
    cli
    cld
    /* Where am I? A call needs a stack: one word of the start info serves, and is put back. */
    movl (%ebx), %eax
    leal 4(%ebx), %esp
    call 1f
1:  popl %ebp
    movl %eax, (%ebx)
    subl $(1b - .Lhead), %ebp               /* ebp = physical address of .Lhead */
    leal (boot_stack_top - .Lhead)(%ebp), %esp
    movl %ebx, %esi                         /* esi = start info */

    /* Long mode (bit 29) and no-execute (bit 20): CPUID 8000_0001h, edx. */
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb .Lunfit
    movl $0x80000001, %eax
    cpuid
    andl $0x20100000, %edx
    cmpl $0x20100000, %edx
    jne .Lunfit

    /* The first 4 GiB; entry flags: present, writable, 2 MiB. */
    leal (early_pd_low - .Lhead)(%ebp), %edi
    movl $0x83, %eax
    movl $2048, %ecx
2:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    decl %ecx
    jnz 2b
    leal (early_pdpt_low - .Lhead)(%ebp), %edi
    leal (early_pd_low - .Lhead + 3)(%ebp), %eax
    movl %eax, (%edi)
    addl $0x1000, %eax
    movl %eax, 8(%edi)
    addl $0x1000, %eax
    movl %eax, 16(%edi)
    addl $0x1000, %eax
    movl %eax, 24(%edi)

    /* The image at its planned place in the top 2 GiB. */
    leal (early_pdpt_high - .Lhead)(%ebp), %edi
    leal (early_pd_high - .Lhead + 3)(%ebp), %eax
    movl %eax, 510 * 8(%edi)
    addl $0x1000, %eax
    movl %eax, 511 * 8(%edi)
    movl (.Lplanned - .Lhead)(%ebp), %edi   /* low half of 0xffffffff80000000 + base */
    subl $0x80000000, %edi
    shrl $21, %edi
    leal (early_pd_high - .Lhead)(%ebp, %edi, 8), %edi
    movl %ebp, %eax
    andl $0xffe00000, %eax
    leal (__kernel_end - .Lhead - 1)(%ebp), %edx
    orl $0x83, %eax
3:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    cmpl %edx, %eax
    jb 3b

    leal (early_pml4 - .Lhead)(%ebp), %edi
    leal (early_pdpt_low - .Lhead + 3)(%ebp), %eax
    movl %eax, (%edi)
    movl %eax, 256 * 8(%edi)
    leal (early_pdpt_high - .Lhead + 3)(%ebp), %eax
    movl %eax, 511 * 8(%edi)

    movl %cr4, %eax
    orl $0x20, %eax                         /* CR4.PAE */
    movl %eax, %cr4
    movl %edi, %cr3
    movl $0xc0000080, %ecx                  /* EFER: SCE, LME, NXE */
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80010033, %eax                  /* CR0: PG, WP, NE, ET, MP, PE */
    movl %eax, %cr0

    leal (.Lgdt - .Lhead)(%ebp), %eax
    subl $8, %esp
    movw $(4 * 8 - 1), (%esp)
    movl %eax, 2(%esp)
    lgdt (%esp)
    pushl $0x10
    leal (.Llong - .Lhead)(%ebp), %eax
    pushl %eax
    lretl

.Lunfit:
    /* Nothing can be built on such a CPU; say so on COM1, which needs no set-up to be seen
       under a hypervisor. */
    leal (.Lunfit_message - .Lhead)(%ebp), %esi
    movw $0x3f8, %dx
4:  lodsb
    testb %al, %al
    jz 5f
    outb %al, %dx
    jmp 4b
5:  hlt
    jmp 5b
.Lunfit_message:
    .asciz "Osier needs a 64-bit CPU with no-execute pages\n"

    .balign 8
.Lgdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff                /* 0x10: 64-bit code */
    .quad 0x00cf93000000ffff                /* 0x18: data */

    .code64
.Llong:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    /* On to the planned virtual address. */
    leaq .Lhead(%rip), %rcx
    leaq .Lhigh(%rip), %rax
    subq %rcx, %rax
    addq .Lplanned(%rip), %rax
    jmpq *%rax
.Lhigh:
    leaq boot_stack_top(%rip), %rsp
    xorl %ebp, %ebp
    movl %esi, %edi                         /* start info */
    movl %ecx, %esi                         /* load base */
    call {start}
    ud2
    .popsection
"#,
    stack_size = const BOOT_STACK_SIZE,
    start = sym super::start::start,
    options(att_syntax)
);
