//! Panics of the kernel: say what and where, then end.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::end::{End, finish};
use crate::log::Direct;
use crate::log::line::Line;
use crate::{arch, mm, thread};

/// How many panics have begun: a panic while one is reported ends at once.
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// How many frames a backtrace shows at most.
const MAX_FRAMES: usize = 32;

/// Called by the panic handler of the final crate.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    // Interrupts stay off: nobody else runs on this CPU any more.
    let _irq = core::mem::ManuallyDrop::new(driver_api::sync::IrqGuard::new());
    match DEPTH.fetch_add(1, Ordering::AcqRel) {
        0 if is_out_of_memory(info) => {
            let _ =
                writeln!(Direct, "\nout of memory: the kernel cannot go on ({})", info.message());
            finish(End::Oom)
        }
        0 => {
            report(info);
            finish(End::Panic)
        }
        1 => {
            let _ = writeln!(Direct, "\npanic while a panic was reported");
            finish(End::Panic)
        }
        _ => arch::cpu::halt(),
    }
}

/// Whether this is `alloc`'s panic for an allocation that failed and that its caller takes
/// for granted. Requests of the app fail long before (`mm::frames::available`).
fn is_out_of_memory(info: &PanicInfo<'_>) -> bool {
    let mut line = Line::new();
    let _ = write!(line, "{}", info.message());
    line.bytes().starts_with(b"memory allocation of ")
}

fn report(info: &PanicInfo<'_>) {
    // A kernel without locations has this one for all (rustc's `-Zlocation-detail=none`): the
    // backtrace says where.
    let _ = match info.location().filter(|at| at.line() != 0) {
        Some(at) => writeln!(Direct, "\npanic at {}:{}: {}", at.file(), at.line(), info.message()),
        None => writeln!(Direct, "\npanic: {}", info.message()),
    };
    if let Some(thread) = thread::try_current() {
        thread.with_name(|name| {
            let name = core::str::from_utf8(name).unwrap_or("?");
            let _ = writeln!(Direct, "thread {} {name}", thread.id());
        });
    }
    let (_, fp) = arch::backtrace::here();
    backtrace(fp, 0);
}

/// Prints the return addresses of the frame-pointer chain from `fp` on, as
/// `  #0 0xffffffff80212345`, counting from `number`.
pub fn backtrace(fp: usize, number: usize) {
    let mut n = number;
    arch::backtrace::walk(fp, stack_around(fp), &mut |address| {
        if n < MAX_FRAMES {
            let _ = writeln!(Direct, "  #{n} {address:#x}");
            n += 1;
        }
    });
}

/// The stack that `address` is in: the current thread's, another guarded one (interrupts on
/// aarch64), else (boot and interrupt stacks) the kernel's data, which is mapped throughout.
fn stack_around(address: usize) -> core::ops::Range<usize> {
    let own = thread::try_current().and_then(|t| t.stack()).filter(|s| s.contains(&address));
    own.or_else(|| mm::stack::around(address)).unwrap_or_else(|| {
        let s = mm::image::segments();
        s.rodata_end..s.end
    })
}
