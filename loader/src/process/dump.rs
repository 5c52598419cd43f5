//! The crash record (`formats/crash-record`): what the host needs besides the RAM to make a
//! core file. Only kernels that are linked for it hold this (`arch::calls::crash_dump`).

use super::crash::{Crash, DUMPING};
use super::thread::UserThread;
use super::{Process, get, load, try_current};
use crate::arch::registers;
use crate::arch::trap::TrapFrame;
use crate::bootinfo::RegionKind;
use crate::end;
use crate::mm::ptr_to_phys;
use crate::mm::vma::{Backing, Prot, Vma};
use crate::sync::{Wait, WaitQueue};
use crate::thread as kernel;
use crate::time;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use crash_record::{Announcement, Item, flags, kind};
use driver_api::sync::IrqLock;

/// How long the other threads may take to come to rest, in ns. Those that are in the app's
/// code, or wait where a signal would wake them, take a moment; one that waits for a disk
/// may take longer, and is left out then.
const PATIENCE_NS: u64 = 1_000_000_000;
/// How often they are counted, in ns.
const PAUSE_NS: u64 = 1_000_000;
/// Room for a thread's item: registers and vectors (x64: 216 and 832 bytes), a name, numbers.
const THREAD_ROOM: usize = 2048;

/// Physical address of the item that was added last, 0 before the first.
static LAST: IrqLock<u64> = IrqLock::new(0);
/// How many threads have come to rest.
static AT_REST: AtomicUsize = AtomicUsize::new(0);
/// Where they rest: nobody wakes them.
static REST: WaitQueue = WaitQueue::new();

/// The thread that runs has crashed, and leaves the crash record; or (without a `crash`, or
/// when another one was quicker) it adds itself to the record and rests for ever.
pub fn dump(frame: &TrapFrame, crash: Option<&Crash>) {
    let (Some(process), Some(thread)) = (get(), try_current()) else { return };
    add_thread(&thread, frame);
    let Some(crash) = crash.filter(|_| !DUMPING.swap(true, Ordering::AcqRel)) else {
        AT_REST.fetch_add(1, Ordering::Relaxed);
        loop {
            REST.wait(Wait::FOREVER);
        }
    };
    stop_others(process, &thread);
    add_mappings(process);
    add_crash(process, &thread, crash);
    let regions = end::boot_info().map_or(&[][..], |info| info.memory.regions());
    let ram = regions.iter().filter(|r| r.kind == RegionKind::Usable).map(|r| r.range.end.0);
    end::announce_crash(&Announcement { first: *LAST.lock(), ram_end: ram.max().unwrap_or(0) });
}

/// Adds an item before the others. One for which there was no memory is left out.
fn add(item: Item) {
    let mut last = LAST.lock();
    if let Some(bytes) = item.finish(*last) {
        // The heap lies in the direct map, and an allocation in one piece of it.
        *last = ptr_to_phys(bytes.leak().as_mut_ptr()).0;
    }
}

/// Adds the thread that runs.
fn add_thread(thread: &UserThread, frame: &TrapFrame) {
    let running = kernel::current();
    let Some(context) = running.user() else { return };
    let signals = *thread.signals.lock();
    let time = running.cpu_time();
    let mut item = Item::new(kind::THREAD, THREAD_ROOM);
    item.words(&[thread.tid.into(), signals.blocked.0, signals.pending.0, time.user, time.system]);
    context.with_fpu(|fpu| {
        registers::add(&mut item, frame, fpu, &|item| running.with_name(|name| item.text(name)));
    });
    add(item);
}

/// Interrupts the other threads until each has come to rest, or time is up.
fn stop_others(process: &Process, own: &UserThread) {
    let until = time::now_ns().saturating_add(PATIENCE_NS);
    loop {
        // Not under the lock: whoever holds a thread last frees it.
        let mut threads: Vec<Arc<UserThread>> = Vec::new();
        let count = process.threads.lock().len();
        if threads.try_reserve(count).is_err() {
            return;
        }
        threads.extend(process.threads.lock().iter().take(count).cloned());
        if AT_REST.load(Ordering::Relaxed) + 1 >= count || time::now_ns() >= until {
            return;
        }
        for thread in threads.iter().filter(|t| t.tid != own.tid) {
            if let Some(thread) = thread.kernel.get().and_then(|t| t.upgrade()) {
                thread.interrupt();
            }
        }
        kernel::sleep_ns(PAUSE_NS);
    }
}

/// Adds what is mapped.
fn add_mappings(process: &Process) {
    // Copied out: a path's name is not looked up under the lock of the address space.
    let mut areas: Vec<Vma> = Vec::new();
    process.space.for_each(&mut |vma| {
        if areas.try_reserve(1).is_ok() {
            areas.push(vma.clone());
        }
    });
    let root = process.places.lock().root.clone();
    for vma in &areas {
        let mut bits = if vma.shared { flags::SHARED } else { 0 };
        for (prot, bit) in [
            (Prot::READ, flags::READ),
            (Prot::WRITE, flags::WRITE),
            (Prot::EXECUTE, flags::EXECUTE),
        ] {
            bits |= if vma.prot.has(prot) { bit } else { 0 };
        }
        let (kind, from, path) = match &vma.backing {
            Backing::File { path, offset } => (flags::FILE, *offset, path.absolute(&root)),
            Backing::Device { .. } => (flags::DEVICE, 0, Vec::new()),
            Backing::Anonymous => (0, 0, Vec::new()),
        };
        let mut item = Item::new(kind::MAPPING, 48 + path.len());
        item.words(&[vma.start as u64, vma.end as u64, bits | kind, from]);
        item.text(&path);
        add(item);
    }
}

/// Adds the crash itself.
fn add_crash(process: &Process, thread: &UserThread, crash: &Crash) {
    let mut item = Item::new(kind::CRASH, 0);
    item.words(&[
        registers::ARCH as u64,
        process.table.0,
        load::STACK_START.load(Ordering::Relaxed) as u64,
        process.threads.lock().len() as u64,
        thread.tid.into(),
        process.who.uid.into(),
        process.who.gid.into(),
    ]);
    item.text(&crash.info);
    item.text(&process.name);
    item.text(process.cmdline.as_bytes());
    add(item);
}
