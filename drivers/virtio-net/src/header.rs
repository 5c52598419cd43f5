//! The header before each frame (5.1.6), 12 bytes in modern devices.

use driver_api::net::{Checksum, Frame, Protocol, Segmentation};
use driver_api::{Error, Result};

/// Its length.
pub const LEN: usize = 12;
/// Flags: the checksum is still to be completed; it was verified.
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Segmentation.
const NONE: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;

/// The header of a frame to transmit.
#[must_use]
pub fn encode(frame: &Frame) -> [u8; LEN] {
    let mut h = [0; LEN];
    let mut put = |at: usize, value: u16| {
        if let Some(place) = h.get_mut(at..at + 2) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    };
    if let Some(Segmentation { header_len, segment_size, .. }) = frame.segmentation {
        put(2, header_len);
        put(4, segment_size);
    }
    if let Checksum::Partial { start, offset } = frame.checksum {
        put(6, start);
        put(8, offset);
        h[0] = NEEDS_CHECKSUM;
    }
    h[1] = match frame.segmentation.map(|s| s.protocol) {
        None => NONE,
        Some(Protocol::Tcp4) => TCP4,
        Some(Protocol::Tcp6) => TCP6,
        Some(Protocol::Udp) => UDP,
    };
    h
}

/// What the header of a received frame of `len` bytes says of its checksum.
///
/// # Errors
/// `Io` for places outside the frame, or for what was not negotiated.
pub fn decode(header: &[u8; LEN], len: usize) -> Result<Checksum> {
    let [flags, gso, _, _, _, _, s0, s1, o0, o1, ..] = *header;
    if gso != NONE {
        return Err(Error::Io);
    }
    if flags & NEEDS_CHECKSUM != 0 {
        let (start, offset) = (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([o0, o1]));
        let end = usize::from(start) + usize::from(offset) + 2;
        return if end <= len { Ok(Checksum::Partial { start, offset }) } else { Err(Error::Io) };
    }
    Ok(if flags & DATA_VALID != 0 { Checksum::Verified } else { Checksum::InFrame })
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver_api::dma::{ANYWHERE, DmaBuffer};
    use driver_api::fake::Arena;

    #[test]
    fn what_is_wanted_is_in_the_header() {
        let buffer = DmaBuffer::new(Arena::leaked(), 4096, ANYWHERE).unwrap();
        let mut frame = Frame::new(buffer, 12, 3000).unwrap();
        assert_eq!(encode(&frame), [0; 12]);
        frame.checksum = Checksum::Partial { start: 0x22, offset: 0x10 };
        assert_eq!(encode(&frame), [1, 0, 0, 0, 0, 0, 0x22, 0, 0x10, 0, 0, 0]);
        let protocol = Protocol::Tcp6;
        frame.segmentation = Some(Segmentation { protocol, header_len: 74, segment_size: 1440 });
        assert_eq!(encode(&frame), [1, 4, 74, 0, 0xa0, 5, 0x22, 0, 0x10, 0, 0, 0]);
    }

    #[test]
    fn what_is_received_is_checked() {
        let header = |flags, gso, start: u8| [flags, gso, 0, 0, 0, 0, start, 0, 16, 0, 1, 0];
        assert_eq!(decode(&header(0, 0, 0), 60), Ok(Checksum::InFrame));
        assert_eq!(decode(&header(2, 0, 0), 60), Ok(Checksum::Verified));
        let partial = Checksum::Partial { start: 34, offset: 16 };
        assert_eq!(decode(&header(1, 0, 34), 52), Ok(partial));
        assert_eq!(decode(&header(1, 0, 34), 51), Err(Error::Io), "outside the frame");
        assert_eq!(decode(&header(0, 1, 0), 60), Err(Error::Io), "segmentation");
    }
}
