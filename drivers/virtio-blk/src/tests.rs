//! The driver against a scripted device.

use super::disk::PATIENCE_NS;
use alloc::sync::Arc;
use alloc::vec::Vec;

use driver_api::block::{BlockDevice, Completion, Done, Operation, Request, Segment};
use driver_api::dma::{ANYWHERE, DmaBuffer};
use driver_api::fake::Machine;
use driver_api::sync::IrqLock;
use driver_api::{Error, Kernel, Result};
use proptest::prelude::*;
use virtio::fake::{DeviceChain, Fake, device};
use virtio::{feature::VERSION_1, id};

use super::config::feature;

#[derive(Default)]
struct Seen(IrqLock<Vec<Done>>);

impl Completion for Seen {
    fn complete(&self, done: Done) {
        self.0.lock().push(done);
    }
}

struct Bench {
    machine: &'static Machine,
    fake: Arc<Fake>,
    disk: Arc<dyn BlockDevice>,
    seen: Arc<Seen>,
    /// Blocks of DMA memory that the driver itself holds.
    own: usize,
}

const WRITE: Operation = Operation::Write { fua: false };
const FUA: Operation = Operation::Write { fua: true };

/// A disk of 1000 sectors with a queue of `size`.
fn bench_with(features: u64, size: u16) -> Bench {
    let machine = Machine::leaked();
    let (fake, device) = device(machine, id::BLOCK, &[size]);
    fake.offer(VERSION_1 | features);
    fake.set_config(0, 1000);
    super::start(device).unwrap();
    let (_, disk) = machine.blocks().pop().unwrap();
    machine.run_workers();
    let own = machine.arena().in_use();
    Bench { machine, fake, disk, seen: Arc::default(), own }
}

fn bench() -> Bench {
    bench_with(feature::FLUSH, 16)
}

impl Bench {
    fn request(&self, operation: Operation, sector: u64, lens: &[usize]) -> Request {
        let segment = |&len: &usize| {
            let mut buffer = DmaBuffer::new(self.machine.arena(), len, ANYWHERE).unwrap();
            buffer.bytes_mut().fill(sector as u8);
            Segment { buffer, len }
        };
        let segments = lens.iter().map(segment).collect();
        Request { operation, sector, segments, token: sector, done: self.seen.clone() }
    }

    fn submit(&self, operation: Operation, sector: u64, lens: &[usize]) {
        self.disk.submit(0, self.request(operation, sector, lens)).unwrap();
    }

    /// The device takes a request: its type, its sector, the chain.
    fn take(&self) -> Option<(u32, u64, DeviceChain)> {
        let chain = self.fake.take(0)?;
        let header = self.fake.read(&chain);
        assert_eq!(chain.parts[0].1, 16);
        assert_eq!(chain.parts.last().map(|p| (p.1, p.2)), Some((1, true)), "the status");
        let kind = u32::from_le_bytes(*header.first_chunk().unwrap());
        let sector = u64::from_le_bytes(*header[8..].first_chunk().unwrap());
        Some((kind, sector, chain))
    }

    /// The device answers with data for reads and a status.
    fn answer(&self, chain: &DeviceChain, fill: u8, status: u8) {
        let len = Fake::writable(chain) - 1;
        let bytes = [alloc::vec![fill; len], alloc::vec![status]].concat();
        let written = self.fake.write(chain, &bytes);
        self.fake.give(0, chain.head.into(), written);
        self.machine.run_workers();
    }

    fn done(&self) -> Vec<(u64, Result<()>, usize)> {
        let all = core::mem::take(&mut *self.seen.0.lock());
        all.into_iter().map(|d| (d.token, d.result, d.segments.len())).collect()
    }

    /// Nothing but the driver's own memory is in use, and the device touched no other.
    fn expect_clean(&self) {
        assert_eq!(self.machine.arena().in_use(), self.own);
        assert!(self.machine.arena().violations().is_empty());
    }
}

