//! `blk0`: a disk each of whose 8 bytes are their own offset when the kernel boots, of which
//! the tests leave behind what the host then verifies (`scenarios/README.md`): the first 24 MiB
//! inverted, the rest as it was.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use driver_api::Error;
use driver_api::block::{BlockDevice, Completion, Done, Operation, Request, Segment};
use driver_api::disk::{Disk, transfer};
use driver_api::dma::DmaBuffer;
use driver_api::sync::IrqLock;

use crate::drivers::block::get;
use crate::mm::dma::Frames;
use crate::registry::SERVICES;
use crate::selftest::{Failure, Rng, Test, ensure, go};
use crate::thread;

/// Tests of the first disk.
pub(crate) const BLOCK: &[Test] = &[
    ("pattern", the_pattern_is_read),
    ("sizes", requests_of_every_size),
    ("bytes", bytes_at_any_offset),
    ("range", what_is_out_of_range_is_refused),
    ("queue-full", a_full_queue_refuses_and_goes_on),
    ("cancel", a_cancelled_request_completes_once),
    ("random", random_requests_from_four_threads),
    ("rewrite", everything_is_rewritten_and_flushed),
];

const SECTOR: usize = 512;
/// What a written word adds to its offset, times the generation.
const GENERATION: u64 = 1 << 48;
/// Every bit flipped.
const INVERSE: u64 = u64::MAX;
/// Bytes at the front of the disk that the tests write to.
const SCRATCH: usize = 24 << 20;
/// The largest request.
const LARGEST: usize = 8 << 20;
/// Largest segment that is asked of the arena at once.
const SEGMENT: usize = 1 << 20;

fn disk() -> Result<Arc<dyn BlockDevice>, Failure> {
    let disk = get(0).ok_or("there is no blk0")?;
    let g = disk.geometry();
    ensure(g.sector_size as usize == SECTOR, "another sector size")?;
    ensure(g.bytes() >= (SCRATCH + LARGEST) as u64, "the disk is too small")?;
    Ok(disk)
}

/// Segments for `len` bytes.
fn memory(len: usize) -> Result<Vec<Segment>, Failure> {
    let mut left = len;
    let mut segments = Vec::new();
    while left > 0 {
        let take = left.min(SEGMENT);
        let buffer = DmaBuffer::new(&Frames, take, u64::MAX).map_err(|_| "no DMA memory")?;
        segments.push(Segment { buffer, len: take });
        left -= take;
    }
    Ok(segments)
}

/// Calls `f` with the number in the request and the bytes of each sector.
fn each_sector(segments: &mut [Segment], mut f: impl FnMut(u64, &mut [u8])) {
    let mut n = 0;
    for Segment { buffer, len } in segments {
        for sector in buffer.bytes_mut()[..*len].chunks_exact_mut(SECTOR) {
            f(n, sector);
            n += 1;
        }
    }
}

/// The word at byte `offset` of the disk in a generation; generation 0 is what the disk held
/// at first.
fn word(offset: u64, generation: u64) -> [u8; 8] {
    let word = if generation == INVERSE { !offset } else { offset + generation * GENERATION };
    word.to_le_bytes()
}

fn sector_holds(bytes: &[u8], sector: u64, generation: u64) -> bool {
    let first = sector * SECTOR as u64;
    let mut words = bytes.as_chunks::<8>().0.iter().zip((first..).step_by(8));
    words.all(|(w, at)| *w == word(at, generation))
}

fn fill(segments: &mut [Segment], first: u64, generation: u64) {
    each_sector(segments, |n, bytes| {
        let from = (first + n) * SECTOR as u64;
        for (w, at) in bytes.as_chunks_mut::<8>().0.iter_mut().zip((from..).step_by(8)) {
            *w = word(at, generation);
        }
    });
}

fn holds(segments: &mut [Segment], first: u64, generation: u64) -> bool {
    let mut good = true;
    each_sector(segments, |n, bytes| good &= sector_holds(bytes, first + n, generation));
    good
}

fn run(
    disk: &dyn BlockDevice,
    what: Operation,
    sector: u64,
    segments: Vec<Segment>,
) -> Result<Vec<Segment>, Failure> {
    let count = segments.len();
    let (result, segments) = transfer(&SERVICES, disk, what, sector, segments);
    result.map_err(|_| "a request failed")?;
    ensure(segments.len() == count, "memory is missing")?;
    Ok(segments)
}

fn read(disk: &dyn BlockDevice, sector: u64, len: usize) -> Result<Vec<Segment>, Failure> {
    run(disk, Operation::Read, sector, memory(len)?)
}

