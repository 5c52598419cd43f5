//! The kernel log's memory: the latest lines, as a value.

/// Levels as the ring keeps them: those of the `log` crate, 1 (error) to 5 (trace).
pub type Level = u8;

/// Bytes before each line: its level, and its length (little-endian).
const HEADER: usize = 3;

/// A ring of lines in `N` bytes; the oldest go first.
pub struct Ring<const N: usize> {
    bytes: [u8; N],
    /// Offset of the oldest line.
    start: usize,
    /// Bytes in use.
    len: usize,
    /// Number of the oldest line since boot.
    first: u64,
    /// Number of lines.
    lines: u64,
}

impl<const N: usize> Ring<N> {
    /// No lines.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], start: 0, len: 0, first: 0, lines: 0 }
    }

    /// Adds a line, cut off where it would not fit even alone. Old lines make room.
    pub fn push(&mut self, level: Level, line: &[u8]) {
        let room = N.saturating_sub(HEADER).min(usize::from(u16::MAX));
        let line = line.get(..line.len().min(room)).unwrap_or(&[]);
        if N < HEADER {
            return;
        }
        while N - self.len < HEADER + line.len() {
            let Some((_, len)) = self.header(self.start) else { return };
            self.start = (self.start + HEADER + len) % N;
            self.len -= HEADER + len;
            self.first += 1;
            self.lines -= 1;
        }
        let [low, high] = (line.len() as u16).to_le_bytes();
        let mut at = (self.start + self.len) % N;
        for &b in [level, low, high].iter().chain(line) {
            if let Some(slot) = self.bytes.get_mut(at) {
                *slot = b;
            }
            at = (at + 1) % N;
        }
        self.len += HEADER + line.len();
        self.lines += 1;
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at % N).copied().unwrap_or(0)
    }

    /// Level and length of the line at `at`; `None` when there is none.
    fn header(&self, at: usize) -> Option<(Level, usize)> {
        let len = u16::from_le_bytes([self.byte(at + 1), self.byte(at + 2)]);
        (self.len > 0).then(|| (self.byte(at), len.into()))
    }

    /// Number of the oldest line that is still here, counted from boot.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Number that the next line will have.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.first + self.lines
    }

    /// Copies line `number` to `out` (as much as fits): its level and the bytes copied.
    #[must_use]
    pub fn read(&self, number: u64, out: &mut [u8]) -> Option<(Level, usize)> {
        let mut skip = number.checked_sub(self.first).filter(|n| *n < self.lines)?;
        let mut at = self.start;
        while skip > 0 {
            let (_, len) = self.header(at)?;
            at = (at + HEADER + len) % N;
            skip -= 1;
        }
        let (level, len) = self.header(at)?;
        let n = len.min(out.len());
        for (i, slot) in out.iter_mut().take(n).enumerate() {
            *slot = self.byte(at + HEADER + i);
        }
        Some((level, n))
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn the_latest_lines_are_kept_whole(lines in proptest::collection::vec((1..6_u8, proptest::collection::vec(any::<u8>(), 0..90)), 0..60)) {
            const N: usize = 64;
            let mut ring = Ring::<N>::new();
            let mut kept: Vec<(u8, Vec<u8>)> = Vec::new();
            for (level, line) in &lines {
                ring.push(*level, line);
                kept.push((*level, line[..line.len().min(N - HEADER)].to_vec()));
                while kept.iter().map(|l| HEADER + l.1.len()).sum::<usize>() > N {
                    kept.remove(0);
                }
                let mut out = [0; 100];
                let got: Vec<_> = (ring.first()..ring.next())
                    .map(|n| ring.read(n, &mut out).map(|(l, len)| (l, out[..len].to_vec())).unwrap())
                    .collect();
                prop_assert_eq!(&got, &kept);
            }
            prop_assert_eq!(ring.next(), lines.len() as u64);
            prop_assert_eq!(ring.read(ring.next(), &mut []), None);
            prop_assert!(ring.first() == 0 || ring.read(ring.first() - 1, &mut []).is_none());
        }
    }
}
