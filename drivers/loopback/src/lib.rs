//! A network card that receives what it sends: the reference of the network contract.
//!
//! A frame goes from the transmit to the receive side with its buffer, without a copy. The
//! ring between the two is of bounded length, so that senders meet back-pressure.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use driver_api::Once;
use driver_api::dma::ANYWHERE;
use driver_api::net::{Checksum, Frame, NetClient, NetDevice, NetInfo, NotSent, Offloads};
use driver_api::sync::IrqLock;
use driver_api::{BusAddress, Driver, Error, Kernel, Result, Services, Wake, Worker};

/// Frames under way at most.
const RING: usize = 64;
/// Linux's loopback interface has the same.
const MTU: u16 = 65_521;

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: "loopback", early: None, probe };

/// Makes one card.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    let services = driver_api::services();
    let card = Loopback::start_card(services)?;
    services.add_net(BusAddress::Virtual(0), card);
    Ok(())
}

#[derive(Default)]
struct Ring {
    frames: VecDeque<Frame>,
    /// The client has not been told of what is in the ring.
    news: bool,
    /// A frame was refused.
    blocked: bool,
    /// There is room for a sender that was refused.
    room: bool,
}

/// The card.
pub struct Loopback {
    ring: IrqLock<Ring>,
    client: Once<Arc<dyn NetClient>>,
    wake: Once<Arc<dyn Wake>>,
}

impl Loopback {
    /// A card; its link is up.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn start_card(services: &'static dyn Services) -> Result<Arc<Self>> {
        let mut ring = Ring::default();
        ring.frames.try_reserve_exact(RING).map_err(|_| Error::NoMemory)?;
        let ring = IrqLock::new(ring);
        let card = Arc::new(Self { ring, client: Once::new(), wake: Once::new() });
        let wake = services.start_worker("loopback", card.clone())?;
        card.wake.call_once(|| wake);
        Ok(card)
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake.wake();
        }
    }
}

/// Tells the client: in the worker, for `transmit` may be called with the client's locks held.
impl Worker for Loopback {
    fn work(&self) -> Option<u64> {
        let client = self.client.get()?;
        let (news, room) = {
            let mut ring = self.ring.lock();
            (core::mem::take(&mut ring.news), core::mem::take(&mut ring.room))
        };
        if news {
            client.received(0);
        }
        if room {
            client.transmit_room(0);
        }
        None
    }
}

impl NetDevice for Loopback {
    fn info(&self) -> NetInfo {
        NetInfo {
            mac: [0; 6],
            mtu: MTU,
            headroom: 0,
            dma_limit: ANYWHERE,
            // Nothing can damage a frame on the way.
            offloads: Offloads { checksum: true, ..Offloads::default() },
            queues: 1,
        }
    }

    fn link_up(&self) -> bool {
        true
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
        self.wake();
        Ok(())
    }

    fn receive(&self, _queue: usize, budget: usize, take: &mut dyn FnMut(Frame)) -> usize {
        for taken in 0..budget {
            let mut ring = self.ring.lock();
            let Some(frame) = ring.frames.pop_front() else { return taken };
            let unblocked = core::mem::take(&mut ring.blocked);
            ring.room |= unblocked;
            drop(ring);
            if unblocked {
                self.wake();
            }
            take(frame);
        }
        budget
    }

    fn transmit(&self, _queue: usize, mut frame: Frame) -> core::result::Result<(), Box<NotSent>> {
        if let Err(error) = self.info().check(&frame) {
            return Err(Box::new(NotSent { error, frame }));
        }
        if matches!(frame.checksum, Checksum::Partial { .. }) {
            frame.checksum = Checksum::Verified;
        }
        let mut ring = self.ring.lock();
        if ring.frames.len() == RING {
            ring.blocked = true;
            drop(ring);
            return Err(Box::new(NotSent { error: Error::Busy, frame }));
        }
        ring.news |= ring.frames.is_empty();
        ring.frames.push_back(frame);
        drop(ring);
        self.wake();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use driver_api::dma::DmaBuffer;
    use driver_api::fake::Machine;

    #[derive(Default)]
    struct Client {
        received: IrqLock<usize>,
        room: IrqLock<usize>,
    }

    impl NetClient for Client {
        fn received(&self, _queue: usize) {
            *self.received.lock() += 1;
        }
        fn transmit_room(&self, _queue: usize) {
            *self.room.lock() += 1;
        }
        fn link_changed(&self, _up: bool) {}
    }

    fn card() -> (&'static Machine, Arc<dyn NetDevice>, Arc<Client>) {
        let machine = Machine::install();
        probe(machine).unwrap();
        let (_, card) = machine.nets().pop().unwrap();
        let client = Arc::new(Client::default());
        card.start(client.clone()).unwrap();
        assert_eq!(card.start(client.clone()), Err(Error::Busy));
        machine.run_workers();
        (machine, card, client)
    }

    fn frame(machine: &'static Machine, fill: u8, len: usize) -> Frame {
        let mut buffer = DmaBuffer::new(machine.arena(), 2048, ANYWHERE).unwrap();
        buffer.bytes_mut().fill(fill);
        Frame::new(buffer, 0, len).unwrap()
    }

    #[test]
    fn frames_come_back_in_order_within_the_budget() {
        let (machine, card, client) = card();
        for n in 0..10 {
            card.transmit(0, frame(machine, n, 60 + usize::from(n))).unwrap();
        }
        machine.run_workers();
        assert_eq!(*client.received.lock(), 1, "told once, not for each");
        let mut got = Vec::new();
        let mut take = |f: Frame| got.push((f.bytes()[0], f.bytes().len()));
        assert_eq!(card.receive(0, 4, &mut take), 4);
        assert_eq!(card.receive(0, 100, &mut take), 6);
        assert_eq!(got, (0..10).map(|n| (n, 60 + usize::from(n))).collect::<Vec<_>>());
        assert_eq!(machine.arena().in_use(), 0);
    }

    #[test]
    fn a_full_ring_refuses_and_tells_when_there_is_room() {
        let (machine, card, client) = card();
        for _ in 0..RING {
            card.transmit(0, frame(machine, 0, 60)).unwrap();
        }
        let refused = card.transmit(0, frame(machine, 5, 60)).unwrap_err();
        assert_eq!((refused.error, refused.frame.bytes()[0]), (Error::Busy, 5));
        machine.run_workers();
        assert_eq!(*client.room.lock(), 0);
        card.receive(0, 1, &mut |_| {});
        machine.run_workers();
        assert_eq!(*client.room.lock(), 1);
        assert!(card.transmit(0, refused.frame).is_ok());
    }

    #[test]
    fn checksums_to_complete_count_as_verified() {
        let (machine, card, _) = card();
        let mut f = frame(machine, 0, 60);
        f.checksum = Checksum::Partial { start: 34, offset: 16 };
        card.transmit(0, f).unwrap();
        card.receive(0, 1, &mut |f| assert_eq!(f.checksum, Checksum::Verified));
        assert_eq!(card.transmit(0, frame(machine, 0, 13)).unwrap_err().error, Error::Invalid);
    }
}
