//! The zones of physical memory, as a value: a buddy allocator each, sorted by address.
//!
//! The highest zone is asked first, so that memory below 4 GiB is left for devices that
//! reach no farther.

use driver_api::sync::IrqLock;

use super::buddy::{Buddy, FreeError, Links};
use super::regions::MAX_ZONES;

/// One lock per zone: CPUs meet only where the memory is one.
pub struct Zones<'a>([IrqLock<Option<Buddy<'a>>>; MAX_ZONES]);

impl<'a> Zones<'a> {
    /// No zones.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { IrqLock::new(None) }; MAX_ZONES])
    }

    /// Makes `buddy` the zone `index`. Callers set them by address, the lowest first.
    pub fn set(&self, index: usize, buddy: Buddy<'a>) {
        if let Some(slot) = self.0.get(index) {
            *slot.lock() = Some(buddy);
        }
    }

    /// Takes 2^`order` frames; the first one's number. No byte of them lies beyond the address
    /// `limit`.
    pub fn alloc(&self, order: u8, limit: u64, links: &mut impl Links) -> Option<u64> {
        self.0.iter().rev().find_map(|zone| {
            let mut zone = zone.lock();
            let zone = zone.as_mut()?;
            let frame = zone.alloc(order, links)?;
            let last = (frame << 12) + (0xfff_u64 | ((1 << order) - 1) << 12);
            if last <= limit {
                return Some(frame);
            }
            // A zone that reaches beyond: the next one is lower.
            let _ = zone.free(frame, order, links);
            None
        })
    }

    /// Gives 2^`order` frames back.
    ///
    /// # Errors
    /// When they cannot have come from here.
    pub fn free(&self, frame: u64, order: u8, links: &mut impl Links) -> Result<(), FreeError> {
        for zone in &self.0 {
            if let Some(zone) = zone.lock().as_mut().filter(|z| z.contains(frame)) {
                return zone.free(frame, order, links);
            }
        }
        Err(FreeError::Foreign)
    }
}

impl Default for Zones<'_> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::buddy::tests::Map;
    use crate::mm::buddy::words_needed;
    use crate::mm::regions::{RangeSet, zones};
    use crate::mm::{PhysAddr, PhysRange};
    use std::boxed::Box;
    use std::collections::BTreeSet;
    use std::vec;

    const G: u64 = 1 << 30;
    const HIGH: u64 = (4 * G) >> 12;

    /// A machine with `high` bytes from 4 GiB on, beside 16 MiB that end at 3 GiB.
    fn machine(high: u64, links: &mut Map) -> Zones<'static> {
        let mut free = RangeSet::<64>::new();
        free.add(PhysRange::new(PhysAddr(3 * G - (16 << 20)), PhysAddr(3 * G)));
        free.add(PhysRange::new(PhysAddr(4 * G), PhysAddr(4 * G + high)));
        let mut wide = RangeSet::new();
        free.ranges().iter().for_each(|r| wide.add(*r));
        let mut spans = [PhysRange::EMPTY; MAX_ZONES];
        let n = zones(&wide, &mut spans);
        let all = Zones::new();
        for (i, span) in spans.iter().take(n).enumerate() {
            let (base, frames) = (span.start.0 >> 12, span.len() >> 12);
            let bits = Box::leak(vec![0; words_needed(base, frames)].into_boxed_slice());
            let mut buddy = Buddy::new(base, frames, bits);
            buddy.add(base, base + frames, links).unwrap();
            all.set(i, buddy);
        }
        all
    }

    #[test]
    fn memory_below_4_gib_is_for_those_who_need_it() {
        let links = &mut Map::default();
        let zones = machine(2 * G, links);
        for order in [0, 3, 9] {
            assert!(zones.alloc(order, u64::MAX, links).unwrap() >= HIGH);
            let low = zones.alloc(order, 0xffff_ffff, links).unwrap();
            assert!(low + (1 << order) <= (3 * G) >> 12, "{low:#x}");
            assert_eq!(zones.alloc(order, 0xff_ffff, links), None, "ISA's 16 MiB");
        }
    }

    #[test]
    fn the_limit_is_the_last_byte() {
        let links = &mut Map::default();
        let zones = machine(1 << 20, links);
        let first = zones.alloc(8, u64::MAX, links).unwrap();
        assert_eq!(first, HIGH, "all of the high zone");
        zones.free(first, 8, links).unwrap();
        let last = 4 * G + (1 << 20) - 1;
        assert_eq!(zones.alloc(8, last, links), Some(HIGH));
        zones.free(HIGH, 8, links).unwrap();
        assert!(zones.alloc(8, last - 1, links).unwrap() < HIGH);
        // What was too high went back: nothing is lost.
        assert_eq!(zones.alloc(8, last, links), Some(HIGH));
    }

    #[test]
    fn when_the_high_zone_is_empty_the_low_one_serves_all() {
        let links = &mut Map::default();
        let zones = machine(1 << 20, links);
        let mut got = BTreeSet::new();
        while let Some(frame) = zones.alloc(0, u64::MAX, links) {
            assert!(got.insert(frame), "handed out twice");
            // The high zone first, all of it.
            assert_eq!(frame >= HIGH, got.len() <= 256);
        }
        assert_eq!(got.len(), 256 + 4096);
        got.iter().for_each(|&frame| zones.free(frame, 0, links).unwrap());
        assert_eq!(zones.alloc(8, u64::MAX, links), Some(HIGH), "united again");
    }

    #[test]
    fn what_came_from_elsewhere_is_refused() {
        let links = &mut Map::default();
        let zones = machine(1 << 20, links);
        assert_eq!(zones.free(7, 0, links), Err(FreeError::Foreign));
        assert_eq!(zones.free(HIGH, 0, links), Err(FreeError::Double));
    }
}
