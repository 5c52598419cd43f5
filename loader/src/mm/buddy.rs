//! A buddy allocator over one zone of physical memory, as a value.
//!
//! Blocks of 2^order frames, aligned to their size. One bit per block and order says "free
//! as a whole"; the free blocks of an order are a doubly linked list whose links lie in the
//! free blocks themselves, reached through [`Links`]. A block that is alone in its list has
//! no links, and a zone starts as a handful of blocks of different orders: no memory is
//! touched for what is never allocated. (A hypervisor that backs a guest with huge pages
//! clears 2 MiB for the first byte that is touched in them.)

/// The largest order: blocks of 1 GiB.
pub const MAX_ORDER: u8 = 18;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// "No frame" in links and list heads.
pub const NONE: u64 = u64::MAX;

/// Where the links of free blocks are kept: by the number of a block's first frame.
pub trait Links {
    /// `(previous, next)` of the free block.
    fn get(&self, frame: u64) -> (u64, u64);
    /// Sets both.
    fn set(&mut self, frame: u64, links: (u64, u64));
}

/// Why a block was not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// It is not wholly in this zone, or not aligned to its size.
    Foreign,
    /// It, or a block around it, is free already.
    Double,
}

/// One zone: `frames` frames from frame number `base`.
pub struct Buddy<'a> {
    base: u64,
    frames: u64,
    heads: [u64; ORDERS],
    /// One bit per order, set when its list has a block.
    nonempty: u32,
    /// One bit per order, set while the links of its list's only block are not written.
    lone: u32,
    free: u64,
    /// The bits of all orders, one after the other.
    bits: &'a mut [u64],
    /// Where each order's bits begin, in words.
    starts: [u32; ORDERS],
}

/// Words of 64 bits for the bits of `order`.
#[inline(never)]
const fn order_words(base: u64, frames: u64, order: usize) -> u64 {
    let first = base >> order;
    let last = (base + frames).div_ceil(1 << order);
    (last - first).div_ceil(64)
}

/// How many words of bitmap a zone needs: about two bits a frame.
#[must_use]
pub const fn words_needed(base: u64, frames: u64) -> usize {
    let mut words = 0;
    let mut order = 0;
    while order < ORDERS {
        words += order_words(base, frames, order);
        order += 1;
    }
    words as usize
}

impl<'a> Buddy<'a> {
    /// A zone without a free frame. `bits` is all zero and has at least
    /// [`words_needed`] words (fewer: the zone stays empty for ever).
    #[must_use]
    pub fn new(base: u64, frames: u64, bits: &'a mut [u64]) -> Self {
        let starts = [0; ORDERS];
        let heads = [NONE; ORDERS];
        let mut buddy = Self { base, frames, heads, nonempty: 0, lone: 0, free: 0, bits, starts };
        let mut at = 0;
        for (order, start) in buddy.starts.iter_mut().enumerate() {
            *start = at;
            at += order_words(base, frames, order) as u32;
        }
        if buddy.bits.len() < at as usize {
            buddy.frames = 0;
        }
        buddy
    }

    /// Free frames.
    #[must_use]
    pub const fn free_frames(&self) -> u64 {
        self.free
    }

    /// Whether `frame` lies in this zone.
    #[must_use]
    pub const fn contains(&self, frame: u64) -> bool {
        frame >= self.base && frame - self.base < self.frames
    }

    /// Word and mask of a block's bit.
    fn bit(&self, frame: u64, order: u8) -> (usize, u64) {
        let n = (frame >> order) - (self.base >> order);
        (self.starts[order as usize] as usize + (n / 64) as usize, 1 << (n % 64))
    }

    fn is_free(&self, frame: u64, order: u8) -> bool {
        let (word, mask) = self.bit(frame, order);
        self.bits.get(word).is_some_and(|w| w & mask != 0)
    }

    fn mark(&mut self, frame: u64, order: u8, free: bool) {
        let (word, mask) = self.bit(frame, order);
        if let Some(w) = self.bits.get_mut(word) {
            *w = if free { *w | mask } else { *w & !mask };
        }
    }

