//! `net0`, with the peer `frames` (`scenarios/README.md`), which sends every frame back, its
//! source and destination exchanged and its bytes flipped.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use driver_api::Error;
use driver_api::Once;
use driver_api::dma::DmaBuffer;
use driver_api::net::{ETHERNET_HEADER, Frame, NetClient, NetDevice};
use driver_api::sync::IrqLock;

use crate::drivers::net::get;
use crate::mm::dma::Frames;
use crate::selftest::{Failure, Test, ensure};
use crate::thread;

/// Tests of the first card.
pub(crate) const NET: &[Test] = &[("echo", frames_of_every_size_come_back)];

/// EtherType of local experiments (IEEE 802, table 1 of the IANA registry).
const TYPE: [u8; 2] = [0x88, 0xb5];
/// The peer's address, locally administered.
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// How often a frame is sent before it counts as lost: the host may drop frames.
const TRIES: usize = 20;
/// Milliseconds that an answer may take.
const PATIENCE: usize = 500;

#[derive(Default)]
struct Client {
    received: AtomicUsize,
    room: AtomicUsize,
    frames: IrqLock<Vec<Vec<u8>>>,
    card: Once<Arc<dyn NetDevice>>,
}

impl NetClient for Client {
    fn received(&self, queue: usize) {
        self.received.fetch_add(1, Ordering::Relaxed);
        let Some(card) = self.card.get() else { return };
        const BUDGET: usize = 8;
        let mut take = |f: Frame| {
            let copy = f.bytes().to_vec();
            self.frames.lock().push(copy);
        };
        while card.receive(queue, BUDGET, &mut take) == BUDGET {}
    }

    fn transmit_room(&self, _queue: usize) {
        self.room.fetch_add(1, Ordering::Relaxed);
    }

    fn link_changed(&self, _up: bool) {}
}

/// A frame of `len` bytes to the peer: its length, then bytes that count up from there.
fn frame(card: &dyn NetDevice, len: usize) -> Result<Frame, Failure> {
    let info = card.info();
    let buffer = DmaBuffer::new(&Frames, info.headroom + len, info.dma_limit);
    let buffer = buffer.map_err(|_| "no DMA memory")?;
    let mut frame = Frame::new(buffer, info.headroom, len).map_err(|_| "it does not fit")?;
    let bytes = frame.bytes_mut();
    bytes.iter_mut().enumerate().for_each(|(n, b)| *b = (n + len) as u8);
    bytes[..6].copy_from_slice(&PEER);
    bytes[6..12].copy_from_slice(&info.mac);
    bytes[12..14].copy_from_slice(&TYPE);
    bytes[14..16].copy_from_slice(&(len as u16).to_be_bytes());
    Ok(frame)
}

/// Who is told of frames; what it and the card's ring hold, they hold for ever.
static CLIENT: Once<Arc<Client>> = Once::new();

/// Starts the first card, before the heap is measured.
pub(crate) fn prepare() {
    let client = Arc::new(Client::default());
    CLIENT.call_once(|| client.clone());
    if let Some(card) = get(0) {
        client.card.call_once(|| card.clone());
        if let Err(e) = card.start(client) {
            log::error!("net0 does not start: {e:?}");
        }
    }
}

fn frames_of_every_size_come_back() -> Result<(), Failure> {
    let card = get(0).ok_or("there is no net0")?;
    let info = card.info();
    let client = CLIENT.get().ok_or("it was not started")?;
    ensure(card.link_up(), "the link is down")?;
    let longest = ETHERNET_HEADER + usize::from(info.mtu);
    // QEMU and others pad what is shorter than a minimal frame.
    for len in (60..=longest).chain([60, longest]) {
        exchange(&*card, client, &info.mac, len)?;
    }
    let too_long = frame(&*card, longest + 1)?;
    let refused = card.transmit(0, too_long).err().map(|e| e.error);
    ensure(refused == Some(Error::Invalid), "a frame above the MTU was taken")?;
    burst(&*card, client)
}

/// Sends a frame of `len` bytes until it has come back.
fn exchange(
    card: &dyn NetDevice,
    client: &Client,
    mac: &[u8; 6],
    len: usize,
) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let sent = frame(card, len)?;
        let mut wanted = sent.bytes().to_vec();
        wanted[..6].copy_from_slice(mac);
        wanted[6..12].copy_from_slice(&PEER);
        wanted[ETHERNET_HEADER..].iter_mut().for_each(|b| *b = !*b);
        card.transmit(0, sent).map_err(|_| "it was not taken")?;
        for _ in 0..PATIENCE * 10 {
            let got = core::mem::take(&mut *client.frames.lock());
            if got.contains(&wanted) {
                return Ok(());
            }
            let ours = |f: &Vec<u8>| f.get(12..14) == Some(&TYPE) && f.len() == len;
            ensure(!got.iter().any(ours), "a frame came back changed")?;
            thread::sleep_ns(100_000);
        }
    }
    Err("a frame never came back")
}

/// Frames as fast as they are taken: the card says when it has room again.
fn burst(card: &dyn NetDevice, client: &Client) -> Result<(), Failure> {
    let mut sent = 0_u32;
    for _ in 0..50 {
        let guard = thread::PreemptGuard::new();
        let refused = loop {
            match card.transmit(0, frame(card, 1000)?) {
                Ok(()) => sent += 1,
                Err(e) if e.error == Error::Busy => break true,
                Err(_) => return Err("it was not taken"),
            }
            if sent.is_multiple_of(1000) {
                break false;
            }
        };
        drop(guard);
        let before = client.room.load(Ordering::Relaxed);
        for _ in 0..PATIENCE * 10 {
            if !refused || client.room.load(Ordering::Relaxed) > before {
                break;
            }
            thread::sleep_ns(100_000);
        }
        *client.frames.lock() = Vec::new();
    }
    ensure(client.room.load(Ordering::Relaxed) > 0, "the ring was never full")?;
    thread::sleep_ns(50_000_000);
    *client.frames.lock() = Vec::new();
    exchange(card, client, &card.info().mac, 777)
}