#[test]
fn reads_and_writes_are_what_the_device_is_asked_for() {
    let b = bench();
    b.submit(Operation::Read, 7, &[512, 1024]);
    let (kind, sector, chain) = b.take().unwrap();
    assert_eq!((kind, sector, chain.parts.len()), (0, 7, 4));
    b.answer(&chain, 0x5a, 0);
    let done = b.seen.0.lock().pop().unwrap();
    assert_eq!((done.token, done.result), (7, Ok(())));
    assert_eq!(done.segments[1].len, 1024);
    assert!(done.segments[1].buffer.bytes()[..1024].iter().all(|x| *x == 0x5a));
    drop(done);
    b.submit(WRITE, 9, &[512]);
    let (kind, sector, chain) = b.take().unwrap();
    assert_eq!((kind, sector), (1, 9));
    assert_eq!(b.fake.read(&chain)[16..], [9; 512]);
    b.answer(&chain, 0, 0);
    b.submit(Operation::Flush, 0, &[]);
    let (kind, sector, chain) = b.take().unwrap();
    assert_eq!((kind, sector, chain.parts.len()), (4, 0, 2));
    b.answer(&chain, 0, 0);
    assert_eq!(b.done(), [(9, Ok(()), 1), (0, Ok(()), 0)]);
    b.expect_clean();
}

#[test]
fn a_write_with_fua_is_flushed_before_it_completes() {
    let b = bench();
    b.submit(FUA, 3, &[512]);
    let (_, _, write) = b.take().unwrap();
    while b.fake.notification().is_some() {}
    b.answer(&write, 0, 0);
    assert!(b.done().is_empty(), "not yet");
    assert_eq!(b.fake.notification(), Some(0));
    let (kind, _, flush) = b.take().unwrap();
    assert_eq!(kind, 4);
    b.answer(&flush, 0, 0);
    assert_eq!(b.done(), [(3, Ok(()), 1)]);
    // Without a cache there is nothing to flush, and flushes need no device.
    let b = bench_with(0, 16);
    b.submit(FUA, 3, &[512]);
    let (_, _, write) = b.take().unwrap();
    b.answer(&write, 0, 0);
    b.submit(Operation::Flush, 0, &[]);
    assert_eq!(b.done(), [(3, Ok(()), 1), (0, Ok(()), 0)]);
    assert!(b.take().is_none());
    b.expect_clean();
}

#[test]
fn errors_and_short_reads_are_errors() {
    let b = bench();
    for (status, error) in [(1, Error::Io), (2, Error::Unsupported), (0xff, Error::Io)] {
        b.submit(WRITE, 1, &[512]);
        let (_, _, chain) = b.take().unwrap();
        b.answer(&chain, 0, status);
        assert_eq!(b.done(), [(1, Err(error), 1)]);
    }
    b.submit(Operation::Read, 1, &[512]);
    let (_, _, chain) = b.take().unwrap();
    b.fake.write(&chain, &[0; 513]);
    b.fake.give(0, chain.head.into(), 512);
    b.machine.run_workers();
    assert_eq!(b.done(), [(1, Err(Error::Io), 1)], "a byte is missing");
    b.expect_clean();
}

#[test]
fn a_full_queue_refuses_until_there_is_room() {
    let b = bench();
    for n in 0..5 {
        b.submit(Operation::Read, n, &[512]);
    }
    let refused = b.disk.submit(0, b.request(Operation::Read, 9, &[512])).unwrap_err();
    assert_eq!((refused.error, refused.request.segments.len()), (Error::Busy, 1));
    let (_, _, chain) = b.take().unwrap();
    b.answer(&chain, 0, 0);
    assert!(b.disk.submit(0, refused.request).is_ok());
    while let Some((_, _, chain)) = b.take() {
        b.answer(&chain, 0, 0);
    }
    assert_eq!(b.done().len(), 6);
    b.expect_clean();
}

