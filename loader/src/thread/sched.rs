//! The scheduler: who runs on a CPU, and the switch from one to the next.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use driver_api::sync::{IrqGuard, IrqLock, interrupts_enabled};

use super::list::{List, RunQueue};
use super::state::Left;
use super::task::{LEVELS, Thread};
use crate::mm::slot::{Running, RunningSlot};
use crate::mm::stack;
use crate::percpu::{self, PerCpu};
use crate::{arch, time};

/// Those who are ready, a list per priority.
struct Ready {
    lists: [List<Thread, RunQueue>; LEVELS],
}

impl Ready {
    /// `false` when it is in a queue already.
    fn push(&mut self, thread: Arc<Thread>) -> bool {
        self.lists.get_mut(thread.priority as usize).is_some_and(|list| list.push(thread))
    }

    /// Takes the first that may run on `cpu`.
    fn take(&mut self, cpu: &PerCpu) -> Option<Arc<Thread>> {
        self.lists.iter_mut().find_map(|list| list.take_first(|thread| thread.may_run_on(cpu)))
    }

    fn remove(&mut self, thread: &Thread) -> bool {
        self.lists.get_mut(thread.priority as usize).is_some_and(|list| list.remove(thread))
    }

    fn is_empty(&self) -> bool {
        self.lists.iter().all(List::is_empty)
    }
}

/// The scheduler's part of a CPU's block.
pub struct CpuSched {
    running: RunningSlot<Thread>,
    ready: IrqLock<Ready>,
    /// Who ran before the switch that is under way.
    previous: IrqLock<Option<Arc<Thread>>>,
    /// Runs when nobody is ready; in no list.
    idle: driver_api::Once<Arc<Thread>>,
    /// The idle thread runs: whoever has work may send it here.
    idling: AtomicBool,
    /// How many are in `ready`, read without its lock.
    queued: AtomicUsize,
    /// When the thread that runs began to, in ns since boot.
    since: AtomicU64,
}

impl CpuSched {
    /// Nobody runs, nobody is ready.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            running: RunningSlot::new(),
            ready: IrqLock::new(Ready { lists: [const { List::new() }; LEVELS] }),
            previous: IrqLock::new(None),
            idle: driver_api::Once::new(),
            idling: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            since: AtomicU64::new(0),
        }
    }
}

impl Default for CpuSched {
    fn default() -> Self {
        Self::new()
    }
}

/// The thread that runs this.
///
/// # Panics
/// Before there are threads (see [`try_current`]).
#[must_use]
pub fn current() -> Running<Thread> {
    match try_current() {
        Some(thread) => thread,
        None => panic!("thread::current() before there are threads"),
    }
}

/// The thread that runs this, once there are threads.
#[must_use]
pub fn try_current() -> Option<Running<Thread>> {
    percpu::with(|cpu| cpu.sched.running.get())
}

/// The thread that runs on `cpu`, which asks. Interrupts are off.
pub(super) fn running(cpu: &PerCpu) -> Option<Running<Thread>> {
    cpu.sched.running.get()
}

/// When the thread that runs on `cpu` began to, in ns since boot.
pub(super) fn since(cpu: &PerCpu) -> u64 {
    cpu.sched.since.load(Ordering::Relaxed)
}

/// Gives a CPU its idle thread, which is what it runs first.
pub(crate) fn give_idle(cpu: &PerCpu, idle: Arc<Thread>) {
    cpu.sched.running.replace(Arc::clone(&idle));
    cpu.sched.idle.call_once(|| idle);
    cpu.sched.idling.store(true, Ordering::Relaxed);
}

fn is_idle(cpu: &PerCpu, thread: &Thread) -> bool {
    cpu.sched.idle.get().is_some_and(|idle| core::ptr::eq(&raw const **idle, thread))
}

