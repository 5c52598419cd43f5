//! The generator's state, as a value: what is mixed in, what comes out.
//!
//! The state is one ChaCha20 key. Input is mixed in by XOR and a new key from the block
//! function. Output is ChaCha20's key stream under a key that is replaced before any of it
//! is given out ("fast key erasure", D. J. Bernstein 2017): who learns the state later
//! cannot compute what was given out before.

use super::chacha::block;

/// Bits that must have come in before anything goes out.
pub const NEEDED: u32 = 256;

/// Not enough unpredictable input has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSeeded;

/// The generator.
pub struct Pool {
    key: [u8; 32],
    /// Bits of entropy that came in, as their sources credited them.
    bits: u32,
    mixed: u32,
}

impl Pool {
    /// Nothing has come in.
    #[must_use]
    pub const fn new() -> Self {
        Self { key: [0; 32], bits: 0, mixed: 0 }
    }

    /// Mixes `input` in and credits it with `bits` bits of entropy. Input that an attacker
    /// knows, or chooses, does no harm if it is credited with none.
    pub fn mix(&mut self, input: &[u8], bits: u32) {
        for chunk in input.chunks(32) {
            for (k, b) in self.key.iter_mut().zip(chunk) {
                *k ^= b;
            }
            self.mixed = self.mixed.wrapping_add(1);
            // Another last row than output uses: the two never share a block.
            let out = block(&self.key, [self.mixed, chunk.len() as u32, 0, u32::MAX]);
            self.key.copy_from_slice(&out[..32]);
        }
        self.bits = self.bits.saturating_add(bits.min(input.len() as u32 * 8));
    }

    /// Whether enough has come in.
    #[must_use]
    pub const fn is_seeded(&self) -> bool {
        self.bits >= NEEDED
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// [`NotSeeded`]: `out` is as it was.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), NotSeeded> {
        if !self.is_seeded() {
            return Err(NotSeeded);
        }
        let first = block(&self.key, [0; 4]);
        let (next, rest) = first.split_at(32);
        let stream = self.key;
        self.key.copy_from_slice(next);
        let (head, tail) = out.split_at_mut(out.len().min(32));
        head.copy_from_slice(&rest[..head.len()]);
        for (i, chunk) in tail.chunks_mut(64).enumerate() {
            let n = i as u64 + 1;
            let block = block(&stream, [n as u32, (n >> 32) as u32, 0, 0]);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

/// Estimates the entropy of timing: feed it readings of a fast counter around work whose
/// duration varies. Credits at most a third of a bit a reading (as the jitterentropy library
/// does by default), and none while the first or
/// second differences repeat (a counter that is emulated exactly credits nothing).
#[derive(Default)]
pub struct Jitter {
    last: u64,
    delta: u64,
    delta2: u64,
    good: u32,
}

impl Jitter {
    /// Takes a reading.
    pub fn sample(&mut self, counter: u64) {
        let delta = counter.wrapping_sub(self.last);
        let delta2 = delta.wrapping_sub(self.delta);
        if delta != self.delta && delta2 != self.delta2 && delta2 != 0 {
            self.good += 1;
        }
        (self.last, self.delta, self.delta2) = (counter, delta, delta2);
    }

    /// Bits credited so far.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.good / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec;

    fn seeded() -> Pool {
        let mut pool = Pool::new();
        pool.mix(&[7; 32], 256);
        pool
    }

    #[test]
    fn nothing_comes_out_before_enough_came_in() {
        let mut pool = Pool::new();
        let mut out = [0xaa; 8];
        pool.mix(&[1; 31], u32::MAX);
        assert_eq!(pool.fill(&mut out), Err(NotSeeded), "31 bytes are at most 248 bits");
        assert_eq!(out, [0xaa; 8]);
        pool.mix(&[2; 64], 0);
        assert_eq!(pool.fill(&mut out), Err(NotSeeded));
        pool.mix(&[3], 8);
        assert_eq!(pool.fill(&mut out), Ok(()));
        assert_ne!(out, [0xaa; 8]);
    }

    #[test]
    fn output_never_repeats_and_every_length_is_filled() {
        let mut pool = seeded();
        let mut seen = BTreeSet::new();
        for len in 0..300 {
            let mut out = vec![0; len];
            pool.fill(&mut out).unwrap();
            for chunk in out.chunks_exact(16) {
                assert!(seen.insert(chunk.to_vec()), "16 bytes came twice");
            }
        }
        // 2,700 blocks of 16 bytes: each byte value must have come up.
        let values: BTreeSet<u8> = seen.iter().flatten().copied().collect();
        assert_eq!(values.len(), 256);
    }

    #[test]
    fn every_byte_mixed_in_changes_what_comes_out() {
        let out = |seed: &[u8]| {
            let mut pool = Pool::new();
            pool.mix(seed, 512);
            let mut out = [0; 16];
            pool.fill(&mut out).unwrap();
            out
        };
        let base = out(&[0; 64]);
        for i in 0..64 {
            let mut seed = [0; 64];
            seed[i] = 1;
            assert_ne!(out(&seed), base, "byte {i}");
        }
        assert_ne!(out(&[0; 65]), base);
    }

    #[test]
    fn a_regular_counter_is_no_entropy() {
        let mut j = Jitter::default();
        (0..10_000).for_each(|i| j.sample(i * 100));
        assert_eq!(j.bits(), 0);
        let mut j = Jitter::default();
        (0..10_000_u64).for_each(|i| j.sample(i * i));
        assert_eq!(j.bits(), 0, "constant second differences");
    }
}
