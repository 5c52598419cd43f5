//! A queue and its requests.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::block::{Completion, Done, Geometry, Operation, Request, Segment, Ticket};
use driver_api::dma::{ANYWHERE, DmaBuffer, DmaShared};
use driver_api::{Error, Result};
use virtio::{Completed, Device, Part, Queue, Stopped};

use crate::config::{EXTRA, WIRE_SECTOR};

/// Bytes of a slot in the shared memory, of the header in it (5.2.6), and where in it the
/// device puts the status.
const SLOT: usize = 32;
const HEADER: u32 = 16;
const STATUS: usize = 16;
/// Request types.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
/// Statuses.
const OK: u8 = 0;
const UNSUPPORTED: u8 = 2;
/// What the status is before the device has written it.
const NOT_YET: u8 = 0xff;
/// How often a request is submitted, resets included.
const ATTEMPTS: u8 = 2;

/// A request that the device has.
pub struct Pending {
    operation: Operation,
    sector: u64,
    /// Bytes used of each buffer.
    lens: Vec<usize>,
    token: u64,
    done: Arc<dyn Completion>,
    pub ticket: Ticket,
    /// When it has taken too long.
    pub deadline: u64,
    /// Somebody wants it back.
    pub cancelled: bool,
    /// The write is done, and its data is being flushed.
    flushing: bool,
    attempts: u8,
    /// While it is flushed, the buffers wait here.
    buffers: Vec<DmaBuffer>,
}

impl Pending {
    pub fn new(request: Request, ticket: Ticket, deadline: u64) -> (Self, Vec<Segment>) {
        let Request { operation, sector, segments, token, done } = request;
        let lens = segments.iter().map(|s| s.len).collect();
        let pending = Self {
            operation,
            sector,
            lens,
            token,
            done,
            ticket,
            deadline,
            cancelled: false,
            flushing: false,
            attempts: 0,
            buffers: Vec::new(),
        };
        (pending, segments)
    }

    /// Its one completion, with the buffers that there are.
    pub fn complete(mut self, result: Result<()>, mut buffers: Vec<DmaBuffer>) {
        buffers.append(&mut self.buffers);
        let mut segments = Vec::with_capacity(buffers.len());
        for (buffer, len) in buffers.into_iter().zip(self.lens) {
            segments.push(Segment { buffer, len });
        }
        self.done.complete(Done { token: self.token, result, segments });
    }

    /// The request again, before it was ever submitted.
    pub fn into_request(self, segments: Vec<Segment>) -> Request {
        let Self { operation, sector, token, done, .. } = self;
        Request { operation, sector, segments, token, done }
    }

    fn kind(&self) -> u32 {
        match self.operation {
            _ if self.flushing => FLUSH,
            Operation::Read => IN,
            Operation::Write { .. } => OUT,
            Operation::Flush => FLUSH,
        }
    }

    /// Bytes that the device writes: the data of a read, and the status.
    fn written(&self) -> usize {
        let data = if self.operation == Operation::Read { self.lens.iter().sum() } else { 0 };
        data + 1
    }
}

/// A request that has ended: to be completed once no lock is held.
pub struct Ended {
    pub pending: Pending,
    pub result: Result<()>,
    pub buffers: Vec<DmaBuffer>,
}

impl Ended {
    pub fn tell(self) {
        self.pending.complete(self.result, self.buffers);
    }
}

/// A queue.
pub struct Lane {
    pub queue: Queue,
    shared: DmaShared,
    slots: Vec<Option<Pending>>,
    free: Vec<u16>,
    /// A write has become a flush of which the device was not told.
    pub submitted: bool,
}

impl Lane {
    pub fn new(device: &Device, queue: Queue) -> Result<Self> {
        let count = queue.size() / EXTRA as u16;
        let bytes = SLOT * usize::from(count);
        let shared = DmaShared::new(device.services().dma(), bytes, ANYWHERE)?;
        let (mut slots, mut free) = (Vec::new(), Vec::new());
        slots.try_reserve_exact(count.into()).map_err(|_| Error::NoMemory)?;
        free.try_reserve_exact(count.into()).map_err(|_| Error::NoMemory)?;
        slots.resize_with(count.into(), || None);
        free.extend((0..count).rev());
        Ok(Self { queue, shared, slots, free, submitted: false })
    }

    /// Whether a request with `segments` segments can be submitted now.
    pub fn has_room(&self, segments: usize) -> bool {
        !self.free.is_empty() && self.queue.room() >= segments + EXTRA
    }

