//! Block devices: requests that own their memory, completed once each.
//!
//! A request is submitted to one of the device's queues with its DMA buffers and comes back,
//! buffers and result together, through its [`Completion`]. Between the two nobody but the
//! device touches the buffers. A request that is cancelled or takes too long comes back only
//! after the device has been stopped; a device that cannot be stopped keeps the buffers for
//! ever, and the request comes back without them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::dma::DmaBuffer;
use crate::{Error, Result};

/// What a device is like. Does not change while it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in a sector: a power of two, at least 512. All requests are whole sectors.
    pub sector_size: u32,
    /// How many sectors there are.
    pub sectors: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Written data may be in a cache that a power failure empties: [`Operation::Flush`]
    /// writes it out.
    pub volatile_cache: bool,
    /// How many queues requests may be submitted to: one for each CPU where the device can.
    pub queues: usize,
    /// Most bytes in a request.
    pub max_transfer: usize,
    /// Most segments in a request.
    pub max_segments: usize,
    /// Most bytes in a segment.
    pub max_segment: usize,
    /// Highest bus address that the device reaches.
    pub dma_limit: u64,
}

impl Geometry {
    /// Size in bytes; saturating.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.sectors.saturating_mul(self.sector_size as u64)
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// From the device into the segments.
    Read,
    /// From the segments to the device. With `fua` it is complete only when the data is on
    /// stable storage.
    Write {
        /// Force unit access.
        fua: bool,
    },
    /// Everything whose write was complete before this was submitted goes to stable storage.
    Flush,
}

/// A stretch of memory of a request.
#[derive(Debug)]
pub struct Segment {
    /// The memory; the first `len` bytes are used.
    pub buffer: DmaBuffer,
    /// Bytes, a multiple of the sector size, at least one sector.
    pub len: usize,
}

/// A request.
pub struct Request {
    /// What is to be done.
    pub operation: Operation,
    /// Where it begins.
    pub sector: u64,
    /// The memory, in order; none for a flush.
    pub segments: Vec<Segment>,
    /// The submitter's number for it.
    pub token: u64,
    /// Who is told.
    pub done: Arc<dyn Completion>,
}

impl Request {
    /// Bytes in all segments; saturating.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segments.iter().fold(0, |sum, s| sum.saturating_add(s.len))
    }

    /// Whether a device of this geometry can do it. Every driver asks before it does.
    ///
    /// # Errors
    /// `Invalid` for lengths that are no whole sectors, longer than their buffer, or more
    /// than the device takes at once; `OutOfRange` beyond the end; `ReadOnly`.
    pub fn check(&self, geometry: &Geometry) -> Result<()> {
        let sector = geometry.sector_size as usize;
        if self.operation == Operation::Flush {
            return if self.segments.is_empty() { Ok(()) } else { Err(Error::Invalid) };
        }
        let whole = |s: &Segment| s.len > 0 && s.len.is_multiple_of(sector);
        let fits = |s: &Segment| s.len <= s.buffer.len().min(geometry.max_segment);
        if self.segments.is_empty()
            || self.segments.len() > geometry.max_segments
            || !self.segments.iter().all(|s| whole(s) && fits(s))
            || self.bytes() > geometry.max_transfer
        {
            return Err(Error::Invalid);
        }
        let sectors = (self.bytes() / sector) as u64;
        let end = self.sector.checked_add(sectors).ok_or(Error::OutOfRange)?;
        if end > geometry.sectors {
            return Err(Error::OutOfRange);
        }
        if geometry.read_only && self.operation != Operation::Read {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }

    /// Gives it back with `result`: its one completion.
    pub fn complete(self, result: Result<()>) {
        let Self { segments, token, done, .. } = self;
        done.complete(Done { token, result, segments });
    }
}

impl core::fmt::Debug for Request {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { operation, sector, token, .. } = self;
        write!(f, "{operation:?} of {} bytes at sector {sector}, token {token}", self.bytes())
    }
}

/// A request that has ended.
#[derive(Debug)]
pub struct Done {
    /// The submitter's number.
    pub token: u64,
    /// How it went: `Io`, `TimedOut`, `Cancelled`, …
    pub result: Result<()>,
    /// The memory; empty when a device that could not be stopped may still use it.
    pub segments: Vec<Segment>,
}

/// Who is told of requests that have ended.
pub trait Completion: Send + Sync {
    /// Takes one. Called in a thread, with no lock of the driver held, perhaps before
    /// `submit` has returned; may submit, must not wait for another request.
    fn complete(&self, done: Done);
}

/// A request that was not taken.
#[derive(Debug)]
pub struct Refused {
    /// Why: what [`Request::check`] says, or `Busy` when the queue is full: one of its
    /// requests will complete, then there is room.
    pub error: Error,
    /// The request, as it was.
    pub request: Request,
}

/// A request under way, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// A block device.
pub trait BlockDevice: Send + Sync {
    /// What it is like.
    fn geometry(&self) -> Geometry;

    /// Starts `request` on queue `queue` (taken modulo their number). Does not wait.
    ///
    /// # Errors
    /// See [`Refused`].
    fn submit(
        &self,
        queue: usize,
        request: Request,
    ) -> core::result::Result<Ticket, alloc::boxed::Box<Refused>>;

    /// Ends a request early; it still completes once, with `Cancelled` or as it would have.
    /// `false` when it has completed already. Others under way are not lost by it.
    fn cancel(&self, ticket: Ticket) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::ANYWHERE;
    use crate::fake::Arena;

    const GEOMETRY: Geometry = Geometry {
        sector_size: 512,
        sectors: 100,
        read_only: false,
        volatile_cache: true,
        queues: 1,
        max_transfer: 8192,
        max_segments: 2,
        max_segment: 4096,
        dma_limit: ANYWHERE,
    };

    struct Nobody;
    impl Completion for Nobody {
        fn complete(&self, _done: Done) {}
    }

    fn check(operation: Operation, sector: u64, lens: &[usize], geometry: &Geometry) -> Result<()> {
        let arena = Arena::leaked();
        let segment =
            |&len: &usize| Segment { buffer: DmaBuffer::new(arena, 4096, ANYWHERE).unwrap(), len };
        let segments = lens.iter().map(segment).collect();
        Request { operation, sector, segments, token: 0, done: Arc::new(Nobody) }.check(geometry)
    }

    #[test]
    fn requests_are_checked_before_a_device_sees_them() {
        use Operation::{Flush, Read, Write};
        let write = Write { fua: false };
        let g = &GEOMETRY;
        assert_eq!(check(Read, 92, &[512, 3584], g), Ok(()));
        assert_eq!(check(Read, 93, &[512, 3584], g), Err(Error::OutOfRange));
        assert_eq!(check(Read, u64::MAX, &[512], g), Err(Error::OutOfRange));
        for lens in [&[][..], &[0], &[511], &[4608], &[512, 512, 512]] {
            assert_eq!(check(Read, 0, lens, g), Err(Error::Invalid), "{lens:?}");
        }
        let small = Geometry { max_transfer: 1024, ..GEOMETRY };
        assert_eq!(check(write, 0, &[512, 1024], &small), Err(Error::Invalid));
        assert_eq!(check(Flush, u64::MAX, &[], g), Ok(()));
        assert_eq!(check(Flush, 0, &[512], g), Err(Error::Invalid));
        let fixed = Geometry { read_only: true, ..GEOMETRY };
        assert_eq!(check(write, 0, &[512], &fixed), Err(Error::ReadOnly));
        assert_eq!(check(Read, 0, &[512], &fixed), Ok(()));
    }
}
