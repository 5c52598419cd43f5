//! Page tables of four levels, as both archs have them (4 KiB granule, 48-bit addresses).
//!
//! The walker is generic over the encoding of entries ([`PteFormat`], of the arch) and over
//! how tables are reached ([`TableMemory`]), so that it is tested on the host with plain
//! memory. It never flushes a TLB: who changes a live table does.

use core::marker::PhantomData;

use super::{PAGE_SIZE, PhysAddr, VirtAddr};

/// Entries of a table.
pub const ENTRIES: usize = 512;
/// The level of the root table: an entry spans 512 GiB. Level 0 entries span a page.
pub const TOP_LEVEL: u8 = 3;

/// What may be done with a mapping. Every mapping can be read by the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// Read only, kernel only, never executed.
    pub const NONE: Self = Self(0);
    /// May be written.
    pub const WRITE: Self = Self(1);
    /// May be executed (by user mode if `USER`, else by the kernel).
    pub const EXECUTE: Self = Self(2);
    /// User mode may access it.
    pub const USER: Self = Self(4);
    /// Device registers: not cached, not reordered, not speculated.
    pub const DEVICE: Self = Self(8);
    /// In every address space: kept in the TLB when the root changes.
    pub const GLOBAL: Self = Self(16);
    /// The frame belongs to the address space: it is given back when it is unmapped. A bit
    /// that the CPU ignores.
    pub const OWNED: Self = Self(32);
    /// Nobody may access it, though the entry keeps where it points (`PROT_NONE`): the CPU
    /// sees an entry that is not present.
    pub const NO_ACCESS: Self = Self(64);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The rest.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A page-table entry, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing is mapped.
    Empty,
    /// The next level's table.
    Table(PhysAddr),
    /// A page or block.
    Leaf(PhysAddr, Flags),
}

/// How an arch writes entries.
pub trait PteFormat {
    /// The highest level at which leaves can be: 1 (2 MiB) or 2 (1 GiB).
    fn max_leaf_level() -> u8;
    /// An entry that refers to the table `next`. It restricts nothing: leaves do.
    fn table(next: PhysAddr) -> u64;
    /// A leaf at `level` (0, 1 or 2); `addr` is aligned to its span. The address stands in the
    /// entry as it is: it may as well be put in with "or" later.
    fn leaf(level: u8, addr: PhysAddr, flags: Flags) -> u64;
    /// What `entry` of a table at `level` means. 0 is [`Entry::Empty`]; a leaf with
    /// [`Flags::NO_ACCESS`] is not 0 and comes back as a leaf.
    fn decode(level: u8, entry: u64) -> Entry;
}

/// How tables are reached and where new ones come from.
pub trait TableMemory {
    /// Entry `index` (below [`ENTRIES`]) of `table`.
    fn read(&self, table: PhysAddr, index: usize) -> u64;
    /// Writes it, in one access that a walking CPU sees whole.
    fn write(&mut self, table: PhysAddr, index: usize, entry: u64);
    /// A new table, all entries 0.
    fn alloc(&mut self) -> Option<PhysAddr>;
    /// Gives a table back that nothing refers to any more.
    fn free(&mut self, table: PhysAddr);
}

/// Why a change was refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No frame for a table.
    NoMemory,
    /// Something is mapped at this address already.
    Mapped(VirtAddr),
    /// An address or a length is not a multiple of the page size.
    Misaligned,
}

/// A mapping found by [`PageTable::query`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Where the address itself lies.
    pub addr: PhysAddr,
    /// What may be done with it.
    pub flags: Flags,
    /// Level of the leaf.
    pub level: u8,
}

/// Bytes that an entry at `level` spans.
#[must_use]
pub const fn span(level: u8) -> usize {
    PAGE_SIZE << (9 * level as usize)
}

const fn index(va: usize, level: u8) -> usize {
    (va >> (12 + 9 * level as usize)) & (ENTRIES - 1)
}

/// How much of `len` from `va` lies in the entry of `va` at `level`.
fn chunk(va: usize, len: usize, level: u8) -> usize {
    (span(level) - (va & (span(level) - 1))).min(len)
}

fn aligned(va: usize, len: usize) -> Result<(), MapError> {
    if (va | len) & (PAGE_SIZE - 1) == 0 { Ok(()) } else { Err(MapError::Misaligned) }
}

