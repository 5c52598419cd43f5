//! The thread itself, and how one begins.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use driver_api::sync::IrqLock;

use super::list::{Link, Linked, RunQueue, Waiting};
use super::share::{self, Share};
use super::state::{State, WaitId, Woken};
use super::times::Times;
use super::user::UserContext;
use super::wait::WaitQueue;
use super::{sched, wait};
use crate::arch::trap::TrapFrame;
use crate::mm::frames;
use crate::mm::layout::STACK_SIZE;
use crate::mm::stack::KernelStack;
use crate::percpu::PerCpu;
use crate::time::TimerRoom;

/// Who runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Threads that finish the work of interrupts: before all others.
    Interrupt,
    /// Everything else, by turns.
    Normal,
}

/// How many priorities there are.
pub(super) const LEVELS: usize = 2;

/// Longest name that is kept, in bytes: as Linux's `comm`.
const NAME_LEN: usize = 15;

/// What a thread does when it runs for the first time: it ends then, or goes on in user mode
/// with these registers. What it was made of is freed in between.
type Entry = Box<dyn FnOnce() -> Option<TrapFrame> + Send>;

/// A kernel thread. One that also runs the app has a [`UserContext`].
pub struct Thread {
    id: u32,
    name: IrqLock<([u8; NAME_LEN], u8)>,
    pub(super) priority: Priority,
    /// The CPUs that it may run on, a bit each.
    cpus: AtomicU64,
    /// A [`Share`], and what follows from it: how long it may run while others of its priority
    /// are ready, in ns.
    share: AtomicU32,
    slice: AtomicU32,
    pub(super) state: State,
    /// A CPU runs it, or has not yet finished leaving it.
    pub(super) on_cpu: AtomicBool,
    /// Index of the CPU that ran it last.
    pub(super) last_cpu: AtomicU32,
    /// How long it has run, in ns, but for the turn that it runs now.
    pub(super) ran_ns: AtomicU64,
    pub(super) times: Times,
    /// Stack pointer while it does not run.
    pub(super) sp: AtomicUsize,
    /// The boot thread has none: it runs on the boot stack.
    pub(super) stack: Option<KernelStack>,
    entry: IrqLock<Option<Entry>>,
    run_link: Link<Thread>,
    wait_link: Link<Thread>,
    user: driver_api::Once<Box<UserContext>>,
    has_ended: IrqLock<bool>,
    ended: WaitQueue,
    _timer: Option<TimerRoom>,
    /// The locks that it holds and sleeps for.
    #[cfg(all(target_os = "none", debug_assertions))]
    pub(crate) held: crate::lockcheck::Held,
}

impl Linked<RunQueue> for Thread {
    fn link(&self) -> &Link<Self> {
        &self.run_link
    }
}

impl Linked<Waiting> for Thread {
    fn link(&self) -> &Link<Self> {
        &self.wait_link
    }
}

/// Why no thread was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// No memory for its stack or itself.
    NoMemory,
}

/// Ids go up and are never used again; the boot CPU's idle thread is 1.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// What a thread needs besides its stack, in frames: itself, its closure, its FPU state,
/// its time-out, tables.
const SPARE: u64 = 8;

