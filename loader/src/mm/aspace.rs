//! The app's address space: areas, and the page tables that follow them.
//!
//! Pages come when they are first touched ([`AddressSpace::fault`]). Those of files are the page
//! cache's ([`crate::fs::cache`]) or, where nothing was written, lie in memory for ever
//! ([`driver_api::vfs::Inode::resident`]); they are mapped as they are, read only. A store to a
//! private one copies it first, a store to a shared one makes it dirty first. Frames that belong to the address space
//! carry [`Flags::OWNED`] in their entry, so that unmapping knows what to free.

pub use super::mmu::Mmu;
use super::table::Flags;
use super::vma::{Backing, Prot, Role, Vma, VmaTree};
use super::{PAGE_SIZE, PhysAddr};
use crate::fs::Path;
use crate::fs::cache::{self, Found};
use crate::sync::Mutex;
use alloc::sync::Arc;
use driver_api::{Error, Result};

/// What is mapped at once around a fault in a resident file: 256 KiB. Linux's
/// `fault_around_bytes` is a quarter of it; here an entry costs less than a tenth of a fault's
/// way in and out, and the file lies in memory whether it is mapped or not.
const FAULT_AROUND: usize = 64 * PAGE_SIZE;
/// Lowest address that the app may map (`vm.mmap_min_addr`): a null pointer with a small
/// offset stays a fault.
pub const MIN_ADDR: usize = 0x1_0000;
/// Most areas, as Linux's `vm.max_map_count`.
const MAX_AREAS: usize = 65530;

/// What the app tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// A store.
    pub write: bool,
    /// An instruction fetch.
    pub execute: bool,
    /// By the app itself, not by the kernel on its behalf.
    pub user: bool,
}

/// Why a fault cannot be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// Nothing is mapped there (`SEGV_MAPERR`).
    Unmapped,
    /// The area does not allow it (`SEGV_ACCERR`).
    Denied,
    /// The file ends before it, or could not be read (`BUS_ADRERR`).
    Bus,
    /// No memory is left.
    NoMemory,
}

/// Where a new mapping is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Here if it is free, else anywhere (0: anywhere).
    Hint(usize),
    /// Here, instead of whatever is there.
    Fixed(usize),
    /// Here if it is free, else an error.
    FixedNoReplace(usize),
}

/// Bounds of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First address that the app can never have.
    pub user_end: usize,
    /// Mappings go below this, downwards.
    pub mmap_top: usize,
    /// All memory of the machine in bytes: more than this at once is refused.
    pub memory: usize,
}

struct Inner<M> {
    mmu: M,
    areas: VmaTree,
    bounds: Bounds,
    brk_start: usize,
    brk: usize,
    /// Frames that belong to it.
    owned: usize,
}

/// An address space.
pub struct AddressSpace<M> {
    inner: Mutex<Inner<M>>,
}

/// What `/proc` and crash reports say of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Pages in all areas.
    pub pages: usize,
    /// Frames that belong to it.
    pub owned: usize,
}

/// `addr..addr + len`, whole pages below the end of user memory.
fn page_range(addr: usize, len: usize, bounds: &Bounds) -> Result<(usize, usize)> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Error::Invalid);
    }
    let end = len
        .checked_next_multiple_of(PAGE_SIZE)
        .and_then(|len| addr.checked_add(len))
        .filter(|&end| end <= bounds.user_end)
        .ok_or(Error::Invalid)?;
    Ok((addr, end))
}

fn leaf_flags(prot: Prot, owned: bool) -> Flags {
    let mut flags = Flags::USER;
    if prot == Prot::NONE {
        flags = Flags::USER.with(Flags::NO_ACCESS);
    }
    if prot.has(Prot::EXECUTE) {
        flags = flags.with(Flags::EXECUTE);
    }
    // What is not owned is shared: the write fault makes a copy.
    if owned {
        flags = flags.with(Flags::OWNED);
        if prot.has(Prot::WRITE) {
            flags = flags.with(Flags::WRITE);
        }
    }
    flags
}

