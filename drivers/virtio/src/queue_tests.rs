//! A queue against devices that keep the rules, and devices that do not.

use super::*;
use crate::fake::{Fake, device};
use crate::{Device, id};
use alloc::sync::Arc;
use driver_api::dma::ANYWHERE;
use driver_api::fake::Machine;
use proptest::prelude::*;

struct Bench {
    machine: &'static Machine,
    fake: Arc<Fake>,
    device: Device,
    queue: Queue,
}

fn bench(size: u16) -> Bench {
    let machine = Machine::leaked();
    let (fake, device) = device(machine, id::ENTROPY, &[size]);
    device.begin(0).unwrap();
    let queue = device.queue(0, size).unwrap();
    device.ready();
    Bench { machine, fake, device, queue }
}

impl Bench {
    fn buffer(&self, len: usize, write: bool) -> Part {
        let buffer = DmaBuffer::new(self.machine.arena(), 4096, ANYWHERE).unwrap();
        Part::Buffer { buffer, offset: 0, len, write }
    }

    /// A chain with a piece to read and one to write.
    fn submit(&mut self, tag: u64) {
        let parts = Vec::from([self.buffer(10, false), self.buffer(100, true)]);
        self.queue.submit(parts, tag).unwrap();
    }

    /// The queue noticed that the device is wrong, stays so, and a reset gives all back.
    fn expect_broken_until_reset(mut self, in_flight: usize) {
        assert_eq!(self.queue.pop().err(), Some(Error::Io));
        assert_eq!(self.queue.pop().err(), Some(Error::Io), "and stays so");
        assert!(self.queue.is_broken() && self.queue.room() == 0);
        let rejected = self.queue.submit(Vec::from([self.buffer(1, true)]), 0).unwrap_err();
        assert_eq!(rejected.error, Error::Io);
        drop(rejected);
        // One block is the queue's own rings.
        assert_eq!(self.machine.arena().in_use(), 1 + 2 * in_flight, "the device keeps all");
        let stopped = self.device.stop().unwrap();
        let back = self.queue.drain(&stopped);
        assert_eq!(back.len(), in_flight);
        assert!(back.iter().all(|c| c.buffers.len() == 2 && c.written == 0));
        drop(back);
        assert_eq!(self.machine.arena().in_use(), 1);
        assert_eq!(self.queue.room(), self.queue.size().into());
        // It works again.
        self.device.begin(0).unwrap();
        self.device.restore(&self.queue).unwrap();
        self.device.ready();
        self.submit(5);
        let chain = self.fake.take(0).unwrap();
        self.fake.give(0, chain.head.into(), 1);
        assert_eq!(self.queue.pop().unwrap().map(|c| c.tag), Some(5));
        assert!(self.machine.arena().violations().is_empty());
    }
}

#[test]
fn chains_go_to_the_device_and_come_back_in_any_order() {
    let mut b = bench(8);
    for tag in 0..4 {
        b.submit(tag);
    }
    assert_eq!((b.queue.room(), b.queue.in_flight()), (0, 4));
    let chains: Vec<_> = core::iter::from_fn(|| b.fake.take(0)).collect();
    assert_eq!(chains.len(), 4);
    for (n, chain) in chains.iter().enumerate() {
        assert_eq!(
            chain.parts.iter().map(|p| (p.1, p.2)).collect::<Vec<_>>(),
            [(10, false), (100, true)]
        );
        assert_eq!(b.fake.read(chain), [0; 10]);
        b.fake.write(chain, &[n as u8 + 1; 100]);
    }
    for n in [2, 0, 3, 1] {
        b.fake.give(0, chains[n].head.into(), 50 + n as u32);
    }
    for n in [2, 0, 3, 1] {
        let done = b.queue.pop().unwrap().unwrap();
        assert_eq!((done.tag, done.written), (n, 50 + n as u32));
        assert_eq!(done.buffers[1].bytes()[..100], [n as u8 + 1; 100]);
    }
    assert!(b.queue.pop().unwrap().is_none());
    assert_eq!((b.queue.room(), b.queue.in_flight()), (8, 0));
}

