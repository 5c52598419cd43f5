//! The app's threads: what each has of its own, signals to it, its end.

use super::{Process, crash, exit, get, handler, new_tid};
use crate::arch::calls;
use crate::arch::signal::INFO_LEN;
use crate::arch::trap::TrapFrame;
use crate::end::{End, finish};
use crate::signal::{self, Action, ByDefault, Set, number};
use crate::syscall::QueueRequest;
use crate::thread::{self as kernel, CpuTime, Priority, Thread, UserContext};
use crate::trap::Access;
use crate::user;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use driver_api::sync::IrqLock;
use driver_api::{Error, Result};

/// What a thread of the app has of its own.
pub struct UserThread {
    /// Its number, as the app sees it; the first one's is the process's.
    pub tid: u32,
    /// The kernel's side.
    pub kernel: driver_api::Once<Weak<Thread>>,
    /// Where to write 0 and wake a futex at its end (`set_tid_address`).
    pub clear_tid: AtomicUsize,
    /// Head of its robust futexes.
    pub robust_list: AtomicUsize,
    /// Its signals.
    pub signals: IrqLock<Signals>,
}

/// Signals sent to the process that no thread has taken yet, a bit each as in a [`Set`].
static SHARED: AtomicU64 = AtomicU64::new(0);

/// A thread's signals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signals {
    /// Not delivered now.
    pub blocked: Set,
    /// Sent, and not delivered yet.
    pub pending: Set,
    /// A system call waits for these, which are blocked.
    pub waiting: Set,
    /// The alternate stack: address and length; length 0: none.
    pub stack: (usize, usize),
    /// It is given up while a handler runs (`SS_AUTODISARM`).
    pub disarms: bool,
    /// What was blocked before a wait with another mask: back in force after the signals
    /// that ended the wait were delivered.
    pub saved: Option<Set>,
    /// A system call is to be made again, unless a handler runs first.
    pub restart: bool,
}

impl UserThread {
    /// The thread `tid`.
    #[must_use]
    pub fn new(tid: u32, blocked: Set) -> Arc<Self> {
        Arc::new(Self {
            tid,
            kernel: driver_api::Once::new(),
            clear_tid: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            signals: IrqLock::new(Signals { blocked, ..Signals::default() }),
        })
    }

    /// Blocks these signals and no others; what was blocked before.
    pub fn set_blocked(&self, blocked: Set) -> Set {
        let (old, ready) = {
            let mut signals = self.signals.lock();
            let old = core::mem::replace(&mut signals.blocked, blocked);
            (old, signals.pending().next(blocked).is_some())
        };
        // What was pending all along is delivered on the way out.
        if ready {
            self.wake();
        }
        if let Some(pass_on) = PASS_ON.get() {
            pass_on(Set(blocked.0 & !old.0));
        }
        old
    }

    /// Whether a signal is pending that it does not block.
    #[must_use]
    pub fn ready(&self) -> bool {
        let signals = self.signals.lock();
        signals.pending().next(signals.blocked).is_some()
    }

    /// Takes the lowest signal of `wanted` that is pending for it, or else for the process; and
    /// whether it was sent to the process.
    pub fn take(&self, wanted: Set) -> Option<(u8, bool)> {
        let mut signals = self.signals.lock();
        let not = Set(!wanted.0);
        // As in Linux, its own come first.
        if let Some(signal) = signals.pending.next(not) {
            signals.pending = Set(signals.pending.0 & !Set::of(signal).0);
            return Some((signal, false));
        }
        loop {
            let signal = Set(SHARED.load(Ordering::Relaxed)).next(not)?;
            let bit = Set::of(signal).0;
            // Another thread may have been quicker.
            if SHARED.fetch_and(!bit, Ordering::Relaxed) & bit != 0 {
                return Some((signal, true));
            }
        }
    }

    /// Puts the mask back once the signals that are pending now were delivered.
    pub fn restore_blocked_later(&self, blocked: Set) {
        self.signals.lock().saved = Some(blocked);
        self.wake();
    }

    /// The system call is made again on the way out.
    pub fn set_restart(&self) {
        self.signals.lock().restart = true;
        self.wake();
    }

