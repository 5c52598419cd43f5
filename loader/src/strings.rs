//! Lists of strings as programs get them: one after the other, each ended by a zero byte.

use alloc::vec::Vec;

/// Strings without zero bytes, in one piece of memory: arguments, an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings(Vec<u8>);

impl Strings {
    /// No strings.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The strings that `bytes` holds, each ended by a zero byte.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Drops all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds `string`, which ends at its first zero byte if it has one.
    pub fn push(&mut self, string: &[u8]) {
        let string = string.split(|&b| b == 0).next().unwrap_or(string);
        self.0.reserve(string.len() + 1);
        self.0.extend_from_slice(string);
        self.0.push(0);
    }

    /// The strings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|&b| b == 0).map(|s| s.split_last().map_or(s, |(_, s)| s))
    }

    /// The first one.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        self.0.get(..self.0.iter().position(|b| *b == 0)?)
    }

    /// How many there are.
    #[must_use]
    #[inline(never)]
    pub fn count(&self) -> usize {
        self.0.iter().filter(|b| **b == 0).count()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, each with its zero byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    #[test]
    fn a_zero_byte_ends_a_string() {
        let mut s = Strings::new();
        assert!(s.is_empty() && s.iter().next().is_none() && s.first().is_none());
        s.push(b"a\0b");
        s.push(b"");
        assert_eq!(s.as_bytes(), b"a\0\0");
        assert_eq!(Strings::from_bytes(s.as_bytes()), s);
        assert_eq!(s.iter().collect::<Vec<_>>(), [&b"a"[..], b""]);
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_there(given in proptest::collection::vec("[^\0]{0,9}", 0..9)) {
            let mut s = Strings::new();
            given.iter().for_each(|g| s.push(g.as_bytes()));
            prop_assert_eq!(s.iter().collect::<Vec<_>>(), given.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    }
}
