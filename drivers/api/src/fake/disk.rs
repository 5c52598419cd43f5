//! A disk with a volatile cache that remembers what was done to it: which of the writes would
//! have reached it is decided afterwards.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec;
use std::vec::Vec;

use alloc::boxed::Box;

use crate::Error;
use crate::block::{BlockDevice, Geometry, Operation, Refused, Request, Ticket};
use crate::dma::ANYWHERE;

/// Bytes in a sector: what a write that is cut has written, or has not.
pub const SECTOR: usize = 512;

/// Something that came to a [`LogDisk`] and succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write: first sector, bytes, whether it was stable when it was complete.
    Write(u64, Vec<u8>, bool),
    /// A flush.
    Flush,
}

struct State {
    image: Vec<u8>,
    log: Vec<Event>,
    /// Requests so far.
    requests: usize,
    /// Which of them fails, without an effect.
    failing: Option<usize>,
}

/// The disk. Requests are complete when `submit` returns.
pub struct LogDisk(Mutex<State>);

impl LogDisk {
    /// A disk that holds `image`, whole sectors.
    #[must_use]
    pub fn new(image: Vec<u8>) -> Self {
        Self(Mutex::new(State { image, log: Vec::new(), requests: 0, failing: None }))
    }

    /// A disk of `len` bytes, whole sectors, all zero.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self::new(vec![0; len])
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it holds with everything that was written.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.state().image.clone()
    }

    /// Everything that was done to it, in order, from the beginning or the last
    /// [`Self::take_log`] on.
    pub fn take_log(&self) -> Vec<Event> {
        core::mem::take(&mut self.state().log)
    }

    /// How many events there are to take.
    #[must_use]
    pub fn log_len(&self) -> usize {
        self.state().log.len()
    }

    /// How many requests, reads included, have come.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Lets request number `at` (from 0, as [`Self::requests`] counts) fail with `Io`.
    pub fn fail(&self, at: usize) {
        self.state().failing = Some(at);
    }
}

impl Event {
    /// Does it to an image; of a write the sectors that `wanted` says yes to.
    pub fn apply(&self, image: &mut [u8], mut wanted: impl FnMut() -> bool) {
        let Self::Write(sector, bytes, _) = self else { return };
        let from = *sector as usize * SECTOR;
        let Some(there) = image.get_mut(from..from + bytes.len()) else { return };
        for (to, from) in there.chunks_mut(SECTOR).zip(bytes.chunks(SECTOR)) {
            if wanted() {
                to.copy_from_slice(from);
            }
        }
    }
}

impl BlockDevice for LogDisk {
    fn geometry(&self) -> Geometry {
        Geometry {
            sector_size: SECTOR as u32,
            sectors: (self.state().image.len() / SECTOR) as u64,
            read_only: false,
            volatile_cache: true,
            queues: 1,
            max_transfer: 1 << 20,
            max_segments: 16,
            max_segment: 1 << 20,
            dma_limit: ANYWHERE,
        }
    }

    fn submit(&self, _queue: usize, mut request: Request) -> Result<Ticket, Box<Refused>> {
        if let Err(error) = request.check(&self.geometry()) {
            return Err(Box::new(Refused { error, request }));
        }
        let mut state = self.state();
        let number = state.requests;
        state.requests += 1;
        if state.failing == Some(number) {
            drop(state);
            request.complete(Err(Error::Io));
            return Ok(Ticket(number as u64));
        }
        let mut at = request.sector as usize * SECTOR;
        let mut written = Vec::new();
        for segment in &mut request.segments {
            let here = state.image.get_mut(at..at + segment.len);
            let bytes = segment.buffer.bytes_mut().get_mut(..segment.len);
            if let (Some(here), Some(bytes)) = (here, bytes) {
                if request.operation == Operation::Read {
                    bytes.copy_from_slice(here);
                } else {
                    here.copy_from_slice(bytes);
                    written.extend_from_slice(bytes);
                }
            }
            at += segment.len;
        }
        match request.operation {
            Operation::Read => {}
            Operation::Write { fua } => {
                state.log.push(Event::Write(request.sector, written, fua));
            }
            Operation::Flush => state.log.push(Event::Flush),
        }
        drop(state);
        request.complete(Ok(()));
        Ok(Ticket(number as u64))
    }

    fn cancel(&self, _ticket: Ticket) -> bool {
        false
    }
}
