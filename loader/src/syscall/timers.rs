//! Timers that expire by themselves: descriptors to read from, signals.

use super::cpu_clock::{self, CpuClock};
use super::events::open_stream;
use super::queue::{TimerSignals, set_timers};
use super::time::{clock, read_timespec, to_monotonic};
use super::{Errno, Outcome, QueueRequest, process, syscall};
use crate::arch::calls;
use crate::arch::signal::INFO_LEN;
use crate::fs::file::{OpenFile, Stream, flags};
use crate::fs::poll::{self, Events};
use crate::process::{UserThread, send_to_process};
use crate::signal::number;
use crate::sync::{Mutex, Wait, WaitQueue, Woken};
use crate::time::{self, TimerCallback, TimerId, TimerRoom};
use crate::user;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use driver_api::sync::IrqLock;
use driver_api::{Error, Result};

/// Nanoseconds in a second.
const NS: u64 = 1_000_000_000;
/// A timer interrupts no more often than this, in ns; what expires meanwhile is counted.
const SHORTEST: u64 = 500_000;
/// Most timers of `timer_create`.
const MAX_TIMERS: usize = 64;
/// `TIMER_ABSTIME`, `TFD_TIMER_ABSTIME`.
const ABSOLUTE: u32 = 1;

/// What a timer goes by.
pub(super) enum Clock {
    /// A clock that always goes, with this number.
    Real(u32),
    /// CPU time.
    Cpu(CpuClock),
}

impl Clock {
    /// Now, in ns; a clock whose thread has ended stands.
    fn now(&self) -> u64 {
        match self {
            Self::Real(_) => time::now_ns(),
            Self::Cpu(clock) => clock.now().unwrap_or(0),
        }
    }
}

/// What happens when a timer expires.
pub(super) enum Action {
    /// Readers go on.
    Wake,
    /// Nothing.
    Nothing,
    /// The process gets a signal, with this value.
    Process(u8, u64),
    /// A thread gets it.
    Thread(u8, u64, Weak<UserThread>),
}

#[derive(Default)]
struct State {
    /// When it expires next, in ns since boot or of CPU time; 0: never.
    next: u64,
    /// From then on every so many ns; 0: no more.
    interval: u64,
    /// How often it has expired without being asked.
    expired: u64,
    /// How often beyond the first when its signal was last delivered.
    overrun: u32,
    set: Option<TimerId>,
    /// What a clock of CPU time said at the last look.
    looked: u64,
}

/// A timer.
pub(super) struct Timer {
    pub(super) clock: Clock,
    action: Action,
    state: IrqLock<State>,
    readers: WaitQueue,
    _room: Option<TimerRoom>,
}

