//! The driver against a scripted device.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use driver_api::dma::{ANYWHERE, DmaBuffer};
use driver_api::fake::Machine;
use driver_api::net::{Checksum, Frame, NetClient, NetDevice};
use driver_api::sync::IrqLock;
use driver_api::{Error, Kernel};
use virtio::fake::{Fake, device};
use virtio::{feature::VERSION_1, id};

use crate::card::{PATIENCE_NS, feature};

#[derive(Default)]
struct Client(IrqLock<Vec<&'static str>>);

impl NetClient for Client {
    fn received(&self, _queue: usize) {
        self.0.lock().push("received");
    }
    fn transmit_room(&self, _queue: usize) {
        self.0.lock().push("room");
    }
    fn link_changed(&self, up: bool) {
        self.0.lock().push(if up { "up" } else { "down" });
    }
}

struct Bench {
    machine: &'static Machine,
    fake: Arc<Fake>,
    card: Arc<dyn NetDevice>,
    client: Arc<Client>,
}

const USUAL: u64 = feature::MAC | feature::STATUS | feature::CHECKSUM;

fn bench_with(features: u64, mtu: u32) -> Bench {
    let machine = Machine::leaked();
    let (fake, device) = device(machine, id::NET, &[8, 8]);
    fake.offer(VERSION_1 | features);
    fake.set_config(0, 0x0403_0201);
    fake.set_config(4, 1 << 16 | 0x0605);
    fake.set_config(8, mtu << 16);
    super::start(device).unwrap();
    let (_, card) = machine.nets().pop().unwrap();
    let client = Arc::new(Client::default());
    card.start(client.clone()).unwrap();
    machine.run_workers();
    Bench { machine, fake, card, client }
}

fn bench() -> Bench {
    bench_with(USUAL, 0)
}

impl Bench {
    fn told(&self) -> Vec<&'static str> {
        core::mem::take(&mut *self.client.0.lock())
    }

    fn frame(&self, len: usize) -> Frame {
        let mut buffer = DmaBuffer::new(self.machine.arena(), 4096, ANYWHERE).unwrap();
        buffer.bytes_mut().fill(0xee);
        Frame::new(buffer, 12, len).unwrap()
    }

    /// The device receives a frame, header and all.
    fn arrive(&self, bytes: &[u8]) {
        let chain = self.fake.take(0).unwrap();
        let written = self.fake.write(&chain, bytes);
        self.fake.give(0, chain.head.into(), written);
        self.machine.run_workers();
    }

    fn receive(&self) -> Vec<(Checksum, Vec<u8>)> {
        let mut got = Vec::new();
        self.card.receive(0, 100, &mut |f| got.push((f.checksum, f.bytes().to_vec())));
        got
    }
}

#[test]
fn the_card_is_what_the_device_says() {
    let info = bench().card.info();
    assert_eq!((info.mac, info.mtu), ([1, 2, 3, 4, 5, 6], 1500));
    assert!(info.offloads.checksum && !info.offloads.tcp4);
    assert_eq!(bench_with(USUAL | feature::MTU, 2000).card.info().mtu, 2000);
    for strange in [67, 9000] {
        let b = bench_with(USUAL | feature::MTU | feature::TSO6, strange);
        assert_eq!(b.card.info().mtu, 1500);
        assert_eq!(b.fake.chosen() & feature::MTU, 0, "and the device knows it");
        assert!(b.card.info().offloads.tcp6);
    }
    let (fake, device) = device(Machine::leaked(), id::NET, &[8, 8]);
    fake.offer(VERSION_1);
    assert_eq!(super::start(device), Err(Error::Unsupported), "without an address");
}

#[test]
fn frames_are_received_and_their_buffers_replaced() {
    let b = bench();
    for n in 0..20_u8 {
        let frame = [&[0; 12][..], &vec![n; 60 + usize::from(n)]].concat();
        b.arrive(&frame);
        assert_eq!(b.told(), ["received"]);
        assert_eq!(b.receive(), [(Checksum::InFrame, vec![n; 60 + usize::from(n)])]);
    }
    let longest = [&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0][..], &[7; 1514]].concat();
    b.arrive(&longest);
    assert_eq!(b.receive(), [(Checksum::Verified, vec![7; 1514])]);
    assert_eq!(b.card.receive(0, 1, &mut |_| ()), 0);
}

