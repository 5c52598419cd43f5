//! The split virtqueue (2.7), with owned buffers.
//!
//! What the device may write is read once, checked, and never believed twice: the free list
//! and the chains are kept in the kernel's own memory. Buffers come back when the device has
//! used their chain, or when it was stopped.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use driver_api::dma::{DmaArena, DmaBuffer, DmaShared, Lent};
use driver_api::{Error, Result};

use crate::device::Stopped;
use crate::transport::Rings;

/// Most descriptors of a queue: more would only hold more memory.
const LARGEST: u16 = 256;
/// Bytes of a descriptor, of an element of the used ring, and of a ring's header.
const DESCRIPTOR: usize = 16;
const USED: usize = 8;
const HEADER: usize = 4;
/// Descriptor flags.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// Used ring's flags: the device looks without being told.
const NO_NOTIFY: u16 = 1;

/// A piece of a chain.
#[derive(Debug)]
pub enum Part {
    /// Memory that the device is lent.
    Buffer {
        /// The memory.
        buffer: DmaBuffer,
        /// Where the piece begins in it.
        offset: usize,
        /// Bytes.
        len: usize,
        /// The device writes to it.
        write: bool,
    },
    /// Memory that both share anyway ([`driver_api::dma::DmaShared`]).
    Shared {
        /// Where the device sees it.
        bus: u64,
        /// Bytes.
        len: u32,
        /// The device writes to it.
        write: bool,
    },
}

impl Part {
    const fn write(&self) -> bool {
        match self {
            Self::Buffer { write, .. } | Self::Shared { write, .. } => *write,
        }
    }

    /// Its length, when the piece is inside its memory and not empty.
    fn len(&self) -> Option<u32> {
        let len = match *self {
            Self::Buffer { ref buffer, offset, len, .. } => {
                let end = offset.checked_add(len).filter(|end| *end <= buffer.len());
                u32::try_from(end.map(|_| len)?).ok()?
            }
            Self::Shared { len, .. } => len,
        };
        (len > 0).then_some(len)
    }
}

/// A chain that was not taken.
#[derive(Debug)]
pub struct Rejected {
    /// `Busy` when there are too few free descriptors, `Invalid` for pieces that are empty,
    /// outside their memory, or read after written ones, `Io` on a broken queue.
    pub error: Error,
    /// The pieces, as they were.
    pub parts: Vec<Part>,
    /// What was to come back with them.
    pub tag: u64,
}

/// A chain that has come back.
#[derive(Debug)]
pub struct Completed {
    /// What was submitted with it.
    pub tag: u64,
    /// Its buffers, in order.
    pub buffers: Vec<DmaBuffer>,
    /// Bytes that the device says it has written, never more than it could.
    pub written: u32,
}

/// A chain that the device has.
struct Chain {
    tag: u64,
    lent: Vec<Lent>,
    /// Bytes that the device may write.
    writable: u64,
}

impl Chain {
    /// # Safety
    /// The device has used the chain, or was stopped.
    unsafe fn complete(self, written: u32) -> Completed {
        // SAFETY: the caller's promise.
        let buffers = self.lent.into_iter().map(|l| unsafe { l.reclaim() }).collect();
        Completed { tag: self.tag, buffers, written }
    }
}

/// A queue. With each chain goes a number of the driver's, which comes back with it. (Not a
/// type parameter: each driver would have a queue of its own in the kernel.)
pub struct Queue {
    index: u16,
    size: u16,
    memory: DmaShared,
    /// Free descriptors.
    free: Vec<u16>,
    /// For each descriptor in use: the next one of its chain.
    next: Vec<Option<u16>>,
    /// By first descriptor.
    chains: Vec<Option<Chain>>,
    in_flight: u16,
    /// What the available ring's index is.
    submitted: u16,
    /// How far the used ring was read.
    seen: u16,
    /// The device has written something that makes no sense.
    broken: bool,
}

