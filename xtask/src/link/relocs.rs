//! `loader.relocs`: where the addresses in a kernel are, kept for a boot stub that loads
//! the kernel at an address of its own choosing.
//!
//! All integers are little-endian.
//!
//! ```text
//! 0x00  8  magic            "OSIERREL"
//! 0x08  4  version          1
//! 0x0c  4  incompatible     flags; an unknown one is refused
//! 0x10  4  compatible       flags of which a reader may know nothing
//! 0x14  4  count
//! 0x18  4 × count           offsets from the kernel base, ascending; at each lies an
//!                           8-byte virtual address to which the displacement is added
//! ```

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"OSIERREL";
/// The one version there is.
pub const VERSION: u32 = 1;
const HEADER: usize = 0x18;

/// The file for these offsets, which must ascend.
#[must_use]
pub fn encode(offsets: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + offsets.len() * 4);
    out.extend(MAGIC);
    for word in [VERSION, 0, 0, offsets.len() as u32] {
        out.extend(word.to_le_bytes());
    }
    out.extend(offsets.iter().flat_map(|o| o.to_le_bytes()));
    out
}

/// The offsets in a file; `None` when it is not one that this code knows.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<u32>> {
    let (head, body) = bytes.split_at_checked(HEADER)?;
    let head = head.strip_prefix(&MAGIC)?;
    let (words, body_words) = (words(head), words(body));
    let fits = body.len().is_multiple_of(4)
        && words.first() == Some(&VERSION)
        && words.get(1) == Some(&0)
        && words.get(3).copied() == u32::try_from(body_words.len()).ok()
        && body_words.is_sorted_by(|a, b| a < b);
    fits.then_some(body_words)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|w| u32::from_le_bytes(*w)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation() {
        let offsets = vec![0x30, 0x38, 0x1000];
        let bytes = encode(&offsets);
        assert_eq!(decode(&bytes), Some(offsets));
        for n in 0..bytes.len() {
            assert_eq!(decode(&bytes[..n]), None, "{n}");
        }
        for at in [0, 8, 12, 20] {
            let mut broken = bytes.clone();
            broken[at] ^= 0x40;
            assert_eq!(decode(&broken), None, "byte {at}");
        }
    }
}
