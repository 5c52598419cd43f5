//! The end of the virtual machine: what is done last, and how the host learns why.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use driver_api::Once;
pub use end_record::End;

use crate::bootinfo::BootInfo;
use crate::cmdline::{self, ExitChannel, Options};
use crate::log::Direct;
use crate::{arch, log as klog, mm, time};

/// What is needed at the end, noted at the beginning.
static INFO: Once<BootInfo> = Once::new();
static OPTIONS: Once<Options> = Once::new();
/// Somebody is ending the machine.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Keeps what [`finish`] needs.
pub(crate) fn init(info: BootInfo) -> &'static BootInfo {
    INFO.call_once(|| info)
}

/// Notes what the command line says.
pub(crate) fn set_options(options: &Options) -> &'static Options {
    OPTIONS.call_once(|| *options)
}

/// The options of the command line; before it was read, for an end that comes so early, they
/// are looked for in it.
#[must_use]
pub fn options() -> Options {
    OPTIONS.get().copied().unwrap_or_else(|| {
        let given = boot_info().map_or(&[][..], |info| info.cmdline);
        cmdline::options(mm::image::default_cmdline(), given)
    })
}

/// What the boot protocol said; `None` before `kmain` has noted it.
#[must_use]
pub fn boot_info() -> Option<&'static BootInfo> {
    INFO.get()
}

/// A record being written to the channel.
struct Channel;

impl Write for Channel {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        arch::power::exit_channel(s.as_bytes());
        Ok(())
    }
}

/// Tells the host where the crash record is, if there is somebody to tell.
pub fn announce_crash(record: &crash_record::Announcement) {
    if options().exit.is_some() {
        let _ = write!(Channel, "{record}");
    }
}

/// Ends the virtual machine: reports (where the command line says), tells the host why, and
/// powers off. The first caller ends it; a second one (on another CPU, or a panic on the
/// way) still writes its record, for the last one counts, and goes on from there.
pub fn finish(end: End) -> ! {
    let first = !ENDING.swap(true, Ordering::AcqRel);
    let options = options();
    // After the app's own end nothing is broken, and what it wrote is kept.
    let by_app = matches!(end, End::Exit(_) | End::Signal(_) | End::Oom);
    if by_app && crate::thread::may_sleep() {
        crate::fs::cache::at_end();
    }
    if first && options.leaks {
        report_memory();
    }
    match options.exit {
        // The arch has one channel; the other arch's word would be answered by nobody.
        Some(ExitChannel::Debugcon) if cfg!(target_arch = "x86_64") => {
            let _ = end.write_record(&mut Channel);
        }
        Some(ExitChannel::Semihosting) if cfg!(target_arch = "aarch64") => {
            let _ = end.write_record(&mut Channel);
        }
        _ => {}
    }
    if let Some(info) = boot_info() {
        arch::power::off(info);
    }
    // Powering off failed, or there is no way to.
    klog::direct(format_args!("osier: stopped ({end}); this machine cannot be powered off\n"));
    arch::cpu::halt()
}

/// What is still allocated, for `osier.leaks=1`. Frames of no known use are a device's, or
/// lost.
fn report_memory() {
    let frames = mm::frames::stats();
    let heap = mm::heap::stats();
    let _ = writeln!(
        Direct,
        "memory at the end: {} of {} frames free (fewest: {}), {} of no known use, heap {} bytes used of {} held, {} us",
        frames.free,
        frames.total,
        frames.low,
        mm::usage::other(),
        heap.used,
        heap.held,
        time::now_ns() / 1000
    );
}
