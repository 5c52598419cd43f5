//! Who has which buffers, for drivers whose devices take them by other ways than a virtqueue.

use alloc::vec::Vec;

use crate::dma::{DmaBuffer, Lent};
use crate::{Error, Result};

/// Buffers that a device has, in numbered slots: a command's tag, an index in a ring.
///
/// A driver without `unsafe` vouches by calling [`Self::give_back`] that the device is done
/// with a slot, as it vouches with each register that it writes for what the device does
/// then. The rule is the same as everywhere: a buffer comes back when the device has said that
/// it is done with it, in a way that was checked, or after it was stopped.
pub struct Lending<T> {
    slots: Vec<Option<(T, Vec<Lent>)>>,
    free: Vec<usize>,
}

/// What was not lent.
#[derive(Debug)]
pub struct NotLent<T> {
    /// `Busy`: all slots are taken.
    pub error: Error,
    /// As it was.
    pub tag: T,
    /// As they were.
    pub buffers: Vec<DmaBuffer>,
}

impl<T> Lending<T> {
    /// `count` free slots.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn new(count: usize) -> Result<Self> {
        let (mut slots, mut free) = (Vec::new(), Vec::new());
        slots.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        free.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        slots.resize_with(count, || None);
        free.extend((0..count).rev());
        Ok(Self { slots, free })
    }

    /// Slots that the device has.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Lends `buffers`; `tag` comes back with them. Returns the slot. Their places on the bus
    /// are [`Self::addresses`]' to say.
    ///
    /// # Errors
    /// See [`NotLent`].
    pub fn lend(
        &mut self,
        tag: T,
        buffers: Vec<DmaBuffer>,
    ) -> core::result::Result<usize, NotLent<T>> {
        let free = self.free.pop();
        let Some((n, slot)) = free.and_then(|n| Some((n, self.slots.get_mut(n)?))) else {
            return Err(NotLent { error: Error::Busy, tag, buffers });
        };
        *slot = Some((tag, buffers.into_iter().map(DmaBuffer::lend).collect()));
        Ok(n)
    }

    /// Bus address and length in bytes of the buffers in a slot, in order.
    pub fn addresses(&self, slot: usize) -> impl Iterator<Item = (u64, usize)> {
        let taken = self.slots.get(slot).and_then(Option::as_ref);
        taken.into_iter().flat_map(|(_, lent)| lent.iter().map(|l| (l.bus(), l.len())))
    }

    /// The device has said that it is done with `slot`. `None` when it never had it: what a
    /// device says is checked here.
    pub fn give_back(&mut self, slot: usize) -> Option<(T, Vec<DmaBuffer>)> {
        let (tag, lent) = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        // SAFETY: the driver's word that the device is done (see the type).
        let buffers = lent.into_iter().map(|l| unsafe { l.reclaim() }).collect();
        Some((tag, buffers))
    }

    /// The device was stopped: everything comes back.
    pub fn give_all_back(&mut self) -> Vec<(T, Vec<DmaBuffer>)> {
        (0..self.slots.len()).filter_map(|n| self.give_back(n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::ANYWHERE;
    use crate::fake::Arena;

    #[test]
    fn what_a_device_says_is_done_is_checked() {
        let arena = Arena::leaked();
        let buffer = || DmaBuffer::new(arena, 4096, ANYWHERE).unwrap();
        let mut lending = Lending::new(2).unwrap();
        let a = lending.lend('a', Vec::from([buffer(), buffer()])).unwrap();
        let b = lending.lend('b', Vec::from([buffer()])).unwrap();
        let refused = lending.lend('c', Vec::from([buffer()])).unwrap_err();
        assert_eq!((refused.error, refused.tag, refused.buffers.len()), (Error::Busy, 'c', 1));
        drop(refused);
        assert_eq!(lending.addresses(a).count(), 2);
        assert!(
            lending
                .addresses(a)
                .all(|(bus, len)| { len == 4096 && arena.device_write(bus, &[7; 4096]) })
        );
        for wrong in [2, usize::MAX] {
            assert!(lending.give_back(wrong).is_none());
        }
        let (tag, buffers) = lending.give_back(a).unwrap();
        assert_eq!((tag, buffers.len(), buffers[1].bytes()[4095]), ('a', 2, 7));
        assert!(lending.give_back(a).is_none(), "not twice");
        assert_eq!(lending.addresses(a).count(), 0);
        assert_eq!(lending.in_use(), 1);
        let _again = lending.lend('d', Vec::new()).unwrap();
        let mut all: Vec<_> = lending.give_all_back().into_iter().map(|(t, _)| t).collect();
        all.sort_unstable();
        assert_eq!((all, lending.in_use(), b), (Vec::from(['b', 'd']), 0, b));
        drop(buffers);
        assert_eq!(arena.in_use(), 0);
        assert!(arena.violations().is_empty());
    }
}
