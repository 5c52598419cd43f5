//! Block devices: their names, and calls that wait.

use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::block::{
    BlockDevice, Completion, Done, Geometry, Operation, Refused, Request, Segment,
};
use driver_api::dma::DmaBuffer;
use driver_api::sync::IrqLock;
use driver_api::{BusAddress, Error, Result};

use super::names::Names;
use crate::mm::PAGE_SIZE;
use crate::mm::dma::Frames;
use crate::thread::{Mutex, Wait, WaitQueue};
use crate::time;

/// Bytes that [`Disk`] moves in one request.
const CHUNK: usize = 256 << 10;
/// Longest wait for room in a queue before it is tried again: whoever makes room may be
/// another than those that we see.
const ROOM_NS: u64 = 1_000_000;

static DISKS: Names<dyn BlockDevice> = Names::new();

/// A driver has found a disk.
pub(super) fn add(at: BusAddress, device: Arc<dyn BlockDevice>) {
    let g = device.geometry();
    log::info!(target: "block", "disk at {at}: {} sectors of {} bytes", g.sectors, g.sector_size);
    DISKS.add(at, device);
}

/// How many disks there are.
#[must_use]
pub fn count() -> usize {
    DISKS.count()
}

/// The disk `blk<index>`.
#[must_use]
pub fn get(index: usize) -> Option<Arc<dyn BlockDevice>> {
    DISKS.get(index).map(|(_, device)| device)
}

/// Somebody waits for a request here.
struct Waiter {
    done: IrqLock<Option<Done>>,
    queue: WaitQueue,
}

/// Who waits for room in some queue.
static ROOM: WaitQueue = WaitQueue::new();

impl Completion for Waiter {
    fn complete(&self, done: Done) {
        *self.done.lock() = Some(done);
        self.queue.wake_one();
        ROOM.wake_all();
    }
}

/// Carries out one request and waits for it; also for room in the queue. Gives the memory
/// back, unless a device that hangs has it.
///
/// # Errors
/// What the driver says, with the memory.
pub fn transfer(
    device: &dyn BlockDevice,
    operation: Operation,
    sector: u64,
    segments: Vec<Segment>,
) -> (Result<()>, Vec<Segment>) {
    let waiter = Arc::new(Waiter { done: IrqLock::new(None), queue: WaitQueue::new() });
    let mut request = Request { operation, sector, segments, token: 0, done: waiter.clone() };
    let queue = crate::percpu::with(|cpu| cpu.index.load(core::sync::atomic::Ordering::Relaxed));
    loop {
        match device.submit(queue, request) {
            Ok(_) => break,
            Err(refused) if refused.error == Error::Busy => {
                request = refused.request;
                let deadline = Some(time::now_ns().saturating_add(ROOM_NS));
                let _ = ROOM.wait(Wait { deadline, interruptible: false });
            }
            Err(refused) => {
                let Refused { error, request } = *refused;
                return (Err(error), request.segments);
            }
        }
    }
    let (mut done, _) = waiter.queue.wait_while(&waiter.done, Wait::FOREVER, |done| done.is_none());
    match done.take() {
        Some(done) => (done.result, done.segments),
        None => (Err(Error::Io), Vec::new()),
    }
}

/// A disk as bytes: any offset and length. Calls wait.
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    geometry: Geometry,
    /// Held while a sector is read to be written with some other bytes.
    edges: Mutex<()>,
}

impl Disk {
    /// The disk that `device` is.
    #[must_use]
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        let geometry = device.geometry();
        Self { device, geometry, edges: Mutex::new(()) }
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
        let (result, mut segments) = transfer(&*self.device, operation, sector, segments);
        result?;
        segments.pop().map(|s| s.buffer).ok_or(Error::Io)
    }

    /// A buffer for `len` bytes, or, where memory has no such stretch left, for fewer: whole
    /// sectors, a page at least.
    fn buffer(&self, len: usize) -> Result<(DmaBuffer, usize)> {
        let mut len = len;
        loop {
            match DmaBuffer::new(&Frames, len, self.geometry.dma_limit) {
                Err(Error::NoMemory) if len > PAGE_SIZE => {
                    len = (len / 2).next_multiple_of(PAGE_SIZE);
                }
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

    /// Writes `buf` at byte `offset`; fewer bytes only at the end.
    ///
    /// # Errors
    /// `NoSpace` at or beyond the end, `ReadOnly`, `NoMemory`, and what the driver says.
    pub fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        let left = self.size().saturating_sub(offset);
        if left == 0 && !buf.is_empty() {
            return Err(Error::NoSpace);
        }
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let write = Operation::Write { fua: false };
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
            self.request(write, sector, buffer, whole)?;
            done += take;
        }
        Ok(done)
    }

    /// Everything that was written goes to stable storage.
    ///
    /// # Errors
    /// What the driver says.
    pub fn flush(&self) -> Result<()> {
        transfer(&*self.device, Operation::Flush, 0, Vec::new()).0
    }
}
