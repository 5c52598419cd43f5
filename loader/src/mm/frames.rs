//! Physical memory: who has which frame.
//!
//! Zones ([`super::zones`]), and where there are several CPUs a few frames for each of them
//! ([`super::frame_cache`]), which count as free. [`alloc`] is for the kernel itself;
//! [`alloc_user`] and [`OwnedFrame`] are for what the app asks for and leave [`reserve`]
//! frames alone, so that a full memory fails the app's requests and not the kernel's. Half of
//! the reserve is [`spare`]: for what holds the app's memory together, page tables and records
//! of mappings. So a program that fills memory is ended where it touches a page that cannot be
//! had, and is not told at a chance place before that a mapping failed.

use core::sync::atomic::{AtomicU64, Ordering};

use super::buddy::{self, Buddy};
use super::regions::RangeSet;
use super::zones::Zones;
use super::{PAGE_SIZE, PhysAddr, PhysRange};
use crate::arch;
use crate::percpu::{self, PerCpu};

/// The address at which the kernel sees `addr`, which lies in RAM.
#[must_use]
pub fn phys_to_ptr(addr: PhysAddr) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(arch::DIRECT_MAP.wrapping_add(addr.0 as usize))
}

/// The physical address of a pointer into the direct map.
#[must_use]
pub fn ptr_to_phys(ptr: *const u8) -> PhysAddr {
    PhysAddr(ptr.addr().wrapping_sub(arch::DIRECT_MAP) as u64)
}

/// Fills the frame at `addr` with zeroes.
///
/// # Safety
/// The frame is RAM that the caller owns.
pub unsafe fn zero(addr: PhysAddr) {
    // SAFETY: the direct map shows all RAM; the caller owns the frame.
    unsafe { phys_to_ptr(addr).write_bytes(0, PAGE_SIZE) }
}

/// Links of free blocks, in the free blocks.
struct InPlace;

impl InPlace {
    fn at(frame: u64) -> *mut u64 {
        phys_to_ptr(PhysAddr(frame << 12)).cast()
    }
}

impl buddy::Links for InPlace {
    fn get(&self, frame: u64) -> (u64, u64) {
        let p = Self::at(frame);
        // SAFETY: the buddy asks only for blocks that are free, which it owns.
        unsafe { (p.read(), p.add(1).read()) }
    }

    fn set(&mut self, frame: u64, links: (u64, u64)) {
        let p = Self::at(frame);
        // SAFETY: as for `get`.
        unsafe {
            p.write(links.0);
            p.add(1).write(links.1);
        }
    }
}

static ZONES: Zones<'static> = Zones::new();
/// Frames that were ever added.
static TOTAL: AtomicU64 = AtomicU64::new(0);
/// Frames that are free in all zones and caches: read without a lock by the watermark.
static FREE: AtomicU64 = AtomicU64::new(0);
/// Frames that only the kernel itself may take.
static RESERVE: AtomicU64 = AtomicU64::new(0);
/// What gives frames back when the app's run short: set once there is such a thing.
static SHORT: driver_api::Once<fn()> = driver_api::Once::new();
/// The fewest frames that were ever free.
static LOW: AtomicU64 = AtomicU64::new(u64::MAX);

/// Accounting, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStats {
    /// All frames that the allocator manages.
    pub total: u64,
    /// Free now.
    pub free: u64,
    /// Kept for the kernel itself.
    pub reserve: u64,
    /// The fewest that were ever free.
    pub low: u64,
}

/// How many frames there are, and are free.
#[must_use]
pub fn stats() -> FrameStats {
    FrameStats {
        total: TOTAL.load(Ordering::Relaxed),
        free: FREE.load(Ordering::Relaxed),
        reserve: RESERVE.load(Ordering::Relaxed),
        low: LOW.load(Ordering::Relaxed),
    }
}

