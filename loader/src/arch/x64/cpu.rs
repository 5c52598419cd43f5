//! The CPU itself: its tables, its protections, and how it waits.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

use super::percpu::{self, ArchPerCpu};
use super::{idt, trap};
use crate::bootinfo::BootInfo;
use crate::mm::stack::KernelStack;

/// Selectors, as Linux has them: a debugger and some language runtimes know these values.
pub(super) const KERNEL_CS: u16 = 0x10;
pub(super) const KERNEL_SS: u16 = 0x18;
pub(super) use super::frame::{USER_CS, USER_SS};
const TSS_SELECTOR: u16 = 0x40;
/// Entries of a GDT; the TSS takes the last two.
pub(super) const GDT_ENTRIES: usize = 10;

/// Segment descriptors (Intel SDM vol. 3, 3.4.5): 64-bit code and flat data, of ring 0 and 3.
const KERNEL_CODE: u64 = 0x00af_9b00_0000_ffff;
const KERNEL_DATA: u64 = 0x00cf_9300_0000_ffff;
const USER_CODE: u64 = 0x00af_fb00_0000_ffff;
const USER_DATA: u64 = 0x00cf_f300_0000_ffff;

/// EFER, STAR, LSTAR, FMASK (Intel SDM vol. 4, table 2-2).
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;

/// RFLAGS that SYSCALL clears: TF, IF, DF, IOPL, NT, AC, ID as Linux does, and the status
/// flags. With IF off the entry code can exchange GS and the stack undisturbed; AC off means
/// that SMAP protects.
const SYSCALL_CLEARS: u64 = 0x0025_7fd5;

/// The interrupt stack table's entries: one stack for interrupts, and one each for what may
/// come at any time or when no stack can be trusted.
pub(super) const IST_IRQ: usize = 1;
pub(super) const IST_NMI: usize = 2;
pub(super) const IST_DOUBLE_FAULT: usize = 3;
pub(super) const IST_MACHINE_CHECK: usize = 4;

/// 64-bit task state segment (Intel SDM vol. 3, 8.7).
#[repr(C, packed(4))]
pub struct Tss {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map: u16,
}

impl Tss {
    /// A TSS without stacks, and without an I/O permission map: ring 3 reaches no port.
    pub(super) const fn new() -> Self {
        Self {
            reserved0: 0,
            rsp: [0; 3],
            reserved1: 0,
            ist: [0; 7],
            reserved2: 0,
            reserved3: 0,
            io_map: size_of::<Self>() as u16,
        }
    }

    /// The stack of an entry from user mode.
    pub(super) fn set_rsp0(&mut self, top: u64) {
        self.rsp[0] = top;
    }

    /// The stack of the interrupt stack table's entry `ist` (1 … 7).
    fn set_ist(&mut self, ist: usize, top: u64) {
        self.ist[ist - 1] = top;
    }
}

/// The stacks of the boot CPU for what may come before there is memory for others.
#[repr(C, align(4096))]
struct EarlyStacks(UnsafeCell<[[u8; EARLY_STACK]; 3]>);

/// Bytes of each: a report and its backtrace.
const EARLY_STACK: usize = if cfg!(debug_assertions) { 16 << 10 } else { 8 << 10 };

// SAFETY: only the boot CPU uses them, as stacks.
unsafe impl Sync for EarlyStacks {}

static EARLY_STACKS: EarlyStacks = EarlyStacks(UnsafeCell::new([[0; EARLY_STACK]; 3]));

/// The stacks of a CPU's interrupt stack table, each between unmapped pages.
pub(super) struct IstStacks([KernelStack; 4]);

impl IstStacks {
    /// `None` without memory.
    pub(super) fn new() -> Option<Self> {
        let new = KernelStack::new;
        Some(Self([new()?, new()?, new()?, new()?]))
    }
}

/// Whether `address` lies on the interrupt stack of this CPU.
#[must_use]
pub fn on_interrupt_stack(address: usize) -> bool {
    let [start, end] = &percpu::current().arch.irq_stack;
    (start.load(Ordering::Relaxed)..end.load(Ordering::Relaxed)).contains(&address)
}

/// Bits of CPUID's leaves 1, 7 and 0Dh that the kernel acts on.
mod feature {
    /// Leaf 1, ecx.
    pub const X2APIC: u32 = 1 << 21;
    pub const XSAVE: u32 = 1 << 26;
    pub const RDRAND: u32 = 1 << 30;
    pub const HYPERVISOR: u32 = 1 << 31;
    pub const TSC_DEADLINE: u32 = 1 << 24;
    /// Leaf 7, ebx.
    pub const FSGSBASE: u32 = 1 << 0;
    pub const SMEP: u32 = 1 << 7;
    pub const SMAP: u32 = 1 << 20;
    /// Leaf 7, ecx.
    pub const UMIP: u32 = 1 << 2;
}