/// A tree of tables.
pub struct PageTable<F, M> {
    root: PhysAddr,
    memory: M,
    format: PhantomData<fn() -> F>,
}

impl<F: PteFormat, M: TableMemory> PageTable<F, M> {
    /// The tree below `root`.
    #[must_use]
    pub const fn new(root: PhysAddr, memory: M) -> Self {
        Self { root, memory, format: PhantomData }
    }

    /// The root table.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The memory that the tables are in.
    pub const fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Maps `len` bytes at `va` to `pa` with the largest leaves that fit.
    ///
    /// # Errors
    /// See [`MapError`]; what had been mapped of the range is unmapped again.
    pub fn map(
        &mut self,
        va: VirtAddr,
        pa: PhysAddr,
        len: usize,
        flags: Flags,
    ) -> Result<(), MapError> {
        aligned(va.0 | (pa.0 as usize & (PAGE_SIZE - 1)), len)?;
        let mut done = 0;
        let result = self.map_in(self.root, TOP_LEVEL, va.0, pa.0, len, flags, &mut done);
        if result.is_err() {
            // Whole leaves that were written just now: no split, so it cannot fail.
            let _ = self.unmap(va, done, &mut |_, _, _| {});
        }
        result
    }

    #[allow(clippy::too_many_arguments)] // one recursive step, private
    fn map_in(
        &mut self,
        table: PhysAddr,
        level: u8,
        mut va: usize,
        mut pa: u64,
        mut len: usize,
        flags: Flags,
        done: &mut usize,
    ) -> Result<(), MapError> {
        // Once for all leaves of the table.
        let leaves = level <= F::max_leaf_level();
        let bits = if leaves { F::leaf(level, PhysAddr(0), flags) } else { 0 };
        while len > 0 {
            let part = chunk(va, len, level);
            let i = index(va, level);
            match F::decode(level, self.memory.read(table, i)) {
                Entry::Leaf(..) => return Err(MapError::Mapped(VirtAddr(va))),
                Entry::Empty
                    if leaves && part == span(level) && pa & (span(level) as u64 - 1) == 0 =>
                {
                    self.memory.write(table, i, bits | pa);
                    *done += part;
                }
                Entry::Empty => {
                    let next = self.memory.alloc().ok_or(MapError::NoMemory)?;
                    self.memory.write(table, i, F::table(next));
                    self.map_in(next, level - 1, va, pa, part, flags, done)?;
                }
                Entry::Table(next) => {
                    self.map_in(next, level - 1, va, pa, part, flags, done)?;
                }
            }
            va = va.wrapping_add(part);
            pa += part as u64;
            len -= part;
        }
        Ok(())
    }

    /// Unmaps what is mapped in `len` bytes from `va` and tells `gone` each leaf, or part of
    /// one: its address, where it pointed, its length. Tables stay (see [`Self::prune`]).
    ///
    /// # Errors
    /// `Misaligned`; `NoMemory` when a large leaf had to be split and could not be: what
    /// `gone` was told is unmapped, the rest is not.
    pub fn unmap(
        &mut self,
        va: VirtAddr,
        len: usize,
        gone: &mut dyn FnMut(VirtAddr, PhysAddr, usize),
    ) -> Result<(), MapError> {
        self.take(va, len, &mut |va, pa, _, len| gone(va, pa, len))
    }

    /// As [`Self::unmap`], and tells `gone` the flags too, before the length.
    ///
    /// # Errors
    /// As for [`Self::unmap`].
    pub fn take(
        &mut self,
        va: VirtAddr,
        len: usize,
        gone: &mut dyn FnMut(VirtAddr, PhysAddr, Flags, usize),
    ) -> Result<(), MapError> {
        aligned(va.0, len)?;
        self.change(self.root, TOP_LEVEL, va.0, len, &mut |va, pa, flags, len| {
            gone(va, pa, flags, len);
            None
        })
    }

    /// Gives the leaves in `len` bytes from `va` other flags; holes are skipped.
    ///
    /// # Errors
    /// As for [`Self::unmap`].
    pub fn protect(&mut self, va: VirtAddr, len: usize, flags: Flags) -> Result<(), MapError> {
        self.update(va, len, &mut |_, _, _| flags)
    }

