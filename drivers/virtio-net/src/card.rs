//! The card.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use driver_api::Once;
use driver_api::dma::{ANYWHERE, DmaBuffer};
use driver_api::net::{ETHERNET_HEADER, Frame, NetClient, NetDevice, NetInfo, NotSent, Offloads};
use driver_api::sync::IrqLock;
use driver_api::{Error, Mmio, Result, Wake, Worker, log};
use virtio::{Completed, Device, Part, Queue};

use crate::header::{self, LEN as HEADER};

/// Feature bits (5.1.3).
pub(crate) mod feature {
    /// Completes checksums on transmit.
    pub const CHECKSUM: u64 = 1 << 0;
    /// May hand over frames whose checksum is verified, or not completed.
    pub const GUEST_CHECKSUM: u64 = 1 << 1;
    /// `mtu` is valid.
    pub const MTU: u64 = 1 << 3;
    /// `mac` is valid.
    pub const MAC: u64 = 1 << 5;
    /// Segments TCP.
    pub const TSO4: u64 = 1 << 11;
    /// As above, over IPv6.
    pub const TSO6: u64 = 1 << 12;
    /// `status` is valid.
    pub const STATUS: u64 = 1 << 16;
    /// Segments UDP.
    pub const USO: u64 = 1 << 56;
    /// All that the driver knows.
    pub const KNOWN: u64 = CHECKSUM | GUEST_CHECKSUM | MTU | MAC | TSO4 | TSO6 | STATUS | USO;
}

/// Offsets in the device's own registers, in bytes.
const MAC: usize = 0;
const STATUS: usize = 6;
const MTU: usize = 10;
/// STATUS: the link is up.
const LINK_UP: u16 = 1;

/// The queues (5.1.2).
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Descriptors of each that are asked for.
const QUEUE_SIZE: u16 = 64;
/// Bytes of a receive buffer: a page.
const BUFFER: usize = 4096;
/// The MTU of Ethernet, and the largest and least that the driver takes.
const USUAL_MTU: u16 = 1500;
const LARGEST_MTU: u16 = (BUFFER - HEADER - ETHERNET_HEADER) as u16;
const LEAST_MTU: u16 = 68;
/// How long the device may take to transmit a frame.
pub(crate) const PATIENCE_NS: u64 = 5_000_000_000;

/// The transmit side.
struct Transmit {
    /// With each frame: until when it must have left.
    queue: Queue,
    /// A frame was refused for want of room.
    blocked: bool,
}

/// A card.
pub struct Card {
    device: Device,
    features: u64,
    info: NetInfo,
    receive: IrqLock<Queue>,
    transmit: IrqLock<Transmit>,
    link: AtomicBool,
    client: Once<Arc<dyn NetClient>>,
    wake: Once<Arc<dyn Wake>>,
    /// The device does not come back.
    dead: AtomicBool,
    resetting: AtomicBool,
}

/// Wakes the worker, once there is one.
struct Bell(Once<Arc<dyn Wake>>);

impl Wake for Bell {
    fn wake(&self) {
        if let Some(wake) = self.0.get() {
            wake.wake();
        }
    }
}

/// Address, MTU and whether the link is up.
fn read(registers: &Mmio, features: u64) -> ([u8; 6], u16, bool) {
    let mut mac = [0; 6];
    for (n, byte) in mac.iter_mut().enumerate() {
        *byte = registers.read8(MAC + n);
    }
    let mtu = if features & feature::MTU != 0 { registers.read16(MTU) } else { USUAL_MTU };
    let up = features & feature::STATUS == 0 || registers.read16(STATUS) & LINK_UP != 0;
    (mac, mtu, up)
}