/// CPUID leaf `leaf`, sub-leaf `sub`, as [eax, ebx, ecx, edx]; zeroes above the highest leaf
/// of its range, where the CPU would answer with another leaf's data.
// Inlined, seven copies of it would run cold in each boot.
#[inline(never)]
#[must_use]
pub fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    let highest = core::arch::x86_64::__cpuid(leaf & 0xf000_0000).eax;
    // A range that does not exist answers with something outside of it.
    if leaf & 0x0fff_ffff != 0 && !(leaf..=leaf | 0xffff).contains(&highest) {
        return [0; 4];
    }
    let r = core::arch::x86_64::__cpuid_count(leaf, sub);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// Whether leaf 1's ecx has the bits `mask`.
fn leaf1_ecx(mask: u32) -> bool {
    cpuid(1, 0)[2] & mask != 0
}

/// Whether the local APIC can be used through MSRs.
pub(super) fn has_x2apic() -> bool {
    leaf1_ecx(feature::X2APIC)
}

/// Whether the RDRAND instruction exists.
pub(super) fn has_rdrand() -> bool {
    leaf1_ecx(feature::RDRAND)
}

/// Whether the local APIC's timer takes TSC deadlines.
pub(super) fn has_tsc_deadline() -> bool {
    leaf1_ecx(feature::TSC_DEADLINE)
}

/// Whether a hypervisor says that it is there.
pub(super) fn has_hypervisor() -> bool {
    leaf1_ecx(feature::HYPERVISOR)
}

/// SMAP is on: `clac` and `stac` exist, and copies must use them. Read by `uaccess`'s and
/// `trap`'s assembly as a byte.
pub(super) static SMAP: AtomicBool = AtomicBool::new(false);
/// CR4.FSGSBASE is on.
pub(super) static FSGSBASE: AtomicBool = AtomicBool::new(false);

/// Number of the CPU that runs this, from 0.
#[must_use]
pub fn id() -> usize {
    percpu::current().index.load(Ordering::Relaxed)
}

/// A hint in a spin loop.
pub fn relax() {
    core::hint::spin_loop();
}

/// Turns interrupts on.
pub fn enable_interrupts() {
    x86_64::instructions::interrupts::enable();
}

