//! A CPU's own free frames: what it gave back last is what it takes next, and no other CPU is
//! met on the way.

/// How many frames a cache holds at most.
const MOST: usize = 8;

/// Frames by number. The last that came is the first to go: it is warm.
pub struct FrameCache {
    frames: [u64; MOST],
    len: usize,
}

impl FrameCache {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { frames: [0; MOST], len: 0 }
    }

    /// Takes a frame.
    pub fn pop(&mut self) -> Option<u64> {
        let at = self.len.checked_sub(1)?;
        self.len = at;
        self.frames.get(at).copied()
    }

    /// Adds a frame, if there is room.
    #[must_use]
    pub fn push(&mut self, frame: u64) -> bool {
        match self.frames.get_mut(self.len) {
            Some(slot) => {
                *slot = frame;
                self.len += 1;
                true
            }
            None => false,
        }
    }
}

impl Default for FrameCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_last_that_came_goes_first_and_no_more_fit_than_there_is_room() {
        let mut cache = FrameCache::new();
        assert_eq!(cache.pop(), None);
        let taken = (0..20).take_while(|frame| cache.push(*frame)).count();
        assert_eq!(taken, MOST);
        assert!(!cache.push(99));
        let mut out: Vec<u64> = core::iter::from_fn(|| cache.pop()).collect();
        out.reverse();
        assert_eq!(out, (0..MOST as u64).collect::<Vec<_>>());
        assert!(cache.push(7));
        assert_eq!((cache.pop(), cache.pop()), (Some(7), None));
    }
}