#[test]
fn silence_ends_in_a_reset_and_what_is_young_is_submitted_again() {
    let b = bench();
    b.submit(Operation::Read, 1, &[512]);
    b.machine.run_workers();
    assert_eq!(b.machine.next_deadline(), Some(b.machine.now_ns() + PATIENCE_NS));
    b.machine.advance(PATIENCE_NS - 1);
    b.submit(WRITE, 2, &[512]);
    b.machine.run_workers();
    assert!(b.done().is_empty());
    b.machine.advance(1);
    let resets = b.fake.resets();
    b.machine.run_workers();
    // One to stop it, one to begin anew.
    assert_eq!(b.fake.resets(), resets + 2);
    assert_eq!(b.done(), [(1, Err(Error::TimedOut), 1)]);
    let (kind, sector, chain) = b.take().unwrap();
    assert_eq!((kind, sector), (1, 2), "the other one is tried again");
    assert_eq!(b.fake.read(&chain)[16..], [2; 512], "with its data");
    b.answer(&chain, 0, 0);
    assert_eq!(b.done(), [(2, Ok(()), 1)]);
    b.expect_clean();
}

#[test]
fn a_device_that_lies_is_reset_and_given_up_after_a_second_lie() {
    let b = bench();
    b.submit(Operation::Read, 1, &[512]);
    b.take().unwrap();
    b.fake.give(0, 12, 0);
    b.machine.run_workers();
    assert!(b.done().is_empty(), "tried again");
    let (_, sector, chain) = b.take().unwrap();
    assert_eq!(sector, 1);
    b.fake.give(0, chain.head.into(), 600); // more than it could write
    b.machine.run_workers();
    assert_eq!(b.done(), [(1, Err(Error::Io), 1)]);
    // It is used again all the same.
    b.submit(Operation::Read, 5, &[512]);
    let (_, _, chain) = b.take().unwrap();
    b.answer(&chain, 0, 0);
    assert_eq!(b.done(), [(5, Ok(()), 1)]);
    b.expect_clean();
}

#[test]
fn a_device_that_asks_for_a_reset_gets_one() {
    let b = bench();
    b.submit(Operation::Read, 1, &[512]);
    b.machine.run_workers();
    let resets = b.fake.resets();
    b.fake.break_down();
    b.fake.interrupt_config();
    b.machine.run_workers();
    assert_eq!(b.fake.resets(), resets + 2);
    let (_, _, chain) = b.take().unwrap();
    b.answer(&chain, 0, 0);
    assert_eq!(b.done(), [(1, Ok(()), 1)]);
}

#[test]
fn a_cancelled_request_comes_back_after_a_reset() {
    let b = bench();
    let first = b.disk.submit(0, b.request(Operation::Read, 1, &[512])).unwrap();
    b.submit(Operation::Read, 2, &[512]);
    assert!(b.disk.cancel(first));
    assert!(b.done().is_empty(), "the device has its memory");
    b.machine.run_workers();
    assert_eq!(b.done(), [(1, Err(Error::Cancelled), 1)]);
    assert!(!b.disk.cancel(first));
    let (_, sector, chain) = b.take().unwrap();
    assert_eq!(sector, 2);
    b.answer(&chain, 0, 0);
    assert_eq!(b.done(), [(2, Ok(()), 1)]);
    b.expect_clean();
}

#[test]
fn a_device_that_cannot_be_stopped_keeps_the_memory() {
    let b = bench();
    b.submit(Operation::Read, 1, &[512]);
    b.submit(WRITE, 2, &[512]);
    b.fake.deafen();
    b.machine.advance(PATIENCE_NS);
    b.machine.run_workers();
    assert_eq!(b.done(), [(1, Err(Error::TimedOut), 0), (2, Err(Error::TimedOut), 0)]);
    assert_eq!(b.machine.arena().in_use(), b.own + 2);
    let refused = b.disk.submit(0, b.request(Operation::Read, 1, &[512])).unwrap_err();
    assert_eq!(refused.error, Error::Io);
    assert_eq!(b.machine.next_deadline(), None);
}

#[test]
fn a_device_that_is_cut_off_gives_the_memory_back_and_is_dead() {
    let b = bench();
    b.submit(Operation::Read, 1, &[512]);
    b.fake.deafen();
    b.fake.allow_cut_off();
    b.machine.advance(PATIENCE_NS);
    b.machine.run_workers();
    assert!(b.fake.was_cut_off());
    assert_eq!(b.done(), [(1, Err(Error::TimedOut), 1)]);
    b.expect_clean();
    let refused = b.disk.submit(0, b.request(Operation::Read, 1, &[512])).unwrap_err();
    assert_eq!(refused.error, Error::Io);
}

