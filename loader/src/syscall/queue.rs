//! Signals each of which is delivered, with what came with it: real-time ones, and those of
//! `rt_sigqueueinfo` and its like.
//!
//! That one is pending is a bit, as of any signal (`crate::process::UserThread`); what came
//! with it is kept here, in the order in which it was sent. A kernel has this code if it has calls
//! by which signals are sent (`crate::arch::calls::signal_queue`).

use super::signals::{thread, valid};
use super::{Errno, Outcome, process, syscall};
use crate::arch::signal::INFO_LEN;
use crate::process::{
    PID, UserThread, action, forget_pending, is_pending, send_to_process, sent_info,
};
use crate::signal::number;
use crate::sync::Mutex;
use crate::user;
use alloc::vec::Vec;
use driver_api::Error;

/// Most that wait at once: `RLIMIT_SIGPENDING`.
pub(super) const MAX: usize = 1024;
/// Bytes of a `siginfo` that are the sender's: number, errno, code, `si_pid`, `si_uid`, `si_value`.
const SENT: usize = 32;

/// Who a signal is for: the thread, 0 for the process; and its number.
type Target = (u32, u8);

struct Queued {
    to: Target,
    info: [u8; SENT],
}

static QUEUE: Mutex<Vec<Queued>> = Mutex::new(Vec::new());

/// What is asked of the queue.
pub enum Request<'a> {
    /// Send a signal. Where there is no room for one more, those to the process merge, and those
    /// to a thread fail.
    Send(Target),
    /// Take what came with the signal that the thread has taken, if that is not what is there
    /// already; whether it was the process's.
    Take(&'a UserThread, u8, bool, &'a mut [u8; INFO_LEN]),
    /// Keep this for a signal that is pending without: whoever sent it is gone.
    Keep(Target, &'a [u8; INFO_LEN]),
    /// What is to be done with the signal may have changed: if it is ignored from now on, what is
    /// pending of it is dropped.
    Changed(u8),
}

/// What those know who keep timers.
pub(super) struct TimerSignals {
    /// The `siginfo` of a signal that the thread has taken, when a timer has sent it; told whether
    /// it was sent to the process. Sends it again when another timer has sent it too.
    pub info: fn(&UserThread, u8, bool) -> Option<[u8; INFO_LEN]>,
    /// A signal that the thread has taken was somebody else's: one of a timer is still to come.
    pub again: fn(&UserThread, u8, bool),
    /// The signal is ignored from now on.
    pub forget: fn(u8),
}

/// Set with the first timer: a kernel without them holds nothing of them.
static TIMERS: driver_api::Once<&'static TimerSignals> = driver_api::Once::new();

/// From now on there are timers that send signals.
pub(super) fn set_timers(timers: &'static TimerSignals) {
    TIMERS.call_once(|| timers);
}

/// Does what is asked. Taking gives 1, or 0 when somebody else was quicker to take what had been
/// sent.
pub(super) fn carry_out(request: &mut Request<'_>) -> Outcome {
    match request {
        Request::Send(to) => {
            let shared = to.0 == 0;
            send_with(*to, head(&sent_info(to.1, shared)), shared)
        }
        Request::Take(thread, signal, shared, info) => {
            let (signal, shared) = (*signal, *shared);
            let real_time = signal >= number::RT;
            let timers = TIMERS.get();
            if let Some(from) = take(thread, signal, shared) {
                **info = [0; INFO_LEN];
                if let Some(to) = info.first_chunk_mut() {
                    *to = from;
                }
                if let Some(timers) = timers.filter(|_| real_time) {
                    (timers.again)(thread, signal, shared);
                }
                return Ok(1);
            }
            if let Some(from) = timers.and_then(|timers| (timers.info)(thread, signal, shared)) {
                **info = from;
                return Ok(1);
            }
            // All real-time ones come with something.
            Ok(usize::from(!real_time))
        }
        Request::Keep(to, info) => {
            let mut queue = QUEUE.lock();
            let single = to.1 < number::RT && queue.iter().any(|q| q.to == *to);
            if !single && is_pending(to.0, to.1) && queue.try_reserve(1).is_ok() {
                queue.push(Queued { to: *to, info: head(info) });
            }
            Ok(0)
        }
        Request::Changed(signal) => {
            let process = process()?;
            if !action(process, *signal).ignores(*signal) {
                return Ok(0);
            }
            let mut queue = QUEUE.lock();
            forget_pending(process, *signal);
            queue.retain(|q| q.to.1 != *signal);
            drop(queue);
            if let Some(timers) = TIMERS.get() {
                (timers.forget)(*signal);
            }
            Ok(0)
        }
    }
}

