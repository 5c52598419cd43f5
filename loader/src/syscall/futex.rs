//! Futexes (`futex(2)`): wait, wake, requeue, bitsets, both clocks. Priority inheritance is
//! declined with `ENOSYS`, as by a Linux built without it.
//!
//! There is one process, so an address is a key, but for memory of files that is mapped shared:
//! there a place in the file is one, unless the futex is said to be private. One lock serves all:
//! it is held while the value is looked at, which may bring a page in, and is released before
//! anyone sleeps.

use super::time::{clock, read_timespec, to_monotonic};
use super::{Errno, Outcome, process, syscall};
use crate::fs::cache;
use crate::mm::vma::Backing;
use crate::sync::{Mutex, Wait, WaitQueue, Woken};
use crate::{arch, time};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use driver_api::Error;
use driver_api::sync::IrqLock;

/// Operations and flags (`include/uapi/linux/futex.h`).
mod op {
    pub const WAIT: u32 = 0;
    pub const WAKE: u32 = 1;
    pub const REQUEUE: u32 = 3;
    pub const CMP_REQUEUE: u32 = 4;
    pub const WAKE_OP: u32 = 5;
    pub const WAIT_BITSET: u32 = 9;
    pub const WAKE_BITSET: u32 = 10;
    pub const PRIVATE: u32 = 128;
    pub const CLOCK_REALTIME: u32 = 256;
}

/// Matches every waiter.
const ANY: u32 = u32::MAX;

/// What makes two addresses one futex: the slot of a file and an offset in it; 0 and an address.
type Key = (usize, u64);

struct Waiter {
    /// The futex that it waits for; a requeue changes it.
    key: IrqLock<Key>,
    bits: u32,
    woken: IrqLock<bool>,
    queue: WaitQueue,
}

/// All waiters, longest waiting first.
static WAITERS: Mutex<VecDeque<Arc<Waiter>>> = Mutex::new(VecDeque::new());

fn load(address: usize) -> Result<u32, Error> {
    if !address.is_multiple_of(4) {
        return Err(Error::Invalid);
    }
    arch::uaccess::read_user_u32(address).map_err(|_| Error::Fault)
}

/// The futex at `address`. A file that was unmapped while somebody waits may give its place to
/// another: that one is woken without need then, as futexes may be.
fn key(address: usize, private: bool) -> Result<Key, Error> {
    if !address.is_multiple_of(4) {
        return Err(Error::Invalid);
    }
    let own = (0, address as u64);
    if private {
        return Ok(own);
    }
    let area = process()?.space.area(address).ok_or(Error::Fault)?;
    let Backing::File { path, offset } = area.backing_at(address) else { return Ok(own) };
    Ok(cache::slot(&path).filter(|_| area.shared).map_or(own, |slot| (slot, offset)))
}

fn wait(address: usize, private: bool, expected: u32, deadline: Option<u64>, bits: u32) -> Outcome {
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let waiter = Arc::new(Waiter {
        key: IrqLock::new(key(address, private)?),
        bits,
        woken: IrqLock::new(false),
        queue: WaitQueue::new(),
    });
    {
        let mut all = WAITERS.lock();
        if load(address)? != expected {
            return Err(Errno::EAGAIN);
        }
        all.try_reserve(1).map_err(|_| Error::NoMemory)?;
        all.push_back(waiter.clone());
    }
    let how = Wait { deadline, interruptible: true };
    let (guard, woken) = waiter.queue.wait_while(&waiter.woken, how, |woken| !*woken);
    drop(guard);
    if woken == Woken::Woken {
        return Ok(0);
    }
    let mut all = WAITERS.lock();
    let before = all.len();
    all.retain(|w| !Arc::ptr_eq(w, &waiter));
    if all.len() == before {
        // Somebody woke it after all.
        return Ok(0);
    }
    match woken {
        Woken::TimedOut => Err(Errno::ETIMEDOUT),
        // With a time-out the rest of it would be lost: as in Linux the call is made again
        // only without one.
        _ if deadline.is_some() => Err(Errno::EINTR),
        _ => Err(Error::Restart.into()),
    }
}

/// Wakes up to `count` of those that wait for the futex `key` with one of `bits`.
fn wake(all: &mut VecDeque<Arc<Waiter>>, key: Key, count: usize, bits: u32) -> usize {
    let mut woken = 0;
    all.retain(|waiter| {
        let matches = woken < count && *waiter.key.lock() == key && waiter.bits & bits != 0;
        if matches {
            woken += 1;
            *waiter.woken.lock() = true;
            waiter.queue.wake_all();
        }
        !matches
    });
    woken
}

/// Wakes up to `count` of those that wait for `address`: for the end of a thread.
pub fn wake_address(address: usize, count: usize) {
    if let Ok(key) = key(address, false) {
        wake(&mut WAITERS.lock(), key, count, ANY);
    }
}

/// Marks a futex whose owner has ended: `FUTEX_OWNER_DIED`; and the bit that says that
/// somebody waits, and those that hold the owner's number.
const OWNER_DIED: u32 = 0x4000_0000;
const HAS_WAITERS: u32 = 0x8000_0000;
const OWNER: u32 = 0x3fff_ffff;
/// How long a list of robust futexes is followed (`ROBUST_LIST_LIMIT`).
const ROBUST_LIMIT: usize = 2048;

