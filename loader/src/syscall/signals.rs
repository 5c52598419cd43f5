//! Signals.

use super::{Errno, Outcome, QueueRequest, process, syscall};
use crate::arch::calls;
use crate::arch::signal::INFO_LEN;
use crate::process::{DISARMS, PID, UserThread, current, send_to_process, sent_info, take_info};
use crate::signal::{Action, Set, number};
use crate::user;
use alloc::sync::Arc;
use driver_api::Error;

/// Size of a signal set in the ABI.
const SET_LEN: usize = 8;
/// Smallest alternate stack (`MINSIGSTKSZ`).
const MIN_STACK: usize = if cfg!(target_arch = "x86_64") { 2048 } else { 5120 };

pub(super) fn valid(signal: u32) -> Result<u8, Errno> {
    u8::try_from(signal).ok().filter(|s| (1..=number::MAX).contains(s)).ok_or(Errno::EINVAL)
}

fn read_action(at: usize) -> Result<Action, Error> {
    let raw: [u8; 32] = user::read_array(at)?;
    let mut words = [0; 4];
    for (to, from) in words.iter_mut().zip(raw.as_chunks::<8>().0) {
        *to = u64::from_le_bytes(*from);
    }
    let [handler, flags, restorer, mask] = words;
    Ok(Action {
        handler: handler as usize,
        flags,
        restorer: restorer as usize,
        mask: Set(mask & !Set::UNBLOCKABLE.0),
    })
}

fn write_action(to: usize, action: &Action) -> Result<(), Error> {
    let words = [action.handler as u64, action.flags, action.restorer as u64, action.mask.0];
    user::write(to, words.map(u64::to_le_bytes).as_flattened())
}

pub(super) fn thread(tid: i32) -> Result<Arc<UserThread>, Errno> {
    let found = process()?.threads.lock().iter().find(|t| t.tid == tid.cast_unsigned()).cloned();
    found.ok_or(Errno::ESRCH)
}

/// Sends `signal` (0: only looks whether it could) to a thread, or for `None` to the process.
/// One that is pending already is not sent a second time, unless it is a real-time one.
fn send(thread: Option<&UserThread>, signal: u32) -> Outcome {
    if signal == 0 {
        return Ok(0);
    }
    let signal = valid(signal)?;
    if signal >= number::RT
        && let Some(queue) = calls::signal_queue()
    {
        let result = queue(&mut QueueRequest::Send((thread.map_or(0, |t| t.tid), signal)));
        return usize::try_from(result).map_err(|_| Errno(-result as i32));
    }
    match thread {
        Some(thread) => thread.send(signal),
        None => send_to_process(process()?, signal),
    };
    Ok(0)
}

/// Takes a signal of `set` that is pending, with its `siginfo`.
fn take_pending(thread: &UserThread, set: Set) -> Option<(u8, [u8; INFO_LEN])> {
    loop {
        let (signal, shared) = thread.take(set)?;
        let mut info = sent_info(signal, shared);
        if take_info(thread, signal, shared, &mut info) {
            return Some((signal, info));
        }
    }
}

/// Waits until there is a signal to deliver.
fn until_ready(thread: &UserThread) -> Errno {
    use crate::thread::{current as running, sleep_until};
    loop {
        // A wake-up that came before is for what is found now.
        running().take_interrupt();
        if thread.ready() {
            break;
        }
        sleep_until(u64::MAX, true);
    }
    // Delivered on the way out.
    thread.wake();
    Errno::EINTR
}

/// Waits for a signal of `set`, which the thread blocks.
fn wait_for(set: Set, deadline: Option<u64>) -> Result<(u8, [u8; INFO_LEN]), Errno> {
    use crate::thread::{Woken, current as running, sleep_until};
    let thread = current();
    thread.signals.lock().waiting = set;
    let found = loop {
        // A wake-up that came before is for what is found now.
        running().take_interrupt();
        if let Some(found) = take_pending(&thread, set) {
            break Ok(found);
        }
        if thread.ready() {
            break Err(Errno::EINTR);
        }
        if sleep_until(deadline.unwrap_or(u64::MAX), true) == Woken::TimedOut {
            break take_pending(&thread, set).ok_or(Errno::EAGAIN);
        }
    };
    let blocked = {
        let mut signals = thread.signals.lock();
        signals.waiting = Set::default();
        signals.blocked
    };
    // What else came meanwhile is delivered on the way out.
    thread.set_blocked(blocked);
    found
}

