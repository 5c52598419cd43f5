//! Network cards: frames in owned buffers, with what hardware can do for them.
//!
//! The driver owns receive buffers while the card may fill them and hands a frame over with
//! its buffer; the stack gives frames to transmit with theirs, which the driver frees when
//! the card is done. What is said about checksums and segmentation is what virtio-net's
//! header says (Virtual I/O Device 1.2, 5.1.6): the other cards' descriptors can express it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::dma::DmaBuffer;
use crate::{Error, Result};

/// Bytes of an Ethernet header without a VLAN tag.
pub const ETHERNET_HEADER: usize = 14;

/// What is known, or wanted, about the checksum of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: it is in the frame, and to be verified by whoever receives it.
    #[default]
    InFrame,
    /// The ones' complement sum from `start` to the end of the frame is still to be put at
    /// `start + offset`, where the pseudo-header's sum stands.
    Partial {
        /// From the first byte of the frame.
        start: u16,
        /// From `start`.
        offset: u16,
    },
    /// The card has verified it.
    Verified,
}

/// Segmentation that the card does, or has undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP, segmented as datagrams (not IP fragments).
    Udp,
}

/// A frame larger than the MTU that is to leave as several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Of what.
    pub protocol: Protocol,
    /// Bytes of the headers that each segment repeats.
    pub header_len: u16,
    /// Most bytes of payload in a segment.
    pub segment_size: u16,
}

/// A frame.
#[derive(Debug)]
pub struct Frame {
    buffer: DmaBuffer,
    start: usize,
    len: usize,
    /// Its checksum.
    pub checksum: Checksum,
    /// How it is to be segmented.
    pub segmentation: Option<Segmentation>,
}

impl Frame {
    /// The `len` bytes of `buffer` from `start` on. What is before is headroom, in which
    /// lower layers put their headers.
    ///
    /// # Errors
    /// `OutOfRange` when they are not there.
    pub fn new(buffer: DmaBuffer, start: usize, len: usize) -> Result<Self> {
        if start.checked_add(len).is_none_or(|end| end > buffer.len()) {
            return Err(Error::OutOfRange);
        }
        Ok(Self { buffer, start, len, checksum: Checksum::InFrame, segmentation: None })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.bytes().get(self.start..self.start + self.len).unwrap_or(&[])
    }

    /// Its bytes, to change.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start, self.start + self.len);
        self.buffer.bytes_mut().get_mut(start..end).unwrap_or(&mut [])
    }

    /// Bytes before it in its buffer.
    #[must_use]
    pub const fn headroom(&self) -> usize {
        self.start
    }

    /// Makes it `count` bytes longer at its front; those bytes are what was there.
    ///
    /// # Errors
    /// `OutOfRange` when there is less headroom.
    pub fn push(&mut self, count: usize) -> Result<()> {
        self.start = self.start.checked_sub(count).ok_or(Error::OutOfRange)?;
        self.len += count;
        Ok(())
    }

    /// Takes `count` bytes off its front.
    ///
    /// # Errors
    /// `OutOfRange` when it is shorter.
    pub fn pull(&mut self, count: usize) -> Result<()> {
        self.len = self.len.checked_sub(count).ok_or(Error::OutOfRange)?;
        self.start += count;
        Ok(())
    }

    /// The buffer, and where the frame is in it.
    #[must_use]
    pub fn into_parts(self) -> (DmaBuffer, usize, usize) {
        (self.buffer, self.start, self.len)
    }
}

/// What a card can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Completes [`Checksum::Partial`] on transmit.
    pub checksum: bool,
    /// Segments TCP over IPv4.
    pub tcp4: bool,
    /// Segments TCP over IPv6.
    pub tcp6: bool,
    /// Segments UDP.
    pub udp: bool,
}

/// What a card is like. Does not change while it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetInfo {
    /// Its address.
    pub mac: [u8; 6],
    /// Largest payload of a frame in bytes, Ethernet header not counted.
    pub mtu: u16,
    /// Headroom that a frame to transmit must have.
    pub headroom: usize,
    /// Highest bus address that it reaches.
    pub dma_limit: u64,
    /// What it can do.
    pub offloads: Offloads,
    /// Pairs of receive and transmit queues: one for each CPU where the card can.
    pub queues: usize,
}

impl NetInfo {
    /// Whether a card like this can send `frame`.
    ///
    /// # Errors
    /// `Invalid` for a frame that is shorter than an Ethernet header, longer than the MTU
    /// without segmentation, has too little headroom, or places for its checksum outside;
    /// `Unsupported` for an offload that the card lacks.
    pub fn check(&self, frame: &Frame) -> Result<()> {
        let len = frame.bytes().len();
        let longest = ETHERNET_HEADER + usize::from(self.mtu);
        if len < ETHERNET_HEADER || frame.headroom() < self.headroom {
            return Err(Error::Invalid);
        }
        if let Checksum::Partial { start, offset } = frame.checksum {
            if !self.offloads.checksum {
                return Err(Error::Unsupported);
            }
            if usize::from(start) + usize::from(offset) + 2 > len {
                return Err(Error::Invalid);
            }
        }
        let Some(wanted) = frame.segmentation else {
            return if len <= longest { Ok(()) } else { Err(Error::Invalid) };
        };
        let can = match wanted.protocol {
            Protocol::Tcp4 => self.offloads.tcp4,
            Protocol::Tcp6 => self.offloads.tcp6,
            Protocol::Udp => self.offloads.udp,
        };
        let (header, segment) = (usize::from(wanted.header_len), usize::from(wanted.segment_size));
        if !can {
            return Err(Error::Unsupported);
        }
        let sane = header <= len && segment > 0 && header + segment <= longest;
        // Segments need checksums of their own.
        let partial = matches!(frame.checksum, Checksum::Partial { .. });
        if sane && partial { Ok(()) } else { Err(Error::Invalid) }
    }
}

