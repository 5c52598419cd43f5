//! The list of a function's capabilities (PCI 6.7), which may be wrong in every way.

use driver_api::PciAddress;

use crate::config::{ConfigSpace, command, register};

/// Identifiers (PCI Code and ID Assignment Specification, 2).
pub mod id {
    /// Vendor-specific.
    pub const VENDOR: u8 = 0x09;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
}

/// Where capabilities may begin: behind the header, in the first 256 bytes.
const FIRST: u16 = 0x40;
/// Each takes a word at least, so there can be no more than these; a list that is longer
/// goes round in circles.
const MOST: usize = (256 - FIRST as usize) / 4;

/// A capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is.
    pub id: u8,
    /// Where its first word is.
    pub offset: u16,
}

impl Capability {
    /// Whether `len` bytes from its beginning are inside the space where it may be.
    #[must_use]
    pub fn holds(&self, len: u16) -> bool {
        self.offset.checked_add(len).is_some_and(|end| end <= 256)
    }
}

/// The capabilities of a function, in the order of the list. Ends where the list makes no
/// sense.
pub fn list(space: &dyn ConfigSpace, at: PciAddress) -> impl Iterator<Item = Capability> {
    let status = space.read(at, register::COMMAND);
    let there = status != u32::MAX && status & command::HAS_CAPABILITIES != 0;
    let first = if there { space.read8(at, register::CAPABILITIES) } else { 0 };
    let mut next = first;
    let step = move || {
        // The two lowest bits are reserved.
        let offset = u16::from(next & !3);
        if offset < FIRST {
            return None;
        }
        let head = space.read(at, offset);
        if head == u32::MAX {
            return None;
        }
        next = (head >> 8) as u8;
        Some(Capability { id: head as u8, offset })
    };
    core::iter::from_fn(step).take(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{AT, Fake};
    use alloc::vec::Vec;

    fn offsets(fake: &Fake) -> Vec<(u8, u16)> {
        list(fake, AT).map(|c| (c.id, c.offset)).collect()
    }

    #[test]
    fn a_list_is_walked_in_order() {
        let fake = Fake::new();
        fake.capability(0x40, 9, 0x54);
        fake.capability(0x54, 0x11, 0);
        assert_eq!(offsets(&fake), [(9, 0x40), (0x11, 0x54)]);
        fake.set(register::COMMAND, 0);
        assert!(offsets(&fake).is_empty(), "the status says that there is none");
    }

    #[test]
    fn loops_end_and_places_outside_are_not_followed() {
        let fake = Fake::new();
        fake.capability(0x40, 9, 0x40);
        assert_eq!(offsets(&fake).len(), MOST, "a capability that follows itself");
        fake.capability(0x40, 9, 0x60);
        fake.capability(0x60, 5, 0x40);
        assert_eq!(offsets(&fake).len(), MOST, "two that follow each other");
        fake.capability(0x40, 9, 0x3c);
        assert_eq!(offsets(&fake), [(9, 0x40)], "the header is no capability");
        fake.capability(0x40, 9, 0x63);
        fake.capability(0x60, 5, 0);
        assert_eq!(offsets(&fake), [(9, 0x40), (5, 0x60)], "reserved bits are ignored");
        fake.set(0x60, u32::MAX);
        assert_eq!(offsets(&fake), [(9, 0x40)], "a device that has gone");
        assert!(Capability { id: 9, offset: 0xf0 }.holds(16));
        assert!(!Capability { id: 9, offset: 0xf4 }.holds(16));
    }
}
