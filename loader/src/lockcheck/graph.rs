//! Which classes of locks were waited for while others were held, as a graph.

use core::sync::atomic::{AtomicU64, Ordering};

/// How many classes are told apart.
pub const MAX_CLASSES: usize = 192;
const WORDS: usize = MAX_CLASSES / 64;

/// Bit `b` of row `a`: a lock of class `b` was waited for while one of class `a` was held.
/// Bits are only ever set, so that CPUs need no lock to use it.
pub struct Graph {
    rows: [[AtomicU64; WORDS]; MAX_CLASSES],
}

impl Graph {
    /// Nothing was seen.
    #[must_use]
    pub const fn new() -> Self {
        Self { rows: [const { [const { AtomicU64::new(0) }; WORDS] }; MAX_CLASSES] }
    }

    fn has(&self, from: usize, to: usize) -> bool {
        self.rows[from][to / 64].load(Ordering::Relaxed) & 1 << (to % 64) != 0
    }

    /// Notes that `wanted` is waited for while `held` is held. `false` when the opposite
    /// order was seen before, directly or over other classes: the two orders together can
    /// deadlock. Locks of one class have no order that a class could tell.
    pub fn note(&self, held: usize, wanted: usize) -> bool {
        if held == wanted || held >= MAX_CLASSES || wanted >= MAX_CLASSES || self.has(held, wanted)
        {
            return true;
        }
        if self.reaches(wanted, held) {
            return false;
        }
        self.rows[held][wanted / 64].fetch_or(1 << (wanted % 64), Ordering::Relaxed);
        true
    }

    /// Whether there is a path from `from` to `to`.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = [0_u64; WORDS];
        let mut todo = seen;
        todo[from / 64] |= 1 << (from % 64);
        while let Some(word) = todo.iter().position(|w| *w != 0) {
            let at = word * 64 + todo[word].trailing_zeros() as usize;
            todo[word] &= todo[word] - 1;
            seen[word] |= 1 << (at % 64);
            if self.has(at, to) {
                return true;
            }
            for ((row, todo), seen) in self.rows[at].iter().zip(&mut todo).zip(&seen) {
                *todo |= row.load(Ordering::Relaxed) & !seen;
            }
        }
        false
    }
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_opposite_order_is_found_directly_and_over_others() {
        let g = Graph::new();
        assert!(g.note(1, 2) && g.note(1, 2) && g.note(3, 3));
        assert!(!g.note(2, 1));
        assert!(g.note(2, 70) && g.note(70, 127));
        assert!(!g.note(127, 1), "1, 2, 70, 127, and 1 again");
        assert!(g.note(1, 127), "the same order, with fewer steps");
    }

    proptest! {
        #[test]
        fn an_order_that_is_kept_is_never_refused(pairs in proptest::collection::vec((0..MAX_CLASSES, 0..MAX_CLASSES), 0..200)) {
            let g = Graph::new();
            for (a, b) in pairs {
                prop_assert!(g.note(a.min(b), a.max(b)));
            }
        }

        #[test]
        fn what_is_accepted_has_no_cycle(pairs in proptest::collection::vec((0..12_usize, 0..12_usize), 0..80)) {
            let g = Graph::new();
            let mut edges = std::collections::BTreeSet::new();
            for (a, b) in pairs {
                let closes = {
                    // Whether b leads to a, by a plain search over the accepted edges.
                    let mut reach = std::collections::BTreeSet::from([b]);
                    for _ in 0..12 {
                        let next: std::vec::Vec<_> = edges.iter().filter(|(x, _)| reach.contains(x)).map(|&(_, y)| y).collect();
                        reach.extend(next);
                    }
                    a != b && reach.contains(&a)
                };
                prop_assert_eq!(g.note(a, b), !closes);
                if a != b && !closes {
                    edges.insert((a, b));
                }
            }
        }
    }
}