impl<M: Mmu> AddressSpace<M> {
    /// An empty one.
    pub const fn new(mmu: M, bounds: Bounds) -> Self {
        Self {
            inner: Mutex::new(Inner {
                mmu,
                areas: VmaTree::new(),
                bounds,
                brk_start: 0,
                brk: 0,
                owned: 0,
            }),
        }
    }

    /// Maps `vma`'s pages (its bounds say only how long it is) and returns where.
    ///
    /// # Errors
    /// `Invalid` for a misaligned or impossible place, `NoMemory` when there is no place or
    /// it is more than all memory, `Exists` for [`Place::FixedNoReplace`], `NotPermitted`
    /// below [`MIN_ADDR`].
    pub fn map(&self, place: Place, vma: Vma) -> Result<usize> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let len = vma.len();
        if len == 0 || !len.is_multiple_of(PAGE_SIZE) {
            return Err(Error::Invalid);
        }
        if len > inner.bounds.user_end || inner.areas.count() >= MAX_AREAS {
            return Err(Error::NoMemory);
        }
        let start = match place {
            Place::Hint(hint) => inner.find_place(hint, len).ok_or(Error::NoMemory)?,
            Place::Fixed(at) | Place::FixedNoReplace(at) => {
                let (start, end) = page_range(at, len, &inner.bounds).map_err(|e| match e {
                    Error::Invalid if at.is_multiple_of(PAGE_SIZE) => Error::NoMemory,
                    other => other,
                })?;
                if start < MIN_ADDR {
                    return Err(Error::NotPermitted);
                }
                if !inner.areas.is_free(start, end) {
                    if matches!(place, Place::FixedNoReplace(_)) {
                        return Err(Error::Exists);
                    }
                    inner.unmap(start, end);
                }
                start
            }
        };
        let vma = Vma { start, end: start + len, ..vma };
        if let Backing::Device { phys } = vma.backing {
            let mut flags = leaf_flags(vma.prot, false).with(Flags::DEVICE);
            if vma.prot.has(Prot::WRITE) {
                flags = flags.with(Flags::WRITE);
            }
            inner.mmu.map(start, phys, len, flags)?;
        }
        inner.areas.insert(vma);
        Ok(start)
    }

    /// `munmap`.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn unmap(&self, addr: usize, len: usize) -> Result<()> {
        let mut inner = self.inner.lock();
        let (start, end) = page_range(addr, len, &inner.bounds)?;
        if start == end {
            return Err(Error::Invalid);
        }
        inner.unmap(start, end);
        Ok(())
    }

    /// `mprotect`.
    ///
    /// # Errors
    /// `Invalid`; `NoMemory` when part of the range is not mapped; `AccessDenied` when an
    /// area may not become writable. Nothing has changed then.
    pub fn protect(&self, addr: usize, len: usize, prot: Prot) -> Result<()> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let (start, end) = match page_range(addr, len, &inner.bounds) {
            Err(Error::Invalid) if addr.is_multiple_of(PAGE_SIZE) => return Err(Error::NoMemory),
            other => other?,
        };
        if start == end {
            return Ok(());
        }
        if !inner.areas.covers(start, end) {
            return Err(Error::NoMemory);
        }
        if prot.has(Prot::WRITE) && inner.areas.overlapping(start, end).any(|v| !v.may_write) {
            return Err(Error::AccessDenied);
        }
        inner.areas.update(start, end, &mut |vma| vma.prot = prot);
        inner.mmu.protect(start, end - start, &mut |old| {
            if old.has(Flags::DEVICE) {
                let write = if prot.has(Prot::WRITE) { Flags::WRITE } else { Flags::NONE };
                leaf_flags(prot, false).with(Flags::DEVICE).with(write)
            } else {
                leaf_flags(prot, old.has(Flags::OWNED))
            }
        });
        Ok(())
    }

    /// `mremap`: makes the area at `old` (`old_len` bytes) `new_len` bytes long, at `to` if
    /// that is said, else where it is, else, if `may_move`, elsewhere.
    ///
    /// # Errors
    /// `Invalid`, `Fault` when `old` is not in one area, `NoMemory`.
    pub fn remap(
        &self,
        old: usize,
        old_len: usize,
        new_len: usize,
        may_move: bool,
        to: Option<usize>,
    ) -> Result<usize> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let (old, old_end) = page_range(old, old_len, &inner.bounds)?;
        let new_len = new_len.checked_next_multiple_of(PAGE_SIZE).ok_or(Error::NoMemory)?;
        if new_len == 0 || old == old_end {
            return Err(Error::Invalid);
        }
        if new_len > inner.bounds.user_end {
            return Err(Error::NoMemory);
        }
        let vma = inner.areas.find(old).filter(|v| v.end >= old_end).ok_or(Error::Fault)?.clone();
        let old_len = old_end - old;
        let target = match to {
            Some(to) => {
                let (to, to_end) = page_range(to, new_len, &inner.bounds)?;
                if to < MIN_ADDR || (to < old_end && old < to_end) {
                    return Err(Error::Invalid);
                }
                inner.unmap(to, to_end);
                to
            }
            None if new_len <= old_len => {
                inner.unmap(old + new_len, old_end);
                return Ok(old);
            }
            None => {
                let grown = old.checked_add(new_len).filter(|&e| e <= inner.bounds.user_end);
                if let Some(grown) = grown
                    && inner.areas.is_free(old_end, grown)
                {
                    let backing = vma.backing_at(old_end);
                    inner.areas.insert(Vma { start: old_end, end: grown, backing, ..vma });
                    return Ok(old);
                }
                if !may_move {
                    return Err(Error::NoMemory);
                }
                inner.find_place(0, new_len).ok_or(Error::NoMemory)?
            }
        };
        let keep = old_len.min(new_len);
        // Pages move one by one; one that cannot be mapped for want of a table ends the
        // move before anything else changed.
        let mut moved = 0;
        while moved < keep {
            if let Some((frame, flags)) = inner.mmu.query(old + moved) {
                inner.mmu.map(target + moved, frame, PAGE_SIZE, flags).inspect_err(|_| {
                    // What is at the new place is also at the old one still.
                    let mut back = 0;
                    while back < moved {
                        let _ = inner.mmu.take(target + back);
                        back += PAGE_SIZE;
                    }
                })?;
            }
            moved += PAGE_SIZE;
        }
        let mut at = 0;
        while at < keep {
            let _ = inner.mmu.take(old + at);
            at += PAGE_SIZE;
        }
        // The new area first: its tables are in use already.
        let backing = vma.backing_at(old);
        inner.areas.insert(Vma { start: target, end: target + new_len, backing, ..vma });
        inner.unmap(old, old_end);
        Ok(target)
    }

    /// Sets where the heap begins (page-aligned), at the end of the program.
    pub fn set_brk_start(&mut self, at: usize) {
        let inner = self.inner.get_mut();
        inner.brk_start = at;
        inner.brk = at;
    }

    /// `brk`: moves the heap's end to `to` if that can be; returns the end.
    pub fn brk(&self, to: usize) -> usize {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let Some(new_end) = to.checked_next_multiple_of(PAGE_SIZE) else { return inner.brk };
        let old_end = inner.brk.next_multiple_of(PAGE_SIZE);
        if to < inner.brk_start || to > inner.bounds.mmap_top {
            return inner.brk;
        }
        if new_end > old_end {
            if new_end - inner.brk_start > inner.bounds.memory
                || !inner.areas.is_free(old_end, new_end)
            {
                return inner.brk;
            }
            let heap = Vma::anonymous(old_end, new_end, Prot::READ.with(Prot::WRITE));
            inner.areas.insert(Vma { role: Role::Heap, ..heap });
        } else if new_end < old_end {
            inner.unmap(new_end, old_end);
        }
        inner.brk = to;
        to
    }

    /// Forgets the pages in a range, which read as zeroes or as the file again
    /// (`MADV_DONTNEED`).
    ///
    /// # Errors
    /// `Invalid`; `NoMemory` when part of the range is not mapped (the rest is done).
    pub fn discard(&self, addr: usize, len: usize) -> Result<()> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let (start, end) = page_range(addr, len, &inner.bounds)?;
        let covered = inner.areas.covers(start, end);
        let mut at = start;
        while let Some(vma) = inner.areas.at_or_above(at).filter(|v| v.start < end) {
            let (from, to) = (vma.start.max(start), vma.end.min(end));
            if !matches!(vma.backing, Backing::Device { .. }) {
                inner.owned -= inner.mmu.unmap(from, to - from).min(inner.owned);
            }
            at = to;
            if at >= end {
                break;
            }
        }
        if covered { Ok(()) } else { Err(Error::NoMemory) }
    }

    /// Checks that a range is mapped (`msync`, `mlock`, `madvise` without an effect here).
    ///
    /// # Errors
    /// `Invalid`, `NoMemory`.
    pub fn check_mapped(&self, addr: usize, len: usize) -> Result<()> {
        let inner = self.inner.lock();
        let (start, end) = page_range(addr, len, &inner.bounds)?;
        if start == end || inner.areas.covers(start, end) { Ok(()) } else { Err(Error::NoMemory) }
    }

    /// Makes `addr` accessible as the app tried to access it.
    ///
    /// # Errors
    /// See [`FaultError`].
    pub fn fault(&self, addr: usize, access: Access) -> core::result::Result<(), FaultError> {
        loop {
            let Some(missing) = self.inner.lock().fault(addr, access)? else { return Ok(()) };
            // Without the lock, for it may take long.
            cache::prepare(&missing.path, missing.page, missing.store).map_err(bus)?;
        }
    }

    /// What is mapped, in few numbers.
    pub fn usage(&self) -> Usage {
        let inner = self.inner.lock();
        Usage { pages: inner.areas.pages(), owned: inner.owned }
    }

    /// Calls `each` with every area, ascending. It must not use the address space.
    pub fn for_each(&self, each: &mut dyn FnMut(&Vma)) {
        self.inner.lock().areas.iter().for_each(each);
    }

    /// The area that holds `addr`.
    pub fn area(&self, addr: usize) -> Option<Vma> {
        self.inner.lock().areas.find(addr).cloned()
    }

    /// Unmaps everything.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        let end = inner.bounds.user_end;
        inner.unmap(0, end);
    }
}