#[test]
fn nonsense_is_dropped_and_the_next_frame_comes() {
    let b = bench();
    let too_long = [&[0; 12][..], &[7; 1515]].concat();
    let segmented = [&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[7; 60]].concat();
    let outside = [&[1, 0, 0, 0, 0, 0, 50, 0, 20, 0, 0, 0][..], &[7; 60]].concat();
    for bytes in [&[][..], &[0; 11], &[0; 25], &too_long, &segmented, &outside] {
        b.arrive(bytes);
        assert!(b.receive().is_empty(), "{} bytes", bytes.len());
    }
    b.arrive(&[&[0; 12][..], &[9; 60]].concat());
    assert_eq!(b.receive().len(), 1);
    assert_eq!(b.fake.resets(), 1, "dropping needs no reset");
}

#[test]
fn frames_leave_with_their_header() {
    let b = bench();
    let mut frame = b.frame(60);
    frame.checksum = Checksum::Partial { start: 14, offset: 6 };
    b.card.transmit(0, frame).unwrap();
    let chain = b.fake.take(1).unwrap();
    let bytes = b.fake.read(&chain);
    assert_eq!(bytes[..12], [1, 0, 0, 0, 0, 0, 14, 0, 6, 0, 0, 0]);
    assert_eq!(bytes[12..], [0xee; 60]);
    let before = b.machine.arena().in_use();
    b.fake.give(1, chain.head.into(), 0);
    b.machine.run_workers();
    assert_eq!(b.machine.arena().in_use(), before - 1, "its buffer was freed");
    assert_eq!(b.card.transmit(0, b.frame(1515)).unwrap_err().error, Error::Invalid);
}

#[test]
fn a_full_queue_refuses_and_tells_when_there_is_room() {
    let b = bench();
    for _ in 0..8 {
        b.card.transmit(0, b.frame(60)).unwrap();
    }
    assert_eq!(b.card.transmit(0, b.frame(60)).unwrap_err().error, Error::Busy);
    b.machine.run_workers();
    assert!(b.told().is_empty());
    let chain = b.fake.take(1).unwrap();
    b.fake.give(1, chain.head.into(), 0);
    b.machine.run_workers();
    assert_eq!(b.told(), ["room"]);
    assert!(b.card.transmit(0, b.frame(60)).is_ok());
}

#[test]
fn a_frame_that_does_not_leave_ends_in_a_reset() {
    let b = bench();
    b.card.transmit(0, b.frame(60)).unwrap();
    b.machine.run_workers();
    assert_eq!(b.machine.next_deadline(), Some(b.machine.now_ns() + PATIENCE_NS));
    let before = b.machine.arena().in_use();
    b.machine.advance(PATIENCE_NS);
    b.machine.run_workers();
    assert_eq!(b.fake.resets(), 3);
    assert_eq!(b.machine.arena().in_use(), before - 1, "the frame is lost, its memory is not");
    // Both directions work again.
    b.arrive(&[&[0; 12][..], &[9; 60]].concat());
    assert_eq!(b.receive().len(), 1);
    b.card.transmit(0, b.frame(60)).unwrap();
    assert!(b.fake.take(1).is_some());
}

#[test]
fn a_device_that_lies_is_reset_and_one_that_is_deaf_given_up() {
    let b = bench();
    b.fake.give(0, 99, 0);
    b.machine.run_workers();
    assert_eq!(b.told(), ["received"]);
    assert!(b.receive().is_empty());
    b.machine.run_workers();
    assert_eq!(b.fake.resets(), 3);
    b.arrive(&[&[0; 12][..], &[9; 60]].concat());
    assert_eq!(b.receive().len(), 1);
    b.fake.deafen();
    b.fake.break_down();
    b.fake.interrupt_config();
    b.machine.run_workers();
    assert!(!b.card.link_up());
    assert_eq!(b.card.transmit(0, b.frame(60)).unwrap_err().error, Error::Io);
}

#[test]
fn the_link_is_followed() {
    let b = bench();
    assert!(b.card.link_up());
    for (status, says) in [(0, "down"), (1, "up")] {
        b.fake.set_config(4, status << 16 | 0x0605);
        b.fake.interrupt_config();
        b.machine.run_workers();
        assert_eq!(b.told(), [says]);
        assert_eq!(b.card.link_up(), says == "up");
    }
}