impl Card {
    /// Starts the card that `device` is; it does not receive yet.
    ///
    /// # Errors
    /// When the device refuses or says what makes no sense, or memory is out.
    pub fn start(device: Device) -> Result<Arc<Self>> {
        let mut features = device.begin(feature::KNOWN)?;
        let (mac, mut mtu, up) = device.config(|r| read(r, features))?;
        if !(LEAST_MTU..=LARGEST_MTU).contains(&mtu) {
            // Larger frames than our buffers: the usual ones are asked for instead (5.1.4.1).
            features = device.begin(feature::KNOWN & !feature::MTU)?;
            mtu = USUAL_MTU;
        }
        if features & feature::MAC == 0 {
            // An address that others do not have would have to be invented.
            return Err(Error::Unsupported);
        }
        let has = |bit| features & bit != 0;
        let info = NetInfo {
            mac,
            mtu,
            headroom: HEADER,
            dma_limit: ANYWHERE,
            offloads: Offloads {
                checksum: has(feature::CHECKSUM),
                tcp4: has(feature::CHECKSUM) && has(feature::TSO4),
                tcp6: has(feature::CHECKSUM) && has(feature::TSO6),
                udp: has(feature::CHECKSUM) && has(feature::USO),
            },
            queues: 1,
        };
        let bell = Arc::new(Bell(Once::new()));
        device.attach(&[bell.clone() as _, bell.clone() as _])?;
        let receive = device.queue(RECEIVE, QUEUE_SIZE)?;
        let transmit = Transmit { queue: device.queue(TRANSMIT, QUEUE_SIZE)?, blocked: false };
        device.ready();
        let services = device.services();
        let card = Arc::new(Self {
            device,
            features,
            info,
            receive: IrqLock::new(receive),
            transmit: IrqLock::new(transmit),
            link: AtomicBool::new(up),
            client: Once::new(),
            wake: Once::new(),
            dead: AtomicBool::new(false),
            resetting: AtomicBool::new(false),
        });
        let wake = services.start_worker("virtio-net", card.clone())?;
        bell.0.call_once(|| wake.clone());
        card.wake.call_once(|| wake);
        Ok(card)
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake.wake();
        }
    }

    fn buffer(&self) -> Result<DmaBuffer> {
        DmaBuffer::new(self.device.services().dma(), BUFFER, ANYWHERE)
    }

    /// Lets the device fill as many buffers as there is room and memory for.
    fn post(&self) {
        loop {
            if self.receive.lock().room() == 0 {
                return;
            }
            let Ok(buffer) = self.buffer() else { return };
            if !self.post_one(&mut self.receive.lock(), buffer) {
                return;
            }
        }
    }

    /// `false`: there was no room, and the buffer is free.
    fn post_one(&self, queue: &mut Queue, buffer: DmaBuffer) -> bool {
        let part = Part::Buffer { buffer, offset: 0, len: BUFFER, write: true };
        let posted = queue.submit(Vec::from([part]), 0).is_ok();
        if posted {
            self.device.notify(queue);
        }
        posted
    }

    /// The frame in a buffer that the device has filled, or the buffer when there is none.
    fn frame(&self, done: Completed) -> core::result::Result<Frame, Option<DmaBuffer>> {
        let Completed { mut buffers, written, .. } = done;
        let buffer = buffers.pop().ok_or(None)?;
        let written = written as usize;
        let longest = HEADER + ETHERNET_HEADER + usize::from(self.info.mtu);
        let checksum = match buffer.bytes().first_chunk::<HEADER>() {
            Some(head) if (HEADER + ETHERNET_HEADER..=longest).contains(&written) => {
                header::decode(head, written - HEADER)
            }
            _ => Err(Error::Io),
        };
        let Ok(checksum) = checksum else { return Err(Some(buffer)) };
        match Frame::new(buffer, HEADER, written - HEADER) {
            Ok(mut frame) => {
                frame.checksum = checksum;
                Ok(frame)
            }
            Err(_) => Err(None),
        }
    }

    /// Frees what was transmitted. Returns the earliest deadline of the rest, and whether
    /// somebody who was refused may try again.
    ///
    /// # Errors
    /// `Io` when the device is wrong, `TimedOut` when a frame does not leave.
    fn sweep(&self, now: u64) -> Result<(Option<u64>, bool)> {
        let mut freed = Vec::new();
        let mut transmit = self.transmit.lock();
        while let Some(done) = transmit.queue.pop()? {
            freed.push(done);
        }
        let first = transmit.queue.tags().min();
        let room = transmit.blocked && transmit.queue.room() > 0;
        transmit.blocked &= !room;
        drop(transmit);
        drop(freed);
        if first.is_some_and(|first| first <= now) {
            return Err(Error::TimedOut);
        }
        Ok((first, room))
    }

    /// Resets the device: what was to be transmitted is lost, as on a wire.
    fn recover(&self) {
        let at = self.device.address();
        log::warn!(target: "virtio-net", "{at}: reset");
        self.resetting.store(true, Ordering::Release);
        let alive = match self.device.stop() {
            Some(stopped) => {
                let (lost, empty) = {
                    let mut transmit = self.transmit.lock();
                    (transmit.queue.drain(&stopped), self.receive.lock().drain(&stopped))
                };
                drop((lost, empty));
                self.restart()
            }
            None => {
                self.transmit.lock().queue.abandon();
                self.receive.lock().abandon();
                Err(Error::TimedOut)
            }
        };
        if let Err(e) = alive {
            log::error!(target: "virtio-net", "{at}: it does not come back: {e:?}");
            self.dead.store(true, Ordering::Release);
        }
        self.resetting.store(false, Ordering::Release);
    }

    /// Brings a device that was reset to where it was.
    fn restart(&self) -> Result<()> {
        if self.device.begin(self.features)? != self.features {
            return Err(Error::Io);
        }
        self.device.reattach();
        self.device.restore(&self.receive.lock())?;
        self.device.restore(&self.transmit.lock().queue)?;
        self.device.ready();
        if self.client.get().is_some() {
            self.post();
        }
        Ok(())
    }

    /// The link, when it has changed.
    fn link_change(&self) -> Option<bool> {
        let (_, _, up) = self.device.config(|r| read(r, self.features)).ok()?;
        (self.link.swap(up, Ordering::AcqRel) != up).then_some(up)
    }
}

