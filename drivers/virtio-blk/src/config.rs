//! What the device says of itself (5.2.3, 5.2.4), checked.

use driver_api::block::Geometry;
use driver_api::dma::ANYWHERE;
use driver_api::{Error, Mmio, Result};

/// Feature bits.
pub mod feature {
    /// `size_max` is valid.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// `seg_max` is valid.
    pub const SEG_MAX: u64 = 1 << 2;
    /// The device is read-only.
    pub const READ_ONLY: u64 = 1 << 5;
    /// `blk_size` is valid.
    pub const BLOCK_SIZE: u64 = 1 << 6;
    /// There is a cache, and a request to flush it.
    pub const FLUSH: u64 = 1 << 9;
    /// `num_queues` is valid.
    pub const QUEUES: u64 = 1 << 12;
    /// All that the driver knows.
    pub const KNOWN: u64 = SIZE_MAX | SEG_MAX | READ_ONLY | BLOCK_SIZE | FLUSH | QUEUES;
}

/// Offsets in the device's own registers, in bytes.
const CAPACITY: usize = 0;
const SIZE_MAX: usize = 8;
const SEG_MAX: usize = 12;
const BLOCK_SIZE: usize = 20;
const QUEUES: usize = 34;

/// Bytes of a sector on the wire, whatever the block size (5.2.6).
pub const WIRE_SECTOR: u32 = 512;
/// Largest block size: larger than a page nobody uses.
const LARGEST_BLOCK: u32 = 4096;
/// Most bytes in a request: more would only keep others waiting.
const MOST: usize = 16 << 20;
/// Descriptors of a request besides its segments': header and status.
pub const EXTRA: usize = 2;

/// The registers, as they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pub capacity: u64,
    pub size_max: u32,
    pub seg_max: u32,
    pub block_size: u32,
    pub queues: u16,
}

impl Config {
    /// Reads them; those that `features` lacks are 0.
    pub fn read(registers: &Mmio, features: u64) -> Self {
        let word = |bit, at| if features & bit != 0 { registers.read32(at) } else { 0 };
        let queues = if features & feature::QUEUES != 0 { registers.read16(QUEUES) } else { 1 };
        // 4.2.2.2: 64 bits are read in halves.
        let half = |n: usize| u64::from(registers.read32(CAPACITY + 4 * n));
        Self {
            capacity: half(0) | half(1) << 32,
            size_max: word(feature::SIZE_MAX, SIZE_MAX),
            seg_max: word(feature::SEG_MAX, SEG_MAX),
            block_size: word(feature::BLOCK_SIZE, BLOCK_SIZE),
            queues,
        }
    }

    /// The geometry of a disk with `queues` queues of `queue_size` descriptors.
    ///
    /// # Errors
    /// `Io` for numbers that make no sense.
    pub fn geometry(&self, features: u64, queues: usize, queue_size: u16) -> Result<Geometry> {
        let sector_size = if self.block_size == 0 { WIRE_SECTOR } else { self.block_size };
        if !sector_size.is_power_of_two() || !(WIRE_SECTOR..=LARGEST_BLOCK).contains(&sector_size) {
            return Err(Error::Io);
        }
        // Its bytes can be counted.
        self.capacity.checked_mul(WIRE_SECTOR.into()).ok_or(Error::Io)?;
        let room = usize::from(queue_size).checked_sub(EXTRA).filter(|n| *n > 0);
        let room = room.ok_or(Error::Io)?;
        let or_all = |n: u32| if n == 0 { usize::MAX } else { n as usize };
        let max_segments = or_all(self.seg_max).min(room);
        let size = sector_size as usize;
        let max_segment = or_all(self.size_max).min(MOST) / size * size;
        if max_segment == 0 {
            return Err(Error::Io);
        }
        Ok(Geometry {
            sector_size,
            sectors: self.capacity / u64::from(sector_size / WIRE_SECTOR),
            read_only: features & feature::READ_ONLY != 0,
            volatile_cache: features & feature::FLUSH != 0,
            queues,
            max_transfer: max_segments.saturating_mul(max_segment).min(MOST),
            max_segments,
            max_segment,
            dma_limit: ANYWHERE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config =
        Config { capacity: 1000, size_max: 0, seg_max: 0, block_size: 0, queues: 1 };

    #[test]
    fn geometry_is_what_both_can_do() {
        let g = CONFIG.geometry(feature::FLUSH, 1, 64).unwrap();
        assert_eq!((g.sector_size, g.sectors), (512, 1000));
        assert_eq!((g.max_segments, g.max_segment, g.max_transfer), (62, MOST, MOST));
        assert!(g.volatile_cache && !g.read_only);
        let c = Config { block_size: 4096, size_max: 70_000, seg_max: 2, ..CONFIG };
        let g = c.geometry(feature::READ_ONLY, 1, 64).unwrap();
        assert_eq!((g.sectors, g.max_segment, g.max_transfer), (125, 69_632, 139_264));
        assert!(g.read_only && !g.volatile_cache);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let bad = [
            Config { block_size: 513, ..CONFIG },
            Config { block_size: 256, ..CONFIG },
            Config { block_size: 1 << 31, ..CONFIG },
            Config { capacity: 1 << 55, ..CONFIG },
            Config { size_max: 511, ..CONFIG },
        ];
        for c in bad {
            assert_eq!(c.geometry(0, 1, 64), Err(Error::Io), "{c:?}");
        }
        assert_eq!(CONFIG.geometry(0, 1, 2), Err(Error::Io), "no room for a segment");
    }
}
