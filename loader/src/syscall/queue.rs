//! Signals that come with a value, each of which is delivered: `rt_sigqueueinfo` and its like.
//!
//! That one is pending is a bit, as of any signal (`crate::process::UserThread`); what came
//! with it is kept here, in the order in which it was sent.

use super::signals::{known_info, thread, valid};
use super::{Errno, Outcome, process, syscall};
use crate::arch::signal::INFO_LEN;
use crate::process::{PID, UserThread, send_to_process, set_signal_info};
use crate::sync::Mutex;
use crate::user;
use alloc::vec::Vec;
use driver_api::Error;

/// Most that wait at once.
const MAX: usize = 1024;
/// The first real-time signal: of those before, one is pending at most.
const FIRST: u8 = 32;
/// Bytes of a `siginfo` that are the sender's: number, errno, code, `si_pid`, `si_uid`, `si_value`.
const SENT: usize = 32;

struct Queued {
    /// The thread, 0 for the process; and the signal.
    to: (u32, u8),
    info: [u8; SENT],
}

static QUEUE: Mutex<Vec<Queued>> = Mutex::new(Vec::new());

/// Sends the signal, with what came with it in the queue; whether it is pending.
fn post(tid: u32, signal: u8) -> Result<bool, Errno> {
    Ok(if tid == 0 {
        send_to_process(process()?, signal)
    } else {
        thread(tid.cast_signed())?.send(signal)
    })
}

/// Takes what came with the signal, and has it delivered once more where there is more.
pub(super) fn take(thread: &UserThread, signal: u8, shared: bool) -> Option<[u8; INFO_LEN]> {
    let to = (if shared { 0 } else { thread.tid }, signal);
    let mut queue = QUEUE.lock();
    let mut taken = None;
    while let Some(at) = queue.iter().position(|q| q.to == to) {
        // The next one is for later, unless it is ignored from now on: then it is dropped.
        if taken.is_some() && post(to.0, signal) == Ok(true) {
            break;
        }
        let dropped = queue.remove(at).info;
        taken.get_or_insert(dropped);
    }
    let mut info = [0; INFO_LEN];
    *info.first_chunk_mut()? = taken?;
    Some(info)
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
    let to = (tid, signal);
    set_signal_info(known_info);
    let mut queue = QUEUE.lock();
    if signal < FIRST && queue.iter().any(|q| q.to == to) {
        return Ok(0);
    }
    if queue.len() >= MAX {
        // What was for threads that have ended.
        queue.retain(|q| q.to.0 == 0 || thread(q.to.0.cast_signed()).is_ok());
    }
    if queue.len() >= MAX || queue.try_reserve(1).is_err() {
        return Err(Errno::EAGAIN);
    }
    // One that is ignored has nobody who takes it. Whoever does waits for the queue's lock.
    if post(tid, signal)? {
        queue.push(Queued { to, info });
    }
    Ok(0)
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