impl Worker for Card {
    fn work(&self) -> Option<u64> {
        if self.dead.load(Ordering::Acquire) {
            return None;
        }
        let now = self.device.services().now_ns();
        let swept = self.sweep(now);
        let (received, broken) = {
            let queue = self.receive.lock();
            (queue.has_used(), queue.is_broken())
        };
        // Nothing came: the device's own registers may have changed, or it has given up.
        let idle = !received && matches!(swept, Ok((_, false)));
        let wrong = broken || swept.is_err() || (idle && self.device.needs_reset());
        let (deadline, room) = if wrong {
            self.recover();
            let blocked = core::mem::take(&mut self.transmit.lock().blocked);
            (None, blocked)
        } else {
            swept.unwrap_or((None, false))
        };
        if let Some(client) = self.client.get() {
            if idle && let Some(up) = self.link_change() {
                client.link_changed(up);
            }
            if received && !wrong {
                client.received(0);
            }
            if room {
                client.transmit_room(0);
            }
        }
        deadline
    }
}

impl NetDevice for Card {
    fn info(&self) -> NetInfo {
        self.info
    }

    fn link_up(&self) -> bool {
        self.link.load(Ordering::Acquire) && !self.dead.load(Ordering::Acquire)
    }

    fn start(&self, client: Arc<dyn NetClient>) -> Result<()> {
        let mut fresh = false;
        self.client.call_once(|| {
            fresh = true;
            client
        });
        if !fresh {
            return Err(Error::Busy);
        }
        self.post();
        self.wake();
        if self.receive.lock().in_flight() == 0 { Err(Error::NoMemory) } else { Ok(()) }
    }

    fn receive(&self, _queue: usize, budget: usize, take: &mut dyn FnMut(Frame)) -> usize {
        let mut taken = 0;
        while taken < budget {
            let next = self.receive.lock().pop();
            let done = match next {
                Ok(Some(done)) => done,
                Ok(None) => break,
                Err(_) => {
                    // The worker resets it.
                    self.wake();
                    break;
                }
            };
            match self.frame(done) {
                Ok(frame) => {
                    taken += 1;
                    take(frame);
                }
                // Nonsense is dropped, and its buffer used again.
                Err(Some(buffer)) => {
                    self.post_one(&mut self.receive.lock(), buffer);
                }
                Err(None) => {}
            }
            self.post();
        }
        taken
    }

    fn transmit(&self, _queue: usize, mut frame: Frame) -> core::result::Result<(), Box<NotSent>> {
        let refuse = |error, frame| Err(Box::new(NotSent { error, frame }));
        if let Err(error) = self.info.check(&frame) {
            return refuse(error, frame);
        }
        if self.dead.load(Ordering::Acquire) {
            return refuse(Error::Io, frame);
        }
        let deadline = self.device.services().now_ns().saturating_add(PATIENCE_NS);
        let mut freed = Vec::new();
        let mut transmit = self.transmit.lock();
        // What has left makes room; an error is the worker's.
        while let Ok(Some(done)) = transmit.queue.pop() {
            freed.push(done);
        }
        if transmit.queue.room() == 0 || self.resetting.load(Ordering::Acquire) {
            transmit.blocked = true;
            drop(transmit);
            return refuse(Error::Busy, frame);
        }
        let first = transmit.queue.in_flight() == 0;
        let head = header::encode(&frame);
        // There is headroom: `check`.
        if frame.push(HEADER).is_ok()
            && let Some(place) = frame.bytes_mut().first_chunk_mut::<HEADER>()
        {
            *place = head;
        }
        let (buffer, offset, len) = frame.into_parts();
        let part = Part::Buffer { buffer, offset, len, write: false };
        // Cannot fail: there is room, and the piece is in its buffer.
        let sent = transmit.queue.submit(Vec::from([part]), deadline).is_ok();
        if sent {
            self.device.notify(&transmit.queue);
        }
        drop(transmit);
        drop(freed);
        if first {
            // The worker learns of the deadline.
            self.wake();
        }
        Ok(())
    }
}
