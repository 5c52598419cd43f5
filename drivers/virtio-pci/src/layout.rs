//! Where the registers are: capabilities of the vendor's kind (4.1.4).

use driver_api::{Error, Result};
use pci::Function;
use pci::capability::{Capability, id};

use crate::common;

/// Offsets in a capability, in bytes: its length and type, the base address register, where
/// in it, how long, and for notifications the distance between two queues'.
const LEN: u16 = 2;
const TYPE: u16 = 3;
const BAR: u16 = 4;
const OFFSET: u16 = 8;
const LENGTH: u16 = 12;
const MULTIPLIER: u16 = 16;
/// Length of a capability, and of one for notifications.
const SHORT: u8 = 16;
const LONG: u8 = 20;

/// Types.
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;

/// Most of the device's own registers that are mapped: the largest have some hundred bytes.
const MOST_DEVICE: u32 = 4096;
/// Most of the notification area: a page for each of 256 queues.
const MOST_NOTIFY: u32 = 256 * 4096;

/// A stretch of a function's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub bar: usize,
    pub offset: u32,
    pub len: u32,
}

/// Where everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub common: Region,
    pub notify: Region,
    pub notify_multiplier: u32,
    pub isr: Region,
    pub device: Option<Region>,
}

impl Layout {
    /// The layout of `function`. Of several regions of a type the first usable one counts.
    ///
    /// # Errors
    /// `Unsupported` when a region is missing: the device is not modern.
    pub fn read(function: &Function) -> Result<Self> {
        let word = |c: &Capability, at: u16| function.read(c.offset + at);
        Self::of(function.capabilities().filter(|c| c.id == id::VENDOR), &word)
    }

    fn of(
        capabilities: impl Iterator<Item = Capability>,
        word: &dyn Fn(&Capability, u16) -> u32,
    ) -> Result<Self> {
        let (mut common, mut notify, mut isr, mut device) = (None, None, None, None);
        for c in capabilities {
            let head = word(&c, 0);
            let byte = |at: u16| (head >> (at * 8)) as u8;
            let (len, kind) = (byte(LEN), byte(TYPE));
            if len < SHORT || !c.holds(len.into()) {
                continue;
            }
            let bar = (word(&c, BAR) & 0xff) as usize;
            let region = Region { bar, offset: word(&c, OFFSET), len: word(&c, LENGTH) };
            // Reserved registers are ignored (4.1.4.1), and what is not aligned as it must be.
            if bar > 5 || region.len == 0 || !region.offset.is_multiple_of(4) && kind != ISR {
                continue;
            }
            match kind {
                COMMON if region.len >= common::LEN => {
                    common.get_or_insert(Region { len: common::LEN, ..region });
                }
                NOTIFY if len >= LONG => {
                    let len = region.len.min(MOST_NOTIFY);
                    notify.get_or_insert((Region { len, ..region }, word(&c, MULTIPLIER)));
                }
                ISR => {
                    isr.get_or_insert(Region { len: 1, ..region });
                }
                DEVICE => {
                    device.get_or_insert(Region { len: region.len.min(MOST_DEVICE), ..region });
                }
                _ => {}
            }
        }
        let (Some(common), Some((notify, notify_multiplier)), Some(isr)) = (common, notify, isr)
        else {
            return Err(Error::Unsupported);
        };
        Ok(Self { common, notify, notify_multiplier, isr, device })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Type, length, register, offset, length of the region, multiplier.
    type Entry = (u8, u8, u8, u32, u32, u32);

    fn read(entries: &[Entry]) -> Result<Layout> {
        let capability = |n: usize| Capability { id: id::VENDOR, offset: 0x40 + n as u16 * 20 };
        let all: Vec<_> = (0..entries.len()).map(capability).collect();
        let word = |c: &Capability, at: u16| {
            let (kind, len, bar, offset, length, multiplier) =
                entries[usize::from(c.offset - 0x40) / 20];
            match at {
                0 => u32::from(kind) << 24 | u32::from(len) << 16 | 9,
                4 => 0xaabb_cc00 | u32::from(bar),
                8 => offset,
                12 => length,
                _ => multiplier,
            }
        };
        Layout::of(all.into_iter(), &word)
    }

    const QEMU: [Entry; 4] = [
        (1, 16, 4, 0, 0x1000, 0),
        (3, 16, 4, 0x1000, 0x1000, 0),
        (4, 16, 4, 0x2000, 0x1000, 0),
        (2, 20, 4, 0x3000, 0x1000, 4),
    ];

    #[test]
    fn qemus_layout_is_read() {
        let region = |offset, len| Region { bar: 4, offset, len };
        let wanted = Layout {
            common: region(0, 56),
            notify: region(0x3000, 0x1000),
            notify_multiplier: 4,
            isr: region(0x1000, 1),
            device: Some(region(0x2000, 0x1000)),
        };
        assert_eq!(read(&QEMU), Ok(wanted));
        let [a, b, c, d] = QEMU;
        let bad = [(1, 15, 4, 0, 0x1000, 0), (1, 16, 6, 0, 0x1000, 0), (1, 16, 4, 2, 0x1000, 0)];
        let all = [&bad[..], &[a, b, c, d], &[(1, 16, 0, 0x100, 0x1000, 0)]].concat();
        assert_eq!(read(&all), Ok(wanted), "unusable ones are skipped, the first counts");
        assert_eq!(read(&[a, b, d]).map(|l| l.device), Ok(None));
    }

    #[test]
    fn what_is_missing_or_too_short_makes_it_unsupported() {
        for n in [0, 1, 3] {
            let mut all = QEMU.to_vec();
            all.remove(n);
            assert_eq!(read(&all), Err(Error::Unsupported), "without {n}");
        }
        let mut all = QEMU;
        all[0].4 = 55;
        assert_eq!(read(&all), Err(Error::Unsupported));
        let mut all = QEMU;
        all[3].1 = 19;
        assert_eq!(read(&all), Err(Error::Unsupported), "no room for the multiplier");
    }
}
