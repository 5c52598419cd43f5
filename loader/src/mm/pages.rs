//! The page tables and frames of the app's address space.

use super::aspace::Mmu;
use super::frames::{self, OwnedFrame};
use super::kernel::{DirectTables, free_table};
use super::table::{Flags, MapError, PageTable, TableMemory};
use super::{PAGE_SIZE, PhysAddr, VirtAddr, phys_to_ptr, ptr_to_phys};
use crate::arch::paging;
use driver_api::{Error, Result};

/// How many frames are freed after one flush of the TLB.
const BATCH: usize = 64;
/// From how many pages on the whole TLB is flushed instead of each page.
const FLUSH_ALL: usize = 16;

/// See [`Mmu`].
pub struct UserPages {
    table: PageTable<paging::Format, DirectTables>,
}

fn error(e: MapError) -> Error {
    match e {
        MapError::NoMemory => Error::NoMemory,
        MapError::Mapped(_) | MapError::Misaligned => Error::Invalid,
    }
}

fn flush(at: usize, len: usize) {
    if len / PAGE_SIZE >= FLUSH_ALL {
        paging::flush_user();
    } else {
        paging::flush_user_pages(VirtAddr(at), len);
    }
}

impl UserPages {
    /// Empty tables; where one root serves both halves, the kernel's half is in it.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn new() -> Result<Self> {
        let mut memory = DirectTables::new();
        let root = memory.alloc().ok_or(Error::NoMemory)?;
        if cfg!(target_arch = "x86_64") {
            // The kernel's top-level entries never change (see `mm::layout`).
            let kernel = super::kernel::root();
            for i in super::table::ENTRIES / 2..super::table::ENTRIES {
                let entry = memory.read(kernel, i);
                memory.write(root, i, entry);
            }
        }
        Ok(Self { table: PageTable::new(root, memory) })
    }

    /// The root table.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.table.root()
    }
}

/// The bytes of a frame that is mapped for the app alone, or lies in the image.
fn bytes(frame: PhysAddr) -> &'static [u8] {
    // SAFETY: the direct map shows all RAM. The app may write to it meanwhile, as it may to
    // its own memory at any time; callers copy it and rely on no value.
    unsafe { core::slice::from_raw_parts(phys_to_ptr(frame), PAGE_SIZE) }
}

impl Mmu for UserPages {
    fn frame(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<PhysAddr> {
        let mut frame = OwnedFrame::new().ok_or(Error::NoMemory)?;
        fill(frame.bytes_mut())?;
        paging::sync_instructions(frame.bytes());
        Ok(frame.into_raw())
    }

    fn copy(&mut self, from: PhysAddr) -> Result<PhysAddr> {
        OwnedFrame::copy_of(bytes(from)).map(OwnedFrame::into_raw).ok_or(Error::NoMemory)
    }

    fn free(&mut self, frame: PhysAddr) {
        frames::free(frame, 0);
    }

    fn resident(&self, bytes: &'static [u8]) -> PhysAddr {
        ptr_to_phys(bytes.as_ptr())
    }

    fn executable(&mut self, frame: PhysAddr) {
        paging::sync_instructions(bytes(frame));
    }

    fn map(&mut self, at: usize, to: PhysAddr, len: usize, flags: Flags) -> Result<()> {
        self.table.map(VirtAddr(at), to, len, flags).map_err(error)?;
        paging::publish();
        Ok(())
    }

    fn unmap(&mut self, at: usize, len: usize) -> usize {
        let mut batch = [PhysAddr(0); BATCH];
        let (mut held, mut owned, mut any) = (0, 0, false);
        // Pages are told before their entry is cleared, so one is kept back at each flush.
        let _ = self.table.take(VirtAddr(at), len, &mut |_, frame, flags, _| {
            any = true;
            if held == BATCH {
                paging::flush_user();
                batch.iter().for_each(|&f| frames::free(f, 0));
                held = 0;
            }
            if flags.has(Flags::OWNED)
                && let Some(slot) = batch.get_mut(held)
            {
                *slot = frame;
                held += 1;
                owned += 1;
            }
        });
        // What was never there is in no TLB.
        if any {
            flush(at, len);
        }
        batch.iter().take(held).for_each(|&f| frames::free(f, 0));
        owned
    }

    fn take(&mut self, at: usize) -> Option<(PhysAddr, Flags)> {
        let mut found = None;
        let _ = self.table.take(VirtAddr(at), PAGE_SIZE, &mut |_, frame, flags, _| {
            found = Some((frame, flags));
        });
        paging::flush_user_pages(VirtAddr(at), PAGE_SIZE);
        found
    }

    fn protect(&mut self, at: usize, len: usize, new: &mut dyn FnMut(Flags) -> Flags) {
        let _ = self.table.update(VirtAddr(at), len, &mut |_, frame, old| {
            let flags = new(old);
            // What was just written may be executed now.
            if flags.has(Flags::EXECUTE) && !old.has(Flags::EXECUTE) && !old.has(Flags::DEVICE) {
                paging::sync_instructions(bytes(frame));
            }
            flags
        });
        flush(at, len);
    }

    fn query(&self, at: usize) -> Option<(PhysAddr, Flags)> {
        self.table.query(VirtAddr(at)).map(|m| (m.addr, m.flags))
    }

    fn prune(&mut self, at: usize, len: usize) {
        let mut batch = [PhysAddr(0); BATCH];
        let mut held = 0;
        self.table.prune(VirtAddr(at), len, &mut |table| {
            if held == BATCH {
                paging::flush_all();
                batch.iter().for_each(|&t| free_table(t));
                held = 0;
            }
            if let Some(slot) = batch.get_mut(held) {
                *slot = table;
                held += 1;
            }
        });
        if held > 0 {
            paging::flush_all();
            batch.iter().take(held).for_each(|&t| free_table(t));
        }
    }
}