fn write(disk: &dyn BlockDevice, sector: u64, len: usize, generation: u64) -> Result<(), Failure> {
    let mut segments = memory(len)?;
    fill(&mut segments, sector, generation);
    run(disk, Operation::Write { fua: false }, sector, segments).map(drop)
}

fn the_pattern_is_read() -> Result<(), Failure> {
    let disk = disk()?;
    for sector in [0, 1, 4095, disk.geometry().sectors - 1] {
        ensure(holds(&mut read(&*disk, sector, SECTOR)?, sector, 0), "another content")?;
    }
    Ok(())
}

fn requests_of_every_size() -> Result<(), Failure> {
    let disk = disk()?;
    let most = disk.geometry().max_transfer;
    ensure(most >= LARGEST, "the device takes no 8 MiB at once")?;
    // Powers of two, each with a sector less and one more, at odd places.
    for shift in 9..=23 {
        for len in [(1 << shift) - SECTOR, 1 << shift, (1 << shift) + SECTOR] {
            if len == 0 || len > LARGEST {
                continue;
            }
            let sector = 3 + u64::from(shift == 23);
            write(&*disk, sector, len, 2)?;
            ensure(holds(&mut read(&*disk, sector, len)?, sector, 2), "not what was written")?;
            let after = sector + (len / SECTOR) as u64;
            let mut next = read(&*disk, after, SECTOR)?;
            let untouched = holds(&mut next, after, 0) || holds(&mut next, after, 2);
            ensure(untouched, "a write went too far")?;
        }
    }
    Ok(())
}

fn bytes_at_any_offset() -> Result<(), Failure> {
    let disk = Disk::new(&SERVICES, disk()?);
    let mut rng = Rng(3);
    let base = (SCRATCH / 2) as u64;
    let mut model = vec![0_u8; 300_000];
    ensure(disk.write_at(base, &model, false) == Ok(model.len()), "writing failed")?;
    for _ in 0..60 {
        let at = rng.next() as usize % model.len();
        let len = 1 + rng.next() as usize % (model.len() - at).min(20_000);
        let byte = rng.next() as u8;
        model[at..at + len].fill(byte);
        let written = disk.write_at(base + at as u64, &model[at..at + len], false);
        ensure(written == Ok(len), "writing failed")?;
    }
    let mut seen = vec![0; model.len() - 1];
    ensure(disk.read_at(base + 1, &mut seen) == Ok(seen.len()), "reading failed")?;
    ensure(seen == model[1..], "not what was written")?;
    let mut tail = [0; 100];
    ensure(disk.read_at(disk.size() - 3, &mut tail) == Ok(3), "reading past the end")?;
    ensure(disk.read_at(disk.size(), &mut tail) == Ok(0), "reading at the end")?;
    ensure(disk.write_at(disk.size(), &tail, false) == Err(Error::NoSpace), "writing at the end")
}

fn what_is_out_of_range_is_refused() -> Result<(), Failure> {
    let disk = disk()?;
    let end = disk.geometry().sectors;
    for (sector, len) in [(end, SECTOR), (end - 1, 2 * SECTOR), (u64::MAX, SECTOR)] {
        for what in [Operation::Read, Operation::Write { fua: false }] {
            let (result, memory) = transfer(&SERVICES, &*disk, what, sector, memory(len)?);
            ensure(result == Err(Error::OutOfRange), "it was not refused")?;
            ensure(memory.len() == 1, "the memory did not come back")?;
        }
    }
    let (result, _) = transfer(&SERVICES, &*disk, Operation::Read, 0, Vec::new());
    ensure(result == Err(Error::Invalid), "an empty request was not refused")
}

/// Takes what completes.
#[derive(Default)]
struct Seen(IrqLock<Vec<Done>>);

impl Completion for Seen {
    fn complete(&self, done: Done) {
        self.0.lock().push(done);
    }
}

impl Seen {
    /// Waits, ten seconds at most, until `count` have completed.
    fn wait(&self, count: usize) -> Result<Vec<Done>, Failure> {
        for _ in 0..10_000 {
            if self.0.lock().len() >= count {
                break;
            }
            thread::sleep_ns(1_000_000);
        }
        let seen = core::mem::take(&mut *self.0.lock());
        ensure(seen.len() == count, "requests are missing, or came twice")?;
        Ok(seen)
    }
}

