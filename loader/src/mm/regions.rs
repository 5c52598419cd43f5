//! What of physical memory is free, as a sorted set of ranges without an allocator.

use super::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::bootinfo::{MAX_REGIONS, MemoryMap, RegionKind};

/// Each reserved range can cut one more usable range in two.
const CAPACITY: usize = MAX_REGIONS + 16;

/// Disjoint, sorted, page-aligned ranges, at most `N`. Changed in place: it is used on the
/// boot stack.
#[derive(Clone)]
pub struct RangeSet<const N: usize = CAPACITY> {
    ranges: [PhysRange; N],
    len: usize,
}

impl<const N: usize> RangeSet<N> {
    /// No ranges.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: [PhysRange::EMPTY; N], len: 0 }
    }

    /// The ranges, by address.
    #[must_use]
    pub fn ranges(&self) -> &[PhysRange] {
        self.ranges.get(..self.len).unwrap_or(&[])
    }

    /// Adds the whole pages in `range`; what overlaps or touches is united. When there is
    /// no room, the range is left out (memory is lost, nothing breaks).
    pub fn add(&mut self, range: PhysRange) {
        let page = PAGE_SIZE as u64;
        let new = PhysRange::new(
            PhysAddr(range.start.0.div_ceil(page).saturating_mul(page)),
            PhysAddr(range.end.0 / page * page),
        );
        if new.is_empty() {
            return;
        }
        self.put(new, true);
    }

    /// Adds every page that `range` touches.
    pub fn add_touched(&mut self, range: PhysRange) {
        if !range.is_empty() {
            self.add(touched(range));
        }
    }

    /// Takes out every page that `range` touches. When a cut needs more room than there
    /// is, the upper part is lost.
    pub fn remove(&mut self, range: PhysRange) {
        if range.is_empty() {
            return;
        }
        self.put(touched(range), false);
    }

    /// Makes all pages of `range` part of the set, or none.
    fn put(&mut self, range: PhysRange, inside: bool) {
        // Those that overlap or touch it are taken out; `whole` is what they are together.
        let mut whole = range;
        let mut kept = 0;
        for at in 0..self.len {
            let Some(&r) = self.ranges.get(at) else { break };
            if r.start <= range.end && range.start <= r.end {
                whole = PhysRange::new(r.start.min(whole.start), r.end.max(whole.end));
            } else if let Some(place) = self.ranges.get_mut(kept) {
                *place = r;
                kept += 1;
            }
        }
        self.len = kept;
        let below = if inside { whole.end } else { range.start };
        let above = if inside { whole.end } else { range.end };
        for piece in [PhysRange::new(whole.start, below), PhysRange::new(above, whole.end)] {
            self.insert(piece);
        }
    }

    /// Inserts a range that touches none, if it is not empty and there is room.
    fn insert(&mut self, range: PhysRange) {
        if range.is_empty() || self.len == N {
            return;
        }
        let mut moving = range;
        for place in self.ranges.iter_mut().take(self.len) {
            if moving.start < place.start {
                core::mem::swap(place, &mut moving);
            }
        }
        if let Some(place) = self.ranges.get_mut(self.len) {
            *place = moving;
            self.len += 1;
        }
    }

    /// Total length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges().iter().map(PhysRange::len).sum()
    }
}

impl<const N: usize> Default for RangeSet<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// `range` with the rest of its first and last page.
fn touched(range: PhysRange) -> PhysRange {
    let page = PAGE_SIZE as u64;
    PhysRange::new(
        PhysAddr(range.start.0 / page * page),
        PhysAddr(range.end.0.div_ceil(page).saturating_mul(page)),
    )
}

/// All RAM that the boot protocol reports as usable; reservations win.
#[must_use]
pub fn usable(map: &MemoryMap) -> RangeSet {
    let mut set = RangeSet::new();
    for r in map.regions().iter().filter(|r| r.kind == RegionKind::Usable) {
        set.add(r.range);
    }
    for r in map.regions().iter().filter(|r| r.kind == RegionKind::Reserved) {
        set.remove(r.range);
    }
    set
}

/// How many zones the free memory is divided into at most.
pub const MAX_ZONES: usize = 4;
/// A hole longer than this (bytes) between two free ranges begins a new zone, so that the
/// bitmap does not cover it.
const ZONE_HOLE: u64 = 64 << 20;
/// No zone crosses it: devices with 32-bit DMA take from a zone below.
pub const DMA32_END: u64 = 1 << 32;