/// Time left and interval, in ns.
type Setting = (u64, u64);

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// `NoMemory`.
    pub(super) fn new(clock: Clock, action: Action) -> Result<Arc<Self>> {
        let real = matches!(clock, Clock::Real(_));
        let room = real.then(|| TimerRoom::new().ok_or(Error::NoMemory)).transpose()?;
        let (state, readers) = (IrqLock::new(State::default()), WaitQueue::new());
        let timer = Arc::new(Self { clock, action, state, readers, _room: room });
        if !real {
            cpu_clock::watch(&timer)?;
        }
        Ok(timer)
    }

    fn left(state: &State, now: u64) -> Setting {
        let left = state.next.saturating_sub(now);
        // What is due any moment still counts as set.
        (if state.next == 0 { 0 } else { left.max(1) }, state.interval)
    }

    fn setting(&self) -> Setting {
        let now = self.clock.now();
        Self::left(&self.state.lock(), now)
    }

    /// Sets it (a `value` of 0 stops it); the setting before.
    pub(super) fn set(self: &Arc<Self>, (value, interval): Setting, absolute: bool) -> Setting {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let old = Self::left(&state, now);
        if let Some(id) = state.set.take() {
            time::cancel(id);
        }
        state.expired = 0;
        state.interval = interval;
        state.next = match (value, &self.clock) {
            (0, _) => 0,
            (at, Clock::Real(id)) if absolute => to_monotonic(*id, at).max(1),
            (at, Clock::Cpu(_)) if absolute => at,
            (after, _) => now.saturating_add(after),
        };
        match self.clock {
            Clock::Real(_) if state.next != 0 => {
                state.set = Some(time::call_at(state.next, self.clone()));
            }
            Clock::Real(_) => {}
            Clock::Cpu(_) => {
                drop(state);
                cpu_clock::poke();
            }
        }
        old
    }

    /// It does not expire any more.
    fn stop(&self) {
        let mut state = self.state.lock();
        if let Some(id) = state.set.take() {
            time::cancel(id);
        }
        state.next = 0;
    }

    /// Waits until it has expired.
    pub(super) fn wait(&self, how: Wait) -> Woken {
        self.readers.wait_while(&self.state, how, |state| state.expired == 0).1
    }

    /// When it expires next by its clock of CPU time, which says `now`, and whether that clock
    /// has gone since this was asked last; `None` when it is not set.
    pub(super) fn look(&self, now: u64) -> Option<(u64, bool)> {
        let mut state = self.state.lock();
        let goes = core::mem::replace(&mut state.looked, now) != now;
        (state.next != 0).then_some((state.next, goes))
    }

    /// Whether it has expired with a signal of this number, to the process (`shared`) or to `thread`.
    fn has_sent(&self, thread: &UserThread, number: u8, shared: bool) -> bool {
        let sent = match &self.action {
            Action::Process(signal, _) => shared && *signal == number,
            Action::Thread(signal, _, to) => {
                !shared && *signal == number && core::ptr::eq(to.as_ptr(), thread)
            }
            Action::Wake | Action::Nothing => false,
        };
        sent && self.state.lock().expired > 0
    }

    /// Its signal, and the thread that gets it, 0 for the process; `None` if it sends none, or
    /// that thread has ended.
    fn signal(&self) -> Option<(u32, u8)> {
        match &self.action {
            Action::Process(signal, _) => Some((0, *signal)),
            Action::Thread(signal, _, to) => Some((to.upgrade()?.tid, *signal)),
            Action::Wake | Action::Nothing => None,
        }
    }

    /// The `siginfo` of its signal, which is delivered now: `SI_TIMER`, its number, how often it
    /// has expired meanwhile, its value.
    fn take_info(&self, id: usize) -> [u8; INFO_LEN] {
        let (signal, value) = match self.action {
            Action::Process(signal, value) | Action::Thread(signal, value, _) => (signal, value),
            Action::Wake | Action::Nothing => (0, 0),
        };
        let mut state = self.state.lock();
        let times = core::mem::take(&mut state.expired);
        state.overrun = times.saturating_sub(1).min(i32::MAX as u64) as u32;
        let mut raw = [0; INFO_LEN];
        raw[0] = signal;
        raw[8..12].copy_from_slice(&(-2_i32).to_le_bytes());
        raw[16..20].copy_from_slice(&(id as u32).to_le_bytes());
        raw[20..24].copy_from_slice(&state.overrun.to_le_bytes());
        raw[24..32].copy_from_slice(&value.to_le_bytes());
        raw
    }

    /// Sends its signal.
    fn send(&self) {
        match &self.action {
            Action::Process(signal, _) => {
                if let Some(process) = crate::process::get() {
                    send_to_process(process, *signal);
                }
            }
            Action::Thread(signal, _, thread) => {
                if let Some(thread) = thread.upgrade() {
                    thread.send(*signal);
                }
            }
            Action::Wake | Action::Nothing => {}
        }
    }
}

impl TimerCallback for Timer {
    fn expired(self: Arc<Self>, now: u64) {
        self.expire(now);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if matches!(self.clock, Clock::Cpu(_)) {
            cpu_clock::poke();
        }
    }
}