#[test]
fn indices_wrap() {
    let mut b = bench(4);
    for round in 0..70_000 {
        let parts = Vec::from([Part::Shared { bus: 0x1000, len: 8, write: true }]);
        b.queue.submit(parts, round).unwrap();
        let chain = b.fake.take(0).unwrap();
        b.fake.give(0, chain.head.into(), 8);
        assert_eq!(b.queue.pop().unwrap().map(|c| c.tag), Some(round));
    }
    assert_eq!(b.queue.room(), 4);
}

#[test]
fn what_does_not_fit_comes_back_as_it_was() {
    let mut b = bench(4);
    b.submit(1);
    b.submit(2);
    let rejected = b.queue.submit(Vec::from([b.buffer(1, true)]), 3).unwrap_err();
    assert_eq!((rejected.error, rejected.parts.len(), rejected.tag), (Error::Busy, 1, 3));
    let bad = |b: &mut Bench, parts: Vec<Part>| b.queue.submit(parts, 0).unwrap_err().error;
    let mut b = bench(4);
    assert_eq!(bad(&mut b, Vec::new()), Error::Invalid);
    for len in [0, 4097] {
        let parts = Vec::from([b.buffer(len, true)]);
        assert_eq!(bad(&mut b, parts), Error::Invalid, "{len} bytes");
    }
    let parts = Vec::from([b.buffer(1, true), b.buffer(1, false)]);
    assert_eq!(bad(&mut b, parts), Error::Invalid, "read after written");
    let parts = (0..5).map(|_| b.buffer(1, true)).collect();
    assert_eq!(bad(&mut b, parts), Error::Invalid, "never fits");
    assert_eq!(b.machine.arena().in_use(), 1);
}

#[test]
fn a_chain_may_fill_the_queue() {
    let mut b = bench(4);
    let parts = (0..4).map(|n| b.buffer(512, n > 0)).collect();
    b.queue.submit(parts, 1).unwrap();
    let chain = b.fake.take(0).unwrap();
    assert_eq!(chain.parts.len(), 4);
    b.fake.give(0, chain.head.into(), 1536);
    assert_eq!(b.queue.pop().unwrap().map(|c| c.buffers.len()), Some(4));
}

#[test]
fn notifications_are_sent_when_they_are_wanted() {
    let mut b = bench(4);
    b.submit(1);
    b.device.notify(&b.queue);
    assert_eq!(b.fake.notification(), Some(0));
    b.fake.set_quiet(0, true);
    b.submit(2);
    b.device.notify(&b.queue);
    assert_eq!(b.fake.notification(), None);
}

#[test]
fn a_used_id_that_was_never_submitted_breaks_the_queue() {
    for id in [1_u32, 7, 8, u32::from(u16::MAX), u32::MAX, 1 << 16] {
        let mut b = bench(8);
        b.submit(1);
        let head = b.fake.take(0).unwrap().head;
        assert_ne!(u32::from(head), id, "descriptors begin with 0");
        b.fake.give(0, id, 0);
        b.expect_broken_until_reset(1);
    }
}

#[test]
fn a_used_id_given_twice_breaks_the_queue() {
    let mut b = bench(8);
    b.submit(1);
    b.submit(2);
    let head = b.fake.take(0).unwrap().head;
    b.fake.give(0, head.into(), 0);
    b.fake.give(0, head.into(), 0);
    assert_eq!(b.queue.pop().unwrap().map(|c| c.tag), Some(1));
    b.expect_broken_until_reset(1);
}

