//! From the boot protocol's hand-over to the first program.

use alloc::boxed::Box;

use crate::bootinfo::BootInfo;
use crate::cmdline::{self, Options, Parsed};
use crate::{arch, end, entropy, log as klog, mm, registry, thread, time};

/// Called by the arch's entry code on the boot stack, interrupts off, with `percpu::BOOT_CPU`
/// installed.
pub fn kmain(info: BootInfo) -> ! {
    time::start();
    klog::init();
    // What is packed behind the kernel is seen through the direct map, of which the early
    // tables show the part that the image is in.
    mm::image::set_load_base(info.load_base);
    let info = end::init(info);

    arch::cpu::init_boot_cpu(info);
    registry::early();
    klog::first_line();
    if let Err(e) = mm::init(info) {
        fail(format_args!("memory: {e} ({} KiB of RAM)", ram_kib(info)));
    }
    registry::memory_is_up();
    let parsed = cmdline::parse(mm::image::default_cmdline(), info.cmdline);
    let options = end::set_options(&parsed.options);
    klog::set_console_level(options.loglevel);
    #[cfg(debug_assertions)]
    crate::lockcheck::init();
    time::init(arch::clock::init(info));
    bootchart(options, "memory and clock");
    entropy::init(info);
    arch::irq::init(info);
    thread::adopt_boot_cpu();
    arch::cpu::enable_interrupts();
    bootchart(options, "threads");
    log_memory(info.protocol);

    // The rest may wait, which what will be the idle thread may not.
    let started = thread::begin_first("init", move || {
        crate::smp::start_others();
        registry::probe();
        bootchart(options, "drivers");
        start(parsed);
    });
    if started.is_err() {
        fail(format_args!("no memory for the first thread ({} KiB of RAM)", ram_kib(info)));
    }
    thread::idle()
}

/// The rest of the boot, in a thread: what is wrong with the command line, the program.
fn start(parsed: Box<Parsed>) {
    for warning in &parsed.warnings {
        log::warn!(target: "kernel", "{warning}");
    }
    if parsed.options.debug_panic {
        debug_panic();
    }
    #[cfg(debug_assertions)]
    if let Some(what) = parsed.options.selftest {
        crate::selftest::run(what);
    }
    bootchart(&parsed.options, "program");
    crate::process::start(parsed)
}

/// For the scenario that reads a panic's report.
fn debug_panic() {
    if cfg!(debug_assertions) {
        panic!("asked for by osier.debug-panic");
    }
    log::warn!(target: "kernel", "osier.debug-panic: this kernel was built in release mode");
}

/// The kernel cannot go on, and says why.
fn fail(why: core::fmt::Arguments<'_>) -> ! {
    klog::direct(format_args!("osier: cannot start: {why}\n"));
    end::finish(end::End::Halt)
}

/// RAM that the boot protocol reported.
fn ram_kib(info: &BootInfo) -> u64 {
    mm::regions::usable(&info.memory).bytes() / 1024
}

fn log_memory(protocol: &str) {
    if !log::log_enabled!(target: "kernel", log::Level::Debug) {
        return;
    }
    let s = mm::frames::stats();
    log::debug!(target: "kernel", "started by {protocol}; memory: {} KiB, {} KiB free", s.total * 4, s.free * 4);
}

/// Prints a stage of the boot and when it was reached, for `osier.bootchart=1`.
fn bootchart(options: &Options, stage: &str) {
    if options.bootchart {
        klog::direct(format_args!("bootchart: {:8} us {stage}\n", time::now_ns() / 1000));
    }
}
