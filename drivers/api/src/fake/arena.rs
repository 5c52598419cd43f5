//! DMA memory that a test can make hostile.

use std::alloc::{Layout, alloc};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use alloc::boxed::Box;
use core::ptr::NonNull;

use crate::dma::{Block, DmaArena};
use crate::{Error, Result};

const PAGE: usize = 4096;

struct Piece {
    /// Address of the memory on the host. Never given back to it, so that a device that
    /// writes too late hits nothing else.
    cpu: usize,
    len: usize,
    free: bool,
}

struct State {
    /// By bus address.
    pieces: BTreeMap<u64, Piece>,
    next: u64,
    /// How many more allocations succeed.
    left: usize,
    violations: Vec<(u64, usize)>,
    /// What was freed and may be handed out again, by length; `None`: nothing ever is.
    again: Option<BTreeMap<usize, Vec<u64>>>,
}

/// DMA memory whose bus addresses are no addresses of the host, far above 4 GiB, and never
/// come twice.
pub struct Arena(Mutex<State>);

impl Arena {
    /// A new one, which lives as long as the test's process.
    #[must_use]
    pub fn leaked() -> &'static Self {
        let state = State {
            pieces: BTreeMap::new(),
            // Not a multiple of anything that a driver might take for granted.
            next: 0x7_3510_3000,
            left: usize::MAX,
            violations: Vec::new(),
            again: None,
        };
        Box::leak(Box::new(Self(Mutex::new(state))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is allocated from now on at `bus`, a multiple of 4096.
    pub fn place_at(&self, bus: u64) {
        self.state().next = bus;
    }

    /// Lets `count` more allocations succeed, and no others.
    pub fn fail_after(&self, count: usize) {
        self.state().left = count;
    }

    /// Hands out again what was freed from now on: for tests that allocate without end and do
    /// not care who writes too late.
    pub fn recycle(&self) {
        self.state().again = Some(BTreeMap::new());
    }

    /// Blocks that were allocated and not freed.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.state().pieces.values().filter(|p| !p.free).count()
    }

    /// Accesses of devices to memory that they did not have (any more): address, length.
    #[must_use]
    pub fn violations(&self) -> Vec<(u64, usize)> {
        self.state().violations.clone()
    }

    /// Where the host has the `len` bytes at `bus`, if a device may use them.
    fn find(&self, bus: u64, len: usize) -> Option<*mut u8> {
        let mut state = self.state();
        let found = state.pieces.range(..=bus).next_back().and_then(|(base, piece)| {
            let offset = usize::try_from(bus - base).ok()?;
            let inside = offset.checked_add(len).is_some_and(|end| end <= piece.len);
            (inside && !piece.free).then(|| piece.cpu.wrapping_add(offset))
        });
        if found.is_none() {
            state.violations.push((bus, len));
        }
        found.map(core::ptr::with_exposed_provenance_mut)
    }

    /// A device reads. `false`, and noted, when it may not.
    pub fn device_read(&self, bus: u64, out: &mut [u8]) -> bool {
        let Some(from) = self.find(bus, out.len()) else { return false };
        // SAFETY: inside a block that is never given back to the host; the test's thread is
        // the device.
        unsafe { from.copy_to(out.as_mut_ptr(), out.len()) };
        true
    }

    /// A device writes. `false`, and noted, when it may not.
    pub fn device_write(&self, bus: u64, bytes: &[u8]) -> bool {
        let Some(to) = self.find(bus, bytes.len()) else { return false };
        // SAFETY: as for reading; the memory is lent or shared, so there is no slice of it.
        unsafe { to.copy_from(bytes.as_ptr(), bytes.len()) };
        true
    }
}

// SAFETY: every block is a zeroed, page-aligned allocation that is never given back to the
// host, and that nobody has: a new one, or one that was freed.
unsafe impl DmaArena for Arena {
    fn allocate(&self, len: usize, _limit: u64) -> Result<Block> {
        if len == 0 {
            return Err(Error::Invalid);
        }
        let len = len.next_multiple_of(PAGE);
        let mut state = self.state();
        state.left = state.left.checked_sub(1).ok_or(Error::NoMemory)?;
        let again = state.again.as_mut().and_then(|a| a.get_mut(&len)).and_then(Vec::pop);
        if let Some(bus) = again
            && let Some(piece) = state.pieces.get_mut(&bus)
        {
            piece.free = false;
            let cpu = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(piece.cpu));
            let cpu = cpu.ok_or(Error::NoMemory)?;
            // SAFETY: `len` bytes that were freed, and are nobody's until they are returned.
            unsafe { cpu.write_bytes(0, len) };
            return Ok(Block { cpu, bus, len });
        }
        let layout = Layout::from_size_align(len, PAGE).map_err(|_| Error::NoMemory)?;
        // SAFETY: the layout is not empty.
        let cpu = NonNull::new(unsafe { alloc(layout) }).ok_or(Error::NoMemory)?;
        // SAFETY: allocated just now.
        unsafe { cpu.write_bytes(0, len) };
        let bus = state.next;
        // A hole between blocks: running over the end of one is noticed.
        state.next += (len + PAGE) as u64;
        state.pieces.insert(bus, Piece { cpu: cpu.as_ptr().expose_provenance(), len, free: false });
        Ok(Block { cpu, bus, len })
    }

    unsafe fn free(&self, block: Block) {
        let mut state = self.state();
        if let Some(piece) = state.pieces.get_mut(&block.bus) {
            assert!(!piece.free, "DMA memory at bus {:#x} was freed twice", block.bus);
            piece.free = true;
        }
        if let Some(again) = &mut state.again {
            again.entry(block.len).or_default().push(block.bus);
        }
    }
}
