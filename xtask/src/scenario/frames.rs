//! The peer `frames`: the far end of the guest's network card, for drivers that have no
//! network stack above them yet.
//!
//! The guest sends Ethernet frames of every length from 60 to 1514 bytes (IEEE 802.3 without
//! and with the check sequence counted: 64 to 1518) with the EtherType 0x88b5 (IEEE 802,
//! local experimental 1). The first two bytes after the EtherType are the frame's length,
//! big-endian; every later byte is (its offset in the frame + that length) mod 256. The
//! answer is the same frame with source and destination swapped and every byte after the
//! EtherType flipped. Other frames are passed over; what bears the EtherType and is not as it
//! should be fails the scenario, and so does a length that never came.

use std::fmt;

/// IEEE 802, Local Experimental EtherType 1.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Destination, source, EtherType.
const HEADER: usize = 14;
/// The lengths that must come.
const LENGTHS: std::ops::RangeInclusive<usize> = 60..=1514;

/// What has come so far.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    seen: std::collections::BTreeSet<usize>,
    wrong: Option<String>,
}

impl Frames {
    /// Takes a frame of the guest; gives the answer, if it is one to answer.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (header, payload) = frame.split_at_checked(HEADER)?;
        let (addresses, ethertype) = header.split_at_checked(HEADER - ETHERTYPE.len())?;
        if ethertype != ETHERTYPE {
            return None;
        }
        if let Some(at) =
            frame.iter().enumerate().skip(HEADER).position(|(i, b)| *b != byte(frame.len(), i))
        {
            let n = frame.len();
            self.wrong.get_or_insert_with(|| {
                format!("a frame of {n} bytes came damaged at byte {}", at.saturating_add(HEADER))
            });
            return None;
        }
        self.seen.insert(frame.len());
        let (destination, source) = addresses.split_at_checked(6)?;
        let mut answer = Vec::with_capacity(frame.len());
        for part in [source, destination, ethertype] {
            answer.extend_from_slice(part);
        }
        answer.extend(payload.iter().map(|b| !b));
        Some(answer)
    }

    /// What is wrong with all that came, at the machine's end.
    ///
    /// # Errors
    /// A damaged frame, or a length that never came.
    pub fn verdict(&self) -> Result<(), Wrong> {
        if let Some(wrong) = &self.wrong {
            return Err(Wrong(wrong.clone()));
        }
        let missing: Vec<usize> = LENGTHS.filter(|n| !self.seen.contains(n)).collect();
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(Wrong(format!(
                "{} of {} frame lengths never came, first {first}",
                missing.len(),
                LENGTHS.count()
            ))),
        }
    }
}

/// What the byte at `at` of a frame of `length` bytes is, after the EtherType.
fn byte(length: usize, at: usize) -> u8 {
    let low = |n: usize| u8::try_from(n & 0xff).unwrap_or(0);
    match at.saturating_sub(HEADER) {
        0 => low(length >> 8),
        1 => low(length),
        _ => low(at).wrapping_add(low(length)),
    }
}

/// Why the scenario fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer frames: {}", self.0)
    }
}

/// A frame as the guest has to send it.
#[cfg(test)]
pub fn sample(length: usize) -> Vec<u8> {
    let mut frame = [[2; 6], [4; 6]].concat();
    frame.extend(ETHERTYPE);
    frame.extend((HEADER..length).map(|at| byte(length, at)));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_is_answered_and_must_come() {
        let mut peer = Frames::default();
        assert_eq!(
            peer.verdict().unwrap_err().0,
            "1455 of 1455 frame lengths never came, first 60"
        );
        for length in LENGTHS {
            let frame = sample(length);
            let answer = peer.answer(&frame).unwrap();
            assert_eq!((&answer[..6], &answer[6..12]), (&[4; 6][..], &[2; 6][..]));
            assert_eq!(answer[12..14], ETHERTYPE);
            assert!(answer[14..].iter().zip(&frame[14..]).all(|(a, f)| *a == !*f));
        }
        assert_eq!(peer.verdict(), Ok(()));
    }

    #[test]
    fn the_documented_bytes() {
        let frame = sample(300);
        assert_eq!(frame[14..18], [1, 44, 60, 61], "300 is 0x012c; 16 + 44, 17 + 44");
    }

    #[test]
    fn damage_is_reported_and_other_frames_are_not() {
        let mut peer = Frames::default();
        for other in [&[][..], &[0; 13], &[0; 60]] {
            assert_eq!(peer.answer(other), None);
        }
        assert!(peer.wrong.is_none());
        let mut frame = sample(100);
        frame[99] ^= 1;
        assert_eq!(peer.answer(&frame), None);
        let said = peer.verdict().unwrap_err().to_string();
        assert_eq!(said, "peer frames: a frame of 100 bytes came damaged at byte 99");
        // Cut or padded on the way: its own length tells.
        let mut peer = Frames::default();
        assert_eq!(peer.answer(&sample(100)[..98]), None);
        assert!(peer.verdict().unwrap_err().to_string().contains("98 bytes"));
    }
}
