//! The first instructions: Linux's `Image` header, EL2 → EL1, first page tables, MMU on.
//!
//! The protocol is Linux's `Documentation/arch/arm64/booting.rst`: entered at the first byte
//! of the image with the MMU off, `x0` = physical address of the device tree, at EL2 or EL1
//! (non-secure), all interrupts masked, the image cleaned to the point of coherency.
//!
//! Everything here is position independent, for the image may lie elsewhere than planned
//! (a multiple of 2 MiB away). Only the virtual address that the image is relocated for is
//! absolute; it is read from `.data.rel.ro`, where the relocate step has put it.
//!
//! No stack is used before the MMU is on, and the only memory written is the boot tables:
//! what is written with the caches off has to be invalidated from the caches afterwards.

use core::arch::global_asm;
use core::mem::offset_of;

use super::smp::{START, Start};
use super::tables::{self, BOOT_TABLES};
use crate::mm::PhysAddr;

unsafe extern "C" {
    /// The first byte of the image.
    fn _start();
    /// Entry of the other CPUs.
    fn aarch64_secondary_entry();
}

/// Virtual address that the image is relocated for: the relocate step adds it to this word.
static PLANNED_VIRT: unsafe extern "C" fn() = _start;

/// SCTLR_EL1 with the MMU off (Arm ARM D17.2.118): the bits that are RES1 or that mean "as
/// before the feature existed": LSMAOE 29, nTLSMD 28, EIS 22, TSCXT 20, EOS 11. SPAN (23) is
/// 0: taking an exception to EL1 sets PSTATE.PAN.
const SCTLR_OFF: u64 = 1 << 29 | 1 << 28 | 1 << 22 | 1 << 20 | 1 << 11;

/// SCTLR_EL1 of the running kernel: MMU (0), data caches (2), SP alignment at EL1 (3) and
/// EL0 (4), instruction caches (12), and what unprivileged programs of Linux may use: DC ZVA
/// (14), CTR_EL0 (15), WFI (16), WFE (18), cache maintenance (26).
const SCTLR_ON: u64 = SCTLR_OFF
    | 1 << 0
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 12
    | 1 << 14
    | 1 << 15
    | 1 << 16
    | 1 << 18
    | 1 << 26;

/// TCR_EL1 (D17.2.131) without IPS and AS, which are read from the CPU: 48-bit halves
/// (T0SZ = T1SZ = 16), 4 KiB granules (TG0 = 0, TG1 = 2), walks inner shareable and
/// write-back write-allocate (SH = 3, ORGN = IRGN = 1), ASID from TTBR0 (A1 = 0).
const TCR: u64 = 16 | 16 << 16 | 2 << 30 | 3 << 12 | 1 << 10 | 1 << 8 | 3 << 28 | 1 << 26 | 1 << 24;

/// CPACR_EL1.FPEN = 3: EL0 may use floating point. (No value lets EL0 use it and traps EL1,
/// D17.2.30; the soft-float target is what keeps the kernel from it.) SVE and SME trap.
const CPACR: u64 = 3 << 20;

/// HCR_EL2.RW (EL1 is AArch64) with APK and API: EL1 and EL0 may use pointer authentication
/// (which SCTLR_EL1 leaves off), so that its instructions never trap to an EL2 without code.
const HCR: u64 = 1 << 31 | 1 << 40 | 1 << 41;

/// CPTR_EL2 with E2H = 0: RES1 bits, TZ (SVE traps), TFP = 0 (floating point does not).
const CPTR: u64 = 0x33ff;

/// SPSR for the drop to EL1: D, A, I, F masked, EL1 on SP_EL1.
const SPSR_EL1H: u64 = 0x3c5;