impl Queue {
    /// A queue of at most `size` descriptors: the largest power of two.
    ///
    /// # Errors
    /// `NoDevice` for a size of 0, `NoMemory`.
    #[inline(never)]
    pub fn new(arena: &'static dyn DmaArena, index: u16, size: u16, limit: u64) -> Result<Self> {
        let size = match size.min(LARGEST) {
            0 => return Err(Error::NoDevice),
            most => 1 << most.ilog2(),
        };
        let memory = DmaShared::new(
            arena,
            Self::used_at(size) + HEADER + 2 + USED * usize::from(size),
            limit,
        )?;
        let mut free = Vec::new();
        free.try_reserve_exact(size.into()).map_err(|_| Error::NoMemory)?;
        let (mut next, mut chains) = (Vec::new(), Vec::new());
        next.try_reserve_exact(size.into()).map_err(|_| Error::NoMemory)?;
        chains.try_reserve_exact(size.into()).map_err(|_| Error::NoMemory)?;
        next.resize(size.into(), None);
        chains.resize_with(size.into(), || None);
        let mut queue = Self {
            index,
            size,
            memory,
            free,
            next,
            chains,
            in_flight: 0,
            submitted: 0,
            seen: 0,
            broken: false,
        };
        queue.clear();
        Ok(queue)
    }

    /// Offset of the available ring.
    const fn available_at(size: u16) -> usize {
        DESCRIPTOR * size as usize
    }

    /// Offset of the used ring: behind the available one, its event word included, aligned
    /// to 4.
    const fn used_at(size: u16) -> usize {
        (Self::available_at(size) + HEADER + 2 * size as usize + 2).next_multiple_of(4)
    }

    /// Empties the rings.
    #[inline(never)]
    fn clear(&mut self) {
        for at in (0..self.memory.len()).step_by(8) {
            self.memory.write64(at, 0);
        }
        self.free.clear();
        self.free.extend((0..self.size).rev());
        self.next.fill(None);
        (self.in_flight, self.submitted, self.seen, self.broken) = (0, 0, 0, false);
    }

    /// Its number.
    #[must_use]
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// How many descriptors it has.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Where its rings are.
    #[must_use]
    pub const fn rings(&self) -> Rings {
        Rings {
            descriptors: self.memory.bus(0),
            available: self.memory.bus(Self::available_at(self.size)),
            used: self.memory.bus(Self::used_at(self.size)),
        }
    }

