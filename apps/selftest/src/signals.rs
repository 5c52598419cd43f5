//! Signals: handlers, masks, faults that a handler mends, interrupted system calls.

use crate::{Test, failed, same};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub const TESTS: &[Test] = &[
    ("signals: a handler runs", handler),
    ("signals: blocked ones wait", blocked),
    ("signals: a handler mends a fault", fault),
    ("signals: a read goes on after a handler", restart),
    ("signals: floating point survives a handler", floats),
];

/// The C library's functions that `std` has no safe name for.
mod c {
    use std::ffi::{c_int, c_void};

    pub const SIGUSR1: c_int = 10;
    pub const SIGSEGV: c_int = 11;
    pub const SIGUSR2: c_int = 12;
    pub const SIG_BLOCK: c_int = 0;
    pub const SIG_UNBLOCK: c_int = 1;
    pub const PROT_NONE: c_int = 0;
    pub const PROT_READ_WRITE: c_int = 3;
    pub const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;

    /// `sigset_t` of musl and glibc: 128 bytes.
    #[repr(C)]
    pub struct SigSet(pub [u64; 16]);

    unsafe extern "C" {
        pub fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
        pub fn raise(signal: c_int) -> c_int;
        pub fn pthread_self() -> usize;
        pub fn pthread_kill(thread: usize, signal: c_int) -> c_int;
        pub fn pthread_sigmask(how: c_int, new: *const SigSet, old: *mut SigSet) -> c_int;
        pub fn mmap(
            at: *mut c_void,
            len: usize,
            prot: c_int,
            flags: c_int,
            fd: c_int,
            offset: i64,
        ) -> *mut c_void;
        pub fn mprotect(at: *mut c_void, len: usize, prot: c_int) -> c_int;
        pub fn munmap(at: *mut c_void, len: usize) -> c_int;
    }
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: i32) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

fn handler() -> Result<(), String> {
    COUNT.store(0, Ordering::SeqCst);
    // SAFETY: the handler only counts.
    unsafe {
        c::signal(c::SIGUSR1, count);
        for _ in 0..10 {
            c::raise(c::SIGUSR1);
        }
    }
    same!(COUNT.load(Ordering::SeqCst), 10);
    Ok(())
}

fn blocked() -> Result<(), String> {
    COUNT.store(0, Ordering::SeqCst);
    let mut set = c::SigSet([0; 16]);
    set.0[0] = 1 << (c::SIGUSR2 - 1);
    // SAFETY: the handler only counts; the set has the C library's layout.
    unsafe {
        c::signal(c::SIGUSR2, count);
        c::pthread_sigmask(c::SIG_BLOCK, &set, std::ptr::null_mut());
        c::raise(c::SIGUSR2);
        c::raise(c::SIGUSR2);
    }
    same!(COUNT.load(Ordering::SeqCst), 0);
    // SAFETY: as above.
    unsafe { c::pthread_sigmask(c::SIG_UNBLOCK, &set, std::ptr::null_mut()) };
    same!(COUNT.load(Ordering::SeqCst), 1);
    Ok(())
}

static PAGE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn mend(_signal: i32) {
    COUNT.fetch_add(1, Ordering::SeqCst);
    let page = std::ptr::with_exposed_provenance_mut(PAGE.load(Ordering::SeqCst));
    // SAFETY: the page is the test's own.
    unsafe { c::mprotect(page, 4096, c::PROT_READ_WRITE) };
}

fn fault() -> Result<(), String> {
    COUNT.store(0, Ordering::SeqCst);
    // SAFETY: a page of its own, written only through `page`, and unmapped at the end.
    unsafe {
        let page =
            c::mmap(std::ptr::null_mut(), 4096, c::PROT_NONE, c::MAP_PRIVATE_ANONYMOUS, -1, 0);
        PAGE.store(page.expose_provenance(), Ordering::SeqCst);
        // The handlers that `std` has for these find stack overflows: not needed meanwhile.
        let old = c::signal(c::SIGSEGV, mend);
        same!(old != usize::MAX, true);
        let byte = page.cast::<u8>();
        byte.write_volatile(5);
        same!(byte.read_volatile(), 5);
        same!(COUNT.load(Ordering::SeqCst), 1);
        c::munmap(page, 4096);
    }
    Ok(())
}

fn restart() -> Result<(), String> {
    COUNT.store(0, Ordering::SeqCst);
    // SAFETY: the handler only counts.
    unsafe { c::signal(c::SIGUSR1, count) };
    let (mut r, mut w) = std::io::pipe().map_err(failed("pipe"))?;
    // SAFETY: takes nothing.
    let reader = unsafe { c::pthread_self() };
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        // SAFETY: the thread lives: it waits for this one.
        unsafe { c::pthread_kill(reader, c::SIGUSR1) };
        std::thread::sleep(Duration::from_millis(20));
        w.write_all(b"x")
    });
    let mut byte = [0];
    // Without a restart this would be an error.
    let n = r.read(&mut byte).map_err(failed("read"))?;
    same!((n, byte), (1, *b"x"));
    same!(COUNT.load(Ordering::SeqCst), 1);
    other.join().map_err(|_| "panicked")?.map_err(failed("write"))
}

extern "C" fn compute(_signal: i32) {
    let mut x = 1.0_f64;
    for i in 1..100 {
        x = std::hint::black_box(x * f64::from(i) / 3.7);
    }
    COUNT.store(x as usize & 1, Ordering::SeqCst);
}

fn floats() -> Result<(), String> {
    // SAFETY: the handler only computes.
    unsafe { c::signal(c::SIGUSR1, compute) };
    let (mut x, mut y) = (1.5_f64, 1.5_f64);
    for i in 0..200 {
        x = x * 1.01 + f64::from(i);
        // SAFETY: as above.
        unsafe { c::raise(c::SIGUSR1) };
    }
    for i in 0..200 {
        y = y * 1.01 + f64::from(i);
    }
    same!(x.to_bits(), y.to_bits());
    Ok(())
}
