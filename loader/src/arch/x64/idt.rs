//! The interrupt descriptor table, shared by all CPUs.

use core::cell::UnsafeCell;

use super::cpu::{IST_DOUBLE_FAULT, IST_IRQ, IST_MACHINE_CHECK, IST_NMI, KERNEL_CS, TablePointer};
use super::trap;

/// First vector that is an interrupt and not an exception (Intel SDM vol. 3, 6.2).
pub(super) const FIRST_IRQ: u8 = 32;
const BREAKPOINT: usize = 3;

/// A gate (Intel SDM vol. 3, 6.14.1).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    low: u64,
    high: u64,
}

impl Gate {
    const EMPTY: Self = Self { low: 0, high: 0 };

    /// An interrupt gate (interrupts go off) to `handler` on stack `ist`, which `int` may
    /// enter from privilege level `dpl`.
    fn new(handler: u64, ist: usize, dpl: u64) -> Self {
        let low = handler & 0xffff
            | u64::from(KERNEL_CS) << 16
            | (ist as u64 & 7) << 32
            | 0xe << 40
            | dpl << 45
            | 1 << 47
            | (handler >> 16 & 0xffff) << 48;
        Self { low, high: handler >> 32 }
    }
}

/// The table. Written once by [`load`] on the boot CPU, before any other CPU runs.
struct Table(UnsafeCell<[Gate; 256]>);

// SAFETY: see `Table`.
unsafe impl Sync for Table {}

static IDT: Table = Table(UnsafeCell::new([Gate::EMPTY; 256]));

/// The stack of each exception; 0 is the thread's: a page fault may sleep there.
const EXCEPTION_STACKS: [u8; FIRST_IRQ as usize] = {
    let mut stacks = [0; FIRST_IRQ as usize];
    stacks[2] = IST_NMI as u8;
    stacks[8] = IST_DOUBLE_FAULT as u8;
    stacks[18] = IST_MACHINE_CHECK as u8;
    stacks
};

/// Fills the table in and loads it on this CPU.
pub(super) fn load() {
    let stubs = &raw const trap::x64_vector_stubs as u64;
    // SAFETY: only the boot CPU runs, with interrupts off.
    let table = unsafe { &mut *IDT.0.get() };
    for (vector, gate) in table.iter_mut().enumerate() {
        let ist = EXCEPTION_STACKS.get(vector).map_or(IST_IRQ, |ist| usize::from(*ist));
        let dpl = if vector == BREAKPOINT { 3 } else { 0 };
        let stub = stubs + (vector * trap::STUB_SIZE) as u64;
        *gate = Gate::new(stub, ist, dpl);
    }
    load_on_this_cpu();
}

/// Loads the filled-in table on this CPU.
pub(super) fn load_on_this_cpu() {
    let pointer =
        TablePointer { limit: size_of::<[Gate; 256]>() as u16 - 1, base: IDT.0.get() as u64 };
    // SAFETY: the table lives for ever, and each of its gates leads to a stub.
    unsafe { core::arch::asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack)) };
}
