//! The other CPUs: found in ACPI's tables, started by INIT and SIPI (Intel SDM vol. 3, 10.4),
//! and told to forget translations.
//!
//! A CPU begins in real mode, in the page [`AP_START`], and enters long mode on the early page
//! tables, which still show that page where it is. Only then can it load the kernel's root.
//!
//! Translations are dropped on other CPUs by NMI: a CPU that spins for a lock with interrupts
//! off takes it too, so that the holder of that lock may wait for it.

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use driver_api::sync::{IrqGuard, IrqLock};
use driver_api::{Error, Result};

use super::start::AP_START;
use super::{clock, cpu, entry, idt, lapic, paging, percpu, platform};
use crate::mm::PAGE_SIZE;
use crate::mm::kernel::map_fixed;
use crate::mm::table::Flags;
use crate::percpu::{MAX_CPUS, PerCpu};

/// Interrupt commands (12.6.1): INIT, edge; start-up in [`AP_START`]; NMI.
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600 | (AP_START.start.0 >> 12) as u32;
const NMI: u32 = 0x4400;

/// From INIT to SIPI on a real machine, and from one SIPI to the next (10.4.4.1).
const INIT_NS: u64 = 10_000_000;
const SIPI_NS: u64 = 200_000;
/// How long a CPU may take from the last SIPI to its first Rust code.
const START_NS: u64 = 1_000_000_000;

/// What a starting CPU needs in the kernel's half. The assembly reads the first three words.
#[repr(C)]
struct Start {
    root: AtomicU64,
    stack_top: AtomicUsize,
    cpu: AtomicPtr<PerCpu>,
    entry: AtomicUsize,
    /// It has read all of this.
    running: AtomicBool,
}

/// One CPU starts at a time, see [`STARTING`].
static START: Start = Start {
    root: AtomicU64::new(0),
    stack_top: AtomicUsize::new(0),
    cpu: AtomicPtr::new(core::ptr::null_mut()),
    entry: AtomicUsize::new(0),
    running: AtomicBool::new(false),
};

/// Held while a CPU starts; whether the page [`AP_START`] is ready.
static STARTING: IrqLock<bool> = IrqLock::new(false);

