//! A block device in memory: the reference of the block contract, and a disk for tests of
//! file systems.
//!
//! Requests wait in a queue of bounded length and are carried out by a worker, like those of
//! a real device; memory is taken page by page when it is first written to.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::Once;
use driver_api::block::{BlockDevice, Geometry, Operation, Refused, Request, Segment, Ticket};
use driver_api::dma::ANYWHERE;
use driver_api::sync::IrqLock;
use driver_api::{BusAddress, Driver, Error, Kernel, Result, Services, Wake, Worker};

/// Bytes that are taken at once.
const PAGE: usize = 4096;
/// Bytes in a sector.
const SECTOR: u32 = 512;
/// Requests that wait at most.
const QUEUE: usize = 128;
/// Sectors of the disk that the driver makes: 8 MiB.
const SECTORS: u64 = 8 << 11;

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "ramdisk", early: None, probe };

/// Makes one disk.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    let services = driver_api::services();
    let disk = RamDisk::start(services, SECTORS)?;
    services.add_block(BusAddress::Virtual(0), disk);
    Ok(())
}

/// What waits.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Ticket, Request)>,
    next: u64,
}

/// A disk in memory.
pub struct RamDisk {
    sectors: u64,
    /// An empty page reads as zeroes.
    pages: IrqLock<Vec<Vec<u8>>>,
    queue: IrqLock<Queue>,
    wake: Once<Arc<dyn Wake>>,
}

impl RamDisk {
    /// A disk of `sectors` sectors of 512 bytes, all zero.
    ///
    /// # Errors
    /// `NoMemory`, `Invalid` for more than can be addressed.
    pub fn start(services: &'static dyn Services, sectors: u64) -> Result<Arc<Self>> {
        let bytes = sectors.checked_mul(SECTOR.into()).ok_or(Error::Invalid)?;
        let count = usize::try_from(bytes.div_ceil(PAGE as u64)).map_err(|_| Error::Invalid)?;
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        pages.resize_with(count, Vec::new);
        let mut queue = Queue::default();
        queue.waiting.try_reserve_exact(QUEUE).map_err(|_| Error::NoMemory)?;
        let disk = Arc::new(Self {
            sectors,
            pages: IrqLock::new(pages),
            queue: IrqLock::new(queue),
            wake: Once::new(),
        });
        let wake = services.start_worker("ramdisk", disk.clone())?;
        disk.wake.call_once(|| wake);
        Ok(disk)
    }

    /// Copies between `bytes` and the disk from byte `at` on.
    fn copy(&self, mut at: u64, mut bytes: &mut [u8], write: bool) -> Result<()> {
        while !bytes.is_empty() {
            let (index, offset) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let take = bytes.len().min(PAGE - offset);
            let (head, tail) = bytes.split_at_mut(take);
            // A page at a time: interrupts are off while the lock is held.
            let mut pages = self.pages.lock();
            let page = pages.get_mut(index as usize).ok_or(Error::OutOfRange)?;
            if write && page.is_empty() {
                page.try_reserve_exact(PAGE).map_err(|_| Error::NoMemory)?;
                page.resize(PAGE, 0);
            }
            match page.get_mut(offset..offset + take) {
                Some(there) if write => there.copy_from_slice(head),
                Some(there) => head.copy_from_slice(there),
                None => head.fill(0),
            }
            drop(pages);
            bytes = tail;
            at += take as u64;
        }
        Ok(())
    }

    fn carry_out(&self, request: &mut Request) -> Result<()> {
        let write = match request.operation {
            Operation::Flush => return Ok(()),
            Operation::Read => false,
            Operation::Write { .. } => true,
        };
        let mut at = request.sector * u64::from(SECTOR);
        for Segment { buffer, len } in &mut request.segments {
            let bytes = buffer.bytes_mut().get_mut(..*len).ok_or(Error::Invalid)?;
            self.copy(at, bytes, write)?;
            at += *len as u64;
        }
        Ok(())
    }
}

impl Worker for RamDisk {
    fn work(&self) -> Option<u64> {
        loop {
            let next = self.queue.lock().waiting.pop_front();
            let (_, mut request) = next?;
            let result = self.carry_out(&mut request);
            request.complete(result);
        }
    }
}

impl BlockDevice for RamDisk {
    fn geometry(&self) -> Geometry {
        Geometry {
            sector_size: SECTOR,
            sectors: self.sectors,
            read_only: false,
            volatile_cache: false,
            queues: 1,
            max_transfer: 1 << 20,
            max_segments: 256,
            max_segment: usize::MAX,
            dma_limit: ANYWHERE,
        }
    }

    fn submit(
        &self,
        _queue: usize,
        request: Request,
    ) -> core::result::Result<Ticket, Box<Refused>> {
        if let Err(error) = request.check(&self.geometry()) {
            return Err(Box::new(Refused { error, request }));
        }
        let mut queue = self.queue.lock();
        if queue.waiting.len() == QUEUE {
            drop(queue);
            return Err(Box::new(Refused { error: Error::Busy, request }));
        }
        let ticket = Ticket(queue.next);
        queue.next += 1;
        queue.waiting.push_back((ticket, request));
        drop(queue);
        if let Some(wake) = self.wake.get() {
            wake.wake();
        }
        Ok(ticket)
    }