syscall! {
    /// `rt_sigtimedwait(2)`.
    fn rt_sigtimedwait(set: usize, to: usize, timeout: usize, size: usize) {
        if size != SET_LEN {
            return Err(Errno::EINVAL);
        }
        let set = Set(user::read_u64(set)? & !Set::UNBLOCKABLE.0);
        let deadline = super::time::deadline_after(timeout)?;
        let (signal, info) = wait_for(set, deadline)?;
        if to != 0 {
            user::write(to, &info)?;
        }
        Ok(usize::from(signal))
    }

    /// `rt_sigaction(2)`.
    fn rt_sigaction(signal: u32, new: usize, old: usize, size: usize) {
        let signal = valid(signal)?;
        if size != SET_LEN || (new != 0 && Set::UNBLOCKABLE.has(signal)) {
            return Err(Errno::EINVAL);
        }
        let process = process()?;
        let action = if new == 0 { None } else { Some(read_action(new)?) };
        let before = {
            let mut actions = process.actions.lock();
            let slot = actions.get_mut(usize::from(signal) - 1).ok_or(Errno::EINVAL)?;
            let before = *slot;
            if let Some(action) = action {
                *slot = action;
            }
            before
        };
        if let Some(queue) = calls::signal_queue().filter(|_| new != 0) {
            queue(&mut QueueRequest::Changed(signal));
        }
        if old != 0 {
            write_action(old, &before)?;
        }
        Ok(0)
    }

    /// `rt_sigprocmask(2)`.
    fn rt_sigprocmask(how: u32, new: usize, old: usize, size: usize) {
        if size != SET_LEN {
            return Err(Errno::EINVAL);
        }
        let thread = current();
        let before = thread.signals.lock().blocked;
        if new != 0 {
            let set = user::read_u64(new)?;
            let after = match how {
                0 => before.0 | set,
                1 => before.0 & !set,
                2 => set,
                _ => return Err(Errno::EINVAL),
            };
            thread.set_blocked(Set(after & !Set::UNBLOCKABLE.0));
        }
        if old != 0 {
            user::write_u64(old, before.0)?;
        }
        Ok(0)
    }

    /// `rt_sigreturn(2)`.
    fn rt_sigreturn[call]() {
        crate::process::return_from_handler(call.frame);
        call.frame_is_set = true;
        Ok(0)
    }

    /// `rt_sigpending(2)`.
    fn rt_sigpending(to: usize, size: usize) {
        if size > SET_LEN {
            return Err(Errno::EINVAL);
        }
        let pending = {
            let thread = current();
            let signals = thread.signals.lock();
            signals.pending().0 & signals.blocked.0
        };
        user::write(to, pending.to_le_bytes().get(..size).unwrap_or(&[]))?;
        Ok(0)
    }

    /// `rt_sigsuspend(2)`.
    fn rt_sigsuspend(mask: usize, size: usize) {
        if size != SET_LEN {
            return Err(Errno::EINVAL);
        }
        let mask = Set(user::read_u64(mask)? & !Set::UNBLOCKABLE.0);
        let thread = current();
        let old = thread.set_blocked(mask);
        let ended = until_ready(&thread);
        thread.restore_blocked_later(old);
        Err(ended)
    }

    /// `pause(2)`.
    fn pause() {
        Err(until_ready(&current()))
    }

    /// `sigaltstack(2)`.
    fn sigaltstack[call](new: usize, old: usize) {
        // SS_ONSTACK 1, SS_DISABLE 2
        let thread = current();
        let (base, len, disarms) = {
            let signals = thread.signals.lock();
            (signals.stack.0, signals.stack.1, signals.disarms)
        };
        let on_it = !disarms && call.frame.sp().wrapping_sub(base) < len;
        if new != 0 {
            let raw: [u8; 24] = user::read_array(new)?;
            let word = |i: usize| raw.as_chunks::<8>().0.get(i).map_or(0, |w| u64::from_le_bytes(*w));
            let (base, flags, len) = (word(0) as usize, word(1) as u32, word(2) as usize);
            if on_it {
                return Err(Errno::EPERM);
            }
            let stack = match flags & !DISARMS {
                2 => (0, 0),
                0 | 1 if len < MIN_STACK => return Err(Error::NoMemory.into()),
                0 | 1 => (base, len),
                _ => return Err(Errno::EINVAL),
            };
            let mut signals = thread.signals.lock();
            (signals.stack, signals.disarms) = (stack, flags & DISARMS != 0);
        }
        if old != 0 {
            let flags = if len == 0 { 2 } else { u32::from(on_it) } | if disarms { DISARMS } else { 0 };
            let words = [base as u64, flags.into(), len as u64].map(u64::to_le_bytes);
            user::write(old, words.as_flattened())?;
        }
        Ok(0)
    }

    /// `kill(2)` of this process.
    fn kill(pid: i32, signal: u32) {
        // 0 and its own number negative are the group, in which it is alone. -1 is everyone else.
        if pid == -1 && PID == 1 || pid != 0 && pid.unsigned_abs() != PID {
            return Err(Errno::ESRCH);
        }
        send(None, signal)
    }

    /// `tkill(2)`.
    fn tkill(tid: i32, signal: u32) {
        if tid <= 0 {
            return Err(Errno::EINVAL);
        }
        send(Some(&*thread(tid)?), signal)
    }

    /// `tgkill(2)`.
    fn tgkill(pid: i32, tid: i32, signal: u32) {
        if pid <= 0 || tid <= 0 {
            return Err(Errno::EINVAL);
        }
        if pid.cast_unsigned() != PID {
            return Err(Errno::ESRCH);
        }
        send(Some(&*thread(tid)?), signal)
    }
}
