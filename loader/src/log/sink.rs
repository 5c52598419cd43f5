//! Where log lines go.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};

use driver_api::Console;
use driver_api::Once;
use driver_api::sync::IrqLock;
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::line::{self, Line};
use super::ring::Ring;
use crate::time;

/// Bytes of the ring: some 200 lines.
const RING: usize = 16 << 10;

static LATEST: IrqLock<Ring<RING>> = IrqLock::new(Ring::new());
static CONSOLE: Once<&'static dyn Console> = Once::new();
/// Lines up to this level go to the console: warnings, so that the app's output stays clean.
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(Level::Warn as u8);

struct Sink;
static SINK: Sink = Sink;

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // The crates' paths say more than is needed: the last part is the name.
            let target = record.target();
            let name = target.bytes().rposition(|b| b == b':').map_or(0, |colon| colon + 1);
            let target = target.get(name..).unwrap_or("kernel");
            emit(record.level(), target, record.args());
        }
    }

    fn flush(&self) {}
}

/// The log's first line, as [`line::begin`] would write it before the clock runs: made by the
/// compiler, for the formatter is a fiftieth of all code that runs until the program's first line.
const FIRST: &str = if cfg!(target_arch = "x86_64") {
    concat!("[    0.000000] INFO kernel: Osier ", env!("CARGO_PKG_VERSION"), " on x86_64")
} else {
    concat!("[    0.000000] INFO kernel: Osier ", env!("CARGO_PKG_VERSION"), " on aarch64")
};

/// Logs what kernel this is.
pub(crate) fn first_line() {
    record(Level::Info, FIRST.as_bytes());
}

/// Keeps a line, and shows it if the console is to have it.
fn record(level: Level, line: &[u8]) {
    LATEST.lock().push(level as u8, line);
    if level as u8 <= CONSOLE_LEVEL.load(Ordering::Relaxed) {
        write_line(line);
    }
}

fn emit(level: Level, target: &str, text: &fmt::Arguments<'_>) {
    let mut line = Line::new();
    line::begin(&mut line, time::now_ns(), level, target);
    let _ = line.write_fmt(*text);
    record(level, line.bytes());
}

fn write_line(line: &[u8]) {
    if let Some(console) = CONSOLE.get() {
        console.write(line);
        console.write(b"\r\n");
    }
}

/// Starts the log.
pub(crate) fn init() {
    // Fails only when it was called before.
    let _ = log::set_logger(&SINK);
    log::set_max_level(LevelFilter::Info);
}

/// Lines up to `level` go to the console from now on; those below info are made at all only
/// if they do.
pub(crate) fn set_console_level(level: LevelFilter) {
    let before = CONSOLE_LEVEL.swap(level as u8, Ordering::Relaxed);
    log::set_max_level(level.max(LevelFilter::Info));
    show(before + 1..=level as u8);
}

/// The console, once there is one.
#[must_use]
pub fn console() -> Option<&'static dyn Console> {
    CONSOLE.get().copied()
}

/// Makes `console` the place of the log and writes the lines so far to it. The first one
/// stays; `false` for later ones.
pub(crate) fn set_console(console: &'static dyn Console) -> bool {
    let mut fresh = false;
    CONSOLE.call_once(|| {
        fresh = true;
        console
    });
    if fresh {
        show(0..=CONSOLE_LEVEL.load(Ordering::Relaxed));
    }
    fresh
}

/// Writes the lines so far that are of these levels to the console.
fn show(levels: core::ops::RangeInclusive<u8>) {
    if levels.is_empty() {
        return;
    }
    let mut out = [0; line::MAX];
    let mut number = LATEST.lock().first();
    loop {
        // The lock is not held while the console works.
        let read = LATEST.lock().read(number, &mut out);
        let Some((level, len)) = read else { break };
        if levels.contains(&level) {
            write_line(out.get(..len).unwrap_or(&[]));
        }
        number += 1;
    }
}

/// Copies line `number` of the log to `out`; `None` when it is not there (any more). For
/// `dmesg`: [`line_numbers`] says which there are.
#[must_use]
pub fn read_line(number: u64, out: &mut [u8]) -> Option<(u8, usize)> {
    LATEST.lock().read(number, out)
}

/// The numbers of the lines that are still there.
#[must_use]
pub fn line_numbers() -> core::ops::Range<u64> {
    let latest = LATEST.lock();
    latest.first()..latest.next()
}

/// Text that must be seen whatever the level: panics, crash reports. Goes to the console
/// alone, as it is; newlines become CR LF.
pub struct Direct;

impl Write for Direct {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if let Some(console) = CONSOLE.get() {
            let mut rest = s.as_bytes();
            while let Some(at) = rest.iter().position(|&b| b == b'\n') {
                console.write(&rest[..at]);
                console.write(b"\r\n");
                rest = &rest[at + 1..];
            }
            console.write(rest);
        }
        Ok(())
    }
}

/// Writes formatted text to [`Direct`].
pub fn direct(text: fmt::Arguments<'_>) {
    let _ = Direct.write_fmt(text);
}