/// CPUs that were started and take part in [`flush_others`].
static RUNNING: [AtomicPtr<PerCpu>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
/// How many of them there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The number of the last request to drop all translations.
static FLUSH: AtomicU64 = AtomicU64::new(0);
/// How many of the requests were for the app's half alone.
static USER_FLUSHES: AtomicU64 = AtomicU64::new(0);
/// [`flush`] keeps a bit for each other CPU.
const _: () = assert!(MAX_CPUS <= 64);

unsafe extern "C" {
    safe static x64_ap_begin: u8;
    safe static x64_ap_end: u8;
    safe static x64_ap_root: u8;
    safe static x64_ap_high: u8;
    fn x64_ap_entry();
}

global_asm!(
    r#"
    .pushsection .rodata.ap, "a"
    /* Copied to {at}, hence the subtractions: nothing here runs where it was linked. */
    .balign 16
    .globl x64_ap_begin, x64_ap_end, x64_ap_root, x64_ap_high
    .hidden x64_ap_begin, x64_ap_end, x64_ap_root, x64_ap_high
    .code16
x64_ap_begin:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl (.Lap_gdt_pointer - x64_ap_begin)
    movl $0x20, %eax                        /* CR4.PAE */
    movl %eax, %cr4
    movl (x64_ap_root - x64_ap_begin), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx                  /* EFER: SCE, LME, NXE, as the boot CPU's */
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80010033, %eax                  /* CR0: PG, WP, NE, ET, MP, PE */
    movl %eax, %cr0
    ljmpl $0x10, $({at} + .Lap_long - x64_ap_begin)
    .code64
.Lap_long:
    movl $0x18, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movq x64_ap_high(%rip), %rax
    jmpq *%rax
    .balign 8
.Lap_gdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff                /* 0x10: 64-bit code */
    .quad 0x00cf93000000ffff                /* 0x18: data */
.Lap_gdt_pointer:
    .word 4 * 8 - 1
    .long {at} + .Lap_gdt - x64_ap_begin
    .balign 8
x64_ap_root:
    .quad 0
x64_ap_high:
    .quad 0
x64_ap_end:
    .popsection

    .pushsection .text.ap, "ax"
    .globl x64_ap_entry
    .hidden x64_ap_entry
x64_ap_entry:
    movq {start}(%rip), %rax
    movq %rax, %cr3
    movq {start}+8(%rip), %rsp
    movq {start}+16(%rip), %rdi
    xorl %ebp, %ebp
    call {secondary}
    ud2
    .popsection
"#,
    at = const AP_START.start.0,
    start = sym START,
    secondary = sym secondary,
    options(att_syntax)
);

/// Local APIC ids of the usable CPUs besides the one that booted.
fn others_ids() -> impl Iterator<Item = u32> {
    let boot = crate::percpu::BOOT_CPU.arch.apic_id.load(Ordering::Relaxed);
    platform::tables().cpus.iter().flatten().copied().filter(move |id| *id != boot)
}

/// How many CPUs can be started besides the one that booted.
#[must_use]
pub fn others() -> usize {
    others_ids().count()
}

/// Starts the `nth` of [`others`], from the boot CPU: with `cpu` installed, on the stack that
/// ends at `stack_top`, its local APIC on, interrupts off, it calls `entry`. Returns when it
/// is about to.
///
/// # Errors
/// `NoDevice`: there is no such CPU; `NoMemory` for its stacks; `TimedOut`: it does not come,
/// and nothing given here may be used again.
pub fn start(
    nth: usize,
    cpu: &'static PerCpu,
    stack_top: usize,
    entry: extern "C" fn() -> !,
) -> Result<()> {
    let apic_id = others_ids().nth(nth).ok_or(Error::NoDevice)?;
    let stacks = cpu::IstStacks::new().ok_or(Error::NoMemory)?;
    let mut ready = STARTING.lock();
    if !*ready {
        prepare_page()?;
        *ready = true;
    }
    cpu.arch.apic_id.store(apic_id, Ordering::Relaxed);
    START.root.store(crate::mm::kernel::root().0, Ordering::Relaxed);
    START.stack_top.store(stack_top, Ordering::Relaxed);
    START.cpu.store(core::ptr::from_ref(cpu).cast_mut(), Ordering::Relaxed);
    START.entry.store(entry as usize, Ordering::Relaxed);
    START.running.store(false, Ordering::Relaxed);
    // From here on the CPU may use them.
    cpu::load_stacks(&cpu.arch, stacks);

    lapic::send(apic_id, INIT);
    wait(if cpu::has_hypervisor() { 0 } else { INIT_NS });
    lapic::send(apic_id, STARTUP);
    if !wait(SIPI_NS) {
        lapic::send(apic_id, STARTUP);
        if !wait(START_NS) {
            return Err(Error::TimedOut);
        }
    }
    Ok(())
}

/// Waits until the CPU runs, or so many nanoseconds; whether it runs.
fn wait(ns: u64) -> bool {
    let until = crate::time::now_ns().saturating_add(ns);
    loop {
        if START.running.load(Ordering::Acquire) {
            return true;
        }
        if crate::time::now_ns() >= until {
            return false;
        }
        cpu::relax();
    }
}

/// Copies the code to its page, and makes the early page tables fit for it: the first GiB
/// where it is, and the kernel's half.
fn prepare_page() -> Result<()> {
    let begin = &raw const x64_ap_begin;
    let len = (&raw const x64_ap_end as usize) - begin as usize;
    let offset = |symbol: *const u8| symbol as usize - begin as usize;
    let page =
        map_fixed(AP_START.start, PAGE_SIZE as u64, Flags::WRITE).map_err(|_| Error::NoMemory)?;
    let root = entry::prepare_early_tables();
    // SAFETY: the page was mapped just now and is reserved for this; the code and its two
    // words, both aligned, fit into it.
    unsafe {
        page.copy_from_nonoverlapping(begin, len);
        page.add(offset(&raw const x64_ap_root)).cast::<u64>().write(root.0);
        let high = x64_ap_entry as *const () as u64;
        page.add(offset(&raw const x64_ap_high)).cast::<u64>().write(high);
    }
    Ok(())
}

/// Entered on the new CPU's own stack, with the kernel's root loaded.
extern "C" fn secondary(cpu: &'static PerCpu) -> ! {
    percpu::install(cpu);
    cpu::load_tables(&cpu.arch);
    idt::load_on_this_cpu();
    cpu::enable_features();
    paging::flush_all_here();
    if lapic::init() {
        clock::init_this_cpu();
    }
    let entry = START.entry.load(Ordering::Relaxed);
    let slot = COUNT.fetch_add(1, Ordering::Relaxed);
    if let Some(running) = RUNNING.get(slot) {
        // What is requested from now on reaches this CPU, which knows nothing older.
        cpu.arch.flushed.store(FLUSH.load(Ordering::SeqCst), Ordering::SeqCst);
        running.store(core::ptr::from_ref(cpu).cast_mut(), Ordering::SeqCst);
    }
    paging::flush_all_here();
    START.running.store(true, Ordering::Release);
    // SAFETY: `start` stored a function of this type.
    let entry: extern "C" fn() -> ! = unsafe { core::mem::transmute(entry) };
    entry()
}

/// Interrupts `cpu`, so that it looks at `thread::need_resched` on the way out.
pub fn notify(cpu: &PerCpu) {
    let to = cpu.arch.apic_id.load(Ordering::Relaxed);
    lapic::send(to, u32::from(lapic::NOTIFY_VECTOR) | 0x4000);
}

/// All CPUs that take part in flushes, except the one that runs this.
fn each_other(f: &mut dyn FnMut(&'static PerCpu)) {
    let me = core::ptr::from_ref(percpu::current()).cast_mut();
    let boot = core::ptr::from_ref(&crate::percpu::BOOT_CPU).cast_mut();
    let started = RUNNING.iter().map(|r| r.load(Ordering::SeqCst));
    for cpu in core::iter::once(boot).chain(started.take_while(|p| !p.is_null())) {
        if cpu != me {
            // SAFETY: only references that live for ever were stored.
            f(unsafe { &*cpu });
        }
    }
}

/// Makes all other CPUs drop all their translations, and waits until they have. What was
/// written to the tables before is what they see after.
pub(super) fn flush_others() {
    flush(&|_| true);
}

/// As [`flush_others`], for translations of the app's half alone: CPUs that do not use it drop
/// them when they begin to (`paging::activate_user`). Either such a CPU has said so before it
/// looked at the count, and is asked; or it looks at the count after it was raised here.
pub(super) fn flush_users() {
    USER_FLUSHES.fetch_add(1, Ordering::SeqCst);
    flush(&|cpu| !cpu.arch.without_user.load(Ordering::SeqCst));
}

/// How often [`flush_users`] was called.
pub(super) fn user_flushes() -> u64 {
    USER_FLUSHES.load(Ordering::SeqCst)
}

fn flush(concerns: &dyn Fn(&PerCpu) -> bool) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    // On one CPU from the list to the end of the wait.
    let _irq = IrqGuard::new();
    let request = FLUSH.fetch_add(1, Ordering::SeqCst) + 1;
    let (mut asked, mut n) = (0_u64, 0);
    each_other(&mut |cpu| {
        if concerns(cpu) {
            asked |= 1 << n;
            if cpu.arch.flushed.load(Ordering::SeqCst) < request {
                lapic::send(cpu.arch.apic_id.load(Ordering::Relaxed), NMI);
            }
        }
        n += 1;
    });
    n = 0;
    each_other(&mut |cpu| {
        while asked & 1 << n != 0 && cpu.arch.flushed.load(Ordering::SeqCst) < request {
            cpu::relax();
        }
        n += 1;
    });
}

/// Serves an NMI; `false` when nobody here can have sent it. (Two requests may come as one
/// NMI, or the second one's after the first one's served both: then there is nothing to do.)
pub(super) fn nmi() -> bool {
    let request = FLUSH.load(Ordering::SeqCst);
    let flushed = &percpu::current().arch.flushed;
    if flushed.load(Ordering::SeqCst) < request {
        paging::flush_all_here();
        flushed.store(request, Ordering::SeqCst);
    }
    request != 0
}
