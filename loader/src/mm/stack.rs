//! Kernel stacks, each between pages that are never mapped.

use core::ops::Range;
use core::sync::atomic::AtomicUsize;

use driver_api::sync::IrqLock;

use super::layout::{MAX_STACKS, STACK_SIZE, STACK_SLOT, STACKS, STACKS_END};
use super::table::Flags;
use super::{PAGE_SIZE, PhysAddr, VirtAddr, frames, kernel};
use crate::arch;

/// Which slots are taken: one bit each.
static SLOTS: IrqLock<[u64; MAX_STACKS / 64]> = IrqLock::new([0; MAX_STACKS / 64]);

/// How many stacks there are.
#[must_use]
pub fn count() -> usize {
    SLOTS.lock().iter().map(|word| word.count_ones() as usize).sum()
}

/// A kernel stack; unmapped and freed when it is dropped.
#[derive(Debug)]
pub struct KernelStack {
    slot: usize,
}

fn take_slot() -> Option<usize> {
    let mut slots = SLOTS.lock();
    let (i, word) = slots.iter_mut().enumerate().find(|(_, w)| **w != u64::MAX)?;
    let bit = word.trailing_ones() as usize;
    *word |= 1 << bit;
    Some(i * 64 + bit)
}

fn give_slot(slot: usize) {
    if let Some(word) = SLOTS.lock().get_mut(slot / 64) {
        *word &= !(1 << (slot % 64));
    }
}

impl KernelStack {
    /// A stack of [`STACK_SIZE`] bytes; `None` when memory or slots are out.
    #[must_use]
    pub fn new() -> Option<Self> {
        let stack = Self { slot: take_slot()? };
        let range = stack.range();
        for page in range.step_by(PAGE_SIZE) {
            let mapped = frames::alloc_user(0).is_some_and(|frame| {
                let flags = Flags::WRITE.with(Flags::GLOBAL);
                let done = kernel::with(|t| t.map(VirtAddr(page), frame, PAGE_SIZE, flags));
                if done.is_err() {
                    frames::free(frame, 0);
                }
                done.is_ok()
            });
            if !mapped {
                return None; // dropping it frees what was mapped
            }
        }
        arch::paging::publish();
        Some(stack)
    }

    /// Prepares it so that the first [`switch`] to the returned stack pointer calls
    /// `entry(arg)` with interrupts off.
    #[must_use]
    #[allow(unused_unsafe)] // not every arch has to say it
    pub fn prepare(&mut self, entry: extern "C" fn(usize) -> !, arg: usize) -> usize {
        // SAFETY: the stack is owned, and nothing runs on it: a thread's is prepared once,
        // before its first switch.
        unsafe { arch::context::initial_stack(self.top(), entry, arg) }
    }

    /// Its addresses.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        // From 1: slot 0 would have no unmapped half before it.
        let start = STACKS + (self.slot + 1) * STACK_SLOT;
        start..start + STACK_SIZE
    }

    /// Where it begins to grow downwards from; aligned to 16.
    #[must_use]
    pub const fn top(&self) -> usize {
        self.range().end
    }
}

/// The slot's stack that `address` is in, whether a thread or interrupts run on it.
#[must_use]
pub fn around(address: usize) -> Option<Range<usize>> {
    let start = address - address.checked_sub(STACKS)? % STACK_SLOT;
    let stack = start..start + STACK_SIZE;
    (address < STACKS_END && stack.contains(&address)).then_some(stack)
}

/// Leaves the running thread, whose stack pointer goes to `save`, for the one whose stack
/// pointer is `load`. Returns when some CPU switches back. For the scheduler alone: it keeps
/// interrupts off, loads what an earlier switch saved, once, and keeps both threads alive.
#[allow(unused_unsafe)] // as above
pub(crate) fn switch(save: &AtomicUsize, load: usize) {
    // SAFETY: the scheduler's promise above.
    unsafe { arch::context::switch(save, load) }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        let range = self.range();
        let mut pages = [PhysAddr(0); STACK_SIZE / PAGE_SIZE];
        let mut n = 0;
        kernel::with(|t| {
            // Pages were mapped one by one, so nothing has to be split: it cannot fail.
            let _ = t.unmap(VirtAddr(range.start), STACK_SIZE, &mut |_, pa, _| {
                if let Some(page) = pages.get_mut(n) {
                    *page = pa;
                    n += 1;
                }
            });
        });
        arch::paging::flush_pages(VirtAddr(range.start), STACK_SIZE);
        for page in pages.iter().take(n) {
            frames::free(*page, 0);
        }
        give_slot(self.slot);
    }
}
