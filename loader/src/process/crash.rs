//! What is said when the app is ended by a signal.

use super::thread::Fault;
use super::{get, try_current};
use crate::arch::calls;
use crate::arch::signal::INFO_LEN;
use crate::arch::trap::TrapFrame;
use crate::end::{End, finish};
use crate::log::Direct;
use crate::mm::PAGE_SIZE;
use crate::mm::vma::Backing;
use crate::signal;
use crate::text::Text;
use crate::user;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

/// How many frames a backtrace shows at most.
const MAX_FRAMES: usize = 48;
/// Highest stack frame that is believed: a frame pointer that goes further is garbage.
const MAX_FRAME: usize = 1 << 20;

/// A crash, as the crash record has it.
pub struct Crash {
    /// Its `siginfo`, which begins with the signal.
    pub info: [u8; INFO_LEN],
}

/// Ends the app by `signal`, which it did not handle: reports it, and leaves the crash record
/// in a kernel that does. `info`: the signal's `siginfo`.
pub fn end(frame: &TrapFrame, signal: u8, fault: Option<&Fault<'_>>, info: [u8; INFO_LEN]) -> ! {
    rest_while_dumped(frame);
    report(frame, signal, fault);
    if let Some(dump) = calls::crash_dump() {
        dump(frame, Some(&Crash { info }));
    }
    finish(End::Signal(signal))
}

/// Another thread has crashed and leaves the crash record.
pub static DUMPING: AtomicBool = AtomicBool::new(false);

/// Puts the thread to rest, if another one leaves the crash record.
pub fn rest_while_dumped(frame: &TrapFrame) {
    if DUMPING.load(Ordering::Relaxed)
        && let Some(dump) = calls::crash_dump()
    {
        dump(frame, None);
    }
}

/// Prints signal, registers and backtrace.
fn report(frame: &TrapFrame, signal: u8, fault: Option<&Fault<'_>>) {
    let out = &mut Direct;
    let Some(process) = get() else { return };
    let tid = try_current().map_or(0, |t| t.tid);
    let _ = write!(
        out,
        "\n{}: signal {signal} ({}) in thread {tid} at {:#x}",
        Text(&process.name),
        signal::name(signal),
        frame.pc()
    );
    let _ = match fault {
        Some(Fault { access: Some(access), address, .. }) => {
            let how = match (access.write, access.execute) {
                (true, _) => "write to",
                (_, true) => "execution of",
                _ => "read of",
            };
            writeln!(out, ": {how} address {address:#x}")
        }
        Some(fault) => writeln!(out, ": {}", fault.what),
        None => writeln!(out),
    };
    crate::trap::registers(frame);
    backtrace(frame);
}

/// Prints the frame-pointer chain as `  #0 0x55d0c1234 (/bin/hello+0x1234)`: the address,
/// and what it is in the file that is mapped there (in the terms of its ELF addresses).
fn backtrace(frame: &TrapFrame) {
    line(0, frame.pc());
    let mut fp = frame.frame_pointer();
    for n in 1..MAX_FRAMES {
        // A frame record: the caller's frame pointer, then the return address.
        if fp == 0 || !fp.is_multiple_of(8) {
            return;
        }
        let Ok(next) = user::read_u64(fp) else { return };
        let Ok(pc) = user::read_u64(fp + 8) else { return };
        let (next, pc) = (next as usize, pc as usize);
        if pc == 0 {
            return;
        }
        line(n, pc);
        // The stack grows down: callers are above.
        if next <= fp || next - fp > MAX_FRAME {
            return;
        }
        fp = next;
    }
}

fn line(n: usize, pc: usize) {
    let out = &mut Direct;
    let _ = write!(out, "  #{n} {pc:#x}");
    if let Some(process) = get()
        && let Some(vma) = process.space.area(pc & !(PAGE_SIZE - 1))
        && let Backing::File { path, .. } = &vma.backing
    {
        let name = process.places.lock().root.clone();
        let name = path.absolute(&name);
        let base = super::load::base_of(path).unwrap_or(vma.start);
        let _ = write!(out, " ({}+{:#x})", Text(&name), pc.wrapping_sub(base));
    }
    let _ = out.write_str("\n");
}
