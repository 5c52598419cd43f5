//! Mappings of files, as the page cache finds and changes them.

use super::{
    AddressSpace, Backing, FaultError, Flags, Inner, Mmu, PAGE_SIZE, PhysAddr, Prot, leaf_flags,
    page_range,
};
use crate::fs::Path;
use crate::fs::cache::Mappings;
use crate::fs::cache::device::DeviceMappings;
use crate::mm::room::reserve_one;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use driver_api::Result;

impl<M: Mmu> AddressSpace<M> {
    /// The files that are mapped shared in a range.
    ///
    /// # Errors
    /// `Invalid`, `NoMemory`.
    pub fn shared_files(&self, addr: usize, len: usize) -> Result<Vec<Arc<Path>>> {
        let inner = self.inner.lock();
        let (start, end) = page_range(addr, len, &inner.bounds)?;
        let mut files: Vec<Arc<Path>> = Vec::new();
        for vma in inner.areas.overlapping(start, end).filter(|vma| vma.shared) {
            if let Backing::File { path, .. } = &vma.backing
                && !files.iter().any(|file| Arc::ptr_eq(file, path))
            {
                reserve_one(&mut files)?;
                files.push(path.clone());
            }
        }
        Ok(files)
    }
}

impl<M: Mmu> Mappings for AddressSpace<M> {
    fn unmap(&self, file: usize, pages: Range<u64>, copies: bool) {
        let mut inner = self.inner.lock();
        let Inner { areas, mmu, owned, .. } = &mut *inner;
        for vma in areas.iter() {
            let Some((at, len)) = vma.place_of(file, &pages) else { continue };
            if copies {
                *owned -= mmu.unmap(at, len).min(*owned);
            } else {
                take_shared(mmu, at, len);
            }
        }
    }
}

impl<M: Mmu> DeviceMappings for AddressSpace<M> {
    fn protect(&self, file: usize, pages: Range<u64>) {
        let mut inner = self.inner.lock();
        let Inner { areas, mmu, .. } = &mut *inner;
        for (at, len) in areas.iter().filter_map(|vma| vma.place_of(file, &pages)) {
            mmu.protect(at, len, &mut |old| {
                if old.has(Flags::OWNED) { old } else { old.without(Flags::WRITE) }
            });
        }
    }

    fn try_unmap(&self, file: usize, pages: Range<u64>) -> bool {
        let Some(mut inner) = self.inner.try_lock() else { return false };
        let Inner { areas, mmu, .. } = &mut *inner;
        for (at, len) in areas.iter().filter_map(|vma| vma.place_of(file, &pages)) {
            take_shared(mmu, at, len);
        }
        true
    }
}

/// Unmaps what is not the address space's own.
fn take_shared<M: Mmu>(mmu: &mut M, at: usize, len: usize) {
    for page in (at..at + len).step_by(PAGE_SIZE) {
        if mmu.query(page).is_some_and(|(_, flags)| !flags.has(Flags::OWNED)) {
            let _ = mmu.take(page);
        }
    }
}

impl<M: Mmu> Inner<M> {
    /// Maps a page of the cache, for stores or not.
    pub(super) fn map_cached(
        &mut self,
        page: usize,
        frame: PhysAddr,
        prot: Prot,
        store: bool,
    ) -> core::result::Result<(), FaultError> {
        if prot.has(Prot::EXECUTE) {
            self.mmu.executable(frame);
        }
        // A store to what was mapped for reading.
        if self.mmu.query(page).is_some() {
            let _ = self.mmu.take(page);
        }
        let flags = leaf_flags(prot, false).with(if store { Flags::WRITE } else { Flags::NONE });
        self.mmu.map(page, frame, PAGE_SIZE, flags).map_err(|_| FaultError::NoMemory)
    }
}
