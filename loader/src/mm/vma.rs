//! What the app has mapped: areas of whole pages, each with permissions and a backing.
//!
//! [`VmaTree`] keeps them by start address, none overlapping; neighbours that continue each
//! other are one area. It decides only: `mm::aspace` changes page tables accordingly.

use crate::fs::{Path, cache};
use crate::mm::PhysAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::PAGE_SIZE;
use tree::Tree;

#[path = "vma_tree.rs"]
mod tree;

/// Permissions of the app on an area.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Prot(pub u8);

impl Prot {
    /// No access.
    pub const NONE: Self = Self(0);
    /// `PROT_READ`.
    pub const READ: Self = Self(1);
    /// `PROT_WRITE`.
    pub const WRITE: Self = Self(2);
    /// `PROT_EXEC`.
    pub const EXECUTE: Self = Self(4);

    /// What of the three may be done.
    #[must_use]
    pub const fn new(read: bool, write: bool, execute: bool) -> Self {
        Self(read as u8 | (write as u8) << 1 | (execute as u8) << 2)
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::fmt::Debug for Prot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (bit, letter) in [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::EXECUTE, 'x')] {
            core::fmt::Write::write_char(f, if self.has(bit) { letter } else { '-' })?;
        }
        Ok(())
    }
}

/// Where an area's pages come from when they are first touched.
#[derive(Clone)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// A file, from this offset (page-aligned) for the area's start.
    File {
        /// The file, and the name that it was opened by.
        path: Arc<Path>,
        /// Offset of the area's first byte.
        offset: u64,
    },
    /// Memory of a device, from this address for the area's start. Mapped at once.
    Device {
        /// Physical address of the area's first byte.
        phys: PhysAddr,
    },
}

impl core::fmt::Debug for Backing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::File { offset, .. } => write!(f, "file+{offset:#x}"),
            Self::Device { phys } => write!(f, "device {phys:?}"),
        }
    }
}

impl Backing {
    /// The backing `bytes` further on.
    #[must_use]
    pub fn advanced(&self, bytes: usize) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::File { path, offset } => {
                Self::File { path: path.clone(), offset: offset.saturating_add(bytes as u64) }
            }
            Self::Device { phys } => {
                Self::Device { phys: PhysAddr(phys.0.saturating_add(bytes as u64)) }
            }
        }
    }

    /// Whether `next` continues this backing after `len` bytes.
    fn continued_by(&self, len: usize, next: &Self) -> bool {
        match (self, next) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::File { path: a, offset }, Self::File { path: b, offset: next }) => {
                Arc::ptr_eq(a, b) && offset.checked_add(len as u64) == Some(*next)
            }
            (Self::Device { phys }, Self::Device { phys: next }) => {
                phys.0.checked_add(len as u64) == Some(next.0)
            }
            _ => false,
        }
    }
}

/// What an area is for, where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// Nothing in particular.
    #[default]
    Plain,
    /// The heap that `brk` moves.
    Heap,
    /// The first thread's stack.
    Stack,
}

/// An area.
#[derive(Clone, Debug)]
pub struct Vma {
    /// First address.
    pub start: usize,
    /// First address after it.
    pub end: usize,
    /// What the app may do.
    pub prot: Prot,
    /// Writes are seen by others who map the same (`MAP_SHARED`); else they are private.
    pub shared: bool,
    /// Whether `mprotect` may make it writable (a shared mapping of a file that was opened
    /// for reading may not).
    pub may_write: bool,
    /// What it is for.
    pub role: Role,
    /// Where its pages come from.
    pub backing: Backing,
}

impl Vma {
    /// Private zeroes.
    #[must_use]
    pub const fn anonymous(start: usize, end: usize, prot: Prot) -> Self {
        Self {
            start,
            end,
            prot,
            shared: false,
            may_write: true,
            role: Role::Plain,
            backing: Backing::Anonymous,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it is empty; no area in a tree is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// The backing of `addr`, an address within the area.
    #[must_use]
    pub fn backing_at(&self, addr: usize) -> Backing {
        self.backing.advanced(addr.saturating_sub(self.start))
    }

    /// Where `pages` of the file whose slot is at `file` are in it, and how many bytes.
    #[must_use]
    pub fn place_of(&self, file: usize, pages: &Range<u64>) -> Option<(usize, usize)> {
        let Backing::File { path, offset } = &self.backing else { return None };
        let start = offset / cache::PAGE;
        let first = pages.start.max(start);
        let end = pages.end.min(start.saturating_add((self.len() / PAGE_SIZE) as u64));
        if first >= end || !cache::belongs(path, file) {
            return None;
        }
        let at = self.start + (first - start) as usize * PAGE_SIZE;
        Some((at, (end - first) as usize * PAGE_SIZE))
    }

    /// The part of it within `start..end`, which must overlap it.
    fn part(&self, start: usize, end: usize) -> Self {
        let (start, end) = (self.start.max(start), self.end.min(end));
        Self { start, end, backing: self.backing_at(start), ..self.clone() }
    }

    fn continued_by(&self, next: &Self) -> bool {
        self.end == next.start
            && self.prot == next.prot
            && self.shared == next.shared
            && self.may_write == next.may_write
            && self.role == next.role
            // Two anonymous shared areas are two objects.
            && !(self.shared && matches!(self.backing, Backing::Anonymous))
            && self.backing.continued_by(self.len(), &next.backing)
    }
}

/// All areas of an address space.
#[derive(Clone, Debug, Default)]
pub struct VmaTree {
    areas: Tree,
    pages: usize,
}

impl VmaTree {
    /// Nothing mapped.
    #[must_use]
    pub const fn new() -> Self {
        Self { areas: Tree::new(), pages: 0 }
    }

    /// Pages in all areas.
    #[must_use]
    pub const fn pages(&self) -> usize {
        self.pages
    }

    /// How many areas there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.areas.len()
    }

    /// All areas, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.areas.range(0, usize::MAX)
    }

