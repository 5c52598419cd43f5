//! Block devices for those who wait: requests one at a time, and disks as bytes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::block::{BlockDevice, Completion, Done, Geometry, Operation, Refused, Request, Segment};
use crate::dma::DmaBuffer;
use crate::sync::IrqLock;
use crate::wait::{SleepLock, WaitPlace};
use crate::{Error, Result, Services};

/// Bytes that [`Disk`] moves in one request.
const CHUNK: usize = 256 << 10;
/// Bytes of the smallest buffer that is asked for where memory is short.
const PAGE: usize = 4096;
/// How long a request waits that finds its queue full: others than us make room.
const ROOM_NS: u64 = 1_000_000;

/// Somebody waits for a request here.
struct Waiter {
    done: IrqLock<Option<Done>>,
    place: Arc<dyn WaitPlace>,
}

impl Completion for Waiter {
    fn complete(&self, done: Done) {
        *self.done.lock() = Some(done);
        self.place.wake();
    }
}

/// Carries out one request and waits for it; also for room in the queue. Gives the memory
/// back, unless a device that hangs has it.
///
/// # Errors
/// What the driver says, with the memory.
pub fn transfer(
    services: &dyn Services,
    device: &dyn BlockDevice,
    operation: Operation,
    sector: u64,
    segments: Vec<Segment>,
) -> (Result<()>, Vec<Segment>) {
    let waiter = Arc::new(Waiter { done: IrqLock::new(None), place: services.wait_place() });
    let mut request = Request { operation, sector, segments, token: 0, done: waiter.clone() };
    loop {
        match device.submit(services.cpu(), request) {
            Ok(_) => break,
            Err(refused) if refused.error == Error::Busy => {
                request = refused.request;
                services.sleep_ns(ROOM_NS);
            }
            Err(refused) => {
                let Refused { error, request } = *refused;
                return (Err(error), request.segments);
            }
        }
    }
    waiter.place.wait_until(&mut || waiter.done.lock().is_some());
    let done = waiter.done.lock().take();
    match done {
        Some(done) => (done.result, done.segments),
        None => (Err(Error::Io), Vec::new()),
    }
}

/// A disk as bytes: any offset and length. Calls wait.
pub struct Disk {
    services: &'static dyn Services,
    device: Arc<dyn BlockDevice>,
    geometry: Geometry,
    /// Held while a sector is read to be written with some other bytes.
    edges: SleepLock<()>,
}

impl Disk {
    /// The disk that `device` is.
    #[must_use]
    pub fn new(services: &'static dyn Services, device: Arc<dyn BlockDevice>) -> Self {
        let geometry = device.geometry();
        Self { services, device, geometry, edges: SleepLock::new(services, ()) }
    }

    /// What it is like.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.geometry.bytes()
    }

    /// The part of `offset .. offset + len` that a request may have: whole sectors, or one
    /// sector and what is wanted of it.
    fn part(&self, offset: u64, len: usize) -> (u64, usize, usize) {
        let size = self.geometry.sector_size as usize;
        let (sector, skip) = (offset / size as u64, (offset % size as u64) as usize);
        if skip > 0 || len < size {
            return (sector, skip, len.min(size - skip));
        }
        let g = &self.geometry;
        let most = CHUNK.min(g.max_transfer).min(g.max_segment) / size * size;
        (sector, 0, (len / size * size).min(most.max(size)))
    }

    fn request(
        &self,
        operation: Operation,
        sector: u64,
        buffer: DmaBuffer,
        len: usize,
    ) -> Result<DmaBuffer> {
        let segments = Vec::from([Segment { buffer, len }]);
        let (result, mut segments) =
            transfer(self.services, &*self.device, operation, sector, segments);
        result?;
        segments.pop().map(|s| s.buffer).ok_or(Error::Io)
    }

    /// A buffer for `len` bytes, or, where memory has no such stretch left, for fewer: whole
    /// sectors, a page at least.
    fn buffer(&self, len: usize) -> Result<(DmaBuffer, usize)> {
        let mut len = len;
        loop {
            match DmaBuffer::new(self.services.dma(), len, self.geometry.dma_limit) {
                Err(Error::NoMemory) if len > PAGE => len = (len / 2).next_multiple_of(PAGE),
                other => return Ok((other?, len)),
            }
        }
    }

    /// Reads into `buf` from byte `offset`; fewer bytes than asked only at the end.
    ///
    /// # Errors
    /// `NoMemory`, and what the driver says.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = self.size().saturating_sub(offset);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..len).filter(|r| !r.is_empty()) {
            let (sector, skip, take) = self.part(offset + done as u64, rest.len());
            let whole = (skip + take).next_multiple_of(self.geometry.sector_size as usize);
            let (buffer, whole) = self.buffer(whole)?;
            let take = take.min(whole - skip);
            let buffer = self.request(Operation::Read, sector, buffer, whole)?;
            let got = buffer.bytes().get(skip..skip + take).ok_or(Error::Io)?;
            rest.get_mut(..take).ok_or(Error::Io)?.copy_from_slice(got);
            done += take;
        }
        Ok(done)
    }

    /// Writes `buf` at byte `offset`, with `fua` to stable storage; fewer bytes only at the
    /// end.
    ///
    /// # Errors
    /// `NoSpace` at or beyond the end, `ReadOnly`, `NoMemory`, and what the driver says.
    pub fn write_at(&self, offset: u64, buf: &[u8], fua: bool) -> Result<usize> {
        let left = self.size().saturating_sub(offset);
        if left == 0 && !buf.is_empty() {
            return Err(Error::NoSpace);
        }
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut done = 0;
        while let Some(rest) = buf.get(done..len).filter(|r| !r.is_empty()) {
            let (sector, skip, take) = self.part(offset + done as u64, rest.len());
            let whole = (skip + take).next_multiple_of(self.geometry.sector_size as usize);
            let (mut buffer, whole) = self.buffer(whole)?;
            let take = take.min(whole - skip);
            let _edge = (take < whole).then(|| self.edges.lock());
            if take < whole {
                buffer = self.request(Operation::Read, sector, buffer, whole)?;
            }
            let place = buffer.bytes_mut().get_mut(skip..skip + take).ok_or(Error::Io)?;
            place.copy_from_slice(rest.get(..take).ok_or(Error::Io)?);
            self.request(Operation::Write { fua }, sector, buffer, whole)?;
            done += take;
        }
        Ok(done)
    }

    /// Everything that was written goes to stable storage.
    ///
    /// # Errors
    /// What the driver says.
    pub fn flush(&self) -> Result<()> {
        if !self.geometry.volatile_cache {
            return Ok(());
        }
        transfer(self.services, &*self.device, Operation::Flush, 0, Vec::new()).0
    }
}