/// Turns interrupts on and waits for one, with nothing in between: one that came before is
/// taken first and ends the wait. Returns with interrupts on.
pub fn wait_for_interrupt() {
    // SAFETY: `sti` takes effect after the next instruction, `hlt`.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// Stops this CPU for ever.
pub fn halt() -> ! {
    loop {
        // SAFETY: nothing runs on this CPU any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// All of it was done by [`early_init`], before there was anything that could fault.
pub fn init_boot_cpu(_info: &BootInfo) {}

/// What the entry code does before all else: the boot CPU's tables, and what protects the
/// kernel from the app.
pub(super) fn early_init() {
    let cpu = &crate::percpu::BOOT_CPU;
    percpu::install(cpu);
    for (ist, nth) in [(IST_NMI, 0), (IST_DOUBLE_FAULT, 1), (IST_MACHINE_CHECK, 2)] {
        let top = EARLY_STACKS.0.get() as usize + (nth + 1) * EARLY_STACK;
        // SAFETY: the end of a stack that is this CPU's alone.
        unsafe { set_ist(&cpu.arch, ist, top) };
    }
    load_tables(&cpu.arch);
    idt::load();
    // At once, for an emulator keeps translated code apart by what is on.
    enable_features();
}

/// Gives the boot CPU its interrupt stack. Before interrupts are on.
pub(super) fn init_interrupt_stack() {
    match KernelStack::new() {
        Some(stack) => load_irq_stack(&crate::percpu::BOOT_CPU.arch, stack),
        None => panic!("no memory for the interrupt stack"),
    }
}

/// Gives a CPU its interrupt stack, for ever.
fn load_irq_stack(block: &ArchPerCpu, stack: KernelStack) {
    let range = stack.range();
    core::mem::forget(stack);
    // SAFETY: the end of a stack that is that CPU's from now on, and that no interrupt uses.
    unsafe { set_ist(block, IST_IRQ, range.end) };
    let [start, end] = &block.irq_stack;
    start.store(range.start, Ordering::Relaxed);
    end.store(range.end, Ordering::Relaxed);
}

/// Gives a CPU that does not run yet its stacks, for ever.
pub(super) fn load_stacks(block: &ArchPerCpu, stacks: IstStacks) {
    let [irq, nmi, double_fault, machine_check] = stacks.0;
    load_irq_stack(block, irq);
    for (ist, stack) in
        [(IST_NMI, nmi), (IST_DOUBLE_FAULT, double_fault), (IST_MACHINE_CHECK, machine_check)]
    {
        let top = stack.top();
        core::mem::forget(stack);
        // SAFETY: as above.
        unsafe { set_ist(block, ist, top) };
    }
}

/// Sets an entry of a CPU's interrupt stack table.
///
/// # Safety
/// `top` (a multiple of 16) is the end of a stack that nothing else uses, and the CPU does not
/// look at the entry meanwhile.
unsafe fn set_ist(block: &ArchPerCpu, ist: usize, top: usize) {
    // The last word tells entries that cannot trust GS whose stack this is. `ArchPerCpu` is
    // the first field of `PerCpu`, whose address GS holds.
    let owner = core::ptr::from_ref(block) as u64;
    let top = top - 16;
    // SAFETY: the caller's.
    unsafe {
        (top as *mut u64).write(owner);
        (*block.tss.get()).set_ist(ist, top as u64);
    }
}

/// Fills in and loads `block`'s GDT and its TSS, whose stacks are set, on this CPU.
pub(super) fn load_tables(block: &'static ArchPerCpu) {
    // SAFETY: this CPU's own block, which nobody else uses.
    unsafe {
        let base = block.tss.get() as u64;
        let limit = size_of::<Tss>() as u64 - 1;
        let gdt = &mut *block.gdt.get();
        gdt[usize::from(KERNEL_CS) / 8] = KERNEL_CODE;
        gdt[usize::from(KERNEL_SS) / 8] = KERNEL_DATA;
        gdt[usize::from(USER_SS) / 8] = USER_DATA;
        gdt[usize::from(USER_CS) / 8] = USER_CODE;
        // A present, available 64-bit TSS: type 9 (Intel SDM vol. 3, 8.2.3).
        gdt[usize::from(TSS_SELECTOR) / 8] =
            limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        gdt[usize::from(TSS_SELECTOR) / 8 + 1] = base >> 32;

        let pointer = TablePointer {
            limit: size_of::<[u64; GDT_ENTRIES]>() as u16 - 1,
            base: block.gdt.get() as u64,
        };
        asm!(
            "lgdt [{pointer}]",
            "push {cs}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {ss:e}",
            "mov ds, {zero:e}",
            "mov es, {zero:e}",
            "ltr {tss:x}",
            pointer = in(reg) &raw const pointer,
            cs = const KERNEL_CS,
            scratch = out(reg) _,
            ss = in(reg) u32::from(KERNEL_SS),
            zero = in(reg) 0,
            tss = in(reg) TSS_SELECTOR,
        );
        Msr::new(STAR).write(u64::from(USER_SS - 8) << 48 | u64::from(KERNEL_CS) << 32);
        Msr::new(LSTAR).write(trap::x64_syscall_entry as *const () as u64);
        Msr::new(FMASK).write(SYSCALL_CLEARS);
    }
}

/// What `lgdt` and `lidt` read.
#[repr(C, packed)]
pub(super) struct TablePointer {
    pub(super) limit: u16,
    pub(super) base: u64,
}

/// Turns on SMEP, SMAP, UMIP, global pages, FSGSBASE, and FXSAVE or XSAVE for user state.
pub(super) fn enable_features() {
    let [_, ebx, ecx, _] = cpuid(7, 0);
    let mut cr4 = Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE | Cr4Flags::PAGE_GLOBAL;
    for (bits, mask, flag) in [
        (ebx, feature::SMEP, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        (ebx, feature::SMAP, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (ebx, feature::FSGSBASE, Cr4Flags::FSGSBASE),
        (ecx, feature::UMIP, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
    ] {
        if bits & mask != 0 {
            cr4 |= flag;
        }
    }
    let xsave = leaf1_ecx(feature::XSAVE);
    if xsave {
        cr4 |= Cr4Flags::OSXSAVE;
    }
    let states = if xsave { super::context::known_states() } else { 0 };
    // SAFETY: the CPU has each of these features; the kernel neither executes nor, outside
    // of `uaccess`, touches user pages. CR0: the FPU is there, errors come as exceptions.
    unsafe {
        Cr4::write(Cr4::read() | cr4);
        Cr0::update(|cr0| {
            cr0.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
            // With AM a program that sets AC is told of misaligned accesses, as on Linux.
            let wanted = Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR;
            cr0.insert(wanted | Cr0Flags::ALIGNMENT_MASK);
        });
    }
    SMAP.store(cr4.contains(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION), Ordering::Relaxed);
    FSGSBASE.store(cr4.contains(Cr4Flags::FSGSBASE), Ordering::Relaxed);
    super::context::init_fpu(states);
}

/// CPU features as the auxiliary vector has them (`AT_HWCAP`): CPUID 1, edx.
#[must_use]
pub fn hwcap() -> u64 {
    u64::from(cpuid(1, 0)[3])
}