    /// The area that holds `addr`.
    #[must_use]
    pub fn find(&self, addr: usize) -> Option<&Vma> {
        self.areas.at_or_below(addr).filter(|vma| addr < vma.end)
    }

    /// The lowest area that ends above `addr`.
    #[must_use]
    pub fn at_or_above(&self, addr: usize) -> Option<&Vma> {
        self.find(addr).or_else(|| self.areas.at_or_above(addr))
    }

    /// The areas that overlap `start..end`, ascending.
    pub fn overlapping(&self, start: usize, end: usize) -> impl Iterator<Item = &Vma> {
        let first = self.find(start).map_or(start, |vma| vma.start);
        self.areas.range(first, end)
    }

    /// Whether every page of `start..end` is in an area.
    #[must_use]
    pub fn covers(&self, start: usize, end: usize) -> bool {
        let mut at = start;
        while at < end {
            let Some(vma) = self.find(at) else { return false };
            at = vma.end;
        }
        true
    }

    /// Whether `start..end` is free.
    #[must_use]
    pub fn is_free(&self, start: usize, end: usize) -> bool {
        self.at_or_above(start).is_none_or(|vma| vma.start >= end)
    }

    /// Adds an area at a place that is free.
    ///
    /// # Panics
    /// In debug mode, when the place is not free or not of whole pages.
    pub fn insert(&mut self, vma: Vma) {
        debug_assert!(vma.start < vma.end && (vma.start | vma.end).is_multiple_of(PAGE_SIZE));
        debug_assert!(self.is_free(vma.start, vma.end));
        self.pages += vma.len() / PAGE_SIZE;
        let start = vma.start;
        self.areas.insert(vma);
        self.merge_after(start);
        self.merge_before(start);
    }

    /// Joins the area that starts at `start` with the one after it, if they continue.
    fn merge_after(&mut self, start: usize) {
        let Some(vma) = self.find(start) else { return };
        let Some(next) = self.find(vma.end) else { return };
        if vma.continued_by(next) {
            let (next, end) = (next.start, next.end);
            self.areas.remove(next);
            if let Some(vma) = self.areas.get_mut(start) {
                vma.end = end;
            }
        }
    }

    /// Joins the area that starts at `start` with the one before it, if they continue.
    fn merge_before(&mut self, start: usize) {
        let before = start.checked_sub(1).and_then(|addr| self.find(addr));
        if let Some(before) = before.map(|vma| vma.start) {
            self.merge_after(before);
        }
    }

    /// Makes `addr` a boundary: an area that spans it becomes two.
    fn split(&mut self, addr: usize) {
        let Some(vma) = self.find(addr) else { return };
        if vma.start == addr {
            return;
        }
        let (start, upper) = (vma.start, vma.part(addr, vma.end));
        if let Some(lower) = self.areas.get_mut(start) {
            lower.end = addr;
        }
        self.areas.insert(upper);
    }

    /// Takes out what is in `start..end` and gives it back, ascending.
    pub fn remove(&mut self, start: usize, end: usize) -> Vec<Vma> {
        self.split(start);
        self.split(end);
        let mut gone = Vec::new();
        while let Some(first) = self.first_in(start, end) {
            let Some(vma) = self.areas.remove(first) else { break };
            self.pages -= vma.len() / PAGE_SIZE;
            gone.push(vma);
        }
        gone
    }

    /// Changes the areas in `start..end` (`change` may not touch their bounds).
    pub fn update(&mut self, start: usize, end: usize, change: &mut dyn FnMut(&mut Vma)) {
        self.split(start);
        self.split(end);
        let mut at = start;
        while let Some(first) = self.first_in(at, end) {
            let Some(vma) = self.areas.get_mut(first) else { break };
            change(vma);
            at = vma.end;
            // What was merged away lies below `at`, and was changed.
            self.merge_before(first);
        }
        self.merge_before(at);
    }

    /// Where the lowest area that starts in `start..end` does.
    fn first_in(&self, start: usize, end: usize) -> Option<usize> {
        self.areas.at_or_above(start).map(|vma| vma.start).filter(|&first| first < end)
    }

    /// The highest free place of `len` bytes (whole pages) in `low..high`, whose start is a
    /// multiple of `align` (a power of two).
    #[must_use]
    pub fn find_gap(&self, len: usize, low: usize, high: usize, align: usize) -> Option<usize> {
        let fits = |low: usize, high: usize| {
            let start = high.checked_sub(len)? & !(align - 1);
            (start >= low).then_some(start)
        };
        let mut top = high;
        let mut below = high;
        while let Some(vma) = below.checked_sub(1).and_then(|addr| self.areas.at_or_below(addr)) {
            if vma.end <= low {
                break;
            }
            below = vma.start;
            if vma.end < top
                && let Some(found) = fits(vma.end.max(low), top)
            {
                return Some(found);
            }
            top = top.min(vma.start);
        }
        fits(low, top)
    }
}

#[cfg(test)]
#[path = "vma_tests.rs"]
mod tests;
