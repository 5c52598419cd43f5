//! The disk: lanes, and the worker that takes what is complete and notices what is not.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use driver_api::Once;
use driver_api::block::{BlockDevice, Geometry, Operation, Refused, Request, Ticket};
use driver_api::log;
use driver_api::sync::IrqLock;
use driver_api::{Error, Result, Wake, Worker};
use virtio::Device;

use crate::config::{Config, feature};
use crate::lane::{Ended, Lane, Pending};

/// How long a request may take: hosts on loaded storage take seconds.
pub(crate) const PATIENCE_NS: u64 = 10_000_000_000;
/// Descriptors of a queue that are asked for.
const QUEUE_SIZE: u16 = 256;
/// Most queues: one for each CPU, up to here.
const MOST_QUEUES: u16 = 16;

/// A disk.
pub struct Disk {
    device: Device,
    features: u64,
    geometry: Geometry,
    lanes: Box<[IrqLock<Lane>]>,
    /// The worker resets the device: nothing is submitted meanwhile.
    resetting: AtomicBool,
    /// The device does not come back.
    dead: AtomicBool,
    /// The worker comes by itself within [`PATIENCE_NS`]. In a busy time it always does, so
    /// that requests need not wake it.
    armed: AtomicBool,
    next: AtomicU64,
    wake: Once<Arc<dyn Wake>>,
}

impl Disk {
    /// Starts the disk that `device` is.
    ///
    /// # Errors
    /// When the device refuses, says what makes no sense, or memory is out.
    pub fn start(device: Device) -> Result<Arc<Self>> {
        let features = device.begin(feature::KNOWN)?;
        let config = device.config(|r| Config::read(r, features))?;
        let wanted = u16::try_from(device.services().cpus()).unwrap_or(MOST_QUEUES);
        let count = config.queues.clamp(1, MOST_QUEUES).min(wanted.max(1));
        let bell = Arc::new(Bell(Once::new()));
        let wakes: Vec<Arc<dyn Wake>> = (0..count).map(|_| bell.clone() as _).collect();
        device.attach(&wakes)?;
        let mut lanes = Vec::new();
        // The queues may differ: what fits the smallest fits all.
        let mut least = QUEUE_SIZE;
        for n in 0..count {
            let queue = device.queue(n, QUEUE_SIZE)?;
            least = least.min(queue.size());
            lanes.push(IrqLock::new(Lane::new(&device, queue)?));
        }
        let geometry = config.geometry(features, count.into(), least)?;
        device.ready();
        let services = device.services();
        let disk = Arc::new(Self {
            device,
            features,
            geometry,
            lanes: lanes.into(),
            resetting: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            next: AtomicU64::new(0),
            wake: Once::new(),
        });
        let wake = services.start_worker("virtio-blk", disk.clone())?;
        bell.0.call_once(|| wake.clone());
        disk.wake.call_once(|| wake);
        Ok(disk)
    }

    /// Why nothing can be submitted now.
    fn closed(&self) -> Option<Error> {
        if self.dead.load(Ordering::Acquire) {
            return Some(Error::Io);
        }
        self.resetting.load(Ordering::Acquire).then_some(Error::Busy)
    }

    /// Takes what is complete. Returns whether there was something, and whether a queue is
    /// broken.
    fn collect(&self) -> (bool, bool) {
        let (mut any, mut broken) = (false, false);
        for lane in &self.lanes {
            loop {
                let next = {
                    let mut lane = lane.lock();
                    let next = lane.next(&self.geometry);
                    if core::mem::take(&mut lane.submitted) {
                        self.device.notify(&lane.queue);
                    }
                    next
                };
                match next {
                    Ok(Some(ended)) => {
                        any = true;
                        ended.tell();
                    }
                    Ok(None) => break,
                    Err(_) => {
                        broken = true;
                        break;
                    }
                }
            }
        }
        (any, broken)
    }

    /// The earliest deadline, and whether a request is to be taken back.
    fn look(&self, now: u64) -> (Option<u64>, bool) {
        let (mut first, mut overdue) = (None, false);
        for lane in &self.lanes {
            for pending in lane.lock().pending() {
                overdue |= pending.cancelled || pending.deadline <= now;
                first = Some(first.map_or(pending.deadline, |f: u64| f.min(pending.deadline)));
            }
        }
        (first, overdue)
    }