    /// Gives each leaf in `len` bytes from `va` the flags that `new` says for its address,
    /// target and flags so far; holes are skipped.
    ///
    /// # Errors
    /// As for [`Self::unmap`].
    pub fn update(
        &mut self,
        va: VirtAddr,
        len: usize,
        new: &mut dyn FnMut(VirtAddr, PhysAddr, Flags) -> Flags,
    ) -> Result<(), MapError> {
        aligned(va.0, len)?;
        self.change(self.root, TOP_LEVEL, va.0, len, &mut |va, pa, flags, _| {
            Some(new(va, pa, flags))
        })
    }

    /// Replaces every leaf in the range by one with other flags, or by nothing.
    fn change(
        &mut self,
        table: PhysAddr,
        level: u8,
        mut va: usize,
        mut len: usize,
        new: &mut dyn FnMut(VirtAddr, PhysAddr, Flags, usize) -> Option<Flags>,
    ) -> Result<(), MapError> {
        while len > 0 {
            let part = chunk(va, len, level);
            let i = index(va, level);
            match F::decode(level, self.memory.read(table, i)) {
                Entry::Empty => {}
                Entry::Leaf(pa, flags) if part == span(level) => {
                    let entry = new(VirtAddr(va), pa, flags, part)
                        .map_or(0, |flags| F::leaf(level, pa, flags));
                    self.memory.write(table, i, entry);
                }
                Entry::Leaf(pa, flags) => {
                    let next = self.split(level, pa, flags)?;
                    self.memory.write(table, i, F::table(next));
                    self.change(next, level - 1, va, part, new)?;
                }
                Entry::Table(next) => self.change(next, level - 1, va, part, new)?,
            }
            va = va.wrapping_add(part);
            len -= part;
        }
        Ok(())
    }

    /// A table that maps what the leaf of `level` at `pa` mapped.
    fn split(&mut self, level: u8, pa: PhysAddr, flags: Flags) -> Result<PhysAddr, MapError> {
        let table = self.memory.alloc().ok_or(MapError::NoMemory)?;
        for i in 0..ENTRIES {
            let part = PhysAddr(pa.0 + (i * span(level - 1)) as u64);
            self.memory.write(table, i, F::leaf(level - 1, part, flags));
        }
        Ok(table)
    }

    /// What is mapped at `va`.
    #[must_use]
    pub fn query(&self, va: VirtAddr) -> Option<Mapping> {
        let mut table = self.root;
        for level in (0..=TOP_LEVEL).rev() {
            match F::decode(level, self.memory.read(table, index(va.0, level))) {
                Entry::Empty => return None,
                Entry::Table(next) => table = next,
                Entry::Leaf(pa, flags) => {
                    let offset = (va.0 & (span(level) - 1)) as u64;
                    return Some(Mapping { addr: PhysAddr(pa.0 + offset), flags, level });
                }
            }
        }
        None
    }

    /// Takes out the tables that are empty and wholly or partly in `len` bytes from `va`,
    /// and tells `gone` each. The caller flushes the TLB (which also drops what the CPU
    /// keeps of upper levels) before it frees them. The root stays.
    pub fn prune(&mut self, va: VirtAddr, len: usize, gone: &mut dyn FnMut(PhysAddr)) {
        self.prune_in(self.root, TOP_LEVEL, va.0, len, gone);
    }

    fn prune_in(
        &mut self,
        table: PhysAddr,
        level: u8,
        mut va: usize,
        mut len: usize,
        gone: &mut dyn FnMut(PhysAddr),
    ) {
        while len > 0 {
            let part = chunk(va, len, level);
            let i = index(va, level);
            if let Entry::Table(next) = F::decode(level, self.memory.read(table, i)) {
                if level > 1 {
                    self.prune_in(next, level - 1, va, part, gone);
                }
                let empty = (0..ENTRIES)
                    .all(|i| F::decode(level - 1, self.memory.read(next, i)) == Entry::Empty);
                if empty {
                    self.memory.write(table, i, 0);
                    gone(next);
                }
            }
            va = va.wrapping_add(part);
            len -= part;
        }
    }

    /// Makes sure that the top-level entry of `va` refers to a table, so that address
    /// spaces may copy it.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn reserve_top(&mut self, va: VirtAddr) -> Result<(), MapError> {
        let i = index(va.0, TOP_LEVEL);
        if F::decode(TOP_LEVEL, self.memory.read(self.root, i)) == Entry::Empty {
            let next = self.memory.alloc().ok_or(MapError::NoMemory)?;
            self.memory.write(self.root, i, F::table(next));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