/// A page of a file that is to be brought in, without the address space's lock.
struct Missing {
    path: Arc<Path>,
    page: u64,
    store: bool,
}

fn bus(e: Error) -> FaultError {
    if e == Error::NoMemory { FaultError::NoMemory } else { FaultError::Bus }
}

impl<M: Mmu> Inner<M> {
    fn find_place(&self, hint: usize, len: usize) -> Option<usize> {
        let hint = hint & !(PAGE_SIZE - 1);
        if hint >= MIN_ADDR
            && let Some(end) = hint.checked_add(len)
            && end <= self.bounds.user_end
            && self.areas.is_free(hint, end)
        {
            return Some(hint);
        }
        let top = self.bounds.mmap_top;
        self.areas.find_gap(len, MIN_ADDR, top, PAGE_SIZE)
    }

    fn unmap(&mut self, start: usize, end: usize) {
        let gone = self.areas.remove(start, end);
        for vma in &gone {
            self.owned -= self.mmu.unmap(vma.start, vma.len()).min(self.owned);
        }
        let (Some(first), Some(last)) = (gone.first(), gone.last()) else { return };
        // Tables go with their last area: those at the edges stay if a neighbour needs them.
        let table = super::table::span(1);
        let mut low = first.start & !(table - 1);
        if !self.areas.is_free(low, first.start) {
            low += table;
        }
        let mut high = last.end.next_multiple_of(table);
        if !self.areas.is_free(last.end, high) {
            high -= table;
        }
        if low < high {
            self.mmu.prune(low, high - low);
        }
    }