impl Timer {
    /// Expires, if it is due at `now` of its clock. From any context.
    pub(super) fn expire(self: &Arc<Self>, now: u64) {
        {
            let mut state = self.state.lock();
            // It may have been set anew while this was on its way.
            if state.next == 0 || now < state.next {
                return;
            }
            let times = (now - state.next).checked_div(state.interval).map_or(1, |n| n + 1);
            state.expired = state.expired.saturating_add(times);
            state.set = None;
            state.next = match state.interval {
                0 => 0,
                interval => state.next.saturating_add(times.saturating_mul(interval)),
            };
            if state.next != 0 && matches!(self.clock, Clock::Real(_)) {
                let next = state.next.max(now.saturating_add(SHORTEST));
                state.set = Some(time::call_at(next, self.clone()));
            }
        }
        if matches!(self.action, Action::Wake) {
            self.readers.wake_all();
            poll::changed();
        }
        self.send();
    }
}

/// The timer behind a descriptor.
struct TimerFile(Arc<Timer>);

impl TimerFile {
    fn of(file: &OpenFile) -> Option<&Self> {
        let stream: &dyn Any = &**file.stream.as_ref()?;
        stream.downcast_ref()
    }
}

impl Stream for TimerFile {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize> {
        let Some(to) = buf.first_chunk_mut::<8>() else { return Err(Error::Invalid) };
        let (mut state, woken) =
            self.0.readers.wait_while(&self.0.state, Wait::INTERRUPTIBLE, |state| {
                state.expired == 0 && !nonblock
            });
        if woken != Woken::Woken {
            return Err(Error::Restart);
        }
        if state.expired == 0 {
            return Err(Error::WouldBlock);
        }
        *to = core::mem::take(&mut state.expired).to_le_bytes();
        Ok(8)
    }

    fn poll(&self) -> Events {
        if self.0.state.lock().expired > 0 { Events::READ } else { Events::default() }
    }

    fn closed(&self, _read: bool, _write: bool) {
        self.0.set((0, 0), false);
    }
}

/// The timers of `timer_create`, by number.
static TIMERS: Mutex<Vec<Option<Arc<Timer>>>> = Mutex::new(Vec::new());
/// The timers of `setitimer` and `alarm`: `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`.
static INTERVALS: [Mutex<Option<Arc<Timer>>>; 3] = [const { Mutex::new(None) }; 3];

fn timer(id: i32) -> core::result::Result<Arc<Timer>, Errno> {
    let timers = TIMERS.lock();
    let found = usize::try_from(id).ok().and_then(|id| timers.get(id)?.clone());
    found.ok_or(Errno::EINVAL)
}

/// What delivers signals asks.
static SIGNALS: TimerSignals = TimerSignals { info, again, forget };

/// The `siginfo` of a signal that a timer has sent; sends that of another timer again, for one
/// signal is pending however many timers have sent it.
fn info(thread: &UserThread, signal: u8, shared: bool) -> Option<[u8; INFO_LEN]> {
    let timers = TIMERS.lock();
    let mut expired = timers.iter().enumerate().filter_map(|(id, timer)| {
        let timer = timer.as_ref()?;
        timer.has_sent(thread, signal, shared).then_some((id, timer))
    });
    let (id, timer) = expired.next()?;
    if let Some((_, other)) = expired.next() {
        other.send();
    }
    Some(timer.take_info(id))
}

/// The signal that was taken was none of a timer's: theirs is still to come.
fn again(thread: &UserThread, signal: u8, shared: bool) {
    let timers = TIMERS.lock();
    let mut all = timers.iter().flatten();
    if let Some(timer) = all.find(|timer| timer.has_sent(thread, signal, shared)) {
        timer.send();
    }
}

/// The signal is ignored from now on.
fn forget(signal: u8) {
    for timer in TIMERS.lock().iter().flatten() {
        if timer.signal().is_some_and(|(_, number)| number == signal) {
            timer.state.lock().expired = 0;
        }
    }
}

/// A clock that always goes: `REALTIME`, `MONOTONIC`, `BOOTTIME`.
fn real_clock(id: u32) -> core::result::Result<Clock, Errno> {
    let known = matches!(id, clock::REALTIME | clock::MONOTONIC | 7);
    known.then_some(Clock::Real(id)).ok_or(Errno::EINVAL)
}

