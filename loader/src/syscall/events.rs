//! Event counters and sets of files.

use super::poll::with_mask;
use super::time::deadline_after;
use super::{Errno, Outcome, process, syscall};
use crate::fs::epoll::{Change, Epoll};
use crate::fs::eventfd::EventFd;
use crate::fs::file::{OpenFile, Stream, flags};
use crate::fs::{poll, table};
use crate::{time, user};
use alloc::sync::Arc;
use driver_api::Error;

/// `struct epoll_event`: the events, then the data; packed on x86-64 alone.
const EVENT_LEN: usize = if cfg!(target_arch = "x86_64") { 12 } else { 16 };
const DATA_AT: usize = EVENT_LEN - 8;

/// Opens `stream`; `how` may have `CLOEXEC` and `NONBLOCK`.
pub(super) fn open_stream(stream: Arc<dyn Stream>, how: u32) -> Outcome {
    let file = OpenFile::new(None, Some(stream), flags::RDWR | how & flags::NONBLOCK);
    Ok(process()?.files.lock().add(file, how & flags::CLOEXEC != 0, 0)? as usize)
}

fn event_fd(count: u32, how: u32) -> Outcome {
    // EFD_SEMAPHORE is 1.
    if how & !(1 | flags::CLOEXEC | flags::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    open_stream(Arc::new(EventFd::new(u64::from(count), how & 1 != 0)), how)
}

fn wait(set: i32, to: usize, max: i32, deadline: Option<u64>) -> Outcome {
    let max = usize::try_from(max).ok().filter(|max| *max > 0).ok_or(Errno::EINVAL)?;
    let file = process()?.file(set)?;
    let set = Epoll::of(&file).ok_or(Error::Invalid)?;
    let found = poll::wait(deadline, || {
        let ready = set.ready(max.min(table::MAX_FILES), poll::changes());
        (!ready.is_empty()).then_some(ready)
    });
    let found = match found {
        Ok(found) => found.unwrap_or_default(),
        Err(poll::Interrupted) => return Err(Errno::EINTR),
    };
    for (i, ready) in found.iter().enumerate() {
        let mut raw = [0; EVENT_LEN];
        let (events, data) = raw.split_at_mut(DATA_AT);
        if let (Some(events), Some(data)) = (events.first_chunk_mut(), data.first_chunk_mut()) {
            *events = ready.events.to_le_bytes();
            *data = ready.data.to_le_bytes();
        }
        user::write(to.checked_add(i * EVENT_LEN).ok_or(Error::Fault)?, &raw)?;
    }
    Ok(found.len())
}

fn after_ms(timeout: i32) -> Option<u64> {
    let ns = u64::try_from(timeout).ok()? * 1_000_000;
    Some(time::now_ns().saturating_add(ns))
}

syscall! {
    /// `eventfd(2)`.
    fn eventfd(count: u32) {
        event_fd(count, 0)
    }

    /// `eventfd2(2)`.
    fn eventfd2(count: u32, how: u32) {
        event_fd(count, how)
    }

    /// `epoll_create(2)`.
    fn epoll_create(size: i32) {
        if size <= 0 {
            return Err(Errno::EINVAL);
        }
        open_stream(Arc::new(Epoll::new()), 0)
    }

    /// `epoll_create1(2)`.
    fn epoll_create1(how: u32) {
        if how & !flags::CLOEXEC != 0 {
            return Err(Errno::EINVAL);
        }
        open_stream(Arc::new(Epoll::new()), how)
    }

    /// `epoll_ctl(2)`.
    fn epoll_ctl(set: i32, operation: u32, fd: i32, event: usize) {
        let change = match operation {
            1 => Change::Add,
            2 => Change::Delete,
            3 => Change::Modify,
            _ => return Err(Errno::EINVAL),
        };
        let process = process()?;
        let (set, file) = (process.file(set)?, process.file(fd)?);
        let raw: [u8; EVENT_LEN] =
            if change == Change::Delete { [0; EVENT_LEN] } else { user::read_array(event)? };
        let (events, data) = raw.split_at(DATA_AT);
        let events = events.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        let data = data.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        Epoll::change(&set, change, fd, &file, events, data)?;
        // Who waits with the set looks again.
        poll::changed();
        Ok(0)
    }

    /// `epoll_wait(2)`.
    fn epoll_wait(set: i32, to: usize, max: i32, timeout: i32) {
        wait(set, to, max, after_ms(timeout))
    }

    /// `epoll_pwait(2)`.
    fn epoll_pwait(set: i32, to: usize, max: i32, timeout: i32, mask: usize, size: usize) {
        with_mask(mask, size, || wait(set, to, max, after_ms(timeout)))
    }

    /// `epoll_pwait2(2)`.
    fn epoll_pwait2(set: i32, to: usize, max: i32, timeout: usize, mask: usize, size: usize) {
        let deadline = deadline_after(timeout)?;
        with_mask(mask, size, || wait(set, to, max, deadline))
    }
}
