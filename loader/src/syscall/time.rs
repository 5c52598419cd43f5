//! Clocks and sleeps.

use super::{Errno, cpu_clock, syscall};
use crate::arch::calls;
use crate::sync::Woken;
use crate::{thread, time, user};
use driver_api::Error;
use driver_api::vfs::Timestamp;

/// Nanoseconds in a second.
const NS: u64 = 1_000_000_000;

/// Numbers of clocks (`include/uapi/linux/time.h`).
pub mod clock {
    /// Wall clock.
    pub const REALTIME: u32 = 0;
    /// Since boot.
    pub const MONOTONIC: u32 = 1;
}

/// Now, for the times of files: the wall clock, or without one the time since boot.
#[must_use]
pub fn now() -> Timestamp {
    let ns = time::wall_ns().unwrap_or_else(time::now_ns);
    Timestamp { secs: (ns / NS) as i64, nanos: (ns % NS) as u32 }
}

/// What the clock `id` says, in ns.
fn read(id: u32) -> Result<u64, Errno> {
    Ok(match id {
        // REALTIME, REALTIME_COARSE, TAI (as in a Linux that nobody told the offset).
        0 | 5 | 11 => time::wall_ns().unwrap_or_else(time::now_ns),
        // MONOTONIC, MONOTONIC_RAW, MONOTONIC_COARSE, BOOTTIME.
        1 | 4 | 6 | 7 => time::now_ns(),
        // PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID.
        2 => crate::process::get().map_or(0, crate::process::cpu_ns),
        3 => thread::current().cpu_ns(),
        id => {
            // Other processes' and threads': negative numbers.
            return calls::read_cpu_clock(id).ok_or(Errno::EINVAL);
        }
    })
}

/// A `struct timespec` of the app's as ns.
///
/// # Errors
/// `Fault`; `Invalid` for a negative time or more nanoseconds than a second has.
pub fn read_timespec(at: usize) -> Result<u64, Error> {
    let secs = user::read_u64(at)?.cast_signed();
    let nanos = user::read_u64(at.checked_add(8).ok_or(Error::Fault)?)?;
    if secs < 0 || nanos >= NS {
        return Err(Error::Invalid);
    }
    Ok(secs.cast_unsigned().saturating_mul(NS).saturating_add(nanos))
}

/// Writes ns as a `struct timespec`.
///
/// # Errors
/// `Fault`.
pub fn write_timespec(at: usize, ns: u64) -> Result<(), Error> {
    let mut raw = [0; 16];
    let (secs, nanos) = raw.split_at_mut(8);
    secs.copy_from_slice(&(ns / NS).to_le_bytes());
    nanos.copy_from_slice(&(ns % NS).to_le_bytes());
    user::write(at, &raw)
}

/// A relative time-out, if `at` is not null, as a deadline in ns since boot.
///
/// # Errors
/// As for [`read_timespec`].
pub fn deadline_after(at: usize) -> Result<Option<u64>, Error> {
    if at == 0 {
        return Ok(None);
    }
    Ok(Some(time::now_ns().saturating_add(read_timespec(at)?)))
}

/// `until` on the clock `id` as ns since boot.
#[must_use]
pub fn to_monotonic(id: u32, until: u64) -> u64 {
    if id == clock::MONOTONIC || id == 7 {
        return until;
    }
    let wall = time::wall_ns().unwrap_or_else(time::now_ns);
    time::now_ns().saturating_add(until.saturating_sub(wall))
}

/// Sleeps until `deadline`; what is left goes to `left` if a signal comes.
fn sleep(deadline: u64, left: usize) -> super::Outcome {
    if thread::sleep_until(deadline, true) == Woken::Interrupted {
        if left != 0 {
            write_timespec(left, deadline.saturating_sub(time::now_ns()))?;
        }
        return Err(Errno::EINTR);
    }
    Ok(0)
}

syscall! {
    /// `clock_gettime(2)`: clocks of single threads' CPU time, and of user time alone, in
    /// kernels with `clock_getres` or another call that asks for such.
    fn clock_gettime(id: u32, to: usize) {
        write_timespec(to, read(id)?)?;
        Ok(0)
    }

    /// `clock_getres(2)`.
    fn clock_getres(id: u32, to: usize) {
        read(id)?;
        if to != 0 {
            write_timespec(to, 1)?;
        }
        Ok(0)
    }

    /// `clock_settime(2)` of the wall clock.
    fn clock_settime(id: u32, from: usize) {
        if id != clock::REALTIME {
            return Err(Errno::EINVAL);
        }
        time::set_wall_ns(read_timespec(from)?);
        Ok(0)
    }

    /// `gettimeofday(2)`; there is no time zone.
    fn gettimeofday(to: usize, zone: usize) {
        if to != 0 {
            let ns = read(clock::REALTIME)?;
            let mut raw = [0; 16];
            let (secs, micros) = raw.split_at_mut(8);
            secs.copy_from_slice(&(ns / NS).to_le_bytes());
            micros.copy_from_slice(&(ns % NS / 1000).to_le_bytes());
            user::write(to, &raw)?;
        }
        if zone != 0 {
            user::write(zone, &[0; 8])?;
        }
        Ok(0)
    }

    /// `time(2)`.
    fn time(to: usize) {
        let secs = read(clock::REALTIME)? / NS;
        if to != 0 {
            user::write_u64(to, secs)?;
        }
        Ok(secs as usize)
    }

    /// `times(2)`.
    fn times(to: usize) {
        if to != 0 {
            let time = crate::process::get().map(crate::process::cpu_time).unwrap_or_default();
            let mut raw = [0; 32];
            for (to, ns) in raw.as_chunks_mut::<8>().0.iter_mut().zip([time.user, time.system]) {
                *to = (ns / (NS / 100)).to_le_bytes();
            }
            user::write(to, &raw)?;
        }
        Ok((time::now_ns() / (NS / 100)) as usize)
    }

    /// `nanosleep(2)`.
    fn nanosleep(request: usize, left: usize) {
        sleep(crate::time::now_ns().saturating_add(read_timespec(request)?), left)
    }

    /// `clock_nanosleep(2)`.
    fn clock_nanosleep(id: u32, flags: u32, request: usize, left: usize) {
        if let Some(slept) = cpu_clock::sleep(id, flags & 1 != 0, request, left) {
            return slept;
        }
        if !matches!(id, 0 | 1 | 7 | 11) {
            return Err(if id > 11 { Errno::EINVAL } else { Errno::EOPNOTSUPP });
        }
        let time = read_timespec(request)?;
        // TIMER_ABSTIME
        if flags & 1 != 0 {
            sleep(to_monotonic(id, time), 0)
        } else {
            sleep(crate::time::now_ns().saturating_add(time), left)
        }
    }
}
