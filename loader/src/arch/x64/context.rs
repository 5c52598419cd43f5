//! Switching between threads, and the part of a thread's state that only user code uses.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::arch::{asm, global_asm};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use x86_64::registers::model_specific::Msr;

use super::{cpu, percpu};

/// IA32_FS_BASE (Intel SDM vol. 4, table 2-2).
const FS_BASE: u32 = 0xc000_0100;

unsafe extern "C" {
    fn x64_context_switch(save: *mut usize, load: usize);
    fn x64_context_begin();
}

global_asm!(
    r#"
    .pushsection .text.context, "ax"
    .balign 16
    .globl x64_context_switch
    .hidden x64_context_switch
x64_context_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    retq

    /* What initial_stack makes the first switch return to. */
    .balign 16
    .globl x64_context_begin
    .hidden x64_context_begin
x64_context_begin:
    movq %r12, %rdi
    xorl %ebp, %ebp
    callq *%rbx
    ud2
    .popsection
"#,
    options(att_syntax)
);

/// Saves what a function call must preserve on the current kernel stack and its stack pointer
/// in `save`, then goes on where the stack pointer `load` was saved. Returns when some thread
/// switches back. Called with interrupts off; `load` is what an earlier switch stored or
/// [`initial_stack`] returned, and is used once.
pub fn switch(save: &AtomicUsize, load: usize) {
    // SAFETY: the scheduler's contract above; the assembly keeps the System V ABI's.
    unsafe { x64_context_switch(save.as_ptr(), load) }
}

/// Prepares the fresh kernel stack that ends at `top` (a multiple of 16) so that the first
/// [`switch`] to what is returned calls `entry(arg)`, interrupts off.
#[must_use]
pub fn initial_stack(top: usize, entry: extern "C" fn(usize) -> !, arg: usize) -> usize {
    // As `x64_context_switch` pops them: r15, r14, r13, r12, rbx, rbp, return address. One word
    // more, so that `x64_context_begin` calls with the alignment that the ABI wants.
    let words = [0, 0, 0, arg, entry as usize, 0, x64_context_begin as *const () as usize, 0];
    let sp = (top & !15) - size_of_val(&words);
    // SAFETY: the top of a fresh stack, which nobody else uses.
    unsafe { (sp as *mut [usize; 8]).write(words) };
    sp
}

/// Sets the stack on which the current thread enters the kernel from user mode.
pub fn set_kernel_stack(top: usize) {
    percpu::set_kernel_stack(top);
}

/// The current thread's FS base, where the ABI keeps thread-local storage.
#[must_use]
pub fn user_tls() -> usize {
    if cpu::FSGSBASE.load(Ordering::Relaxed) {
        let base: usize;
        // SAFETY: CR4.FSGSBASE is on; reads a register.
        unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
        base
    } else {
        // SAFETY: reads a register that every x64 CPU has.
        unsafe { Msr::new(FS_BASE).read() as usize }
    }
}

/// Sets the current thread's FS base. An address that is not the app's counts as 0: a
/// non-canonical one would fault.
pub fn set_user_tls(base: usize) {
    let base = if base < super::USER_END { base } else { 0 };
    if cpu::FSGSBASE.load(Ordering::Relaxed) {
        // SAFETY: CR4.FSGSBASE is on; the kernel does not use FS.
        unsafe { asm!("wrfsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
    } else {
        // SAFETY: canonical; the kernel does not use FS.
        unsafe { Msr::new(FS_BASE).write(base as u64) };
    }
}

/// The current thread's GS base in user mode.
#[must_use]
pub fn user_gs() -> usize {
    // SAFETY: in the kernel the app's base is in IA32_KERNEL_GS_BASE.
    unsafe { Msr::new(percpu::KERNEL_GS_BASE).read() as usize }
}

/// Sets the current thread's GS base in user mode; as [`set_user_tls`].
pub fn set_user_gs(base: usize) {
    let base = if base < super::USER_END { base } else { 0 };
    // SAFETY: canonical; the kernel's own base is the other register.
    unsafe { Msr::new(percpu::KERNEL_GS_BASE).write(base as u64) };
}

/// XCR0: x87, SSE and AVX state (Intel SDM vol. 1, 13.3). Wider registers stay off, and
/// programs see that they are by XGETBV.
const XCR0: u64 = 0b111;
/// Length of the area that FXSAVE writes (Intel SDM vol. 1, 10.5.1).
const FXSAVE_LEN: u32 = 512;
/// What a program finds: all exceptions masked, 64-bit precision, round to nearest (the
/// System V ABI, 3.2.1 "Registers").
const FCW: u16 = 0x37f;
const MXCSR: u32 = 0x1f80;

/// What of [`XCR0`] the CPU has; 0 where it has no XSAVE.
static STATES: AtomicU64 = AtomicU64::new(0);
/// How long the area of XSAVE or FXSAVE is.
static LEN: AtomicU32 = AtomicU32::new(FXSAVE_LEN);

/// The states of [`XCR0`] that a CPU with XSAVE has.
pub(super) fn known_states() -> u64 {
    let [supported, ..] = cpu::cpuid(0xd, 0);
    XCR0 & u64::from(supported)
}

/// Turns on the states that programs may use, none where the CPU has no XSAVE; CR4 is set.
// An emulator translates code anew for each setting of CR4 and XCR0: nothing is called between.
pub(super) fn init_fpu(enabled: u64) {
    if enabled == 0 {
        return;
    }
    // SAFETY: CR4.OSXSAVE is on, and the CPU has each of these states; x87 and SSE are
    // always among them, AVX only together with SSE.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") enabled as u32, in("edx") 0,
            options(nostack, preserves_flags));
    }
    // ebx: length of the area for what XCR0 enables now.
    let [_, len, ..] = cpu::cpuid(0xd, 0);
    LEN.store(len.max(FXSAVE_LEN), Ordering::Relaxed);
    STATES.store(enabled, Ordering::Relaxed);
}

