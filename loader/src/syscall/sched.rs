//! Who runs when and where: CPUs that a thread is bound to, policies, nice values.
//!
//! Numbers, here and in the ABI, are of threads, and 0 is the one that asks (`sched(7)`).

use super::{Errno, Outcome, process, signals, syscall};
use crate::thread::{self, Policy, Share, Thread};
use crate::user;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use driver_api::Error;
use linux_abi::errno::{E2BIG, EACCES};

/// `SCHED_FIFO`, `SCHED_RR` and `SCHED_DEADLINE`; [`Policy`] has the others' numbers.
const FIFO: u32 = 1;
const ROUND_ROBIN: u32 = 2;
const DEADLINE: u32 = 6;
/// `SCHED_RESET_ON_FORK`, a bit beside the policy.
const RESET_ON_FORK: u32 = 0x4000_0000;
/// Lengths of `struct sched_attr`: without the two `util` values, and with.
const ATTRIBUTES: usize = 48;
const WITH_UTIL: usize = 56;
/// `SCHED_FLAG_RESET_ON_FORK` of `sched_attr`, and all flags that Linux knows.
const FLAG_RESET: u64 = 1;
const FLAGS: u64 = 0x7f;
/// `SCHED_FLAG_KEEP_POLICY`, `SCHED_FLAG_KEEP_PARAMS`.
const KEEP_POLICY: u64 = 8;
const KEEP_PARAMS: u64 = 16;

/// The CPUs that run, a bit each.
fn running_cpus() -> u64 {
    u64::MAX >> 64_usize.saturating_sub(crate::percpu::count()).min(63)
}

/// The thread with this number.
fn thread(tid: i32) -> Result<Arc<Thread>, Errno> {
    match tid {
        0 => Ok(thread::current().arc()),
        ..0 => Err(Errno::EINVAL),
        _ => signals::thread(tid)?.kernel.get().and_then(Weak::upgrade).ok_or(Errno::ESRCH),
    }
}

/// The threads that `which` and `who` of `getpriority` mean: one, or all, for the process is
/// alone in its group, and its user has no other.
fn threads(which: u32, who: i32) -> Result<Vec<Arc<Thread>>, Errno> {
    let process = process()?;
    match which {
        0 => {
            let one = thread(who).map_err(|_| Errno::ESRCH)?;
            return Ok([one].into());
        }
        // PRIO_PGRP, PRIO_USER
        1 if who == 0 || who.cast_unsigned() == crate::process::PID => {}
        2 if who == 0 || who.cast_unsigned() == process.who.uid => {}
        1 | 2 => return Err(Errno::ESRCH),
        _ => return Err(Errno::EINVAL),
    }
    let mut found = Vec::new();
    found.try_reserve(process.threads.lock().len()).map_err(|_| Error::NoMemory)?;
    for thread in &*process.threads.lock() {
        // One that was started meanwhile has no room, and the nice value of who started it.
        if let Some(thread) = thread.kernel.get().and_then(Weak::upgrade)
            && found.len() < found.capacity()
        {
            found.push(thread);
        }
    }
    Ok(found)
}

/// Whether the process may have `new` in place of `old`. As in Linux, the first user may do
/// everything, the others only take less: no limit allows them more.
fn may_have(old: Share, new: Share) -> Result<bool, Errno> {
    let better = new.nice < old.nice
        || old.policy == Policy::Idle && new.policy != Policy::Idle
        || old.reset_on_fork && !new.reset_on_fork;
    Ok(!better || process()?.who.uid == 0)
}