    /// Free descriptors: a chain needs one for each piece.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.broken { 0 } else { self.free.len() }
    }

    /// Chains that the device has.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// Whether the device has written something that makes no sense; only a reset mends it.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    fn check(&self, parts: &[Part]) -> Result<()> {
        if self.broken {
            return Err(Error::Io);
        }
        let sorted = parts.is_sorted_by_key(Part::write);
        if parts.is_empty() || !sorted || parts.iter().any(|p| p.len().is_none()) {
            return Err(Error::Invalid);
        }
        if parts.len() > self.size.into() {
            return Err(Error::Invalid);
        }
        if parts.len() > self.free.len() { Err(Error::Busy) } else { Ok(()) }
    }

    /// Hands a chain to the device: first what it reads, then what it writes.
    ///
    /// # Errors
    /// See [`Rejected`].
    #[inline(never)]
    pub fn submit(
        &mut self,
        parts: Vec<Part>,
        tag: u64,
    ) -> core::result::Result<(), Box<Rejected>> {
        if let Err(error) = self.check(&parts) {
            return Err(Box::new(Rejected { error, parts, tag }));
        }
        let mut chain = Chain { tag, lent: Vec::with_capacity(parts.len()), writable: 0 };
        let mut first = None;
        let mut previous: Option<(u16, u16)> = None;
        for part in parts {
            let (len, write) = (part.len().unwrap_or(0), part.write());
            let bus = match part {
                Part::Shared { bus, .. } => bus,
                Part::Buffer { buffer, offset, .. } => {
                    let lent = buffer.lend();
                    let bus = lent.bus() + offset as u64;
                    chain.lent.push(lent);
                    bus
                }
            };
            // There is one: `check`.
            let Some(n) = self.free.pop() else { break };
            let flags = if write { WRITE } else { 0 };
            chain.writable += if write { u64::from(len) } else { 0 };
            let at = DESCRIPTOR * usize::from(n);
            self.memory.write64(at, bus);
            self.memory.write32(at + 8, len);
            self.memory.write16(at + 12, flags);
            if let Some((before, flags)) = previous {
                let at = DESCRIPTOR * usize::from(before);
                self.memory.write16(at + 12, flags | NEXT);
                self.memory.write16(at + 14, n);
                self.set_next(before, Some(n));
            }
            self.set_next(n, None);
            previous = Some((n, flags));
            first.get_or_insert(n);
        }
        if let Some(first) = first {
            if let Some(slot) = self.chains.get_mut(usize::from(first)) {
                *slot = Some(chain);
            }
            self.publish(first);
        }
        Ok(())
    }

    fn set_next(&mut self, n: u16, next: Option<u16>) {
        if let Some(slot) = self.next.get_mut(usize::from(n)) {
            *slot = next;
        }
    }

    /// Puts the chain that begins with `first` into the available ring.
    fn publish(&mut self, first: u16) {
        let ring = Self::available_at(self.size);
        let slot = usize::from(self.submitted % self.size);
        self.memory.write16(ring + HEADER + 2 * slot, first);
        self.submitted = self.submitted.wrapping_add(1);
        self.in_flight += 1;
        // The device sees the chain before the index that covers it.
        fence(Ordering::SeqCst);
        self.memory.write16(ring + 2, self.submitted);
    }

    /// Whether the device wants to be told of what was submitted.
    #[must_use]
    pub fn wants_notification(&self) -> bool {
        // Our index is seen before its flag is looked at (2.7.13.4.1).
        fence(Ordering::SeqCst);
        self.memory.read16(Self::used_at(self.size)) & NO_NOTIFY == 0
    }

    /// What was submitted with the chains that the device has.
    pub fn tags(&self) -> impl Iterator<Item = u64> {
        self.chains.iter().flatten().map(|c| c.tag)
    }

    /// Whether the device has used a chain that was not popped yet.
    #[must_use]
    pub fn has_used(&self) -> bool {
        !self.broken && self.memory.read16(Self::used_at(self.size) + 2) != self.seen
    }

    /// The next chain that the device has used.
    ///
    /// # Errors
    /// `Io` when the device has written something that makes no sense: the queue is broken
    /// from then on, and everything in it comes back by [`Self::drain`].
    #[inline(never)]
    pub fn pop(&mut self) -> Result<Option<Completed>> {
        if self.broken {
            return Err(Error::Io);
        }
        let ring = Self::used_at(self.size);
        let index = self.memory.read16(ring + 2);
        let ahead = index.wrapping_sub(self.seen);
        if ahead == 0 {
            return Ok(None);
        }
        // It cannot have used more than it has.
        if ahead > self.in_flight {
            self.broken = true;
            return Err(Error::Io);
        }
        // The index is read before the element that it covers.
        fence(Ordering::SeqCst);
        let element = ring + HEADER + USED * usize::from(self.seen % self.size);
        let (id, written) = (self.memory.read32(element), self.memory.read32(element + 4));
        let slot = usize::try_from(id).ok().and_then(|id| self.chains.get_mut(id));
        let chain = slot.and_then(|s| s.take_if(|c| u64::from(written) <= c.writable));
        let Some(chain) = chain else {
            self.broken = true;
            return Err(Error::Io);
        };
        self.seen = self.seen.wrapping_add(1);
        self.in_flight -= 1;
        let mut next = Some(id as u16);
        while let Some(n) = next {
            self.free.push(n);
            next = self.next.get(usize::from(n)).copied().flatten();
        }
        // SAFETY: the device has put the chain into the used ring: it is done with it, by
        // its own word (2.7.8).
        Ok(Some(unsafe { chain.complete(written) }))
    }

    /// Takes back everything that the device had, and is empty. The device must be given the
    /// queue again ([`crate::Device::restore`]) before it is used.
    #[inline(never)]
    pub fn drain(&mut self, _stopped: &Stopped) -> Vec<Completed> {
        let chains = self.chains.iter_mut().filter_map(Option::take);
        // SAFETY: the device was stopped, which the proof says.
        let all = chains.map(|c| unsafe { c.complete(0) }).collect();
        self.clear();
        all
    }

    /// Takes back what came with the chains but leaves their memory to a device that cannot
    /// be stopped. The queue stays broken.
    #[inline(never)]
    pub fn abandon(&mut self) -> Vec<u64> {
        self.broken = true;
        self.in_flight = 0;
        self.chains.iter_mut().filter_map(Option::take).map(|c| c.tag).collect()
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
