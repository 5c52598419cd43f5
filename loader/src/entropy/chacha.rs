//! ChaCha20's block function (RFC 8439, section 2.3).

/// `expand 32-byte k`, little-endian words.
const SIGMA: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The words of each quarter round: the columns, then the diagonals. A table and the code once,
/// which is run cold at each boot.
const QUARTERS: [[u8; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

#[inline]
fn quarter(s: &mut [u32; 16], words: [u8; 4]) {
    let [a, b, c, d] = words;
    let at = |word: u8| usize::from(word & 15);
    let (a, b, c, d) = (at(a), at(b), at(c), at(d));
    s[a] = s[a].wrapping_add(s[b]);
    s[d] = (s[d] ^ s[a]).rotate_left(16);
    s[c] = s[c].wrapping_add(s[d]);
    s[b] = (s[b] ^ s[c]).rotate_left(12);
    s[a] = s[a].wrapping_add(s[b]);
    s[d] = (s[d] ^ s[a]).rotate_left(8);
    s[c] = s[c].wrapping_add(s[d]);
    s[b] = (s[b] ^ s[c]).rotate_left(7);
}

/// The block of `key` with the counter and nonce words of the state's last row.
#[must_use]
pub fn block(key: &[u8; 32], last: [u32; 4]) -> [u8; 64] {
    let mut start = [0; 16];
    start[..4].copy_from_slice(&SIGMA);
    for (word, bytes) in start[4..12].iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    start[12..].copy_from_slice(&last);
    let mut s = start;
    for _ in 0..10 {
        QUARTERS.iter().for_each(|words| quarter(&mut s, *words));
    }
    let mut out = [0; 64];
    for ((bytes, word), first) in out.as_chunks_mut::<4>().0.iter_mut().zip(&s).zip(&start) {
        *bytes = word.wrapping_add(*first).to_le_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_test_vector() {
        // RFC 8439, 2.3.2: key 00 … 1f, counter 1, nonce 000000090000004a00000000.
        let key = core::array::from_fn(|i| i as u8);
        let out = block(&key, [1, 0x0900_0000, 0x4a00_0000, 0]);
        let expected = [
            0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20,
            0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a,
            0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2,
            0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9,
            0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
        ];
        assert_eq!(out, expected);
    }
}