/// The policy with this number, for a real-time priority of `priority`.
///
/// # Errors
/// `EINVAL`; `EPERM` for those that are real-time, with a priority that they have: nobody has
/// the right to those.
fn policy(number: u32, priority: u32) -> Result<Policy, Errno> {
    let known = match number {
        0 => Policy::Other,
        3 => Policy::Batch,
        5 => Policy::Idle,
        FIFO | ROUND_ROBIN if (1..=99).contains(&priority) => return Err(Errno::EPERM),
        DEADLINE => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    if priority == 0 { Ok(known) } else { Err(Errno::EINVAL) }
}

/// Gives the thread a share, if it may have it.
fn set(thread: &Thread, share: Share) -> Outcome {
    if !may_have(thread.share(), share)? {
        return Err(Errno::EPERM);
    }
    thread.set_share(share);
    Ok(0)
}

fn clamp(nice: i32) -> i8 {
    nice.clamp(-20, 19) as i8
}

/// The `struct sched_attr` at `from`, as far as there is one.
fn read_attributes(from: usize) -> Result<[u8; WITH_UTIL], Errno> {
    let mut raw = [0; WITH_UTIL];
    let len = match u32::from_le_bytes(user::read_array(from)?) as usize {
        0 => ATTRIBUTES,
        len => len,
    };
    let too_big = |_| {
        // It is said how long it may be.
        let _ = user::write_u32(from, WITH_UTIL as u32);
        Errno(E2BIG)
    };
    if !(ATTRIBUTES..=4096).contains(&len) {
        return Err(too_big(()));
    }
    user::read(from, raw.get_mut(..len.min(WITH_UTIL)).unwrap_or(&mut []))?;
    for i in WITH_UTIL..len {
        if user::read_array::<1>(from.checked_add(i).ok_or(Error::Fault)?)? != [0] {
            return Err(too_big(()));
        }
    }
    Ok(raw)
}

fn word(raw: &[u8], at: usize) -> u32 {
    raw.as_chunks().0.get(at / 4).map_or(0, |w| u32::from_le_bytes(*w))
}

/// What `sched_setattr` asks for, of a thread with the share `old`.
fn asked(raw: &[u8; WITH_UTIL], old: Share) -> Result<Share, Errno> {
    let flags = u64::from(word(raw, 8)) | u64::from(word(raw, 12)) << 32;
    if flags & !FLAGS != 0 || word(raw, 4).cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    let (policy, nice) = match flags & (KEEP_POLICY | KEEP_PARAMS) {
        0 => (policy(word(raw, 4), word(raw, 20))?, clamp(word(raw, 16).cast_signed())),
        KEEP_POLICY => (old.policy, clamp(word(raw, 16).cast_signed())),
        KEEP_PARAMS => (policy(word(raw, 4), 0)?, old.nice),
        _ => (old.policy, old.nice),
    };
    Ok(Share { policy, nice, reset_on_fork: flags & FLAG_RESET != 0 })
}

/// The lowest and the highest real-time priority of a policy.
fn priorities(policy: u32) -> Result<(usize, usize), Errno> {
    match policy {
        FIFO | ROUND_ROBIN => Ok((1, 99)),
        0 | 3 | 5 | DEADLINE => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

syscall! {
    /// `sched_yield(2)`.
    fn sched_yield() {
        thread::yield_now();
        Ok(0)
    }

    /// `sched_getaffinity(2)`.
    fn sched_getaffinity(tid: i32, len: usize, to: usize) {
        if len < 8 || !len.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let cpus = thread(tid).map_err(|_| Errno::ESRCH)?.cpus();
        user::write_u64(to, cpus & running_cpus())?;
        Ok(8)
    }

    /// `sched_setaffinity(2)`.
    fn sched_setaffinity(tid: i32, len: usize, from: usize) {
        // As much as there can be CPUs for; a shorter mask lacks the others.
        let mut mask = [0; 8];
        let len = len.min(mask.len());
        user::read(from, mask.get_mut(..len).unwrap_or(&mut []))?;
        let cpus = u64::from_le_bytes(mask) & running_cpus();
        let thread = thread(tid).map_err(|_| Errno::ESRCH)?;
        if cpus == 0 {
            return Err(Errno::EINVAL);
        }
        thread.bind(cpus);
        Ok(0)
    }

    /// `sched_getscheduler(2)`.
    fn sched_getscheduler(tid: i32) {
        let share = thread(tid)?.share();
        let reset = if share.reset_on_fork { RESET_ON_FORK } else { 0 };
        Ok((share.policy as u32 | reset) as usize)
    }

    /// `sched_setscheduler(2)`: nobody has the right to real-time policies (`EPERM`).
    fn sched_setscheduler(tid: i32, number: u32, param: usize) {
        if param == 0 || tid < 0 || number.cast_signed() < 0 {
            return Err(Errno::EINVAL);
        }
        let priority = u32::from_le_bytes(user::read_array(param)?);
        let thread = thread(tid)?;
        let policy = policy(number & !RESET_ON_FORK, priority)?;
        let reset_on_fork = number & RESET_ON_FORK != 0;
        set(&thread, Share { policy, reset_on_fork, ..thread.share() })
    }

    /// `sched_getparam(2)`.
    fn sched_getparam(tid: i32, to: usize) {
        if to == 0 {
            return Err(Errno::EINVAL);
        }
        thread(tid)?;
        user::write_u32(to, 0)?;
        Ok(0)
    }

    /// `sched_setparam(2)`.
    fn sched_setparam(tid: i32, param: usize) {
        if param == 0 || tid < 0 {
            return Err(Errno::EINVAL);
        }
        let priority = u32::from_le_bytes(user::read_array(param)?);
        thread(tid)?;
        // That of the policies that there are.
        if priority == 0 { Ok(0) } else { Err(Errno::EINVAL) }
    }

    /// `sched_getattr(2)`.
    fn sched_getattr(tid: i32, to: usize, len: usize, flags: u32) {
        if to == 0 || flags != 0 || !(ATTRIBUTES..=4096).contains(&len) {
            return Err(Errno::EINVAL);
        }
        let share = thread(tid)?.share();
        let len = len.min(WITH_UTIL);
        let flags = if share.reset_on_fork { FLAG_RESET as u32 } else { 0 };
        let words = [len as u32, share.policy as u32, flags, 0, i32::from(share.nice).cast_unsigned()];
        let mut raw = [0; WITH_UTIL];
        for (to, word) in raw.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        user::write(to, raw.get(..len).unwrap_or(&raw))?;
        Ok(0)
    }

    /// `sched_setattr(2)`: nobody has the right to real-time policies (`EPERM`).
    fn sched_setattr(tid: i32, from: usize, flags: u32) {
        if from == 0 || tid < 0 || flags != 0 {
            return Err(Errno::EINVAL);
        }
        let raw = read_attributes(from)?;
        let thread = thread(tid)?;
        set(&thread, asked(&raw, thread.share())?)
    }

    /// `sched_get_priority_max(2)`.
    fn sched_get_priority_max(policy: u32) {
        Ok(priorities(policy)?.1)
    }

    /// `sched_get_priority_min(2)`.
    fn sched_get_priority_min(policy: u32) {
        Ok(priorities(policy)?.0)
    }

    /// `sched_rr_get_interval(2)`.
    fn sched_rr_get_interval(tid: i32, to: usize) {
        let slice = thread(tid)?.share().slice();
        user::write_u64(to, 0)?;
        user::write_u64(to.checked_add(8).ok_or(Error::Fault)?, slice.into())?;
        Ok(0)
    }

    /// `getpriority(2)`.
    fn getpriority(which: u32, who: i32) {
        let best = threads(which, who)?.iter().map(|t| t.share().nice).min();
        // From 40 down to 1, so that no answer looks like an error.
        Ok((20 - isize::from(best.ok_or(Errno::ESRCH)?)).cast_unsigned())
    }

    /// `setpriority(2)`.
    fn setpriority(which: u32, who: i32, nice: i32) {
        let mut outcome = Ok(0);
        for thread in threads(which, who)? {
            let old = thread.share();
            let new = Share { nice: clamp(nice), ..old };
            if may_have(old, new)? {
                thread.set_share(new);
            } else {
                outcome = Err(Errno(EACCES));
            }
        }
        outcome
    }
}
