//! Memory: `mmap` and its family, `brk`.

use super::{Errno, process, syscall};
use crate::arch;
use crate::fs::cache;
use crate::fs::file::OpenFile;
use crate::mm::PAGE_SIZE;
use crate::mm::aspace::Place;
use crate::mm::room::room_to_map;
use crate::mm::vma::{Backing, Prot, Vma};
use crate::user;
use alloc::sync::Arc;
use driver_api::Error;
use driver_api::vfs::FileType;

/// `MAP_*` (`asm-generic/mman-common.h`).
mod map {
    pub const SHARED: u32 = 1;
    pub const PRIVATE: u32 = 2;
    pub const SHARED_VALIDATE: u32 = 3;
    pub const TYPE: u32 = 0xf;
    pub const FIXED: u32 = 0x10;
    pub const ANONYMOUS: u32 = 0x20;
    pub const NORESERVE: u32 = 0x4000;
    pub const FIXED_NOREPLACE: u32 = 0x10_0000;
}

/// `MREMAP_*`.
mod remap {
    pub const MAYMOVE: u32 = 1;
    pub const FIXED: u32 = 2;
}

/// The permissions in `prot`; memory is never writable and executable at once.
fn protection(prot: u32) -> Result<Prot, Error> {
    // Bits 24 and 25 (PROT_GROWSDOWN, PROT_GROWSUP) and arch-specific ones are not known.
    if prot & !7 != 0 {
        return Err(Error::Invalid);
    }
    let prot = Prot(prot as u8);
    if prot.has(Prot::WRITE.with(Prot::EXECUTE)) { Err(Error::AccessDenied) } else { Ok(prot) }
}

/// How a mapping of `file` is backed, and whether it may become writable.
fn file_backing(
    file: &OpenFile,
    offset: u64,
    prot: Prot,
    shared: bool,
) -> Result<(Backing, bool), Error> {
    if !file.may_read() {
        return Err(Error::AccessDenied);
    }
    let path = file.path.as_ref().filter(|_| file.stream.is_none()).ok_or(Error::NoDevice)?;
    if path.inode().metadata().kind != FileType::Regular || path.inode().paged().is_none() {
        return Err(Error::NoDevice);
    }
    let may_write = !shared || file.may_write();
    if prot.has(Prot::WRITE) && !may_write {
        return Err(Error::AccessDenied);
    }
    Ok((Backing::File { path: Arc::clone(path), offset }, may_write))
}

syscall! {
    /// `mmap(2)`, without pages that are writable and executable at once.
    fn mmap(addr: usize, len: usize, prot: u32, flags: u32, fd: i32, offset: u64) {
        let prot = protection(prot)?;
        let shared = match flags & map::TYPE {
            map::PRIVATE => false,
            map::SHARED | map::SHARED_VALIDATE => true,
            _ => return Err(Errno::EINVAL),
        };
        if len == 0 || !offset.is_multiple_of(PAGE_SIZE as u64) {
            return Err(Errno::EINVAL);
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Error::NoMemory)?;
        room_to_map()?;
        let process = process()?;
        let mut vma = Vma { shared, ..Vma::anonymous(0, len, prot) };
        if flags & map::ANONYMOUS == 0 {
            let file = process.file(fd)?;
            (vma.backing, vma.may_write) = file_backing(&file, offset, prot, shared)?;
        } else if flags & map::NORESERVE == 0 && prot.has(Prot::WRITE) {
            // More than there is at all is refused at once, like Linux's heuristic does.
            let memory = crate::mm::frames::stats().total as usize;
            if len / PAGE_SIZE > memory {
                return Err(Error::NoMemory.into());
            }
        }
        let place = if flags & map::FIXED_NOREPLACE != 0 {
            Place::FixedNoReplace(addr)
        } else if flags & map::FIXED != 0 {
            Place::Fixed(addr)
        } else {
            Place::Hint(addr)
        };
        Ok(process.space.map(place, vma)?)
    }

    /// `munmap(2)`.
    fn munmap(addr: usize, len: usize) {
        process()?.space.unmap(addr, len)?;
        Ok(0)
    }

    /// `mprotect(2)`.
    fn mprotect(addr: usize, len: usize, prot: u32) {
        room_to_map()?;
        process()?.space.protect(addr, len, protection(prot)?)?;
        Ok(0)
    }

    /// `mremap(2)`, without `MREMAP_DONTUNMAP`.
    fn mremap(old: usize, old_len: usize, new_len: usize, flags: u32, new: usize) {
        let fixed = flags & remap::FIXED != 0;
        if flags & !(remap::MAYMOVE | remap::FIXED) != 0
            || fixed && flags & remap::MAYMOVE == 0
        {
            return Err(Errno::EINVAL);
        }
        if new_len > old_len {
            room_to_map()?;
        }
        let to = fixed.then_some(new);
        Ok(process()?.space.remap(old, old_len, new_len, flags & remap::MAYMOVE != 0, to)?)
    }

    /// `brk(2)`.
    fn brk(to: usize) {
        Ok(process()?.space.brk(to))
    }

    /// `madvise(2)`: `MADV_DONTNEED` and `MADV_FREE` drop pages, the rest is advice that is
    /// not taken.
    fn madvise(addr: usize, len: usize, advice: u32) {
        let space = &process()?.space;
        match advice {
            4 | 8 => space.discard(addr, len)?,
            // NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTFORK, DOFORK, MERGEABLE,
            // UNMERGEABLE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP, COLD, PAGEOUT.
            0..=3 | 10..=17 | 20 | 21 => space.check_mapped(addr, len)?,
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    /// `msync(2)`.
    fn msync(addr: usize, len: usize, flags: u32) {
        // MS_ASYNC and MS_SYNC exclude each other.
        if flags & !7 != 0 || flags & 5 == 5 {
            return Err(Errno::EINVAL);
        }
        let space = &process()?.space;
        space.check_mapped(addr, len)?;
        // MS_SYNC; else pages are written in their time, as all dirty ones.
        if flags & 4 != 0 {
            for path in space.shared_files(addr, len)? {
                cache::write_back(&path)?;
                path.inode().sync()?;
            }
        }
        Ok(0)
    }

    /// `mlock(2)`: nothing is ever paged out.
    fn mlock(addr: usize, len: usize) {
        let start = addr & !(PAGE_SIZE - 1);
        let len = len.checked_add(addr - start).ok_or(Error::Invalid)?;
        process()?.space.check_mapped(start, len)?;
        Ok(0)
    }

    /// `munlock(2)`.
    fn munlock(addr: usize, len: usize) {
        let start = addr & !(PAGE_SIZE - 1);
        let len = len.checked_add(addr - start).ok_or(Error::Invalid)?;
        process()?.space.check_mapped(start, len)?;
        Ok(0)
    }

    /// `mincore(2)`: everything mapped counts as resident.
    fn mincore(addr: usize, len: usize, out: usize) {
        if addr >= arch::USER_END {
            return Err(Error::NoMemory.into());
        }
        process()?.space.check_mapped(addr, len)?;
        for page in 0..len.div_ceil(PAGE_SIZE) {
            user::write(out.checked_add(page).ok_or(Error::Fault)?, &[1])?;
        }
        Ok(0)
    }
}
