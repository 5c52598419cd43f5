//! What the boot protocols tell the kernel, in one form.
//!
//! Filled by the arch's entry code before there is an allocator, hence the fixed capacities.

use crate::mm::{PhysAddr, PhysRange};

/// How many memory regions are kept. QEMU's machines give fewer than ten, firmware of real
/// machines some dozens.
pub const MAX_REGIONS: usize = 64;
/// Longest command line in bytes: what the Linux boot protocols of both archs allow
/// (`COMMAND_LINE_SIZE` of arm64).
pub const MAX_CMDLINE: usize = 2048;

/// What a region of physical memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// RAM that is the kernel's to use (the kernel's own image included).
    Usable,
    /// Everything else that the protocol reports: firmware, ACPI tables, holes.
    Reserved,
}

/// A region of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where.
    pub range: PhysRange,
    /// What.
    pub kind: RegionKind,
}

/// The memory map as the boot protocol reports it: unsorted, perhaps overlapping.
/// `mm::frames` sorts it out; a reserved region wins over a usable one.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    regions: [Region; MAX_REGIONS],
    len: usize,
}

impl MemoryMap {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        let none = Region { range: PhysRange::EMPTY, kind: RegionKind::Reserved };
        Self { regions: [none; MAX_REGIONS], len: 0 }
    }

    /// Adds a region. Empty ones are skipped. Returns `false` when the map is full and a
    /// *usable* region had to be dropped (memory is lost, nothing breaks); a reserved one
    /// that does not fit replaces a usable one, so that it is never handed out.
    pub fn push(&mut self, region: Region) -> bool {
        if region.range.is_empty() {
            return true;
        }
        if let Some(slot) = self.regions.get_mut(self.len) {
            *slot = region;
            self.len += 1;
            return true;
        }
        if region.kind == RegionKind::Reserved
            && let Some(slot) = self.regions.iter_mut().rfind(|r| r.kind == RegionKind::Usable)
        {
            *slot = region;
        }
        false
    }

    /// The regions, in the order of the protocol.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        self.regions.get(..self.len).unwrap_or(&[])
    }
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that a boot protocol hands over.
#[derive(Clone, Debug)]
pub struct BootInfo {
    /// `PVH`, `Linux Image`, …: for the first log line.
    pub protocol: &'static str,
    /// Physical address of the kernel base: where the image really lies.
    pub load_base: PhysAddr,
    /// Physical memory.
    pub memory: MemoryMap,
    /// The command line of the boot protocol, copied; at most [`MAX_CMDLINE`] bytes.
    pub cmdline: &'static [u8],
    /// The first boot module (initrd), when there is one: a bootfs that is not in the image.
    pub module: Option<PhysRange>,
    /// ACPI's root pointer.
    pub rsdp: Option<PhysAddr>,
    /// The flattened device tree.
    pub dtb: Option<PhysRange>,
    /// Random bytes from the firmware (`/chosen/rng-seed`); zeroes are never put here.
    pub seed: Option<[u8; 32]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, kind: RegionKind) -> Region {
        Region { range: PhysRange::new(PhysAddr(start), PhysAddr(start + 0x1000)), kind }
    }

    #[test]
    fn a_full_map_never_loses_a_reservation() {
        let mut map = MemoryMap::new();
        for i in 0..MAX_REGIONS as u64 {
            assert!(map.push(region(i << 20, RegionKind::Usable)));
        }
        assert!(!map.push(region(1 << 40, RegionKind::Usable)));
        assert!(!map.push(region(2 << 40, RegionKind::Reserved)));
        assert!(map.regions().contains(&region(2 << 40, RegionKind::Reserved)));
        assert_eq!(map.regions().len(), MAX_REGIONS);
    }
}