fn head(info: &[u8; INFO_LEN]) -> [u8; SENT] {
    info.first_chunk().copied().unwrap_or([0; SENT])
}

/// Sends the signal, with what came with it in the queue; whether it is pending.
fn post((tid, signal): Target) -> Result<bool, Errno> {
    Ok(if tid == 0 {
        send_to_process(process()?, signal)
    } else {
        thread(tid.cast_signed())?.send(signal)
    })
}

/// Takes what came with the signal, and has it delivered once more where there is more.
fn take(thread: &UserThread, signal: u8, shared: bool) -> Option<[u8; SENT]> {
    let to = (if shared { 0 } else { thread.tid }, signal);
    let mut queue = QUEUE.lock();
    let mut taken = None;
    while let Some(at) = queue.iter().position(|q| q.to == to) {
        // The next one is for later, unless it is ignored from now on: then it is dropped.
        if taken.is_some() && post(to) == Ok(true) {
            break;
        }
        let dropped = queue.remove(at).info;
        taken.get_or_insert(dropped);
    }
    taken
}

/// Sends a signal with this information, unless it may be pending once and is.
fn send_with(to: Target, info: [u8; SENT], merges: bool) -> Outcome {
    let mut queue = QUEUE.lock();
    let single = to.1 < number::RT;
    if single && is_pending(to.0, to.1) {
        return Ok(0);
    }
    if queue.len() >= MAX {
        // What was for threads that have ended.
        queue.retain(|q| q.to.0 == 0 || thread(q.to.0.cast_signed()).is_ok());
    }
    let reserved = queue.try_reserve(1).is_ok();
    if queue.len() >= MAX || !reserved {
        // As in Linux, such a one is sent, and what came with it is lost.
        if single {
            post(to)?;
            return Ok(0);
        }
        if !merges || !reserved {
            return Err(Errno::EAGAIN);
        }
        if queue.iter().any(|q| q.to == to) {
            return Ok(0);
        }
    }
    // One that is ignored has nobody who takes it. Whoever does waits for the queue's lock.
    if post(to)? {
        queue.push(Queued { to, info });
    }
    Ok(0)
}

/// Sends a signal with the `siginfo` at `info` to the thread `tid`, to the process for 0.
fn send(pid: i32, tid: u32, signal: u32, info: usize) -> Outcome {
    let mut info: [u8; SENT] = user::read_array(info)?;
    if pid.cast_unsigned() != PID {
        return Err(Errno::ESRCH);
    }
    if tid != 0 {
        thread(tid.cast_signed())?;
    }
    if signal == 0 {
        return Ok(0);
    }
    let signal = valid(signal)?;
    if let Some(head) = info.first_chunk_mut() {
        *head = u32::from(signal).to_le_bytes();
    }
    send_with((tid, signal), info, false)
}

syscall! {
    /// `rt_sigqueueinfo(2)`.
    fn rt_sigqueueinfo(pid: i32, signal: u32, info: usize) {
        send(pid, 0, signal, info)
    }

    /// `rt_tgsigqueueinfo(2)`.
    fn rt_tgsigqueueinfo(pid: i32, tid: i32, signal: u32, info: usize) {
        if pid <= 0 || tid <= 0 {
            return Err(Error::Invalid.into());
        }
        send(pid, tid.cast_unsigned(), signal, info)
    }
}