    /// Resets the device: ends what was cancelled or took too long, submits the rest again.
    fn recover(&self, now: u64) {
        self.resetting.store(true, Ordering::Release);
        log::warn!(target: "virtio-blk", "{}: reset", self.device.address());
        let Some(stopped) = self.device.stop() else {
            log::error!(target: "virtio-blk", "{}: it cannot be stopped; its memory is lost", self.device.address());
            self.dead.store(true, Ordering::Release);
            for lane in &self.lanes {
                let ended = lane.lock().abandon();
                ended.into_iter().for_each(Ended::tell);
            }
            return;
        };
        let (mut again, mut ended) = (Vec::new(), Vec::new());
        for lane in &self.lanes {
            let (mut a, mut e) = lane.lock().drain(&stopped, now);
            ended.append(&mut e);
            again.push(core::mem::take(&mut a));
        }
        let alive = self.restart();
        for (lane, again) in self.lanes.iter().zip(again) {
            let mut lane = lane.lock();
            for (pending, buffers) in again {
                if alive.is_err() {
                    ended.push(Ended { pending, result: Err(Error::Io), buffers });
                } else if let Err(e) = lane.submit(pending, buffers, &self.geometry) {
                    ended.push(*e);
                }
            }
            if alive.is_ok() {
                self.device.notify(&lane.queue);
            }
        }
        if let Err(e) = alive {
            log::error!(target: "virtio-blk", "{}: it does not come back: {e:?}", self.device.address());
            self.dead.store(true, Ordering::Release);
        }
        self.resetting.store(false, Ordering::Release);
        ended.into_iter().for_each(Ended::tell);
    }

    /// Brings a device that was reset to where it was.
    fn restart(&self) -> Result<()> {
        if self.device.begin(self.features)? != self.features {
            return Err(Error::Io);
        }
        self.device.reattach();
        for lane in &self.lanes {
            self.device.restore(&lane.lock().queue)?;
        }
        self.device.ready();
        Ok(())
    }
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

impl Worker for Disk {
    fn work(&self) -> Option<u64> {
        let (any, broken) = self.collect();
        if self.dead.load(Ordering::Acquire) {
            return None;
        }
        let now = self.device.services().now_ns();
        // Before looking: a request that comes later sees it.
        self.armed.store(any, Ordering::SeqCst);
        let (mut first, overdue) = self.look(now);
        // The device says by an interrupt without requests that it cannot go on.
        if broken || overdue || (!any && self.device.needs_reset()) {
            self.recover(now);
            first = self.look(now).0;
        }
        if first.is_none() && !any {
            return None;
        }
        self.armed.store(true, Ordering::SeqCst);
        let later = now.saturating_add(PATIENCE_NS);
        Some(first.map_or(later, |first| first.min(later)))
    }
}

impl BlockDevice for Disk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, queue: usize, request: Request) -> core::result::Result<Ticket, Box<Refused>> {
        let refuse = |error, request| Err(Box::new(Refused { error, request }));
        if let Err(error) = request.check(&self.geometry) {
            return refuse(error, request);
        }
        let ticket = Ticket(self.next.fetch_add(1, Ordering::Relaxed));
        if request.operation == Operation::Flush && !self.geometry.volatile_cache {
            request.complete(Ok(()));
            return Ok(ticket);
        }
        let Some(lane) = self.lanes.get(queue % self.lanes.len().max(1)) else {
            return refuse(Error::Io, request);
        };
        let now = self.device.services().now_ns();
        let deadline = now.saturating_add(PATIENCE_NS);
        let (pending, segments) = Pending::new(request, ticket, deadline);
        let mut lane = lane.lock();
        // Looked at under the lock, which the worker takes before it drains the lane.
        let closed = self.closed().or((!lane.has_room(segments.len())).then_some(Error::Busy));
        if let Some(error) = closed {
            drop(lane);
            return refuse(error, pending.into_request(segments));
        }
        let buffers = segments.into_iter().map(|s| s.buffer).collect();
        if let Err(ended) = lane.submit(pending, buffers, &self.geometry) {
            drop(lane);
            ended.tell();
            return Ok(ticket);
        }
        self.device.notify(&lane.queue);
        drop(lane);
        if !self.armed.load(Ordering::SeqCst)
            && let Some(wake) = self.wake.get()
        {
            wake.wake();
        }
        Ok(ticket)
    }

    fn cancel(&self, ticket: Ticket) -> bool {
        let mark = |lane: &IrqLock<Lane>| {
            let mut lane = lane.lock();
            let found = lane.pending().find(|p| p.ticket == ticket);
            found.map(|p| p.cancelled = true).is_some()
        };
        let found = self.lanes.iter().any(mark);
        if found && let Some(wake) = self.wake.get() {
            wake.wake();
        }
        found
    }
}
