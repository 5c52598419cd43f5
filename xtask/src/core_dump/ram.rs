//! Where a guest's RAM lies in the file that backs it.

use super::CoreError;
use crate::model::Arch;
use crate::run::memory::ram_start;

/// QEMU's x64 machines put what does not fit below the hole for devices at 4 GiB.
const ABOVE: u64 = 1 << 32;

/// Physical addresses of RAM, and their offsets in the file: one stretch, or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamLayout {
    start: u64,
    /// Bytes of the first stretch.
    low: u64,
    /// Bytes at [`ABOVE`].
    high: u64,
}

impl RamLayout {
    /// For a file of `len` bytes and a guest whose RAM ends at the physical address `end`.
    ///
    /// # Errors
    /// `Ram` when the two contradict each other.
    pub fn new(arch: Arch, len: u64, end: u64) -> Result<Self, CoreError> {
        let start = ram_start(arch);
        let high = match arch {
            Arch::X64 => end.saturating_sub(ABOVE),
            Arch::Aarch64 => 0,
        };
        let wrong = CoreError::Ram { file: len, end };
        let low = len.checked_sub(high).ok_or(wrong.clone())?;
        let layout = Self { start, low, high };
        let last = if high > 0 { Some(ABOVE + high) } else { start.checked_add(low) };
        // Firmware keeps the last pages of RAM to itself where it likes.
        if last.is_none_or(|last| end > last) || high > 0 && low >= ABOVE {
            return Err(wrong);
        }
        Ok(layout)
    }

    /// The offset of `len` bytes at the physical address `at`, if all of them are RAM, and in
    /// one stretch.
    #[must_use]
    pub fn offset(&self, at: u64, len: u64) -> Option<u64> {
        let within = |start: u64, size: u64, base: u64| {
            let from = at.checked_sub(start)?;
            (from.checked_add(len)? <= size).then_some(base + from)
        };
        within(self.start, self.low, 0).or_else(|| within(ABOVE, self.high, self.low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_has_a_hole_below_4_gib() {
        let small = RamLayout::new(Arch::X64, 64 << 20, 64 << 20).unwrap();
        assert_eq!(small.offset(0x1000, 0x1000), Some(0x1000));
        assert_eq!(small.offset((64 << 20) - 1, 1), Some((64 << 20) - 1));
        assert_eq!(small.offset((64 << 20) - 1, 2), None);
        assert_eq!(small.offset(u64::MAX, 2), None);
        // A `q35` of 4 GiB has 2 GiB below and 2 GiB above.
        let large = RamLayout::new(Arch::X64, 4 << 30, 6 << 30).unwrap();
        assert_eq!(large.offset((2 << 30) - 1, 1), Some((2 << 30) - 1));
        assert_eq!(large.offset(2 << 30, 1), None);
        assert_eq!(large.offset(4 << 30, 1), Some(2 << 30));
        assert_eq!(large.offset((6 << 30) - 1, 2), None);
        let arm = RamLayout::new(Arch::Aarch64, 6 << 30, (1 << 30) + (6 << 30)).unwrap();
        assert_eq!(arm.offset(5 << 30, 8), Some(4 << 30));
        assert_eq!(arm.offset((1 << 30) - 1, 2), None);
    }

    #[test]
    fn what_contradicts_the_file_is_refused() {
        for (arch, len, end) in [
            (Arch::X64, 64 << 20, 65 << 20),
            (Arch::X64, 64 << 20, 5 << 30),
            (Arch::X64, 64 << 20, u64::MAX),
            (Arch::X64, u64::MAX, u64::MAX),
            (Arch::Aarch64, 64 << 20, 2 << 30),
            (Arch::Aarch64, u64::MAX, 1 << 31),
        ] {
            let e = RamLayout::new(arch, len, end);
            assert_eq!(e, Err(CoreError::Ram { file: len, end }));
        }
    }
}