/// The spans of the zones over `free`. What would need more than [`MAX_ZONES`] joins the
/// last one (its bitmap then covers the hole). Puts them into `spans`; how many there are.
#[must_use]
pub fn zones(free: &RangeSet, spans: &mut [PhysRange; MAX_ZONES]) -> usize {
    let mut len = 0;
    let mut place = |r: PhysRange| {
        if r.is_empty() {
            return;
        }
        if let Some(last) = spans.get_mut(..len).and_then(<[_]>::last_mut) {
            let same_side = (last.start.0 < DMA32_END) == (r.start.0 < DMA32_END);
            let near = same_side && r.start.0 - last.end.0 <= ZONE_HOLE;
            if near || len == MAX_ZONES {
                last.end = r.end;
                return;
            }
        }
        if let Some(slot) = spans.get_mut(len) {
            *slot = r;
            len += 1;
        }
    };
    for &r in free.ranges() {
        place(PhysRange::new(r.start, r.end.min(PhysAddr(DMA32_END))));
        place(PhysRange::new(r.start.max(PhysAddr(DMA32_END)), r.end));
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootinfo::Region;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr(start), PhysAddr(end))
    }

    fn pages<const N: usize>(set: &RangeSet<N>) -> BTreeSet<u64> {
        set.ranges().iter().flat_map(|r| (r.start.0..r.end.0).step_by(PAGE_SIZE)).collect()
    }

    #[test]
    fn only_whole_pages_are_usable_and_touched_ones_are_reserved() {
        let mut set = RangeSet::<8>::new();
        set.add(range(0x1001, 0x5fff));
        assert_eq!(set.ranges(), [range(0x2000, 0x5000)]);
        set.remove(range(0x3fff, 0x4001));
        assert_eq!(set.ranges(), [range(0x2000, 0x3000)]);
    }

    #[test]
    fn reservations_win_over_usable_memory() {
        let mut map = MemoryMap::new();
        map.push(Region { range: range(0x4000, 0x6000), kind: RegionKind::Reserved });
        map.push(Region { range: range(0, 0x9000), kind: RegionKind::Usable });
        map.push(Region { range: range(0x8000, 0xa000), kind: RegionKind::Usable });
        assert_eq!(usable(&map).ranges(), [range(0, 0x4000), range(0x6000, 0xa000)]);
    }

    #[test]
    fn the_pc_hole_and_4_gib_divide_zones() {
        const G: u64 = 1 << 30;
        let mut free = RangeSet::new();
        free.add(range(0x1000, 0x9f000));
        free.add(range(1 << 20, 2 * G));
        free.add(range(4 * G, 6 * G));
        let mut spans = [PhysRange::EMPTY; MAX_ZONES];
        let len = zones(&free, &mut spans);
        assert_eq!(spans[..len], [range(0x1000, 2 * G), range(4 * G, 6 * G)]);
        let mut across = RangeSet::new();
        across.add(range(3 * G, 6 * G));
        let mut spans = [PhysRange::EMPTY; MAX_ZONES];
        let len = zones(&across, &mut spans);
        assert_eq!(spans[..len], [range(3 * G, 4 * G), range(4 * G, 6 * G)]);
    }

    #[test]
    fn more_islands_than_zones_lose_no_memory() {
        let mut free = RangeSet::new();
        for i in 1..10_u64 {
            free.add(range(i << 33, (i << 33) + 0x4000));
        }
        let mut spans = [PhysRange::EMPTY; MAX_ZONES];
        let len = zones(&free, &mut spans);
        assert_eq!(len, MAX_ZONES);
        for r in free.ranges() {
            assert!(spans.iter().any(|s| s.start <= r.start && r.end <= s.end));
        }
    }

    #[test]
    fn a_full_set_loses_memory_but_never_a_reservation() {
        let mut set = RangeSet::<2>::new();
        set.add(range(0, 0x9000));
        set.remove(range(0x1000, 0x2000));
        set.remove(range(0x3000, 0x4000));
        assert_eq!(set.ranges(), [range(0, 0x1000), range(0x2000, 0x3000)]);
        set.add(range(0x6000, 0x7000));
        assert_eq!(set.ranges().len(), 2);
        set.add(range(0x1000, 0x2000));
        assert_eq!(set.ranges(), [range(0, 0x3000)]);
    }

    proptest! {
        #[test]
        fn the_set_is_a_set(ops in proptest::collection::vec((any::<bool>(), 0..200_u64, 0..40_u64), 1..60)) {
            let mut set = RangeSet::<100>::new();
            let mut model = BTreeSet::new();
            for (add, start, len) in ops {
                let (s, e) = (start * 0x1000, (start + len) * 0x1000);
                let touched: Vec<u64> = (s..e).step_by(PAGE_SIZE).collect();
                if add {
                    set.add(range(s, e));
                    model.extend(touched);
                } else {
                    set.remove(range(s, e));
                    model.retain(|p| !touched.contains(p));
                }
                prop_assert_eq!(&pages(&set), &model);
                prop_assert!(set.ranges().windows(2).all(|w| w[0].end < w[1].start));
            }
        }
    }
}