/// A `struct itimerspec`: the interval, then the value.
fn read_setting(at: usize) -> Result<Setting> {
    let interval = read_timespec(at)?;
    Ok((read_timespec(at.checked_add(16).ok_or(Error::Fault)?)?, interval))
}

/// Seconds and a part of a second, twice, as `itimerspec` and `itimerval` have them;
/// `unit` is the part's length in ns.
fn write_setting(to: usize, (value, interval): Setting, unit: u64) -> Result<()> {
    let mut raw = [0; 32];
    // What is less than a unit is not nothing.
    let value = if value == 0 { 0 } else { value.max(unit) };
    let words = [interval / NS, interval % NS / unit, value / NS, value % NS / unit];
    for (to, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    user::write(to, &raw)
}

/// Sets an interval timer, that of `SIGALRM`, `SIGVTALRM` or `SIGPROF`; the setting before.
fn set_interval(which: u32, setting: Setting) -> core::result::Result<Setting, Errno> {
    let mut slot = INTERVALS.get(which as usize).ok_or(Errno::EINVAL)?.lock();
    if let Some(timer) = &*slot {
        return Ok(timer.set(setting, false));
    }
    // One that was never set needs no timer to be stopped.
    if setting.0 == 0 {
        return Ok((0, 0));
    }
    let (clock, signal) = match which {
        0 => (Clock::Real(clock::MONOTONIC), number::ALRM),
        1 => (Clock::Cpu(CpuClock::process(true)), number::VTALRM),
        _ => (Clock::Cpu(CpuClock::process(false)), number::PROF),
    };
    let timer = slot.insert(Timer::new(clock, Action::Process(signal, 0))?);
    Ok(timer.set(setting, false))
}

/// Opens the timer file `fd`.
fn timer_file(fd: i32) -> Result<Arc<OpenFile>> {
    process().and_then(|p| p.file(fd))
}

/// Makes a timer as a `struct sigevent` at `event` says, or one that sends `SIGALRM`.
fn create(id: u32, event: usize, to: usize) -> Outcome {
    let clock = match CpuClock::numbered(id)? {
        Some(clock) => Clock::Cpu(clock),
        None => real_clock(id)?,
    };
    let mut timers = TIMERS.lock();
    let slot = timers.iter().position(Option::is_none).unwrap_or(timers.len());
    if slot >= MAX_TIMERS {
        return Err(Errno::EAGAIN);
    }
    let action = if event == 0 {
        Action::Process(number::ALRM, slot as u64)
    } else {
        // sigev_value, sigev_signo, sigev_notify, sigev_notify_thread_id
        let raw: [u8; 24] = user::read_array(event)?;
        let (value, rest) = raw.split_at(8);
        let value = value.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let word = |i: usize| rest.as_chunks().0.get(i).map_or(0, |b| u32::from_le_bytes(*b));
        let signal = || super::signals::valid(word(0));
        match word(1) {
            0 => Action::Process(signal()?, value),
            1 => Action::Nothing,
            4 => {
                let thread = super::signals::thread(word(2).cast_signed());
                Action::Thread(
                    signal()?,
                    value,
                    Arc::downgrade(&thread.map_err(|_| Errno::EINVAL)?),
                )
            }
            _ => return Err(Errno::EINVAL),
        }
    };
    let timer = Timer::new(clock, action)?;
    user::write_u32(to, slot as u32)?;
    set_timers(&SIGNALS);
    if slot == timers.len() {
        timers.try_reserve(1).map_err(|_| Error::NoMemory)?;
        timers.push(None);
    }
    if let Some(place) = timers.get_mut(slot) {
        *place = Some(timer);
    }
    Ok(0)
}

syscall! {
    /// `timerfd_create(2)`.
    fn timerfd_create(id: u32, how: u32) {
        let clock = real_clock(id)?;
        if how & !(flags::CLOEXEC | flags::NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        open_stream(Arc::new(TimerFile(Timer::new(clock, Action::Wake)?)), how)
    }

    /// `timerfd_settime(2)`, without `TFD_TIMER_CANCEL_ON_SET`.
    fn timerfd_settime(fd: i32, how: u32, new: usize, old: usize) {
        if how & !ABSOLUTE != 0 {
            return Err(Errno::EINVAL);
        }
        let setting = read_setting(new)?;
        let file = timer_file(fd)?;
        let before = TimerFile::of(&file).ok_or(Error::Invalid)?.0.set(setting, how & ABSOLUTE != 0);
        if old != 0 {
            write_setting(old, before, 1)?;
        }
        Ok(0)
    }

    /// `timerfd_gettime(2)`.
    fn timerfd_gettime(fd: i32, to: usize) {
        let file = timer_file(fd)?;
        write_setting(to, TimerFile::of(&file).ok_or(Error::Invalid)?.0.setting(), 1)?;
        Ok(0)
    }

    /// `timer_create(2)`.
    fn timer_create(id: u32, event: usize, to: usize) {
        create(id, event, to)
    }

    /// `timer_settime(2)`.
    fn timer_settime(id: i32, how: u32, new: usize, old: usize) {
        let setting = read_setting(new)?;
        let before = timer(id)?.set(setting, how & ABSOLUTE != 0);
        if old != 0 {
            write_setting(old, before, 1)?;
        }
        Ok(0)
    }

    /// `timer_gettime(2)`.
    fn timer_gettime(id: i32, to: usize) {
        write_setting(to, timer(id)?.setting(), 1)?;
        Ok(0)
    }

    /// `timer_getoverrun(2)`.
    fn timer_getoverrun(id: i32) {
        let overrun = timer(id)?.state.lock().overrun;
        Ok(overrun as usize)
    }

    /// `timer_delete(2)`.
    fn timer_delete(id: i32) {
        let at = usize::try_from(id).map_err(|_| Errno::EINVAL)?;
        let timer = TIMERS.lock().get_mut(at).and_then(Option::take).ok_or(Errno::EINVAL)?;
        timer.stop();
        // As in Linux, a signal that is pending stays so, and says who has sent it.
        if let (Some(to), Some(queue)) = (timer.signal(), calls::signal_queue())
            && timer.state.lock().expired > 0
        {
            queue(&mut QueueRequest::Keep(to, &timer.take_info(at)));
        }
        Ok(0)
    }

    /// `setitimer(2)`.
    fn setitimer(which: u32, new: usize, old: usize) {
        if which as usize >= INTERVALS.len() {
            return Err(Errno::EINVAL);
        }
        let setting = if new == 0 { (0, 0) } else {
            let raw: [u8; 32] = user::read_array(new)?;
            let word = |i: usize| raw.as_chunks().0.get(i).map_or(0, |w| u64::from_le_bytes(*w));
            let time = |i: usize| {
                let (secs, micros) = (word(i), word(i + 1));
                let valid = secs <= i64::MAX as u64 && micros < 1_000_000;
                let ns = secs.saturating_mul(NS).saturating_add(micros * 1000 % NS);
                valid.then_some(ns).ok_or(Errno::EINVAL)
            };
            (time(2)?, time(0)?)
        };
        let before = set_interval(which, setting)?;
        if old != 0 {
            write_setting(old, before, 1000)?;
        }
        Ok(0)
    }

    /// `getitimer(2)`.
    fn getitimer(which: u32, to: usize) {
        let slot = INTERVALS.get(which as usize).ok_or(Errno::EINVAL)?.lock();
        let setting = slot.as_ref().map_or((0, 0), |timer| timer.setting());
        write_setting(to, setting, 1000)?;
        Ok(0)
    }

    /// `alarm(2)`.
    fn alarm(seconds: u32) {
        let (left, _) = set_interval(0, (u64::from(seconds) * NS, 0))?;
        Ok(left.div_ceil(NS) as usize)
    }
}