fn a_full_queue_refuses_and_goes_on() -> Result<(), Failure> {
    let disk = disk()?;
    let seen = Arc::new(Seen(IrqLock::new(Vec::with_capacity(2000))));
    let (mut sent, mut refused) = (0, 0);
    // Faster than any device: without completions in between, some do not fit.
    for _ in 0..20 {
        let guard = thread::PreemptGuard::new();
        for _ in 0..100 {
            let segments = memory(SECTOR)?;
            let request = Request {
                operation: Operation::Read,
                sector: sent,
                segments,
                token: sent,
                done: seen.clone(),
            };
            match disk.submit(0, request) {
                Ok(_) => sent += 1,
                Err(r) if r.error == Error::Busy => {
                    ensure(r.request.token == sent, "another request came back")?;
                    refused += 1;
                    break;
                }
                Err(_) => return Err("refused for another reason"),
            }
        }
        drop(guard);
        if refused > 0 {
            break;
        }
    }
    ensure(refused > 0, "the queue was never full")?;
    let mut tokens = Vec::new();
    for mut done in seen.wait(sent as usize)? {
        ensure(done.result == Ok(()), "a request failed")?;
        let sector = done.token;
        let good = holds(&mut done.segments, sector, 0) || holds(&mut done.segments, sector, 2);
        ensure(good, "another sector's content")?;
        tokens.push(done.token);
    }
    tokens.sort_unstable();
    ensure(tokens.iter().copied().eq(0..sent), "a request completed twice")?;
    read(&*disk, 0, SECTOR).map(drop)
}

fn a_cancelled_request_completes_once() -> Result<(), Failure> {
    let disk = disk()?;
    let seen = Arc::new(Seen(IrqLock::new(Vec::with_capacity(16))));
    let mut tickets = Vec::new();
    for n in 0..8 {
        let request = Request {
            operation: Operation::Read,
            sector: n,
            segments: memory(64 << 10)?,
            token: n,
            done: seen.clone(),
        };
        tickets.push(disk.submit(0, request).map_err(|_| "it was refused")?);
    }
    // The device may be faster; then there is nothing to cancel.
    if let Some(ticket) = tickets.get(5) {
        let _ = disk.cancel(*ticket);
    }
    for done in seen.wait(8)? {
        ensure(done.segments.len() == 1, "the memory did not come back")?;
        let cancelled = done.token == 5 && done.result == Err(Error::Cancelled);
        ensure(done.result == Ok(()) || cancelled, "another request was hit")?;
    }
    Ok(())
}

/// Requests of all threads of the random test.
const RANDOM: u32 = 2000;
/// Its threads, each of which has a part of the disk.
const THREADS: u32 = 4;

fn random_requests_from_four_threads() -> Result<(), Failure> {
    static GOOD: AtomicU32 = AtomicU32::new(0);
    let disk = disk()?;
    let threads: Vec<_> = (0..THREADS)
        .map(|i| {
            let disk = disk.clone();
            go("random", move || {
                if random(&*disk, i).is_ok() {
                    GOOD.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect::<Result<_, _>>()?;
    threads.iter().for_each(|t| t.join());
    ensure(GOOD.load(Ordering::Relaxed) == THREADS, "a thread read what it did not write")
}

fn random(disk: &dyn BlockDevice, thread: u32) -> Result<(), Failure> {
    // Sectors of this thread's part, and the generation that each holds.
    const PART: usize = 2048;
    let first = 16 + u64::from(thread) * PART as u64;
    let mut generations = Vec::new();
    generations.resize(PART, 9_u64);
    write(disk, first, PART * SECTOR, 9)?;
    let mut rng = Rng(u64::from(thread) + 77);
    for round in 0..u64::from(RANDOM / THREADS) {
        let at = rng.next() as usize % PART;
        let len = 1 + rng.next() as usize % (PART - at).min(40);
        let here = first + at as u64;
        match rng.next() % 10 {
            0 => run(disk, Operation::Flush, 0, Vec::new()).map(drop)?,
            1..=5 => {
                write(disk, here, len * SECTOR, 10 + round)?;
                generations[at..at + len].fill(10 + round);
            }
            _ => {
                let mut segments = read(disk, here, len * SECTOR)?;
                let mut good = true;
                each_sector(&mut segments, |n, bytes| {
                    good &= sector_holds(bytes, here + n, generations[at + n as usize]);
                });
                ensure(good, "not what was written")?;
            }
        }
    }
    Ok(())
}

fn everything_is_rewritten_and_flushed() -> Result<(), Failure> {
    let disk = disk()?;
    for at in (0..SCRATCH).step_by(LARGEST) {
        write(&*disk, (at / SECTOR) as u64, LARGEST, INVERSE)?;
    }
    run(&*disk, Operation::Flush, 0, Vec::new()).map(drop)?;
    let after = (SCRATCH / SECTOR) as u64;
    ensure(holds(&mut read(&*disk, after, LARGEST)?, after, 0), "a write went too far")
}