/// Who is told of what a card does. All are called in a thread, with no lock of the driver
/// held, and must not wait.
pub trait NetClient: Send + Sync {
    /// Frames were received on a queue that had none: call [`NetDevice::receive`] until it
    /// gives fewer than the budget.
    fn received(&self, queue: usize);
    /// A queue that was full has room again.
    fn transmit_room(&self, queue: usize);
    /// The link went up or down.
    fn link_changed(&self, up: bool);
}

/// A frame that was not taken.
#[derive(Debug)]
pub struct NotSent {
    /// What [`NetInfo::check`] says, or `Busy` when the queue is full:
    /// [`NetClient::transmit_room`] tells when to try again.
    pub error: Error,
    /// The frame, as it was.
    pub frame: Frame,
}

/// A network card.
pub trait NetDevice: Send + Sync {
    /// What it is like.
    fn info(&self) -> NetInfo;

    /// Whether the link is up.
    fn link_up(&self) -> bool;

    /// Begins to receive, and tells `client` from now on. Once.
    ///
    /// # Errors
    /// `Busy` the second time, `NoMemory`.
    fn start(&self, client: Arc<dyn NetClient>) -> Result<()>;

    /// Hands at most `budget` received frames of queue `queue` to `take`, oldest first, and
    /// returns how many.
    fn receive(&self, queue: usize, budget: usize, take: &mut dyn FnMut(Frame)) -> usize;

    /// Sends a frame on queue `queue` (taken modulo their number). Does not wait.
    ///
    /// # Errors
    /// See [`NotSent`].
    fn transmit(&self, queue: usize, frame: Frame) -> core::result::Result<(), Box<NotSent>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::ANYWHERE;
    use crate::fake::Arena;

    fn frame(start: usize, len: usize) -> Frame {
        let buffer = DmaBuffer::new(Arena::leaked(), 4096, ANYWHERE).unwrap();
        Frame::new(buffer, start, len).unwrap()
    }

    const INFO: NetInfo = NetInfo {
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        headroom: 12,
        dma_limit: ANYWHERE,
        offloads: Offloads { checksum: true, tcp4: true, tcp6: false, udp: false },
        queues: 1,
    };

    #[test]
    fn headers_go_into_headroom() {
        let mut f = frame(20, 100);
        f.bytes_mut()[0] = 9;
        assert_eq!(f.push(21), Err(Error::OutOfRange));
        f.push(20).unwrap();
        assert_eq!((f.headroom(), f.bytes().len(), f.bytes()[20]), (0, 120, 9));
        assert_eq!(f.pull(121), Err(Error::OutOfRange));
        f.pull(120).unwrap();
        assert_eq!(f.bytes(), [0_u8; 0]);
        let buffer = DmaBuffer::new(Arena::leaked(), 4096, ANYWHERE).unwrap();
        assert_eq!(Frame::new(buffer, 4000, 97).err(), Some(Error::OutOfRange));
    }

    #[test]
    fn a_frame_is_checked_before_a_card_sees_it() {
        for (start, len, ok) in
            [(12, 14, true), (12, 13, false), (11, 60, false), (12, 1514, true), (12, 1515, false)]
        {
            assert_eq!(INFO.check(&frame(start, len)).is_ok(), ok, "{len} bytes at {start}");
        }
        let mut f = frame(12, 60);
        f.checksum = Checksum::Partial { start: 34, offset: 24 };
        assert_eq!(INFO.check(&f), Ok(()));
        f.checksum = Checksum::Partial { start: 34, offset: 25 };
        assert_eq!(INFO.check(&f), Err(Error::Invalid), "outside the frame");
        let plain = NetInfo { offloads: Offloads::default(), ..INFO };
        assert_eq!(plain.check(&f), Err(Error::Unsupported));
    }

    #[test]
    fn segmentation_is_what_the_card_can_do() {
        let mut f = frame(12, 3000);
        let wanted =
            |protocol, segment_size| Some(Segmentation { protocol, header_len: 54, segment_size });
        f.segmentation = wanted(Protocol::Tcp4, 1460);
        assert_eq!(INFO.check(&f), Err(Error::Invalid), "without a checksum to complete");
        f.checksum = Checksum::Partial { start: 34, offset: 16 };
        assert_eq!(INFO.check(&f), Ok(()));
        f.segmentation = wanted(Protocol::Tcp6, 1460);
        assert_eq!(INFO.check(&f), Err(Error::Unsupported));
        for size in [0, 1461] {
            f.segmentation = wanted(Protocol::Tcp4, size);
            assert_eq!(INFO.check(&f), Err(Error::Invalid), "segments of {size}");
        }
    }
}