/// XCR0, which says what XSAVE writes; 0 where it is FXSAVE that writes.
#[must_use]
pub fn states() -> u64 {
    STATES.load(Ordering::Relaxed)
}

/// A thread's x87, SSE and AVX registers and its GS base, while it does not run.
pub struct FpuState {
    area: NonNull<u8>,
    gs: usize,
}

// SAFETY: the area is owned, and plain bytes.
unsafe impl Send for FpuState {}
// SAFETY: `&FpuState` gives the bytes to read, no more.
unsafe impl Sync for FpuState {}

impl FpuState {
    fn layout() -> Option<Layout> {
        // XSAVE wants 64 (Intel SDM vol. 1, 13.4).
        Layout::from_size_align(LEN.load(Ordering::Relaxed) as usize, 64).ok()
    }

    /// The state that a program begins with, or `None` without memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        let layout = Self::layout()?;
        // SAFETY: the layout's size is not 0.
        let area = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // Offsets 0 and 24 of the FXSAVE format. In XSAVE's header, zeroes in XSTATE_BV say
        // "initial", but MXCSR is loaded from here all the same.
        // SAFETY: the area is at least 512 bytes long and aligned.
        unsafe {
            area.cast::<u16>().write(FCW);
            area.byte_add(24).cast::<u32>().write(MXCSR);
        }
        Some(Self { area, gs: 0 })
    }

    /// Saves the registers of the CPU that runs this.
    pub fn save(&mut self) {
        let area = self.area.as_ptr();
        // SAFETY: `area` is long and aligned enough for the instruction that `init_fpu`
        // chose; XSAVE writes what XCR0 enables.
        unsafe {
            if STATES.load(Ordering::Relaxed) != 0 {
                asm!("xsave64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX,
                    options(nostack, preserves_flags));
            } else {
                asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags));
            }
        }
        self.gs = user_gs();
    }

    /// Loads them. The kernel uses none of these registers.
    pub fn restore(&self) {
        let area = self.area.as_ptr();
        // SAFETY: the area is what `save` or `new` wrote; `set_bytes` cleans what it takes.
        unsafe {
            if STATES.load(Ordering::Relaxed) != 0 {
                asm!("xrstor64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX,
                    options(nostack, preserves_flags));
            } else {
                asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags));
            }
        }
        set_user_gs(self.gs);
    }

    /// The saved state as signal frames show it: FXSAVE's 512 bytes, then XSAVE's header
    /// and extensions where the CPU has them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let len = LEN.load(Ordering::Relaxed) as usize;
        // SAFETY: the area is `len` bytes of initialised memory that `self` owns.
        unsafe { core::slice::from_raw_parts(self.area.as_ptr(), len) }
    }

    /// The saved state, as `signal::build` takes it.
    #[must_use]
    pub fn registers(&mut self) -> &[u8] {
        self.bytes()
    }

    /// Takes a state from bytes of the app (a changed signal frame). What would make the
    /// loading instruction fault is cleared: reserved bits of MXCSR (Intel SDM vol. 1,
    /// 10.5.1.2) and of the header (13.4.2). `false`, and no change, for another length.
    pub fn set_bytes(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() != LEN.load(Ordering::Relaxed) as usize {
            return false;
        }
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        let area = unsafe { core::slice::from_raw_parts_mut(self.area.as_ptr(), bytes.len()) };
        // The mask of valid MXCSR bits that FXSAVE wrote; 0 stands for 0xffbf.
        let mask = match area.get(28..32).and_then(|b| b.first_chunk()) {
            Some(b) if *b != [0; 4] => u32::from_le_bytes(*b),
            _ => 0xffbf,
        };
        area.copy_from_slice(bytes);
        if let Some(mxcsr) = area.get_mut(24..28).and_then(|b| b.first_chunk_mut()) {
            *mxcsr = (u32::from_le_bytes(*mxcsr) & mask).to_le_bytes();
        }
        if let Some(b) = area.get_mut(28..32) {
            b.copy_from_slice(&mask.to_le_bytes());
        }
        if let Some(header) = area.get_mut(512..576) {
            if let Some(bv) = header.first_chunk_mut() {
                *bv = (u64::from_le_bytes(*bv) & STATES.load(Ordering::Relaxed)).to_le_bytes();
            }
            // XCOMP_BV and the reserved words.
            if let Some(rest) = header.get_mut(8..) {
                rest.fill(0);
            }
        }
        true
    }
}

impl Drop for FpuState {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout() {
            // SAFETY: `new` allocated it with this layout, which never changes after boot.
            unsafe { dealloc(self.area.as_ptr(), layout) };
        }
    }
}
