//! The kernel's cache of files on devices, and the thread that writes.

use super::super::{PAGER, registry};
use super::reclaim::How;
use super::{Cache, DeviceMappings, Global, Machine};
use crate::mm::frames;
use crate::mm::page::PageFrame;
use crate::process;
use crate::thread::{self, Priority, Wait, WaitQueue};
use crate::time;
use core::sync::atomic::{AtomicBool, Ordering};
use driver_api::sync::{IrqLock, interrupts_enabled};

struct Kernel;

static CACHE: Cache = Cache::new(&Kernel);
static GLOBAL: Global = Global(&CACHE);

/// The writer is there.
static STARTED: AtomicBool = AtomicBool::new(false);
/// Memory was asked for that could only be had by writing.
static SHORT: AtomicBool = AtomicBool::new(false);
/// It is to look what there is to do.
static RUNG: IrqLock<bool> = IrqLock::new(false);
static WRITER: WaitQueue = WaitQueue::new();

/// The first file system is mounted.
pub fn start() {
    PAGER.call_once(|| &GLOBAL);
    frames::when_short(short);
}

/// Memory for the app ran short, perhaps while locks are held.
fn short() {
    if thread::may_sleep() && interrupts_enabled() {
        let dropped = CACHE.drop_clean(super::reclaim::BATCH, How::Try);
        if dropped == 0 && STARTED.load(Ordering::Relaxed) {
            // Nothing clean, or not to be had from here: the writer makes some.
            SHORT.store(true, Ordering::Relaxed);
            *RUNG.lock() = true;
            WRITER.wake_one();
        }
    }
}

fn write() {
    let mut deadline = None;
    loop {
        let how = Wait { deadline, interruptible: false };
        let (mut rung, _) = WRITER.wait_while(&RUNG, how, |rung| !*rung);
        *rung = false;
        drop(rung);
        if SHORT.swap(false, Ordering::Relaxed) {
            CACHE.reclaim_now();
        }
        deadline = CACHE.write_aged();
    }
}

impl Machine for Kernel {
    fn frame(&self, _: usize) -> Option<PageFrame> {
        PageFrame::new()
    }

    fn low(&self, _: usize) -> bool {
        // A 32nd is left to the app, so that its faults need not wait for pages to be dropped.
        let stats = frames::stats();
        stats.free < stats.reserve + (stats.total / 32).min(1024)
    }

    fn frames(&self) -> usize {
        frames::stats().total as usize
    }

    fn now_ns(&self) -> u64 {
        time::now_ns()
    }

    fn wake_writer(&self) {
        if !STARTED.swap(true, Ordering::Relaxed)
            && thread::spawn("writeback", Priority::Normal, write).is_err()
        {
            // Tried again the next time; who dirties too much writes itself.
            STARTED.store(false, Ordering::Relaxed);
        }
        *RUNG.lock() = true;
        WRITER.wake_one();
    }

    fn shrink(&self) -> bool {
        registry::shrink()
    }

    fn mappings(&self) -> Option<&'static dyn DeviceMappings> {
        process::get().map(|p| &*p.space as &dyn DeviceMappings)
    }
}
