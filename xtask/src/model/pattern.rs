//! What scenarios have on their disks. A pattern gives every 8 bytes at a multiple of 8 a
//! value made of their offset, so that a guest can check and write any part of a disk by
//! itself, and data that went to the wrong place shows where it should be.

use serde::Serialize;

/// What a disk, or a part of it, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Zeros.
    Zero,
    /// Each 8 bytes, little-endian, are their own offset on the disk.
    Offset,
    /// The same with every bit flipped.
    Inverse,
}

impl Pattern {
    /// The 8 bytes at `offset`, a multiple of 8.
    const fn word(self, offset: u64) -> [u8; 8] {
        match self {
            Pattern::Zero => [0; 8],
            Pattern::Offset => offset.to_le_bytes(),
            Pattern::Inverse => (!offset).to_le_bytes(),
        }
    }

    /// Fills `bytes`, which begin at `offset` on the disk.
    pub fn fill(self, offset: u64, bytes: &mut [u8]) {
        let mut at = offset;
        for byte in bytes {
            *byte = self.byte(at);
            at = at.wrapping_add(1);
        }
    }

    /// The first byte of `bytes`, which begin at `offset` on the disk, that is not the
    /// pattern's: its offset on the disk, what it is, and what it should be.
    #[must_use]
    pub fn mismatch(self, offset: u64, bytes: &[u8]) -> Option<(u64, u8, u8)> {
        let at = |n: usize| offset.wrapping_add(u64::try_from(n).unwrap_or(u64::MAX));
        let wrong = bytes.iter().enumerate().find(|(n, b)| **b != self.byte(at(*n)));
        wrong.map(|(n, b)| (at(n), *b, self.byte(at(n))))
    }

    fn byte(self, at: u64) -> u8 {
        let within = usize::try_from(at % 8).unwrap_or(0);
        self.word(at - at % 8).get(within).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_its_offset_wherever_a_part_begins() {
        let mut whole = [0; 32];
        Pattern::Offset.fill(0x1000, &mut whole);
        assert_eq!(whole[..8], 0x1000_u64.to_le_bytes());
        assert_eq!(whole[24..], 0x1018_u64.to_le_bytes());
        let mut part = [0; 11];
        Pattern::Offset.fill(0x1005, &mut part);
        assert_eq!(part, whole[5..16]);
        Pattern::Inverse.fill(0x1005, &mut part);
        assert!(part.iter().zip(&whole[5..]).all(|(a, b)| *a == !*b));
        Pattern::Zero.fill(3, &mut part);
        assert_eq!(part, [0; 11]);
    }

    #[test]
    fn the_first_difference_is_named() {
        let mut bytes = [0; 24];
        Pattern::Inverse.fill(512, &mut bytes);
        assert_eq!(Pattern::Inverse.mismatch(512, &bytes), None);
        bytes[9] = 7;
        bytes[10] = 7;
        assert_eq!(Pattern::Inverse.mismatch(512, &bytes), Some((521, 7, 0xfd)));
        assert_eq!(Pattern::Zero.mismatch(512, &bytes), Some((512, 0xff, 0)));
    }
}