    /// The links of a block in the list of `order`.
    fn links_of(&self, frame: u64, order: u8, links: &impl Links) -> (u64, u64) {
        if self.lone & 1 << order == 0 { links.get(frame) } else { (NONE, NONE) }
    }

    fn push(&mut self, frame: u64, order: u8, links: &mut impl Links) {
        let head = self.heads[order as usize];
        if head == NONE {
            self.lone |= 1 << order;
        } else {
            let (_, next) = self.links_of(head, order, links);
            self.lone &= !(1 << order);
            links.set(head, (frame, next));
            links.set(frame, (NONE, head));
        }
        self.heads[order as usize] = frame;
        self.nonempty |= 1 << order;
        self.mark(frame, order, true);
    }

    fn remove(&mut self, frame: u64, order: u8, links: &mut impl Links) {
        let (previous, next) = self.links_of(frame, order, links);
        if next != NONE {
            let (_, after) = links.get(next);
            links.set(next, (previous, after));
        }
        if previous == NONE {
            self.heads[order as usize] = next;
            if next == NONE {
                self.nonempty &= !(1 << order);
            }
        } else {
            let (before, _) = links.get(previous);
            links.set(previous, (before, next));
        }
        self.mark(frame, order, false);
    }

    /// Takes a block of 2^`order` frames; its first frame's number.
    pub fn alloc(&mut self, order: u8, links: &mut impl Links) -> Option<u64> {
        if order > MAX_ORDER {
            return None;
        }
        let candidates = self.nonempty >> order << order;
        if candidates == 0 {
            return None;
        }
        let mut at = candidates.trailing_zeros() as u8;
        let frame = self.heads[at as usize];
        self.remove(frame, at, links);
        while at > order {
            at -= 1;
            self.push(frame + (1 << at), at, links);
        }
        self.free -= 1 << order;
        Some(frame)
    }

    /// Gives a block back that [`Self::alloc`] gave (or [`Self::add`]s it at first), and
    /// unites it with its buddies as far as they are free.
    ///
    /// # Errors
    /// When the block cannot have come from here; nothing changes then.
    pub fn free(&mut self, frame: u64, order: u8, links: &mut impl Links) -> Result<(), FreeError> {
        let inside = order <= MAX_ORDER
            && frame & ((1 << order) - 1) == 0
            && self.contains(frame)
            && self.contains(frame + (1 << order) - 1);
        if !inside {
            return Err(FreeError::Foreign);
        }
        if (order..=MAX_ORDER).any(|o| self.is_free(frame, o)) {
            return Err(FreeError::Double);
        }
        self.free += 1 << order;
        let (mut frame, mut order) = (frame, order);
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if !(self.contains(buddy) && self.is_free(buddy, order)) {
                break;
            }
            self.remove(buddy, order, links);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(frame, order, links);
        Ok(())
    }