    fn fault(
        &mut self,
        addr: usize,
        access: Access,
    ) -> core::result::Result<Option<Missing>, FaultError> {
        let vma = self.areas.find(addr).ok_or(FaultError::Unmapped)?;
        let allowed = if access.write {
            vma.prot.has(Prot::WRITE)
        } else if access.execute {
            vma.prot.has(Prot::EXECUTE)
        } else {
            // Both archs let what may be written or executed be read.
            vma.prot != Prot::NONE
        };
        if !allowed {
            return Err(FaultError::Denied);
        }
        let page = addr & !(PAGE_SIZE - 1);
        let store = access.write && vma.shared && matches!(vma.backing, Backing::File { .. });
        if let Some((frame, flags)) = self.mmu.query(page) {
            if !access.write || flags.has(Flags::WRITE) {
                // Another thread was quicker, or a stale translation: nothing to do.
                return Ok(None);
            }
            if !store {
                return self.copy_on_write(page, frame, flags).map(|()| None);
            }
        }
        let (prot, backing) = (vma.prot, vma.backing_at(page));
        let frame = match backing {
            Backing::Device { .. } => return Err(FaultError::Bus),
            Backing::Anonymous => self.mmu.frame(&mut |_| Ok(())),
            Backing::File { path, offset } => {
                let number = offset / cache::PAGE;
                let frame = match cache::find(&path, number, store).map_err(bus)? {
                    Found::Page(frame) => frame,
                    Found::Image(bytes, true) if !access.write => {
                        let area = (vma.start, vma.end);
                        return self.map_resident(page, area, prot, offset, bytes).map(|()| None);
                    }
                    Found::Image(bytes, _) => PhysAddr(self.mmu.resident(bytes).0 + offset),
                    Found::Nothing => return Ok(Some(Missing { path, page: number, store })),
                };
                if !access.write || store {
                    return self.map_cached(page, frame, prot, store).map(|()| None);
                }
                self.mmu.copy(frame)
            }
        };
        self.map_owned(page, frame.map_err(bus)?, leaf_flags(prot, true)).map(|()| None)
    }