global_asm!(
    r#"
    .section .head.text, "ax"
    .global _start
_start:
    b       entry                   // code0
    .long   0                       // code1
    .quad   0                       // text_offset: the pack step
    .quad   0                       // image_size: the pack step
    .quad   0xa                     // little-endian, 4 KiB pages, anywhere in RAM
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

entry:
    mov     x19, x0                 // the device tree
    adr     x20, _start             // where the image is
    bl      to_el1
    bl      boot_tables
    adrp    x0, {boot_tables}
    add     x0, x0, :lo12:{boot_tables}
    bl      mmu_on                  // returns at the virtual address
    add     x0, x0, #{empty}, lsl #12
    msr     ttbr0_el1, x0           // the identity map is not needed any more
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    adrp    x0, {boot_stack}
    add     x0, x0, :lo12:{boot_stack}
    mov     x1, #{boot_stack_len}
    add     sp, x0, x1
    mov     x0, x19
    mov     x1, x20
    mov     x29, xzr
    mov     x30, xzr
    b       {rust}

    // Another CPU, as PSCI starts it: MMU off, at EL2 or EL1.
aarch64_secondary_entry:
    adr     x20, _start
    bl      to_el1
    adrp    x3, {planned}
    ldr     x21, [x3, :lo12:{planned}]
    adrp    x0, {boot_tables}
    add     x0, x0, :lo12:{boot_tables}
    bl      mmu_on
    adrp    x19, {start}
    add     x19, x19, :lo12:{start}
    add     x0, x0, #{empty}, lsl #12
    msr     ttbr0_el1, x0
    ldr     x0, [x19, #{start_root}]
    msr     ttbr1_el1, x0
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    ldr     x1, [x19, #{start_stack}]
    mov     sp, x1
    ldr     x0, [x19, #{start_percpu}]
    mov     x29, xzr
    mov     x30, xzr
    b       {secondary}

// Leaves EL2 when that is where we are. Clobbers x0-x3.
to_el1:
    msr     daifset, #0xf
    mov     x3, x30
    ldr     x2, ={sctlr_off}
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.eq    1f
    msr     sctlr_el1, x2
    isb
    b       5f

1:  ldr     x0, ={hcr}
    msr     hcr_el2, x0
    isb                             // E2H = 0 from here on: the encodings below mean EL2's
    msr     sctlr_el1, x2
    mrs     x0, cnthctl_el2
    orr     x0, x0, #3              // EL1 may use the physical counter and timer
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #{cptr}
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    mrs     x0, mdcr_el2
    and     x0, x0, #0x1f           // keep HPMN, trap nothing
    msr     mdcr_el2, x0
    msr     vttbr_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4         // GIC system registers
    cbz     x0, 2f
    mrs     x0, S3_4_C12_C9_5       // ICC_SRE_EL2
    orr     x0, x0, #1              // SRE
    orr     x0, x0, #8              // EL1 may set its own
    msr     S3_4_C12_C9_5, x0
    isb
    msr     S3_4_C12_C11_0, xzr     // ICH_HCR_EL2
2:  mrs     x0, id_aa64mmfr0_el1
    ubfx    x0, x0, #56, #4         // FEAT_FGT: trap nothing
    cbz     x0, 3f
    msr     S3_4_C1_C1_4, xzr       // HFGRTR_EL2
    msr     S3_4_C1_C1_5, xzr       // HFGWTR_EL2
    msr     S3_4_C1_C1_6, xzr       // HFGITR_EL2
    msr     S3_4_C3_C1_4, xzr       // HDFGRTR_EL2
    msr     S3_4_C3_C1_5, xzr       // HDFGWTR_EL2
3:  mrs     x0, id_aa64mmfr1_el1
    ubfx    x0, x0, #40, #4         // FEAT_HCX
    cbz     x0, 4f
    msr     S3_4_C1_C2_2, xzr       // HCRX_EL2
4:  mov     x0, #{spsr}
    msr     spsr_el2, x0
    adr     x0, 5f
    msr     elr_el2, x0
    eret

5:  mov     x0, #{cpacr}
    msr     cpacr_el1, x0
    msr     mdscr_el1, xzr
    isb
    ret     x3

// Fills the boot tables: x20 (the image) → its virtual address in 2 MiB blocks, and the
// image's first page → itself. Clobbers x0-x11; leaves the virtual address in x21.
boot_tables:
    adrp    x0, {boot_tables}
    add     x0, x0, :lo12:{boot_tables}
    mov     x1, #{tables_len}
    add     x1, x0, x1
    mov     x2, x0
1:  stp     xzr, xzr, [x2], #16
    cmp     x2, x1
    b.lo    1b

    // The identity map of the page that turns the MMU on.
    mov     x2, #3                  // a table
    add     x3, x0, #{id_l1}
    orr     x3, x3, x2
    ubfx    x4, x20, #39, #9
    str     x3, [x0, x4, lsl #3]
    add     x5, x0, #{id_l1}
    add     x3, x0, #{id_l2}
    orr     x3, x3, x2
    ubfx    x4, x20, #30, #9
    str     x3, [x5, x4, lsl #3]
    add     x5, x0, #{id_l2}
    add     x3, x0, #{id_l3}
    orr     x3, x3, x2
    ubfx    x4, x20, #21, #9
    str     x3, [x5, x4, lsl #3]
    add     x5, x0, #{id_l3}
    ldr     x3, ={id_page}
    orr     x3, x3, x20
    ubfx    x4, x20, #12, #9
    str     x3, [x5, x4, lsl #3]

    // The image at its virtual address, whole 2 MiB blocks of it, for the time until the
    // kernel has tables with permissions.
    adrp    x3, {planned}
    ldr     x21, [x3, :lo12:{planned}]
    add     x5, x0, #{k_l0}, lsl #12
    add     x3, x0, #{k_l1}, lsl #12
    orr     x3, x3, x2
    ubfx    x4, x21, #39, #9
    str     x3, [x5, x4, lsl #3]
    add     x5, x0, #{k_l1}, lsl #12
    add     x3, x0, #{k_l2}, lsl #12
    orr     x3, x3, x2
    ubfx    x4, x21, #30, #9
    str     x3, [x5, x4, lsl #3]
    cmp     x4, #511
    b.eq    2f
    add     x4, x4, #1              // the image may cross into the next GiB
    add     x3, x3, #4096
    str     x3, [x5, x4, lsl #3]
2:  add     x5, x0, #{k_l2}, lsl #12
    ubfx    x4, x21, #21, #9
    adrp    x6, __kernel_end
    and     x7, x20, #~0x1fffff
    ldr     x8, ={k_block}
    mov     x9, #0x200000
3:  orr     x3, x7, x8
    str     x3, [x5, x4, lsl #3]
    add     x4, x4, #1
    add     x7, x7, x9
    cmp     x7, x6
    b.lo    3b

    // What caches hold of the tables is older than what was just written around them.
    dsb     sy
    mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4         // DminLine: log2 of words
    mov     x4, #4
    lsl     x4, x4, x3
4:  dc      ivac, x0
    add     x0, x0, x4
    cmp     x0, x1
    b.lo    4b
    dsb     sy
    ret

// x0: boot tables, x21: the image's virtual address, x20: its physical one. Returns at
// virtual addresses. Keeps x0, clobbers x1-x5.
mmu_on:
    ldr     x1, ={mair}
    msr     mair_el1, x1
    ldr     x1, ={tcr}
    mrs     x2, id_aa64mmfr0_el1
    ubfx    x3, x2, #0, #4          // PARange: the values of IPS, 48 bits at most
    mov     x4, #5
    cmp     x3, x4
    csel    x3, x3, x4, lo
    bfi     x1, x3, #32, #3
    ubfx    x3, x2, #4, #4          // ASIDBits: 2 means 16 bits
    cmp     x3, #2
    cset    x3, eq
    bfi     x1, x3, #36, #1
    msr     tcr_el1, x1
    msr     ttbr0_el1, x0
    add     x2, x0, #{k_l0}, lsl #12
    msr     ttbr1_el1, x2
    sub     x3, x21, x20            // virtual - physical
    add     x30, x30, x3
    adrp    x2, aarch64_vectors
    add     x2, x2, :lo12:aarch64_vectors
    add     x2, x2, x3
    msr     vbar_el1, x2
    ldr     x1, ={sctlr_on}
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x1
    isb
    ret
    .ltorg
"#,
    boot_tables = sym BOOT_TABLES,
    tables_len = const tables::BOOT_TABLES_LEN,
    id_l1 = const 0x1000,
    id_l2 = const 0x2000,
    id_l3 = const 0x3000,
    empty = const tables::EMPTY,
    k_l0 = const tables::K_L0,
    k_l1 = const tables::K_L1,
    k_l2 = const tables::K_L2,
    id_page = const tables::ID_PAGE,
    k_block = const tables::KERNEL_BLOCK,
    planned = sym PLANNED_VIRT,
    mair = const super::pte::MAIR,
    tcr = const TCR,
    sctlr_off = const SCTLR_OFF,
    sctlr_on = const SCTLR_ON,
    hcr = const HCR,
    cptr = const CPTR,
    spsr = const SPSR_EL1H,
    cpacr = const CPACR,
    boot_stack = sym super::boot::BOOT_STACK,
    boot_stack_len = const super::boot::BOOT_STACK_LEN,
    rust = sym super::boot::rust_entry,
    start = sym START,
    start_root = const offset_of!(Start, root),
    start_stack = const offset_of!(Start, stack_top),
    start_percpu = const offset_of!(Start, percpu),
    secondary = sym super::smp::secondary,
);

/// Where PSCI makes other CPUs start, the image lying at `load_base`.
pub(super) fn secondary_entry(load_base: PhysAddr) -> PhysAddr {
    let offset = aarch64_secondary_entry as *const () as usize - tables::image_virt();
    PhysAddr(load_base.0 + offset as u64)
}