impl Thread {
    fn make(
        name: &str,
        priority: Priority,
        stack: Option<KernelStack>,
        timer: Option<TimerRoom>,
    ) -> Self {
        let thread = Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: IrqLock::new(([0; NAME_LEN], 0)),
            priority,
            cpus: AtomicU64::new(u64::MAX),
            share: AtomicU32::new(0),
            slice: AtomicU32::new(share::SLICE),
            state: State::new(),
            on_cpu: AtomicBool::new(false),
            last_cpu: AtomicU32::new(0),
            ran_ns: AtomicU64::new(0),
            times: Times::new(),
            sp: AtomicUsize::new(0),
            stack,
            entry: IrqLock::new(None),
            run_link: Link::new(),
            wait_link: Link::new(),
            user: driver_api::Once::new(),
            has_ended: IrqLock::new(false),
            ended: WaitQueue::new(),
            _timer: timer,
            #[cfg(all(target_os = "none", debug_assertions))]
            held: crate::lockcheck::Held::new(),
        };
        thread.set_name(name.as_bytes());
        thread
    }

    /// Its number, the thread id of the app's view as well.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Calls `f` with its name.
    pub fn with_name<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let name = self.name.lock();
        f(name.0.get(..name.1.into()).unwrap_or(&[]))
    }

    /// Names it; cut off after 15 bytes.
    pub fn set_name(&self, name: &[u8]) {
        let mut slot = self.name.lock();
        let len = name.len().min(NAME_LEN);
        slot.0[..len].copy_from_slice(&name[..len]);
        slot.1 = len as u8;
    }

    /// The CPUs that it may run on, a bit each; those that are not there may be among them.
    #[must_use]
    pub fn cpus(&self) -> u64 {
        self.cpus.load(Ordering::Relaxed)
    }

    /// Binds it to these CPUs, at least one of which runs. It has left all others when this
    /// returns, unless it was just about to begin on one: that one sends it on at once.
    pub fn bind(self: &Arc<Self>, cpus: u64) {
        let before = self.cpus.swap(cpus, Ordering::AcqRel);
        sched::leave(self, before & !cpus);
    }

    /// Whether it may run on `cpu`.
    pub(super) fn may_run_on(&self, cpu: &PerCpu) -> bool {
        self.cpus() >> cpu.index.load(Ordering::Relaxed) & 1 != 0
    }

    /// Its share of a CPU.
    #[must_use]
    pub fn share(&self) -> Share {
        Share::unpack(self.share.load(Ordering::Relaxed))
    }

    /// Gives it another share, from its next turn on.
    pub fn set_share(&self, share: Share) {
        self.share.store(share.pack(), Ordering::Relaxed);
        self.slice.store(share.slice(), Ordering::Relaxed);
    }

    /// How long it may run while others of its priority are ready, in ns.
    pub(super) fn slice(&self) -> u64 {
        self.slice.load(Ordering::Relaxed).into()
    }

    /// Its user side, once `process` gave it one.
    #[must_use]
    pub fn user(&self) -> Option<&UserContext> {
        self.user.get().map(|user| &**user)
    }

    /// Gives it a user side, once and for ever; the running thread's is in force at once.
    /// `false` when it has one.
    pub fn set_user(&self, user: Box<UserContext>) -> bool {
        let mut fresh = false;
        let user = self.user.call_once(|| {
            fresh = true;
            user
        });
        if fresh && core::ptr::eq(self, &raw const *sched::current()) {
            let _irq = driver_api::sync::IrqGuard::new();
            user.load();
        }
        fresh
    }

    /// The addresses of its kernel stack; `None` on the boot stack.
    #[must_use]
    pub fn stack(&self) -> Option<core::ops::Range<usize>> {
        self.stack.as_ref().map(KernelStack::range)
    }

    /// Ends its wait if that may be interrupted; else its next such wait ends at once. It
    /// stays interrupted until [`Self::take_interrupt`].
    pub fn interrupt(self: &Arc<Self>) {
        if self.state.interrupt() {
            sched::enqueue(Arc::clone(self));
        } else if self.on_cpu.load(Ordering::Acquire) {
            // It may run the app's code, and not come back into the kernel by itself.
            sched::notify(self.last_cpu.load(Ordering::Relaxed));
        }
    }

    /// Forgets an interruption; whether there was one.
    pub fn take_interrupt(&self) -> bool {
        self.state.take_interrupt()
    }

    /// Whether an interruption is pending.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.state.interrupted()
    }

    /// Whether it waits for something (for `/proc`'s state letter).
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.state.is_blocked()
    }

    /// The deadline of its wait `wait` has passed. In interrupt context.
    pub(crate) fn time_out(self: Arc<Self>, wait: WaitId) {
        if self.state.wake(Some(wait), Woken::TimedOut) {
            sched::enqueue(self);
        }
    }

    /// How long it has run on a CPU, in ns.
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        let ran = self.ran_ns.load(Ordering::Relaxed);
        if !self.on_cpu.load(Ordering::Acquire) {
            return ran;
        }
        let since = sched::running_since(self.last_cpu.load(Ordering::Relaxed));
        ran + crate::time::now_ns().saturating_sub(since)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.has_ended.lock()
    }

    /// Waits until it has ended.
    pub fn join(&self) {
        let _ = self.ended.wait_while(&self.has_ended, wait::Wait::FOREVER, |ended| !*ended);
    }

    /// It has ended: those who wait for it go on.
    pub(super) fn announce_end(&self) {
        *self.has_ended.lock() = true;
        self.ended.wake_all();
    }

    /// What it was made to do.
    pub(super) fn take_entry(&self) -> Option<Entry> {
        self.entry.lock().take()
    }
}