    fn map_owned(
        &mut self,
        page: usize,
        frame: PhysAddr,
        flags: Flags,
    ) -> core::result::Result<(), FaultError> {
        match self.mmu.map(page, frame, PAGE_SIZE, flags) {
            Ok(()) => {
                self.owned += 1;
                Ok(())
            }
            Err(_) => {
                self.mmu.free(frame);
                Err(FaultError::NoMemory)
            }
        }
    }

    fn copy_on_write(
        &mut self,
        page: usize,
        frame: PhysAddr,
        flags: Flags,
    ) -> core::result::Result<(), FaultError> {
        if flags.has(Flags::OWNED) {
            self.mmu.protect(page, PAGE_SIZE, &mut |old| old.with(Flags::WRITE));
            return Ok(());
        }
        let copy = self.mmu.copy(frame).map_err(|_| FaultError::NoMemory)?;
        let _ = self.mmu.take(page);
        self.map_owned(page, copy, flags.with(Flags::OWNED).with(Flags::WRITE))
    }

    /// Maps resident pages around `page` that are not mapped yet, within the area
    /// `start..end` and the file.
    fn map_resident(
        &mut self,
        page: usize,
        (start, end): (usize, usize),
        prot: Prot,
        offset: u64,
        bytes: &'static [u8],
    ) -> core::result::Result<(), FaultError> {
        let flags = leaf_flags(prot, false);
        let first =
            (page & !(FAULT_AROUND - 1)).max(start).max(page.saturating_sub(offset as usize));
        let file_left = bytes.len().next_multiple_of(PAGE_SIZE) - offset as usize;
        let last = ((page & !(FAULT_AROUND - 1)) + FAULT_AROUND).min(end).min(page + file_left);
        let phys = self.mmu.resident(bytes);
        let mut at = first;
        while at < last {
            if self.mmu.query(at).is_none() {
                // `offset` belongs to `page`, and `at` may lie before it.
                let in_file = (offset as usize + at).wrapping_sub(page);
                let mapped = self.mmu.map(at, PhysAddr(phys.0 + in_file as u64), PAGE_SIZE, flags);
                if mapped.is_err() && at == page {
                    return Err(FaultError::NoMemory);
                }
            }
            at += PAGE_SIZE;
        }
        Ok(())
    }
}

#[path = "aspace_files.rs"]
mod files;

#[cfg(test)]
#[path = "aspace_tests.rs"]
mod tests;
