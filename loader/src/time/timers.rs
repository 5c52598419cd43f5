//! The timers of a CPU, as a value: what expires when.

use alloc::vec::Vec;

/// A timer that was set, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

struct Timer<T> {
    deadline: u64,
    token: Token,
    what: T,
}

/// Timers in order of expiry. Room is promised ahead ([`Self::reserve`]), so that setting
/// one within the promise cannot fail.
pub struct Timers<T> {
    /// The first to expire is the last element.
    sorted: Vec<Timer<T>>,
    promised: usize,
    next_token: u64,
}

impl<T> Timers<T> {
    /// None, and no room.
    #[must_use]
    pub const fn new() -> Self {
        Self { sorted: Vec::new(), promised: 0, next_token: 0 }
    }

    /// Promises room for one more timer. `false` when there is no memory for it.
    #[must_use]
    pub fn reserve(&mut self) -> bool {
        let more = self.promised + 1 - self.sorted.len().min(self.promised);
        let ok = self.sorted.try_reserve(more).is_ok();
        self.promised += usize::from(ok);
        ok
    }

    /// For how many timers room is promised.
    #[must_use]
    pub const fn promised(&self) -> usize {
        self.promised
    }

    /// Bytes of memory that it holds: they stay with it.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let bytes = self.sorted.capacity() * size_of::<Timer<T>>();
        crate::mm::slab::footprint(bytes, align_of::<Timer<T>>())
    }

    /// Takes one promise back.
    pub fn unreserve(&mut self) {
        self.promised = self.promised.saturating_sub(1);
    }

    /// Sets a timer. Those with the same deadline expire in the order they were set.
    pub fn set(&mut self, deadline: u64, what: T) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        let at = self.sorted.partition_point(|t| t.deadline > deadline);
        self.sorted.insert(at, Timer { deadline, token, what });
        token
    }

    /// Takes a timer back that has not expired; `None` when it has.
    pub fn cancel(&mut self, token: Token) -> Option<T> {
        let at = self.sorted.iter().position(|t| t.token == token)?;
        Some(self.sorted.remove(at).what)
    }

    /// Takes the first timer whose deadline is not after `now`.
    pub fn expired(&mut self, now: u64) -> Option<T> {
        let first = self.sorted.last()?;
        if first.deadline > now {
            return None;
        }
        self.sorted.pop().map(|t| t.what)
    }

    /// When the first expires.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.sorted.last().map(|t| t.deadline)
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn promised_room_is_there() {
        let mut t = Timers::new();
        for _ in 0..100 {
            assert!(t.reserve());
        }
        let room = t.sorted.capacity();
        for n in 0..100 {
            t.set(n, n);
        }
        assert!(room >= 100 && t.sorted.capacity() == room);
        assert!(t.reserve() && t.sorted.capacity() > 100);
    }

    proptest! {
        #[test]
        fn timers_expire_in_order(deadlines in proptest::collection::vec(0..50_u64, 1..80), cancel in proptest::collection::vec(any::<prop::sample::Index>(), 0..20)) {
            let mut t = Timers::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            let tokens: Vec<Token> = deadlines.iter().enumerate().map(|(i, &d)| {
                model.push((d, i));
                t.set(d, (d, i))
            }).collect();
            for c in cancel {
                let i = c.index(tokens.len());
                let had = model.iter().position(|m| m.1 == i).map(|at| model.remove(at));
                prop_assert_eq!(t.cancel(tokens[i]), had);
            }
            model.sort_unstable();
            let mut out = Vec::new();
            for now in 0..60 {
                while let Some(x) = t.expired(now) {
                    prop_assert!(x.0 == now, "late or early");
                    out.push(x);
                }
            }
            prop_assert_eq!(out, model);
            prop_assert_eq!(t.next(), None);
        }
    }
}