    /// Has it look at its signals.
    pub fn wake(&self) {
        if let Some(thread) = self.kernel.get().and_then(Weak::upgrade) {
            thread.interrupt();
        }
    }

    /// Sends it a signal, unless it would be ignored. From any context.
    /// Whether it is pending now.
    pub fn send(&self, signal: u8) -> bool {
        self.post(signal, false)
    }

    /// As [`Self::send`]; with `shared` another thread may be quicker to take it.
    fn post(&self, signal: u8, shared: bool) -> bool {
        let ignored = get().is_some_and(|process| action(process, signal).ignores(signal));
        let wakes = {
            let mut signals = self.signals.lock();
            let blocked = signals.blocked.has(signal);
            // One that is blocked waits all the same: the action may change until it is not.
            if ignored && !blocked {
                return false;
            }
            let bit = Set::of(signal).0;
            if shared {
                SHARED.fetch_or(bit, Ordering::Relaxed);
            } else {
                signals.pending = Set(signals.pending.0 | bit);
            }
            !blocked || signals.waiting.has(signal)
        };
        if wakes {
            self.wake();
        }
        true
    }
}

impl Signals {
    /// What is pending for the thread and for the process.
    #[must_use]
    pub fn pending(&self) -> Set {
        Set(self.pending.0 | SHARED.load(Ordering::Relaxed))
    }
}

/// [`pass_on`], once there was a second thread: a kernel that starts none does not hold it.
static PASS_ON: driver_api::Once<fn(Set)> = driver_api::Once::new();

/// Has other threads see to those signals of the process in `set`, which the thread that was
/// told of them does not take any more.
fn pass_on(set: Set) {
    let mut left = Set(SHARED.load(Ordering::Relaxed) & set.0);
    while let Some(signal) = left.next(Set::default()) {
        let bit = Set::of(signal).0;
        left = Set(left.0 & !bit);
        if SHARED.fetch_and(!bit, Ordering::Relaxed) & bit != 0
            && let Some(process) = get()
        {
            send_to_process(process, signal);
        }
    }
}

/// The thread of the app that runs; `None` in a thread of the kernel alone.
#[must_use]
pub fn try_current() -> Option<Arc<UserThread>> {
    kernel::current().user()?.own::<Arc<UserThread>>().cloned()
}

/// The thread of the app that runs.
///
/// # Panics
/// In a thread of the kernel alone: system calls come from threads of the app.
#[must_use]
pub fn current() -> Arc<UserThread> {
    match try_current() {
        Some(thread) => thread,
        None => panic!("no thread of the app runs"),
    }
}

/// A fault of the app's own doing.
#[derive(Clone, Copy, Debug)]
pub struct Fault<'a> {
    /// What it becomes.
    pub signal: u8,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub address: usize,
    /// What was tried there.
    pub access: Option<Access>,
    /// What happened, for the report, when it was no access.
    pub what: &'a str,
}

/// Makes a signal of a fault. One that is blocked, ignored or not handled ends the process:
/// the instruction would fault for ever.
pub fn raise_fault(frame: &mut TrapFrame, fault: &Fault<'_>) {
    if let (Some(process), Some(thread)) = (get(), try_current()) {
        let action = action(process, fault.signal);
        let blocked = thread.signals.lock().blocked.has(fault.signal);
        if !blocked && !matches!(action.handler, Action::DEFAULT | Action::IGNORE) {
            let info = handler::fault_info(fault);
            let mut restart = false;
            if handler::run(frame, process, &thread, fault.signal, &action, info, &mut restart) {
                return;
            }
        }
    }
    crash::end(frame, fault.signal, Some(fault), handler::fault_info(fault))
}

/// Sends a signal to the process, and tells the first thread that does not block it; it is
/// any thread's. Whether it is pending now.
pub fn send_to_process(process: &Process, signal: u8) -> bool {
    let target = {
        let threads = process.threads.lock();
        let open = threads.iter().find(|t| {
            let signals = t.signals.lock();
            !signals.blocked.has(signal) || signals.waiting.has(signal)
        });
        open.or(threads.first()).cloned()
    };
    target.is_some_and(|thread| thread.post(signal, true))
}