    /// Adds the frames `start..end` as free, cut into the largest blocks.
    ///
    /// # Errors
    /// As [`Self::free`]; blocks before the bad one stay added.
    pub fn add(&mut self, start: u64, end: u64, links: &mut impl Links) -> Result<(), FreeError> {
        let mut at = start;
        while at < end {
            let aligned = (at.trailing_zeros() as u8).min(MAX_ORDER);
            let fits = (end - at).ilog2() as u8;
            let order = aligned.min(fits);
            self.free(at, order, links)?;
            at += 1 << order;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec;
    use std::vec::Vec;

    /// Links beside the frames, which the host does not have.
    #[derive(Default)]
    pub struct Map(BTreeMap<u64, (u64, u64)>);

    impl Links for Map {
        fn get(&self, frame: u64) -> (u64, u64) {
            self.0[&frame]
        }
        fn set(&mut self, frame: u64, links: (u64, u64)) {
            self.0.insert(frame, links);
        }
    }

    #[test]
    fn gigabytes_start_as_a_handful_of_blocks() {
        let (base, frames) = (256, 3 << 18);
        let mut bits = vec![0; words_needed(base, frames)];
        let mut links = Map::default();
        let mut b = Buddy::new(base, frames, &mut bits);
        b.add(base, base + frames, &mut links).unwrap();
        assert_eq!(b.free_frames(), frames);
        assert!(links.0.len() <= 2 * ORDERS, "{} frames touched", links.0.len());
        assert!(words_needed(base, frames) as u64 * 64 < frames * 2 + 64 * ORDERS as u64 * 2);
    }

    #[test]
    fn a_fresh_zone_is_not_touched() {
        let mut bits = vec![0; words_needed(0, 1 << 14)];
        let mut links = Map::default();
        let mut b = Buddy::new(0, 1 << 14, &mut bits);
        // 64 MiB with a kernel in its second 2 MiB.
        b.add(0x2c1, 1 << 14, &mut links).unwrap();
        assert!(links.0.is_empty(), "touched {:?}", links.0.keys());
        // Small needs are met without touching the large blocks.
        for _ in 0..64 {
            b.alloc(0, &mut links).unwrap();
        }
        assert!(links.0.keys().all(|&frame| frame < 0x400), "touched {:?}", links.0.keys());
    }

    #[test]
    fn what_is_freed_twice_or_elsewhere_is_refused() {
        let mut bits = vec![0; words_needed(0x100, 64)];
        let mut links = Map::default();
        let mut b = Buddy::new(0x100, 64, &mut bits);
        b.add(0x100, 0x140, &mut links).unwrap();
        let f = b.alloc(2, &mut links).unwrap();
        assert_eq!(b.free(f + 1, 2, &mut links), Err(FreeError::Foreign), "misaligned");
        assert_eq!(b.free(0x140, 0, &mut links), Err(FreeError::Foreign));
        assert_eq!(b.free(0xff, 0, &mut links), Err(FreeError::Foreign));
        assert_eq!(b.free(f, 2, &mut links), Ok(()));
        assert_eq!(b.free(f, 2, &mut links), Err(FreeError::Double));
        assert_eq!(b.free(f + 3, 0, &mut links), Err(FreeError::Double), "inside a free block");
        assert_eq!(b.free_frames(), 64);
        assert_eq!(b.alloc(MAX_ORDER + 1, &mut links), None);
    }

    #[test]
    fn a_zone_without_room_for_its_bits_stays_empty() {
        let mut bits = [0; 1];
        let mut links = Map::default();
        let mut b = Buddy::new(0, 1 << 20, &mut bits);
        assert_eq!(b.add(0, 16, &mut links), Err(FreeError::Foreign));
        assert_eq!(b.alloc(0, &mut links), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn blocks_never_overlap_and_all_come_back(
            base in 0..3000_u64,
            frames in 1..2000_u64,
            ops in proptest::collection::vec((any::<bool>(), 0..7_u8, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut bits = vec![0; words_needed(base, frames)];
            let mut links = Map::default();
            let mut b = Buddy::new(base, frames, &mut bits);
            b.add(base, base + frames, &mut links).unwrap();
            let mut held: Vec<(u64, u8)> = Vec::new();
            for (take, order, pick) in ops {
                if take {
                    if let Some(f) = b.alloc(order, &mut links) {
                        let end = f + (1 << order);
                        prop_assert!(f >= base && end <= base + frames && f % (1 << order) == 0);
                        for &(g, o) in &held {
                            prop_assert!(end <= g || g + (1 << o) <= f, "{f}/{order} meets {g}/{o}");
                        }
                        held.push((f, order));
                    }
                } else if !held.is_empty() {
                    let (f, o) = held.swap_remove(pick.index(held.len()));
                    prop_assert_eq!(b.free(f, o, &mut links), Ok(()));
                }
                let out: u64 = held.iter().map(|&(_, o)| 1 << o).sum();
                prop_assert_eq!(b.free_frames(), frames - out);
            }
            for (f, o) in held {
                prop_assert_eq!(b.free(f, o, &mut links), Ok(()));
            }
            // All buddies are united again: each frame can be had one by one, no more.
            let mut n = 0;
            while b.alloc(0, &mut links).is_some() {
                n += 1;
            }
            prop_assert_eq!(n, frames);
        }
    }
}
