//! Timers that expire by themselves: descriptors to read from, signals.

use super::events::open_stream;
use super::time::{clock, read_timespec, to_monotonic};
use super::{Errno, Outcome, process, syscall};
use crate::arch::signal::INFO_LEN;
use crate::fs::file::{OpenFile, Stream, flags};
use crate::fs::poll::{self, Events};
use crate::process::{UserThread, send_to_process, set_signal_info};
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

/// What happens when a timer expires.
enum Action {
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
    /// When it expires next, in ns since boot; 0: never.
    next: u64,
    /// From then on every so many ns; 0: no more.
    interval: u64,
    /// How often it has expired without being asked.
    expired: u64,
    set: Option<TimerId>,
}

/// A timer.
struct Timer {
    clock: u32,
    action: Action,
    state: IrqLock<State>,
    readers: WaitQueue,
    _room: TimerRoom,
}

/// Time left and interval, in ns.
type Setting = (u64, u64);

impl Timer {
    fn new(clock: u32, action: Action) -> Result<Arc<Self>> {
        let room = TimerRoom::new().ok_or(Error::NoMemory)?;
        let (state, readers) = (IrqLock::new(State::default()), WaitQueue::new());
        Ok(Arc::new(Self { clock, action, state, readers, _room: room }))
    }

    fn left(state: &State) -> Setting {
        let left = state.next.saturating_sub(time::now_ns());
        // What is due any moment still counts as set.
        (if state.next == 0 { 0 } else { left.max(1) }, state.interval)
    }

    fn setting(&self) -> Setting {
        Self::left(&self.state.lock())
    }

    /// Sets it (a `value` of 0 stops it); the setting before.
    fn set(self: &Arc<Self>, (value, interval): Setting, absolute: bool) -> Setting {
        let now = time::now_ns();
        let mut state = self.state.lock();
        let old = Self::left(&state);
        if let Some(id) = state.set.take() {
            time::cancel(id);
        }
        state.expired = 0;
        state.interval = interval;
        state.next = match value {
            0 => 0,
            at if absolute => to_monotonic(self.clock, at).max(1),
            after => now.saturating_add(after),
        };
        if state.next != 0 {
            state.set = Some(time::call_at(state.next, self.clone()));
        }
        old
    }

    /// How often it has expired since it was asked last.
    fn take(&self) -> u64 {
        core::mem::take(&mut self.state.lock().expired)
    }

    fn signal(&self) -> Option<(u8, u64)> {
        match self.action {
            Action::Process(signal, value) | Action::Thread(signal, value, _) => {
                Some((signal, value))
            }
            Action::Wake | Action::Nothing => None,
        }
    }
}

impl TimerCallback for Timer {
    fn expired(self: Arc<Self>, now: u64) {
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
            if state.next != 0 {
                let next = state.next.max(now.saturating_add(SHORTEST));
                state.set = Some(time::call_at(next, self.clone()));
            }
        }
        match &self.action {
            Action::Nothing => {}
            Action::Wake => {
                self.readers.wake_all();
                poll::changed();
            }
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
        }
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
/// The timer of `setitimer` and `alarm`.
static REAL: Mutex<Option<Arc<Timer>>> = Mutex::new(None);

fn timer(id: i32) -> core::result::Result<Arc<Timer>, Errno> {
    let timers = TIMERS.lock();
    let found = usize::try_from(id).ok().and_then(|id| timers.get(id)?.clone());
    found.ok_or(Errno::EINVAL)
}

/// The `siginfo` of a signal that a timer has sent: `SI_TIMER`, its number, how often it has
/// expired meanwhile, its value.
fn info(signal: u8) -> Option<[u8; INFO_LEN]> {
    let timers = TIMERS.lock();
    let (id, value, times) = timers.iter().enumerate().find_map(|(id, timer)| {
        let timer = timer.as_ref()?;
        let (own, value) = timer.signal()?;
        let times = if own == signal { timer.take() } else { 0 };
        (times > 0).then_some((id, value, times))
    })?;
    let mut raw = [0; INFO_LEN];
    let overrun = u32::try_from(times - 1).unwrap_or(i32::MAX as u32).min(i32::MAX as u32);
    raw[0] = signal;
    raw[8..12].copy_from_slice(&(-2_i32).to_le_bytes());
    raw[16..20].copy_from_slice(&(id as u32).to_le_bytes());
    raw[20..24].copy_from_slice(&overrun.to_le_bytes());
    raw[24..32].copy_from_slice(&value.to_le_bytes());
    Some(raw)
}

fn check_clock(id: u32) -> core::result::Result<(), Errno> {
    // REALTIME, MONOTONIC, BOOTTIME.
    if matches!(id, clock::REALTIME | clock::MONOTONIC | 7) { Ok(()) } else { Err(Errno::EINVAL) }
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

/// Sets the timer that sends `SIGALRM`; the setting before.
fn set_real(setting: Setting) -> Result<Setting> {
    let mut real = REAL.lock();
    let timer = match &*real {
        Some(timer) => timer.clone(),
        None => {
            let timer = Timer::new(clock::MONOTONIC, Action::Process(number::ALRM, 0))?;
            real.insert(timer).clone()
        }
    };
    Ok(timer.set(setting, false))
}

/// Opens the timer file `fd`.
fn timer_file(fd: i32) -> Result<Arc<OpenFile>> {
    process().and_then(|p| p.file(fd))
}

/// Makes a timer as a `struct sigevent` at `event` says, or one that sends `SIGALRM`.
fn create(id: u32, event: usize, to: usize) -> Outcome {
    check_clock(id)?;
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
    let timer = Timer::new(id, action)?;
    user::write_u32(to, slot as u32)?;
    set_signal_info(info);
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
        check_clock(id)?;
        if how & !(flags::CLOEXEC | flags::NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        open_stream(Arc::new(TimerFile(Timer::new(id, Action::Wake)?)), how)
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

    /// `timer_create(2)`, without clocks of CPU time.
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

    /// `timer_getoverrun(2)`: of what was not delivered yet.
    fn timer_getoverrun(id: i32) {
        let expired = timer(id)?.state.lock().expired;
        Ok(expired.saturating_sub(1).min(i32::MAX as u64) as usize)
    }

    /// `timer_delete(2)`.
    fn timer_delete(id: i32) {
        let timer = timer(id)?;
        timer.set((0, 0), false);
        let gone = usize::try_from(id).ok().and_then(|id| TIMERS.lock().get_mut(id)?.take());
        drop(gone);
        Ok(0)
    }

    /// `setitimer(2)`: `ITIMER_REAL`.
    fn setitimer(which: u32, new: usize, old: usize) {
        if which != 0 {
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
        let before = set_real(setting)?;
        if old != 0 {
            write_setting(old, before, 1000)?;
        }
        Ok(0)
    }

    /// `getitimer(2)`: `ITIMER_REAL`.
    fn getitimer(which: u32, to: usize) {
        if which != 0 {
            return Err(Errno::EINVAL);
        }
        let setting = REAL.lock().as_ref().map_or((0, 0), |timer| timer.setting());
        write_setting(to, setting, 1000)?;
        Ok(0)
    }

    /// `alarm(2)`.
    fn alarm(seconds: u32) {
        let (left, _) = set_real((u64::from(seconds) * NS, 0))?;
        Ok(left.div_ceil(NS) as usize)
    }
}