#[test]
fn an_overlong_length_breaks_the_queue() {
    for written in [101, u32::MAX] {
        let mut b = bench(8);
        b.submit(1);
        let head = b.fake.take(0).unwrap().head;
        b.fake.give(0, head.into(), written);
        b.expect_broken_until_reset(1);
    }
}

#[test]
fn an_index_that_runs_ahead_breaks_the_queue() {
    for index in [2, 9, u16::MAX] {
        let mut b = bench(8);
        b.submit(1);
        b.fake.set_used(0, index);
        b.expect_broken_until_reset(1);
    }
}

#[test]
fn silence_leaves_the_memory_to_the_device_until_it_is_stopped() {
    let mut b = bench(8);
    b.submit(1);
    assert!(b.queue.pop().unwrap().is_none());
    b.fake.deafen();
    assert!(b.device.stop().is_none());
    assert_eq!(b.queue.abandon(), [1]);
    assert_eq!(b.machine.arena().in_use(), 3, "lost rather than handed out again");
    assert!(b.queue.is_broken() && b.queue.in_flight() == 0);
}

/// What a device without manners does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Submit,
    Take,
    /// Gives back the nth chain that it took.
    Honest(usize, u32),
    /// Puts anything into the used ring.
    Give(u32, u32),
    Index(u16),
    Pop,
    Reset,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => Just(Move::Submit),
        4 => Just(Move::Take),
        4 => (any::<usize>(), 0..=100_u32).prop_map(|(n, len)| Move::Honest(n, len)),
        1 => (0..10_u32, 0..200_u32).prop_map(|(id, len)| Move::Give(id, len)),
        1 => any::<(u32, u32)>().prop_map(|(id, len)| Move::Give(id, len)),
        1 => any::<u16>().prop_map(Move::Index),
        6 => Just(Move::Pop),
        1 => Just(Move::Reset),
    ];
    proptest::collection::vec(one, 1..60)
}

proptest! {
    /// Whatever a device writes: every chain comes back once at most, whole, and after a reset
    /// nothing is missing.
    #[test]
    fn no_device_confuses_the_queue(moves in moves()) {
        let mut b = bench(8);
        let (mut submitted, mut back) = (0, Vec::new());
        let mut taken = Vec::new();
        for one in moves {
            match one {
                Move::Submit => {
                    let parts = Vec::from([b.buffer(10, false), b.buffer(100, true)]);
                    submitted += u64::from(b.queue.submit(parts, submitted).is_ok());
                }
                Move::Take if !b.queue.is_broken() => taken.extend(b.fake.take(0)),
                Move::Honest(n, len) if !taken.is_empty() => {
                    let chain = taken.swap_remove(n % taken.len());
                    b.fake.give(0, chain.head.into(), len);
                }
                Move::Give(id, len) => b.fake.give(0, id, len),
                Move::Index(index) => b.fake.set_used(0, index),
                Move::Pop => {
                    if let Ok(Some(done)) = b.queue.pop() {
                        prop_assert!(done.buffers.len() == 2 && done.written <= 100);
                        back.push(done.tag);
                    }
                }
                Move::Reset => {
                    let stopped = b.device.stop().unwrap();
                    back.extend(b.queue.drain(&stopped).into_iter().map(|c| c.tag));
                    taken.clear();
                    b.device.begin(0).unwrap();
                    b.device.restore(&b.queue).unwrap();
                    b.device.ready();
                }
                _ => {}
            }
            let out = submitted as usize - back.len();
            prop_assert_eq!(b.queue.in_flight(), out);
            prop_assert_eq!(b.machine.arena().in_use(), 1 + 2 * out);
        }
        let stopped = b.device.stop().unwrap();
        back.extend(b.queue.drain(&stopped).into_iter().map(|c| c.tag));
        back.sort_unstable();
        prop_assert_eq!(back, (0..submitted).collect::<Vec<_>>());
        prop_assert_eq!(b.queue.room(), 8);
        prop_assert_eq!(b.machine.arena().in_use(), 1);
    }
}