#[test]
fn every_queue_is_used_and_wakes() {
    let machine = Machine::leaked();
    machine.set_cpus(2);
    let (fake, device) = device(machine, id::BLOCK, &[16, 16, 16, 16]);
    fake.offer(VERSION_1 | feature::QUEUES);
    fake.set_config(0, 1000);
    fake.set_config(32, 4 << 16);
    super::start(device).unwrap();
    let (_, disk) = machine.blocks().pop().unwrap();
    assert_eq!(disk.geometry().queues, 2, "one for each CPU");
    let seen = Arc::new(Seen::default());
    for queue in 0..4 {
        let buffer = DmaBuffer::new(machine.arena(), 512, ANYWHERE).unwrap();
        let segments = Vec::from([Segment { buffer, len: 512 }]);
        let request =
            Request { operation: WRITE, sector: 0, segments, token: 0, done: seen.clone() };
        disk.submit(queue, request).unwrap();
    }
    for queue in [0, 1, 0, 1] {
        let chain = fake.take(queue).unwrap();
        fake.write(&chain, &[0]);
        fake.give(queue, chain.head.into(), 1);
        machine.run_workers();
    }
    assert_eq!(seen.0.lock().len(), 4);
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Submit(u8),
    Cancel(u64),
    /// The device answers the oldest request that it has, with this status.
    Answer(u8),
    /// The device says less, or more, than it has written.
    Short(u32),
    Lie(u32, u32),
    BreakDown,
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0..4_u8).prop_map(Move::Submit),
        1 => (0..20_u64).prop_map(Move::Cancel),
        6 => prop_oneof![4 => Just(0), 1 => any::<u8>()].prop_map(Move::Answer),
        1 => any::<u32>().prop_map(Move::Short),
        1 => (0..20_u32, any::<u32>()).prop_map(|(id, len)| Move::Lie(id, len)),
        1 => Just(Move::BreakDown),
        2 => (1..PATIENCE_NS).prop_map(Move::Wait),
    ];
    proptest::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the device does, every request completes once, with its memory.
    #[test]
    fn every_request_completes_once(moves in moves()) {
        let b = bench();
        let mut submitted = 0_u64;
        for one in moves {
            match one {
                Move::Submit(kind) => {
                    let what = [Operation::Read, WRITE, FUA, Operation::Flush][usize::from(kind)];
                    let lens: &[usize] = if kind == 3 { &[] } else { &[512, 1024] };
                    let request = b.request(what, submitted, lens);
                    match b.disk.submit(0, request) {
                        Ok(_) => submitted += 1,
                        Err(refused) => prop_assert_eq!(refused.error, Error::Busy),
                    }
                }
                // Tickets are counted like requests, refused ones too.
                Move::Cancel(n) => drop(b.disk.cancel(driver_api::block::Ticket(n))),
                Move::Answer(status) => {
                    if let Some(chain) = b.fake.take(0) {
                        b.answer(&chain, 0, status);
                    }
                }
                Move::Short(len) => {
                    if let Some(chain) = b.fake.take(0) {
                        b.fake.give(0, chain.head.into(), len);
                    }
                }
                Move::Lie(id, len) => b.fake.give(0, id, len),
                Move::BreakDown => {
                    b.fake.break_down();
                    b.fake.interrupt_config();
                }
                Move::Wait(ns) => b.machine.advance(ns),
            }
            b.machine.run_workers();
        }
        // Silence from here on ends everything, if need be by a reset.
        for _ in 0..3 {
            b.machine.advance(PATIENCE_NS);
            b.machine.run_workers();
        }
        let mut tokens: Vec<u64> = Vec::new();
        for done in core::mem::take(&mut *b.seen.0.lock()) {
            let flush = done.segments.is_empty();
            prop_assert!(flush || done.segments.len() == 2, "memory is missing");
            tokens.push(done.token);
        }
        tokens.sort_unstable();
        prop_assert_eq!(tokens, (0..submitted).collect::<Vec<_>>());
        b.expect_clean();
    }
}