/// What the process wants done with `signal`.
#[must_use]
pub fn action(process: &Process, signal: u8) -> Action {
    let index = usize::from(signal).wrapping_sub(1);
    process.actions.lock().get(index).copied().unwrap_or_default()
}

/// Whether `signal` is pending for the thread `tid`, or for the process if that is 0.
#[must_use]
pub fn is_pending(tid: u32, signal: u8) -> bool {
    if tid == 0 {
        return Set(SHARED.load(Ordering::Relaxed)).has(signal);
    }
    get().is_some_and(|process| {
        let threads = process.threads.lock();
        threads.iter().any(|t| t.tid == tid && t.signals.lock().pending.has(signal))
    })
}

/// `signal` is pending for nobody any more.
pub fn forget_pending(process: &Process, signal: u8) {
    let others = !Set::of(signal).0;
    SHARED.fetch_and(others, Ordering::Relaxed);
    for thread in &*process.threads.lock() {
        thread.signals.lock().pending.0 &= others;
    }
}

/// Puts what came with a signal that `thread` has taken in the place of [`sent_info`]. `false`
/// when somebody else was quicker to take what had been sent.
pub fn take_info(thread: &UserThread, signal: u8, shared: bool, info: &mut [u8; INFO_LEN]) -> bool {
    calls::signal_queue()
        .is_none_or(|queue| queue(&mut QueueRequest::Take(thread, signal, shared, info)) > 0)
}

/// The `siginfo` of a signal that the process sent to itself (`shared`) or to one of its threads.
#[must_use]
pub fn sent_info(signal: u8, shared: bool) -> [u8; INFO_LEN] {
    handler::sent_info(signal, get().map_or(0, |p| p.who.uid), shared)
}

/// Acts on the signals that are pending for the thread that runs.
pub fn deliver(frame: &mut TrapFrame) {
    let running = kernel::current();
    if !running.interrupted() {
        return;
    }
    running.take_interrupt();
    let (Some(process), Some(thread)) = (get(), try_current()) else { return };
    let mut restart = core::mem::take(&mut thread.signals.lock().restart);
    loop {
        // Nobody else changes what it blocks.
        let blocked = thread.signals.lock().blocked;
        let Some((signal, shared)) = thread.take(Set(!blocked.0)) else { break };
        let action = action(process, signal);
        let mut info = sent_info(signal, shared);
        if !take_info(&thread, signal, shared, &mut info) {
            continue;
        }
        match action.handler {
            Action::IGNORE => {}
            Action::DEFAULT => match signal::default(signal) {
                ByDefault::Ignore => {}
                ByDefault::End => finish(End::Signal(signal)),
                ByDefault::Crash => crash::end(frame, signal, None, info),
            },
            _ => {
                let done =
                    handler::run(frame, process, &thread, signal, &action, info, &mut restart);
                if !done {
                    // There is no stack to run it on.
                    crash::end(frame, number::SEGV, None, handler::kernel_info(number::SEGV));
                }
            }
        }
    }
    let saved = thread.signals.lock().saved.take();
    if let Some(saved) = saved {
        thread.set_blocked(saved);
    }
    if restart {
        frame.restart_syscall();
    }
}

/// A thread that is to be started.
pub struct NewThread {
    /// Its registers.
    pub frame: TrapFrame,
    /// Its TLS register; `None`: that of the thread that starts it.
    pub tls: Option<usize>,
    /// The signals that it blocks.
    pub blocked: Set,
    /// See [`UserThread::clear_tid`].
    pub clear_tid: usize,
}

