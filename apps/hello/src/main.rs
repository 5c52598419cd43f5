//! The first program: greets, says where it runs, and ends as it is told to.
//!
//! ```text
//! hello [WORD…]    greets and shows what it was given; status 0
//!   --exit N       ends with status N (0 … 255)
//!   --panic        panics: Rust ends it with status 101
//!   --abort        aborts: signal 6
//!   --segfault     writes to an address that is not mapped: signal 11
//!   --oom          uses memory until none is left
//!   --stdin        first writes back what it reads, line by line, until the end of input
//! ```

use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    greet();
    let args: Vec<String> = env::args().collect();
    describe(&args);
    let mut status = 0;
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--exit" => match rest.next().map(|n| n.parse()) {
                Some(Ok(n)) => status = n,
                _ => {
                    eprintln!("hello: --exit takes a number from 0 to 255");
                    return ExitCode::from(2);
                }
            },
            "--panic" => panic!("asked for by --panic"),
            "--abort" => std::process::abort(),
            "--segfault" => segfault(),
            "--oom" => use_all_memory(),
            "--stdin" => echo(),
            _ => {}
        }
    }
    ExitCode::from(status)
}

/// The greeting comes before all else: `cargo xtask bench boot` waits for it. It is written as
/// it is, for a formatter and a buffered `Stdout` are more code to run for the first time than
/// the whole greeting is.
fn greet() {
    // SAFETY: descriptor 1 is open, and stays so: nothing drops the file.
    let mut out = ManuallyDrop::new(unsafe { File::from_raw_fd(1) });
    // What fails here fails again at the next line, which says so.
    let _ = out.write_all(b"Hello from Osier\n");
}

/// The kernel's version, as `uname -r` has it.
fn version() -> String {
    let mut names = c::Utsname([[0; 65]; 6]);
    // SAFETY: `names` has the layout that the C library fills in.
    unsafe { c::uname(&mut names) };
    let release = names.0[2].split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(release).into_owned()
}

fn describe(args: &[String]) {
    let line = |path: &str| fs::read_to_string(path).ok();
    println!("kernel: {} on {}", version(), env::consts::ARCH);
    println!("arguments: {args:?}");
    for (name, value) in env::vars() {
        println!("environment: {name}={value}");
    }
    println!("uptime: {} ms", uptime().as_millis());
    match line("/etc/motd") {
        Some(text) => print!("/etc/motd: {text}"),
        None => println!("/etc/motd: cannot be read"),
    }
}

/// The C library's functions that `std` has no safe name for.
mod c {
    use std::ffi::{c_int, c_long};

    /// `struct utsname` of Linux: six fields of 65 bytes.
    #[repr(C)]
    pub struct Utsname(pub [[u8; 65]; 6]);

    /// `struct timespec`.
    #[repr(C)]
    pub struct Timespec {
        pub secs: c_long,
        pub nanos: c_long,
    }

    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub const BOOTTIME: c_int = 7;

    unsafe extern "C" {
        pub fn uname(to: *mut Utsname) -> c_int;
        pub fn clock_gettime(clock: c_int, to: *mut Timespec) -> c_int;
    }
}

/// Time since boot.
fn uptime() -> std::time::Duration {
    let mut now = c::Timespec { secs: 0, nanos: 0 };
    // SAFETY: `now` has the layout that the C library fills in.
    unsafe { c::clock_gettime(c::BOOTTIME, &mut now) };
    std::time::Duration::new(now.secs.unsigned_abs(), now.nanos.unsigned_abs() as u32)
}

/// Writes where nothing is, three calls deep, so that a backtrace has something to show.
#[inline(never)]
fn segfault() {
    #[inline(never)]
    fn write_to(address: usize) -> usize {
        let p = std::ptr::without_provenance_mut::<u8>(std::hint::black_box(address));
        // SAFETY: none: this is the fault that was asked for.
        unsafe { p.write_volatile(1) };
        address
    }
    // The value is used after the call: a jump to it would leave no frame of this function.
    std::hint::black_box(write_to(0xdead_0000) + 1);
}

/// Touches memory, 1 MiB at a time, until there is no more.
fn use_all_memory() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(vec![1; 1 << 20]);
        std::hint::black_box(&all);
    }
}

fn echo() {
    for line in io::stdin().lines() {
        match line {
            Ok(line) => println!("read: {line}"),
            Err(e) => println!("stdin: {e}"),
        }
    }
    println!("end of input");
}