/// Takes 2^`order` frames for the kernel itself: contiguous, aligned to their size, contents
/// undefined. `None` when there are none.
#[must_use]
pub fn alloc(order: u8) -> Option<PhysAddr> {
    alloc_below(order, u64::MAX)
}

/// Like [`alloc`], with no byte beyond the address `limit`.
#[must_use]
pub fn alloc_below(order: u8, limit: u64) -> Option<PhysAddr> {
    let single = order == 0 && limit == u64::MAX && percpu::several();
    let cached = if single { percpu::with(|cpu| exchange(cpu, None)) } else { None };
    let frame = cached
        .or_else(|| ZONES.alloc(order, limit, &mut InPlace))
        // What CPUs have put aside is free, too.
        .or_else(|| {
            drain();
            ZONES.alloc(order, limit, &mut InPlace)
        })?;
    let left = FREE.fetch_sub(1 << order, Ordering::Relaxed) - (1 << order);
    LOW.fetch_min(left, Ordering::Relaxed);
    Some(PhysAddr(frame << 12))
}

/// Gives the CPU's cache a frame, which comes back when there is no room; takes one with
/// `None`. One function, for the two are in every kernel.
#[inline(never)]
fn exchange(cpu: &'static PerCpu, frame: Option<u64>) -> Option<u64> {
    let mut cache = cpu.frames.lock();
    match frame {
        Some(frame) => (!cache.push(frame)).then_some(frame),
        None => cache.pop(),
    }
}

/// Gives the zones what lies in the CPUs' caches.
#[cold]
#[inline(never)]
fn drain() {
    for cpu in percpu::all() {
        while let Some(frame) = exchange(cpu, None) {
            give(frame, 0);
        }
    }
}

/// Gives frames to the zones.
fn give(frame: u64, order: u8) {
    if ZONES.free(frame, order, &mut InPlace).is_err() {
        panic!("frame {frame:#x} order {order} freed, which is not in use");
    }
}

/// Takes 2^`order` frames for something that the app asked for: like [`alloc`], but fails
/// while no more than the reserve would be left.
#[must_use]
pub fn alloc_user(order: u8) -> Option<PhysAddr> {
    alloc_user_below(order, u64::MAX)
}

/// Like [`alloc_user`], with no byte beyond the address `limit`.
#[must_use]
pub fn alloc_user_below(order: u8, limit: u64) -> Option<PhysAddr> {
    available(1 << order).then(|| alloc_below(order, limit)).flatten()
}

/// Has `short` called whenever [`available`] is about to say no, to give back what can be had
/// again. It may be called with locks held.
pub fn when_short(short: fn()) {
    SHORT.call_once(|| short);
}

/// Whether `frames` frames could be had now without touching the reserve. System calls that
/// make the kernel's heap grow ask it first.
#[must_use]
pub fn available(frames: u64) -> bool {
    left(RESERVE.load(Ordering::Relaxed), frames)
}

/// Whether `frames` frames could be had now without touching the half of the reserve that is
/// the kernel's alone.
#[must_use]
pub fn spare(frames: u64) -> bool {
    left(RESERVE.load(Ordering::Relaxed) / 2, frames)
}

/// Whether `frames` frames could be had now, and `kept` were left.
fn left(kept: u64, frames: u64) -> bool {
    let wanted = kept.saturating_add(frames);
    let there = || FREE.load(Ordering::Relaxed) >= wanted;
    there()
        || SHORT.get().is_some_and(|short| {
            short();
            there()
        })
}

/// Gives frames back.
///
/// # Panics
/// When they were not allocated with this `order`: memory would be corrupted later. Of a
/// single frame that is noticed when it leaves the CPU's cache.
pub fn free(addr: PhysAddr, order: u8) {
    let frame = addr.0 >> 12;
    // First: whoever takes them at once must not count below zero.
    FREE.fetch_add(1 << order, Ordering::Relaxed);
    let mut left = Some(frame);
    if order == 0 && percpu::several() {
        left = percpu::with(|cpu| exchange(cpu, left));
    }
    if let Some(frame) = left {
        give(frame, order);
    }
}