    fn cancel(&self, ticket: Ticket) -> bool {
        let mut queue = self.queue.lock();
        let at = queue.waiting.iter().position(|(t, _)| *t == ticket);
        let taken = at.and_then(|at| queue.waiting.remove(at));
        drop(queue);
        match taken {
            Some((_, request)) => {
                request.complete(Err(Error::Cancelled));
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_api::block::{Completion, Done};
    use driver_api::dma::DmaBuffer;
    use driver_api::fake::Machine;

    #[derive(Default)]
    struct Seen(IrqLock<Vec<Done>>);
    impl Completion for Seen {
        fn complete(&self, done: Done) {
            self.0.lock().push(done);
        }
    }

    struct Bench {
        machine: &'static Machine,
        disk: Arc<dyn BlockDevice>,
        seen: Arc<Seen>,
    }

    impl Bench {
        fn new() -> Self {
            let machine = Machine::install();
            probe(machine).unwrap();
            let (at, disk) = machine.blocks().pop().unwrap();
            assert_eq!(at, BusAddress::Virtual(0));
            Self { machine, disk, seen: Arc::default() }
        }

        fn request(&self, operation: Operation, sector: u64, fills: &[(u8, usize)]) -> Request {
            let segment = |&(fill, len): &(u8, usize)| {
                let mut buffer = DmaBuffer::new(self.machine.arena(), len, ANYWHERE).unwrap();
                buffer.bytes_mut().fill(fill);
                Segment { buffer, len }
            };
            let segments = fills.iter().map(segment).collect();
            Request { operation, sector, segments, token: sector, done: self.seen.clone() }
        }

        fn run(&self, request: Request) -> Done {
            self.disk.submit(7, request).unwrap();
            self.machine.run_workers();
            self.seen.0.lock().pop().unwrap()
        }
    }

    #[test]
    fn what_is_written_is_read_across_pages_and_segments() {
        let bench = Bench::new();
        let write = Operation::Write { fua: true };
        let done = bench.run(bench.request(write, 7, &[(1, 512), (2, 8192), (3, 1024)]));
        assert_eq!((done.token, done.result), (7, Ok(())));
        let done = bench.run(bench.request(Operation::Read, 6, &[(9, 4096), (9, 8192)]));
        assert_eq!(done.result, Ok(()));
        let all: Vec<u8> =
            done.segments.iter().flat_map(|s| s.buffer.bytes()[..s.len].to_vec()).collect();
        let runs: Vec<(u8, usize)> = all.chunk_by(|a, b| a == b).map(|c| (c[0], c.len())).collect();
        assert_eq!(runs, [(0, 512), (1, 512), (2, 8192), (3, 1024), (0, 2048)]);
        assert_eq!(bench.run(bench.request(Operation::Flush, 0, &[])).result, Ok(()));
    }

    #[test]
    fn a_full_queue_gives_the_request_back_and_goes_on() {
        let bench = Bench::new();
        for n in 0..QUEUE as u64 {
            bench.disk.submit(0, bench.request(Operation::Flush, n, &[])).unwrap();
        }
        let refused = bench.disk.submit(0, bench.request(Operation::Flush, 999, &[])).unwrap_err();
        assert_eq!((refused.error, refused.request.token), (Error::Busy, 999));
        bench.machine.run_workers();
        let tokens: Vec<u64> = bench.seen.0.lock().iter().map(|d| d.token).collect();
        assert_eq!(tokens, (0..QUEUE as u64).collect::<Vec<_>>(), "each once, in order");
        assert!(bench.disk.submit(0, refused.request).is_ok());
    }

    #[test]
    fn a_cancelled_request_completes_once_with_its_buffers() {
        let bench = Bench::new();
        let keep = bench.disk.submit(0, bench.request(Operation::Read, 1, &[(0, 512)])).unwrap();
        let drop = bench.disk.submit(0, bench.request(Operation::Read, 2, &[(0, 512)])).unwrap();
        assert!(bench.disk.cancel(drop));
        assert!(!bench.disk.cancel(drop));
        bench.machine.run_workers();
        assert!(!bench.disk.cancel(keep));
        let seen: Vec<_> =
            bench.seen.0.lock().iter().map(|d| (d.token, d.result, d.segments.len())).collect();
        assert_eq!(seen, [(2, Err(Error::Cancelled), 1), (1, Ok(()), 1)]);
    }

    #[test]
    fn what_does_not_fit_the_disk_is_refused() {
        let bench = Bench::new();
        let refused = |r| bench.disk.submit(0, r).unwrap_err().error;
        let end = bench.disk.geometry().sectors;
        let r = bench.request(Operation::Read, end, &[(0, 512)]);
        assert_eq!(refused(r), Error::OutOfRange);
        assert_eq!(refused(bench.request(Operation::Read, 0, &[(0, 100)])), Error::Invalid);
        assert_eq!(bench.machine.arena().in_use(), 0, "refused requests gave memory back");
    }
}