/// Starts a thread; `announce` is told its number before it runs.
///
/// # Errors
/// `NoMemory`, `WouldBlock` when there are too many, and what `announce` gives: nothing was
/// started then.
pub fn spawn_thread(
    process: &'static Process,
    new: NewThread,
    announce: impl FnOnce(u32) -> Result<()>,
) -> Result<u32> {
    let thread = UserThread::new(new_tid(process), new.blocked);
    thread.clear_tid.store(new.clear_tid, Ordering::Relaxed);
    let tid = thread.tid;
    let tls = new.tls.unwrap_or_else(crate::arch::context::user_tls);
    let own = Box::new(thread.clone());
    let context = UserContext::new(process.table, 0, tls, own).ok_or(Error::NoMemory)?;
    announce(tid)?;
    PASS_ON.call_once(|| pass_on);
    {
        let mut threads = process.threads.lock();
        threads.try_reserve(1).map_err(|_| Error::NoMemory)?;
        threads.push(thread.clone());
    }
    let mut name = [0; 15];
    let len = kernel::current().with_name(|n| {
        let len = n.len().min(name.len());
        name[..len].copy_from_slice(&n[..len]);
        len
    });
    let frame = new.frame;
    let started = thread.clone();
    let spawned = kernel::spawn_user("", Priority::Normal, move || {
        let running = kernel::current();
        running.set_name(&name[..len]);
        started.kernel.call_once(|| Arc::downgrade(&running.arc()));
        // A signal may have come before there was anyone to wake.
        started.wake();
        running.set_user(context);
        Some(frame)
    });
    let Ok(spawned) = spawned else {
        process.threads.lock().retain(|t| t.tid != tid);
        return Err(Error::WouldBlock);
    };
    // Who is told its number may ask for it before it has run.
    thread.kernel.call_once(|| Arc::downgrade(&spawned));
    Ok(tid)
}

/// What the threads that have ended had run.
static ENDED_USER: AtomicU64 = AtomicU64::new(0);
static ENDED_SYSTEM: AtomicU64 = AtomicU64::new(0);

/// How long the process has run on all CPUs, in ns: [`CpuTime::total`] of [`cpu_time`].
#[must_use]
pub fn cpu_ns(process: &Process) -> u64 {
    let threads = process.threads.lock();
    let live = threads.iter().filter_map(|t| t.kernel.get()?.upgrade()).map(|t| t.cpu_ns());
    let ended = ENDED_USER.load(Ordering::Relaxed) + ENDED_SYSTEM.load(Ordering::Relaxed);
    ended + live.sum::<u64>()
}

/// How long the process has run on all CPUs.
#[must_use]
pub fn cpu_time(process: &Process) -> CpuTime {
    let threads = process.threads.lock();
    let live = threads.iter().filter_map(|t| t.kernel.get()?.upgrade()).map(|t| t.cpu_time());
    let ended = CpuTime {
        user: ENDED_USER.load(Ordering::Relaxed),
        system: ENDED_SYSTEM.load(Ordering::Relaxed),
    };
    live.fold(ended, |sum, time| sum + time)
}

impl UserThread {
    /// How long it has run; `None` when it has ended.
    #[must_use]
    pub fn cpu_time(&self) -> Option<CpuTime> {
        Some(self.kernel.get()?.upgrade()?.cpu_time())
    }
}

/// Ends the thread that runs; with the last one the process ends, with `status`.
pub fn exit_thread(status: u8) -> ! {
    let Some(process) = get() else { exit(status) };
    {
        let thread = current();
        let last = {
            let mut threads = process.threads.lock();
            let before = threads.len();
            if let Some(at) = threads.iter().position(|t| t.tid == thread.tid) {
                threads.swap_remove(at);
                let time = kernel::current().cpu_time();
                ENDED_USER.fetch_add(time.user, Ordering::Relaxed);
                ENDED_SYSTEM.fetch_add(time.system, Ordering::Relaxed);
            }
            before == 1
        };
        if last {
            exit(status);
        }
        pass_on(Set(u64::MAX));
        let robust = thread.robust_list.load(Ordering::Relaxed);
        if robust != 0 {
            crate::syscall::futex::release_robust(robust, thread.tid);
        }
        let clear = thread.clear_tid.load(Ordering::Relaxed);
        if clear != 0 && user::write_u32(clear, 0).is_ok() {
            // Whoever joins it waits on this futex.
            crate::syscall::futex::wake_address(clear, 1);
        }
    }
    kernel::exit()
}