/// Makes a thread that calls `entry` and then ends, and puts it into the run queue.
///
/// # Errors
/// `NoMemory`: nothing was started.
pub fn spawn(
    name: &str,
    priority: Priority,
    entry: impl FnOnce() + Send + 'static,
) -> Result<Arc<Thread>, SpawnError> {
    let thread = prepare(name, priority, move || {
        entry();
        None
    })?;
    sched::enqueue(Arc::clone(&thread));
    Ok(thread)
}

/// Makes a thread that calls `entry` and then goes on in user mode with the registers that
/// it returns, and puts it into the run queue. It may run where the thread that makes it may.
///
/// # Errors
/// `NoMemory`: nothing was started.
pub fn spawn_user(
    name: &str,
    priority: Priority,
    entry: impl FnOnce() -> Option<TrapFrame> + Send + 'static,
) -> Result<Arc<Thread>, SpawnError> {
    let thread = prepare(name, priority, entry)?;
    let maker = sched::current();
    thread.cpus.store(maker.cpus(), Ordering::Relaxed);
    // Most have the share that all begin with.
    if maker.share.load(Ordering::Relaxed) != 0 {
        thread.set_share(maker.share().inherited());
    }
    sched::enqueue(Arc::clone(&thread));
    Ok(thread)
}

/// Makes the first thread of all and goes over to it, from the boot context. Returns when
/// nobody has anything to do, to be the idle thread.
///
/// # Errors
/// `NoMemory`: nothing was started.
pub(crate) fn begin_first(
    name: &str,
    entry: impl FnOnce() + Send + 'static,
) -> Result<(), SpawnError> {
    let thread = prepare(name, Priority::Normal, move || {
        entry();
        None
    })?;
    sched::begin_first(thread);
    Ok(())
}

/// Makes a thread that is in no run queue yet.
pub(super) fn prepare(
    name: &str,
    priority: Priority,
    entry: impl FnOnce() -> Option<TrapFrame> + Send + 'static,
) -> Result<Arc<Thread>, SpawnError> {
    // The small allocations below are infallible in Rust's library: make sure of them.
    if !frames::available((STACK_SIZE >> 12) as u64 + SPARE) {
        return Err(SpawnError::NoMemory);
    }
    let mut stack = KernelStack::new().ok_or(SpawnError::NoMemory)?;
    let timer = TimerRoom::new().ok_or(SpawnError::NoMemory)?;
    let sp = stack.prepare(sched::begin, 0);
    let thread = Arc::new(Thread::make(name, priority, Some(stack), Some(timer)));
    thread.sp.store(sp, Ordering::Relaxed);
    *thread.entry.lock() = Some(Box::new(entry));
    Ok(thread)
}

/// Makes the thread that another CPU begins with, which is its idle thread: it runs there
/// already, on its own stack.
pub(crate) fn make_idle() -> Result<Arc<Thread>, SpawnError> {
    let thread = prepare("idle", Priority::Normal, || sched::idle())?;
    thread.state.enter();
    thread.on_cpu.store(true, Ordering::Relaxed);
    Ok(thread)
}

/// Makes what runs now, on the boot stack, this CPU's idle thread. It never waits, hence it has
/// no time-out.
pub(crate) fn adopt_boot_cpu() {
    let thread = Arc::new(Thread::make("idle", Priority::Normal, None, None));
    thread.state.enter();
    thread.on_cpu.store(true, Ordering::Relaxed);
    crate::percpu::with(|cpu| sched::give_idle(cpu, thread));
}