    /// Submits a request whose buffers are these. The caller has made sure that there is
    /// room.
    pub fn submit(
        &mut self,
        mut pending: Pending,
        buffers: Vec<DmaBuffer>,
        geometry: &Geometry,
    ) -> core::result::Result<(), Box<Ended>> {
        let fail =
            |pending, buffers, error| Err(Box::new(Ended { pending, result: Err(error), buffers }));
        let Some(slot) = self.free.pop() else { return fail(pending, buffers, Error::Io) };
        let at = SLOT * usize::from(slot);
        self.shared.write32(at, pending.kind());
        self.shared.write32(at + 4, 0);
        // Sectors have 512 bytes on the wire, whatever the disk's have (5.2.6).
        let scale = u64::from(geometry.sector_size / WIRE_SECTOR);
        let wire = if pending.kind() == FLUSH { 0 } else { pending.sector * scale };
        self.shared.write64(at + 8, wire);
        self.shared.write8(at + STATUS, NOT_YET);
        let write = pending.operation == Operation::Read;
        let mut parts = Vec::with_capacity(buffers.len() + EXTRA);
        parts.push(Part::Shared { bus: self.shared.bus(at), len: HEADER, write: false });
        let data = buffers.into_iter().zip(&pending.lens);
        parts.extend(data.map(|(buffer, &len)| Part::Buffer { buffer, offset: 0, len, write }));
        parts.push(Part::Shared { bus: self.shared.bus(at + STATUS), len: 1, write: true });
        pending.attempts += 1;
        if let Err(rejected) = self.queue.submit(parts, slot.into()) {
            self.free.push(slot);
            let buffers = rejected.parts.into_iter().filter_map(buffer).collect();
            return fail(pending, buffers, rejected.error);
        }
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Some(pending);
        }
        Ok(())
    }

    /// The request in the slot that its chain's number says.
    fn take(&mut self, tag: u64) -> Option<Pending> {
        let slot = u16::try_from(tag).ok()?;
        let pending = self.slots.get_mut(usize::from(slot))?.take()?;
        self.free.push(slot);
        Some(pending)
    }

    /// The next request that the device has ended.
    ///
    /// # Errors
    /// `Io` when the device is wrong.
    pub fn next(&mut self, geometry: &Geometry) -> Result<Option<Ended>> {
        while let Some(Completed { tag, buffers, written }) = self.queue.pop()? {
            let status = self.shared.read8(SLOT * tag as usize + STATUS);
            let Some(mut pending) = self.take(tag) else { return Err(Error::Io) };
            let short = (written as usize) < pending.written();
            let result = match status {
                OK if !short => Ok(()),
                UNSUPPORTED => Err(Error::Unsupported),
                _ => Err(Error::Io),
            };
            let fua = pending.operation == Operation::Write { fua: true };
            if geometry.volatile_cache && fua && result.is_ok() && !pending.flushing {
                // Virtio has no forced unit access: the write is complete when a flush is.
                pending.flushing = true;
                pending.attempts = 0;
                pending.buffers = buffers;
                self.submitted = true;
                match self.submit(pending, Vec::new(), geometry) {
                    Ok(()) => continue,
                    Err(ended) => return Ok(Some(*ended)),
                }
            }
            return Ok(Some(Ended { pending, result, buffers }));
        }
        Ok(None)
    }

    /// Requests under way.
    pub fn pending(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.slots.iter_mut().flatten()
    }

    /// After a reset: those that are to be submitted again, with their buffers, and those
    /// that have ended.
    pub fn drain(
        &mut self,
        stopped: &Stopped,
        now: u64,
    ) -> (Vec<(Pending, Vec<DmaBuffer>)>, Vec<Ended>) {
        let (mut again, mut ended) = (Vec::new(), Vec::new());
        for Completed { tag, buffers, .. } in self.queue.drain(stopped) {
            let Some(pending) = self.take(tag) else { continue };
            let error = if pending.cancelled {
                Error::Cancelled
            } else if pending.deadline <= now {
                Error::TimedOut
            } else if pending.attempts >= ATTEMPTS {
                Error::Io
            } else {
                again.push((pending, buffers));
                continue;
            };
            ended.push(Ended { pending, result: Err(error), buffers });
        }
        (again, ended)
    }

    /// The device keeps the memory of everything under way.
    pub fn abandon(&mut self) -> Vec<Ended> {
        let slots = self.queue.abandon();
        let pendings = slots.into_iter().filter_map(|slot| self.take(slot));
        let end = |pending| Ended { pending, result: Err(Error::TimedOut), buffers: Vec::new() };
        pendings.map(end).collect()
    }
}

/// The buffer of a piece.
fn buffer(part: Part) -> Option<DmaBuffer> {
    match part {
        Part::Buffer { buffer, .. } => Some(buffer),
        Part::Shared { .. } => None,
    }
}
