//! What the kernel needs of an architecture. Each arch is a folder with the same items; the
//! rest of the kernel says `arch::…` and names none of them.
//!
//! The contract (exact signatures; every `fn` is safe to call unless it says otherwise):
//!
//! ```text
//! // Boot: the entry code builds early tables (kernel image in the high half, the first stretch of RAM
//! // at DIRECT_MAP, identity map for the switch), fills BootInfo, installs crate::percpu::BOOT_CPU as
//! // this CPU's block and calls crate::kmain(BootInfo) -> ! on the boot stack, interrupts off.
//! // kmain's order: cmdline → arch::cpu::init_boot_cpu → early consoles → mm::init (new root) → arch::clock::init
//! // → arch::irq::init → threads → interrupts on → drivers' probe → root file system → process::start.
//!
//! pub const NAME: &str;                       "x86_64" | "aarch64" (uname -m)
//! pub const KERNEL_VIRT_OFFSET …              not a constant: mm::layout computes it from PC-relative symbols
//! pub const DIRECT_MAP: usize;                virtual address of physical 0: 0xffff_8000_0000_0000 | 0xffff_0000_0000_0000
//! pub const USER_END: usize;                  first address that the app can never have
//!
//! mod cpu:    hwcap() -> u64 (AT_HWCAP); id() -> usize; relax(); enable_interrupts(); wait_for_interrupt()  (enables interrupts and waits, atomically;
//!             returns with them on); halt() -> !; set_thread_pointer…(see context)
//!             init_boot_cpu(&BootInfo)        GDT/TSS/IDT or vectors, per-CPU base, SMEP/SMAP/UMIP or PAN
//! mod percpu: current() -> &'static PerCpu    generic struct crate::percpu::PerCpu, found through GS / TPIDR_EL1
//!             install(&'static PerCpu)        makes it this CPU's
//!             ArchPerCpu { const new() }      the arch's own part, first field (offset 0) of PerCpu: what entry code finds by
//!                                             fixed offsets (self pointer, kernel stack top, scratch)
//! mod clock:  init(&BootInfo) -> u64 (Hz of counter()); counter() -> u64 (monotonic);
//!             set_oneshot(delta_ns: u64); stop_oneshot();   fires crate::time::timer_interrupt()
//!             wall_clock_s() -> Option<u64>   RTC / PL031 / none
//! mod irq:    init(&BootInfo); enable(IrqLine, Trigger) -> driver_api::Result<()>; disable(IrqLine);
//!             the arch's vector code calls crate::irq::dispatch(IrqLine) and does EOI itself
//! mod paging: PTE encoding for the generic walker mm::table: struct Format (impl mm::table::PteFormat), plus
//!             early_mapped() -> PhysRange     what the early tables show, writable, at DIRECT_MAP (x64: 0..4 GiB; aarch64: the GiB
//!                                             of the kernel image, say): mm::init carves its first tables from it
//!             early_device(page: PhysAddr) -> Option<VirtAddr>   maps one 4 KiB page of registers, uncached, in the early tables
//!                                             at the next free page of mm::layout::EARLY_DEVICE; mm::init maps it there again
//!             publish()                       after a mapping was added, before it is used (nothing on x64)
//!             activate_kernel(root: PhysAddr); activate_user(root: PhysAddr, asid: u16); flush_pages(VirtAddr, usize); flush_all()
//!             flush_user_pages(VirtAddr, usize); flush_user()   of the app's half, on the CPUs that use it
//!             leave_user()                    this CPU does not use the app's half until the next activate_user()
//!             sync_instructions(&[u8])        after a page got new content, before it is mapped executable (nothing on x64)
//! mod trap:   #[repr(C)] TrapFrame with syscall_number() -> usize, syscall_args() -> [usize; 6], set_syscall_result(isize),
//!             pc(), sp(), set_pc(), set_sp(), set_arg(n, usize), set_tls(), is_user(), frame_pointer(), registers() -> iterator of
//!             (&'static str, usize) for crash reports; TrapFrame::new_user(pc, sp) -> TrapFrame
//!             resume_user(&TrapFrame) -> !    the first entry of a thread into user mode
//! mod context: switch(save: &AtomicUsize, load: usize)  saves callee-saved registers on the current kernel stack, stores sp in
//!             `save`, loads sp from `load`; initial_stack(top: usize, entry: extern "C" fn(usize) -> !, arg: usize) -> usize;
//!             FpuState { new() -> Option<Self>, save(&mut self), restore(&self) }; set_kernel_stack(top) (TSS.RSP0 and the SYSCALL stack; nothing on aarch64);
//!             user_tls() -> usize; set_user_tls(usize)
//! mod uaccess: copy_from_user(dst: &mut [u8], src: usize) -> Result<(), Fault>; copy_to_user(dst: usize, src: &[u8]);
//!             zero_user(dst: usize, len: usize); read_user_u32 / write_user_u32 / compare_exchange_user_u32 (futex);
//!             all by a fix-up table, all refuse addresses ≥ USER_END
//!             Fault stands in the arch's own module: arch::Fault
//! mod signal: Linux's signal frames, pure (aarch64 so far): Delivery { signal, info, handler, restorer, mask, stack, fault };
//!             build(&TrapFrame, &FpuRegisters, top: usize, &Delivery) -> Option<(usize, Vec<u8>)>   where it goes, and its bytes
//!             enter(&mut TrapFrame, at: usize, &Delivery); restore(&mut TrapFrame, &mut FpuRegisters, &[u8]) -> Result<Returned { mask, stack }, BadFrame>
//!             FRAME_LEN; TRAMPOLINE: &[u8], code that calls rt_sigreturn, for handlers without sa_restorer
//! mod smp:    others() -> usize               how many CPUs the platform describes besides the one that booted
//!             start(nth, cpu: &'static PerCpu, stack_top: usize, entry: extern "C" fn() -> !) -> driver_api::Result<()>
//!                                             starts the nth of them, from the boot CPU, one at a time: it calls `entry` on that stack
//!                                             with `cpu` installed, interrupts off; returns when it is about to
//!             notify(&PerCpu)                 interrupts that CPU, so that it looks at need_resched() on the way out
//! mod power:  off(&BootInfo) -> never returns if it works; exit_channel(bytes) (see crate::end)
//! mod random: hardware() -> Option<u64>       RDRAND / RNDR
//! boot_stack_guard() -> Option<VirtAddr>      the page of the image below the boot stack, which mm leaves unmapped
//! reclaimable() -> Range<usize>               pages of the image (virtual) that are free once mm's own tables are active
//! mod backtrace: here() -> (pc, fp); walk(fp: usize, within: Range<usize>, each: &mut dyn FnMut(usize)): calls `each` with every
//!             return address of the frame-pointer chain that stays inside the stack `within`, bounded, never faulting
//! mod platform: find_device(compatible, index, out: &mut [Resource]) -> Option<usize>   (ACPI/convention on x64, DTB on aarch64)
//!
//! What an arch calls:
//!   crate::kmain(BootInfo) -> !
//!   crate::trap::syscall(&mut TrapFrame)                           from user mode, interrupts on
//!   crate::trap::page_fault(&mut TrapFrame, addr: usize, Access { write, execute, user }) -> bool   handled? (arch then tries the fix-up table,
//!                                                                  else crate::trap::fatal)
//!   crate::trap::user_exception(&mut TrapFrame, Exception)         illegal instruction, breakpoint, FP, alignment … from user mode
//!   crate::trap::fatal(&TrapFrame, &str) -> !                      from the kernel: panic with registers and backtrace
//!   crate::irq::dispatch(IrqLine); crate::time::timer_interrupt()  on the interrupt stack, interrupts off
//!   crate::thread::preempt()                                       on the way out of an interrupt, on the interrupted thread's own stack, when
//!                                                                  crate::thread::need_resched() and the interrupted context may be preempted
//!   crate::trap::return_to_user(&mut TrapFrame)                    last thing before every return to user mode (signals later)
//! ```

// Each arch's pure parts are tested on every host.
#[cfg(any(target_arch = "aarch64", test))]
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
mod aarch64;
#[cfg(any(target_arch = "x86_64", test))]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod x64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub use x64::*;

#[cfg(target_os = "none")]
pub mod calls;