/// Where a thread that was just woken should run, of the CPUs that it may run on: where it ran
/// last if that CPU has nothing to do (its caches may still know it), else on any that has
/// nothing to do, else where it is woken, else on any.
fn choose(here: &'static PerCpu, thread: &Thread) -> &'static PerCpu {
    let last = thread.last_cpu.load(Ordering::Relaxed) as usize;
    let mut best = (0, here);
    for cpu in percpu::all().filter(|cpu| thread.may_run_on(cpu)) {
        let rank = if cpu.sched.idling.load(Ordering::Relaxed) {
            3 + u8::from(cpu.index.load(Ordering::Relaxed) == last)
        } else {
            1 + u8::from(core::ptr::eq(cpu, here))
        };
        if rank > best.0 {
            best = (rank, cpu);
        }
    }
    best.1
}

/// Puts a thread that was just woken (or made) into a run queue, and sees to it that it
/// gets its turn.
pub(super) fn enqueue(thread: Arc<Thread>) {
    percpu::with(|here| {
        let priority = thread.priority;
        let mut thread = thread;
        let cpu = loop {
            let cpu = choose(here, &thread);
            match queue(cpu, thread) {
                Ok(()) => break cpu,
                // Bound elsewhere meanwhile, which is never to no CPU at all.
                Err(back) => thread = back,
            }
        };
        if !core::ptr::eq(cpu, here) {
            // It was idle when it was chosen, or is the thread's only one. If it has something
            // to do, it begins a time slice for that now.
            cpu.resched.store(true, Ordering::Release);
            arch::smp::notify(cpu);
            return;
        }
        let Some(running) = cpu.sched.running.get() else { return };
        if is_idle(cpu, &running) || priority < running.priority {
            cpu.resched.store(true, Ordering::Relaxed);
        } else if !time::has_slice(cpu) {
            time::set_slice(cpu, Some(running.slice()));
        }
    });
}

/// Has `thread` leave the CPUs of the set `left`, a bit each, on which it may not run any more:
/// at once, unless one of them is in the middle of a switch to it.
pub(super) fn leave(thread: &Arc<Thread>, left: u64) {
    let leaves = |cpu: &PerCpu| left >> cpu.index.load(Ordering::Relaxed) & 1 != 0;
    for cpu in percpu::all().filter(|cpu| leaves(cpu)) {
        let _irq = IrqGuard::new();
        // Nobody puts it into this queue after this, see `queue`.
        let queued = cpu.sched.ready.lock().remove(thread);
        if queued {
            cpu.sched.queued.fetch_sub(1, Ordering::Relaxed);
            enqueue(Arc::clone(thread));
            continue;
        }
        // Whoever has taken it from there has done so after clearing this, and looks again.
        cpu.resched.store(true, Ordering::Release);
        if !core::ptr::eq(cpu, arch::percpu::current()) {
            arch::smp::notify(cpu);
        }
    }
    while thread.on_cpu.load(Ordering::Acquire)
        && left >> thread.last_cpu.load(Ordering::Relaxed) & 1 != 0
    {
        yield_now();
    }
}

/// When the thread that runs on the CPU with this index began to, in ns since boot.
pub(super) fn running_since(index: u32) -> u64 {
    let cpu = percpu::all().find(|c| c.index.load(Ordering::Relaxed) as u32 == index);
    cpu.map_or(u64::MAX, |cpu| cpu.sched.since.load(Ordering::Relaxed))
}

/// Interrupts the CPU with this index, unless it is the one that asks.
pub(super) fn notify(index: u32) {
    percpu::with(|here| {
        let there = percpu::all().find(|c| c.index.load(Ordering::Relaxed) as u32 == index);
        if let Some(cpu) = there.filter(|cpu| !core::ptr::eq(*cpu, here)) {
            arch::smp::notify(cpu);
        }
    });
}

/// Puts a thread into the queue of `cpu`; gives it back if it may not run there. Asked under
/// the lock of the queue: who binds a thread looks for it in the queues afterwards.
fn queue(cpu: &PerCpu, thread: Arc<Thread>) -> Result<(), Arc<Thread>> {
    let mut ready = cpu.sched.ready.lock();
    if !thread.may_run_on(cpu) {
        return Err(thread);
    }
    if ready.push(thread) {
        cpu.sched.queued.fetch_add(1, Ordering::Release);
    }
    Ok(())
}

/// Puts a thread that can go on into the queue of `cpu`, or into that of one on which it may run.
fn requeue(cpu: &PerCpu, thread: Arc<Thread>) {
    if let Err(thread) = queue(cpu, thread) {
        enqueue(thread);
    }
}

/// Takes the next thread for `here` from the queue of `cpu`, and says whether more are left
/// there.
fn take(cpu: &PerCpu, here: &PerCpu) -> (Option<Arc<Thread>>, bool) {
    let mut ready = cpu.sched.ready.lock();
    let next = ready.take(here);
    if next.is_some() {
        cpu.sched.queued.fetch_sub(1, Ordering::Relaxed);
    }
    (next, !ready.is_empty())
}

/// Takes a thread that is ready on another CPU, which has more to do than this one.
fn steal(here: &PerCpu) -> Option<Arc<Thread>> {
    percpu::all()
        .filter(|cpu| !core::ptr::eq(*cpu, here))
        .filter(|cpu| cpu.sched.queued.load(Ordering::Acquire) > 0)
        .find_map(|cpu| take(cpu, here).0)
}

/// The slice of the thread that runs on `cpu` is over. In interrupt context.
pub fn slice_over(cpu: &PerCpu) {
    if !cpu.sched.ready.lock().is_empty() {
        cpu.resched.store(true, Ordering::Relaxed);
    }
}

/// Whether another thread should run on this CPU and may: asked by the arch with interrupts
/// off, on the way out of an interrupt that came while they were on.
#[must_use]
pub fn need_resched() -> bool {
    let cpu = arch::percpu::current();
    cpu.resched.load(Ordering::Relaxed)
        && cpu.preempt_off.load(Ordering::Relaxed) == 0
        && cpu.in_interrupt.load(Ordering::Relaxed) == 0
}

/// Lets another thread run: called by the arch when [`need_resched`], on the interrupted
/// thread's own stack, interrupts off. They are off when it returns.
pub fn preempt() {
    let _irq = IrqGuard::new();
    schedule();
}

/// Lets the other ready threads run first.
pub fn yield_now() {
    let _irq = IrqGuard::new();
    schedule();
}

/// After something was woken by a thread (not by an interrupt): a more important thread
/// runs at once.
pub(super) fn resched_if_due() {
    if interrupts_enabled() {
        let _irq = IrqGuard::new();
        if need_resched() {
            schedule();
        }
    }
}

/// Whether the running code may wait: not in an interrupt, not with preemption off, not
/// before there are threads.
#[must_use]
pub fn may_sleep() -> bool {
    percpu::with(|cpu| {
        cpu.in_interrupt.load(Ordering::Relaxed) == 0
            && cpu.preempt_off.load(Ordering::Relaxed) == 0
            && cpu.sched.running.get().is_some_and(|t| !is_idle(cpu, &t))
    })
}

/// Gives the CPU up: switches to the next thread, if there is another. Interrupts are off.
/// The running thread has either said what it waits for, or goes on in its turn.
pub(super) fn schedule() {
    let cpu = arch::percpu::current();
    let Some(prev) = cpu.sched.running.get() else { return };
    // What is seen from here on is as new as who asked for this.
    cpu.resched.swap(false, Ordering::AcqRel);
    if prev.state.leave() == Left::Runnable && !is_idle(cpu, &prev) {
        requeue(cpu, prev.arc());
    }
    let (mut next, more) = take(cpu, cpu);
    if next.is_none() {
        // Said before others' queues are looked at: whoever queues something from now on
        // sends it here, or it is found.
        cpu.sched.idling.store(true, Ordering::SeqCst);
        next = steal(cpu);
    }
    let next = next.or_else(|| cpu.sched.idle.get().cloned());
    // There is always the idle thread, from `give_idle` on.
    let Some(mut next) = next else { return };
    // Another CPU may have put it into our queue before it has left it. To wait for that here
    // could be for ever: that CPU may wait for a third to leave a thread, and that one for us
    // to leave `prev`. The idle thread, for which nobody ever waits, asks again.
    if next.on_cpu.load(Ordering::Acquire)
        && !core::ptr::eq(&raw const *next, &raw const *prev)
        && !is_idle(cpu, &prev)
        && let Some(idle) = cpu.sched.idle.get()
    {
        requeue(cpu, core::mem::replace(&mut next, Arc::clone(idle)));
        cpu.resched.store(true, Ordering::Relaxed);
    }
    cpu.sched.idling.store(is_idle(cpu, &next), Ordering::Relaxed);
    time::set_slice(cpu, more.then(|| next.slice()));
    if core::ptr::eq(&raw const *next, &raw const *prev) {
        next.state.enter();
        return;
    }
    switch_to(cpu, &prev, next);
}

/// Leaves the boot context, which is the idle thread, for the first thread, past the run queue
/// in which nobody else is.
pub(super) fn begin_first(first: Arc<Thread>) {
    let _irq = IrqGuard::new();
    let cpu = arch::percpu::current();
    let Some(idle) = cpu.sched.running.get() else { return };
    idle.state.leave();
    cpu.sched.idling.store(false, Ordering::Relaxed);
    switch_to(cpu, &idle, first);
}

/// Switches from the running thread `prev`, which has left its state, to another. Interrupts
/// are off.
fn switch_to(cpu: &PerCpu, prev: &Thread, next: Arc<Thread>) {
    // Only the idle thread can have to wait here, and the CPU that it waits for leaves its
    // thread without waiting for anybody, so this ends. Only then does the thread count as
    // running here: its old CPU must see on the way out that somebody has queued it.
    while next.on_cpu.swap(true, Ordering::Acquire) {
        arch::cpu::relax();
    }
    next.state.enter();
    next.last_cpu.store(cpu.index.load(Ordering::Relaxed) as u32, Ordering::Relaxed);
    let now = time::now_ns();
    let since = cpu.sched.since.swap(now, Ordering::Relaxed);
    prev.ran_ns.fetch_add(now.saturating_sub(since), Ordering::Relaxed);
    if let Some(user) = prev.user() {
        user.save();
    }
    if let Some(stack) = &next.stack {
        arch::context::set_kernel_stack(stack.top());
    }
    match next.user() {
        Some(user) => user.load(),
        None => arch::paging::leave_user(),
    }
    let load = next.sp.load(Ordering::Relaxed);
    let old = cpu.sched.running.replace(next);
    *cpu.sched.previous.lock() = old;
    // `prev` is borrowed from the slot's reference, which `previous` has now: it lives until
    // the next thread has finished the switch, after this one's stack pointer is saved.
    stack::switch(&prev.sp, load);
    finish_switch();
}

/// The first thing after a switch, on the new thread's stack, interrupts off: the old
/// thread may run elsewhere from now on, or be freed if it has ended.
fn finish_switch() {
    let cpu = arch::percpu::current();
    let previous = cpu.sched.previous.lock().take();
    if let Some(previous) = previous {
        previous.on_cpu.store(false, Ordering::Release);
    }
}

/// Where every new thread begins.
pub(super) extern "C" fn begin(_: usize) -> ! {
    finish_switch();
    arch::cpu::enable_interrupts();
    // The entry is freed by the end of this line, which user mode would not come back to.
    let frame = current().take_entry().and_then(|entry| entry());
    if let Some(frame) = frame {
        arch::trap::resume_user(&frame);
    }
    exit()
}

/// Ends the thread that runs.
pub fn exit() -> ! {
    {
        let thread = current();
        thread.announce_end();
        let _irq = IrqGuard::new();
        thread.state.die();
        schedule();
    }
    // The scheduler never comes back to the dead.
    panic!("an ended thread was scheduled");
}

/// What a CPU does when nobody is ready: waits for interrupts, without a tick.
pub fn idle() -> ! {
    loop {
        let irq = IrqGuard::new();
        schedule();
        let ready = arch::percpu::current().resched.load(Ordering::Relaxed);
        if !ready {
            // Enables interrupts and waits, in one step: what is woken by one that comes
            // now is not overlooked.
            arch::cpu::wait_for_interrupt();
        }
        drop(irq);
    }
}

/// Ends the part of a wait in which the thread must not be preempted (see `wait::block`), and
/// gives the CPU up.
pub(super) fn schedule_after(guard: PreemptGuard) {
    let _irq = IrqGuard::new();
    #[cfg(debug_assertions)]
    crate::lockcheck::about_to_wait();
    // Without the look at `resched` that dropping the guard would take.
    core::mem::forget(guard);
    percpu::with(|cpu| cpu.preempt_off.fetch_sub(1, Ordering::Relaxed));
    schedule();
}

/// No preemption on this CPU until it is dropped. Nests; interrupts still come.
pub struct PreemptGuard(core::marker::PhantomData<*mut ()>);

impl PreemptGuard {
    /// Keeps the running thread on its CPU.
    #[must_use]
    pub fn new() -> Self {
        percpu::with(|cpu| cpu.preempt_off.fetch_add(1, Ordering::Relaxed));
        Self(core::marker::PhantomData)
    }
}

impl Default for PreemptGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptGuard {
    fn drop(&mut self) {
        let left = percpu::with(|cpu| cpu.preempt_off.fetch_sub(1, Ordering::Relaxed) - 1);
        if left == 0 {
            resched_if_due();
        }
    }
}