/// Hands all of `free` to the zones over it. Called once, by `mm::init`.
pub(super) fn init(free: &RangeSet, zone: usize, span: PhysRange, bits: &'static mut [u64]) {
    let (base, end) = (span.start.0 >> 12, span.end.0 >> 12);
    let mut buddy = Buddy::new(base, end - base, bits);
    for r in free.ranges() {
        let (start, end) = ((r.start.0 >> 12).max(base), (r.end.0 >> 12).min(end));
        if start < end {
            // Cannot fail: the ranges are disjoint and inside the zone.
            let _ = buddy.add(start, end, &mut InPlace);
        }
    }
    TOTAL.fetch_add(buddy.free_frames(), Ordering::Relaxed);
    FREE.fetch_add(buddy.free_frames(), Ordering::Relaxed);
    ZONES.set(zone, buddy);
}

/// Sets the reserve: a 64th of memory, between 128 KiB and 4 MiB.
pub(super) fn set_reserve() {
    RESERVE.store((TOTAL.load(Ordering::Relaxed) / 64).clamp(32, 1024), Ordering::Relaxed);
}

/// One frame, owned, zeroed when it was made; freed when it is dropped.
#[derive(Debug)]
pub struct OwnedFrame(PhysAddr);

impl OwnedFrame {
    /// A zeroed frame for something that the app asked for; `None` when memory is out.
    #[must_use]
    pub fn new() -> Option<Self> {
        let addr = alloc_user(0)?;
        // SAFETY: just allocated.
        unsafe { zero(addr) };
        Some(Self(addr))
    }

    /// A frame whose contents do not matter: they are overwritten before anyone reads them.
    /// It is filled with `bytes`, the rest with zeroes.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let addr = alloc_user(0)?;
        let n = bytes.len().min(PAGE_SIZE);
        let p = phys_to_ptr(addr);
        // SAFETY: just allocated: nothing else refers to it, `bytes` included.
        unsafe {
            p.copy_from_nonoverlapping(bytes.as_ptr(), n);
            p.add(n).write_bytes(0, PAGE_SIZE - n);
        }
        Some(Self(addr))
    }

    /// Where it is.
    #[must_use]
    pub const fn addr(&self) -> PhysAddr {
        self.0
    }

    /// What is in it.
    #[must_use]
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: owned, initialised, and borrowed as long as `self`. If it is mapped for
        // the app as well, the app's writes are not seen as Rust accesses: callers that
        // need a stable value copy first.
        unsafe { &*phys_to_ptr(self.0).cast() }
    }

    /// What is in it, to change.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: as for `bytes`, uniquely.
        unsafe { &mut *phys_to_ptr(self.0).cast() }
    }

    /// Gives up the frame without freeing it; [`Self::from_raw`] is the way back.
    #[must_use]
    pub fn into_raw(self) -> PhysAddr {
        let addr = self.0;
        core::mem::forget(self);
        addr
    }

    /// The frame that [`Self::into_raw`] gave up, whose address is known to come from it.
    ///
    /// # Safety
    /// `addr` came from `into_raw` and is made into one `OwnedFrame` only.
    #[must_use]
    pub const unsafe fn from_raw(addr: PhysAddr) -> Self {
        Self(addr)
    }
}

impl Drop for OwnedFrame {
    fn drop(&mut self) {
        free(self.0, 0);
    }
}

/// The frame at `addr`, which a self-test gave up with [`OwnedFrame::into_raw`].
#[cfg(debug_assertions)]
pub(crate) fn adopt(addr: PhysAddr) -> OwnedFrame {
    // SAFETY: the self-test keeps the addresses of its frames in its frames, each once.
    unsafe { OwnedFrame::from_raw(addr) }
}
