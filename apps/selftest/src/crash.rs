//! `selftest crash`: threads in known functions, one of which crashes. `run-qemu --dump` makes
//! a core file of it, in which a debugger must find each of them.
//!
//! Each thread has three functions on its stack whose names say which thread it is. The one that
//! crashes has values in memory and in a vector register that the debugger must find too.

use crate::calls::raw;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// All threads are where they are meant to be.
static READY: Barrier = Barrier::new(4);
/// What the thread that blocks waits for: never.
static NEVER: AtomicI32 = AtomicI32::new(0);
static GO_ON: AtomicBool = AtomicBool::new(true);
/// For the debugger to read: changed before the crash, so that it is not what the file says.
#[unsafe(no_mangle)]
static CRASH_MARK: AtomicU64 = AtomicU64::new(1);
/// What is put there, and, each bit inverted, into a vector register.
const MARK: u64 = 0x0123_4567_89ab_cdef;

/// Three functions, each called by the next, so that a backtrace has all of them: no call is
/// the last thing that its function does.
macro_rules! levels {
    ($outer:ident $middle:ident $inner:ident $body:expr) => {
        #[inline(never)]
        fn $outer(depth: u32) -> u32 {
            black_box($middle(depth + 1)) + 1
        }

        #[inline(never)]
        fn $middle(depth: u32) -> u32 {
            black_box($inner(depth + 1)) + 1
        }

        #[inline(never)]
        fn $inner(depth: u32) -> u32 {
            let body: fn() = $body;
            body();
            black_box(depth)
        }
    };
}

levels!(spin_outer spin_middle spin_inner || {
    READY.wait();
    while GO_ON.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
});

levels!(block_outer block_middle block_inner || {
    READY.wait();
    // FUTEX_WAIT | FUTEX_PRIVATE_FLAG, without a time limit. Made without the C library, whose
    // functions have no unwind tables.
    let at = (&raw const NEVER).expose_provenance();
    while NEVER.load(Ordering::Relaxed) == 0 {
        raw::named("futex", &[at, 128, 0, 0, 0, 0]);
    }
});

levels!(sleep_outer sleep_middle sleep_inner || {
    READY.wait();
    // A struct timespec of 1000 seconds.
    let long = [1000_u64, 0];
    raw::named("nanosleep", &[long.as_ptr().expose_provenance(), 0]);
});

levels!(crash_outer crash_middle crash_inner || {
    READY.wait();
    // The others need a moment to get from the barrier to where they stay.
    std::thread::sleep(std::time::Duration::from_millis(50));
    CRASH_MARK.store(MARK, Ordering::Relaxed);
    let nowhere = std::ptr::without_provenance_mut::<u8>(0xdead_0000);
    write_with_mark(nowhere);
});

/// Writes to `at`, with the inverted mark in xmm7 or d7.
fn write_with_mark(at: *mut u8) {
    // SAFETY: none. The write is meant to be refused: that page is not mapped.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("movq xmm7, {}", "mov byte ptr [{}], 1", in(reg) !MARK, in(reg) at, out("xmm7") _);
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("fmov d7, {}", "strb wzr, [{}]", in(reg) !MARK, in(reg) at, out("v7") _);
    }
}

/// Crashes, with three other threads about.
pub fn crash() {
    let threads = [
        ("spinner", spin_outer as fn(u32) -> u32),
        ("blocker", block_outer),
        ("sleeper", sleep_outer),
    ];
    for (name, entry) in threads {
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || entry(0));
        if let Err(e) = started {
            println!("{name} cannot be started: {e}");
            return;
        }
    }
    println!("{}", crash_outer(0));
}
