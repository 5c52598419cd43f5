//! The one process: the app.

mod crash;
mod dump;
mod handler;
mod load;
mod proc;
mod start;
mod thread;

use crate::arch;
use crate::arch::trap::TrapFrame;
use crate::end::{End, finish};
use crate::fs::file::OpenFile;
use crate::fs::table::Table;
use crate::fs::walk::Walker;
use crate::fs::{Credentials, MountTable, Path};
use crate::log::direct;
use crate::mm::PhysAddr;
use crate::mm::aspace::{AddressSpace, FaultError};
use crate::mm::pages::UserPages;
use crate::signal::number;
use crate::strings::Strings;
use crate::sync::Mutex;
use crate::trap::{Access, Exception};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use driver_api::Once;
use driver_api::Result;
use driver_api::sync::IrqLock;

pub use crash::Crash;
pub use dump::dump;
pub use handler::{DISARMS, return_from as return_from_handler};
pub use proc::FILES;
pub use start::start;
pub use thread::{
    NewThread, UserThread, action, cpu_ns, cpu_time, current, exit_thread, forget_pending,
    is_pending, send_to_process, sent_info, spawn_thread, take_info, try_current,
};

/// Number of the process, as the app sees it.
pub const PID: u32 = 1;

/// Where paths begin.
pub struct Places {
    /// `/`.
    pub root: Path,
    /// The working directory.
    pub cwd: Path,
    /// Permission bits that new files do not get.
    pub umask: u16,
}

/// The process.
pub struct Process {
    /// The root of its page tables.
    pub table: PhysAddr,
    /// Its memory.
    pub space: Box<AddressSpace<UserPages>>,
    /// Its open files.
    pub files: Mutex<Table<Arc<OpenFile>>>,
    /// All mounts.
    pub mounts: Box<MountTable>,
    /// Where paths begin.
    pub places: Mutex<Places>,
    /// On whose behalf it uses files.
    pub who: Credentials,
    /// The program.
    pub program: Arc<Path>,
    /// The program's path, for reports.
    pub name: Vec<u8>,
    /// Its arguments, each with a NUL, as `/proc/self/cmdline` has them.
    pub cmdline: Strings,
    /// What it wants done with signals, from signal 1.
    pub actions: IrqLock<[crate::signal::Action; 64]>,
    /// Its threads.
    pub threads: IrqLock<Vec<Arc<UserThread>>>,
    /// Code that calls `rt_sigreturn`, for handlers that bring none along; 0 where all do.
    trampoline: usize,
    next_tid: AtomicU32,
}

static PROCESS: Once<Process> = Once::new();

/// The process, once it was started.
#[must_use]
pub fn get() -> Option<&'static Process> {
    PROCESS.get()
}

impl Process {
    /// Calls `f` with a walker whose relative paths begin at `base`, or at the working
    /// directory.
    ///
    /// # Errors
    /// What `f` gives.
    pub fn walk<R>(
        &self,
        base: Option<&Path>,
        f: impl FnOnce(&Walker<'_>) -> Result<R>,
    ) -> Result<R> {
        let (root, cwd) = self.root_and_cwd();
        let walker =
            Walker { mounts: &self.mounts, root: &root, base: base.unwrap_or(&cwd), who: self.who };
        f(&walker)
    }

    /// One copy for all kinds of walks.
    #[inline(never)]
    fn root_and_cwd(&self) -> (Path, Path) {
        let places = self.places.lock();
        (places.root.clone(), places.cwd.clone())
    }

    /// The open file behind `fd`.
    ///
    /// # Errors
    /// `BadFile`.
    pub fn file(&self, fd: i32) -> Result<Arc<OpenFile>> {
        self.files.lock().get(fd)
    }
}

/// Ends the process: the machine ends with its status.
pub fn exit(status: u8) -> ! {
    finish(End::Exit(status))
}

/// Memory is out, and the app needs a page: it is ended.
pub fn out_of_memory() -> ! {
    let stats = crate::mm::frames::stats();
    let used = get().map_or(0, |p| p.space.usage().owned);
    direct(format_args!(
        "\nosier: out of memory: the program has {} KiB, the machine {} KiB in all, {} KiB are kept for the kernel\n",
        used * 4,
        stats.total * 4,
        stats.reserve * 4
    ));
    finish(End::Oom)
}

/// A system call.
pub fn syscall(frame: &mut TrapFrame) {
    crate::syscall::dispatch(frame);
}

/// A page fault at a user address.
pub fn page_fault(frame: &mut TrapFrame, address: usize, access: Access) -> bool {
    let Some(process) = get().filter(|_| address < arch::USER_END) else {
        return bad_access(frame, address, access, FaultError::Unmapped);
    };
    // Copies with interrupts off, or in a handler, cannot wait for a page.
    if !frame.is_user() && !crate::thread::may_sleep() {
        return false;
    }
    match process.space.fault(address, access) {
        Ok(()) => true,
        // The access is made again.
        Err(FaultError::NoMemory) if crate::fs::cache::reclaim() => true,
        Err(FaultError::NoMemory) => out_of_memory(),
        Err(e) => bad_access(frame, address, access, e),
    }
}

/// The app's own faults become signals; for the kernel's the fix-up table decides.
fn bad_access(frame: &mut TrapFrame, address: usize, access: Access, e: FaultError) -> bool {
    if !frame.is_user() {
        return false;
    }
    let (signal, code) = match e {
        FaultError::Unmapped | FaultError::NoMemory => (number::SEGV, 1),
        FaultError::Denied => (number::SEGV, 2),
        FaultError::Bus => (number::BUS, 2),
    };
    let fault = thread::Fault { signal, code, address, access: Some(access), what: "" };
    thread::raise_fault(frame, &fault);
    true
}

/// An exception of user mode. The codes are those of `asm-generic/siginfo.h`.
pub fn exception(frame: &mut TrapFrame, exception: Exception) {
    let (signal, code, what) = match exception {
        Exception::DivideByZero => (number::FPE, 1, "division by zero"),
        Exception::FloatingPoint => (number::FPE, 7, "floating-point exception"),
        Exception::SingleStep => (number::TRAP, 2, "single step"),
        Exception::Breakpoint => (number::TRAP, 1, "breakpoint"),
        Exception::IllegalInstruction => (number::ILL, 1, "illegal instruction"),
        Exception::Alignment => (number::BUS, 1, "misaligned access"),
        Exception::BadStack => (number::BUS, 0x80, "stack segment"),
        Exception::Protection => (number::SEGV, 0x80, "privileged or non-canonical access"),
    };
    let fault = thread::Fault { signal, code, address: frame.pc(), access: None, what };
    thread::raise_fault(frame, &fault);
}

/// The last thing before a return to user mode.
pub fn return_to_user(frame: &mut TrapFrame) {
    crash::rest_while_dumped(frame);
    thread::deliver(frame);
}

/// A new number for a thread.
fn new_tid(process: &Process) -> u32 {
    process.next_tid.fetch_add(1, Ordering::Relaxed)
}