/// Gives up the robust futexes of the thread `tid`, whose list begins at `head`
/// (`struct robust_list_head`: first entry, offset from an entry to its futex, the entry
/// that was being changed). What makes no sense ends the walk: it is the app's own memory.
pub fn release_robust(head: usize, tid: u32) {
    let Ok([next, offset, pending]) = crate::user::read_array::<24>(head).map(|raw| {
        let words = raw.as_chunks::<8>().0;
        [0, 1, 2].map(|i| words.get(i).map_or(0, |w| u64::from_le_bytes(*w) as usize))
    }) else {
        return;
    };
    let release = |entry: usize| {
        // The lowest bit says that it inherits priority.
        let futex = (entry & !1).wrapping_add(offset);
        while let Ok(value) = load(futex) {
            if value & OWNER != tid {
                return;
            }
            let new = value & HAS_WAITERS | OWNER_DIED;
            match arch::uaccess::compare_exchange_user_u32(futex, value, new) {
                Ok(seen) if seen == value => {
                    if value & HAS_WAITERS != 0 {
                        wake_address(futex, 1);
                    }
                    return;
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    };
    let mut entry = next;
    for _ in 0..ROBUST_LIMIT {
        if entry & !1 == head || entry == 0 {
            break;
        }
        // The next one first: whoever is woken may reuse the entry.
        let Ok(following) = crate::user::read_u64(entry & !1) else { break };
        if entry != pending {
            release(entry);
        }
        entry = following as usize;
    }
    if pending != 0 {
        release(pending);
    }
}

/// Wakes some of those that wait for the first futex, and has others wait for the second.
fn requeue(
    (from, to): (usize, usize),
    private: bool,
    (wakes, moves): (i32, i32),
    expected: Option<u32>,
) -> Outcome {
    let [wakes, moves] = [wakes, moves].map(usize::try_from);
    let (Ok(wakes), Ok(moves)) = (wakes, moves) else { return Err(Errno::EINVAL) };
    let (first, second) = (key(from, private)?, key(to, private)?);
    let mut all = WAITERS.lock();
    let value = load(from)?;
    if expected.is_some_and(|e| e != value) {
        return Err(Errno::EAGAIN);
    }
    let woken = wake(&mut all, first, wakes, ANY);
    let mut moved = 0;
    for waiter in all.iter() {
        let mut key = waiter.key.lock();
        if moved < moves && *key == first {
            *key = second;
            moved += 1;
        }
    }
    Ok(woken + moved)
}

/// `FUTEX_WAKE_OP`: changes the second futex, wakes waiters of the first, and of the second
/// if its old value compares as asked.
fn wake_op(
    (first, second): (usize, usize),
    private: bool,
    (wakes, wakes2): (usize, usize),
    encoded: u32,
) -> Outcome {
    let (first_key, second_key) = (key(first, private)?, key(second, private)?);
    // Sign-extended 12 bits each.
    let signed = |v: u32| ((v << 20).cast_signed() >> 20).cast_unsigned();
    let operand = signed(encoded >> 12 & 0xfff);
    let compared = signed(encoded & 0xfff);
    let operation = encoded >> 28;
    // FUTEX_OP_OPARG_SHIFT
    let operand = if operation & 8 != 0 { 1_u32.wrapping_shl(operand) } else { operand };
    let mut all = WAITERS.lock();
    load(first)?;
    let old = loop {
        let old = load(second)?;
        let new = match operation & 7 {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            4 => old ^ operand,
            _ => return Err(Errno::ENOSYS),
        };
        let seen =
            arch::uaccess::compare_exchange_user_u32(second, old, new).map_err(|_| Error::Fault)?;
        if seen == old {
            break old;
        }
    };
    let (a, b) = (old.cast_signed(), compared.cast_signed());
    let matches = match encoded >> 24 & 0xf {
        0 => a == b,
        1 => a != b,
        2 => a < b,
        3 => a <= b,
        4 => a > b,
        5 => a >= b,
        _ => return Err(Errno::ENOSYS),
    };
    let mut woken = wake(&mut all, first_key, wakes, ANY);
    if matches {
        woken += wake(&mut all, second_key, wakes2, ANY);
    }
    Ok(woken)
}

syscall! {
    /// `futex(2)`, without the priority-inheriting operations.
    fn futex(address: usize, operation: u32, value: u32, timeout: usize, second: usize, value3: u32) {
        let realtime = operation & op::CLOCK_REALTIME != 0;
        let private = operation & op::PRIVATE != 0;
        let operation = operation & !(op::PRIVATE | op::CLOCK_REALTIME);
        if realtime && !matches!(operation, op::WAIT | op::WAIT_BITSET) {
            return Err(Errno::ENOSYS);
        }
        let count = value.cast_signed().max(0) as usize;
        let count2 = (timeout as i32).max(0) as usize;
        match operation {
            op::WAIT | op::WAIT_BITSET => {
                let deadline = if timeout == 0 {
                    None
                } else {
                    let given = read_timespec(timeout)?;
                    // WAIT takes a length of time, WAIT_BITSET a point of it.
                    Some(match (operation, realtime) {
                        (op::WAIT, _) => time::now_ns().saturating_add(given),
                        (_, true) => to_monotonic(clock::REALTIME, given),
                        (_, false) => given,
                    })
                };
                let bits = if operation == op::WAIT { ANY } else { value3 };
                wait(address, private, value, deadline, bits)
            }
            op::WAKE | op::WAKE_BITSET => {
                let bits = if operation == op::WAKE { ANY } else { value3 };
                if bits == 0 {
                    return Err(Errno::EINVAL);
                }
                let key = key(address, private)?;
                Ok(wake(&mut WAITERS.lock(), key, count, bits))
            }
            op::REQUEUE | op::CMP_REQUEUE => {
                let counts = (value.cast_signed(), timeout as i32);
                let expected = (operation == op::CMP_REQUEUE).then_some(value3);
                requeue((address, second), private, counts, expected)
            }
            op::WAKE_OP => wake_op((address, second), private, (count, count2), value3),
            _ => Err(Errno::ENOSYS),
        }
    }
}
