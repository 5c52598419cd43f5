//! The kernel's own address space: built once at boot, changed at run time in the window
//! only (stacks, device registers).

use core::sync::atomic::{AtomicUsize, Ordering};

use driver_api::sync::IrqLock;

use super::layout;
use super::regions::{self, RangeSet};
use super::table::{Flags, MapError, PageTable, TableMemory};
use super::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, frames, image, phys_to_ptr};
use crate::arch;
use crate::bootinfo::BootInfo;

/// Tables in the direct map, from the frame allocator; before there is one, from a range of
/// free RAM.
pub struct DirectTables {
    early: Option<Carving>,
}

/// Tables that came from the frame allocator.
static TABLES: AtomicUsize = AtomicUsize::new(0);

/// How many page tables there are, without those that were made at boot.
#[must_use]
pub fn tables() -> usize {
    TABLES.load(Ordering::Relaxed)
}

/// Frees a table that is in no tree and in no TLB any more.
pub(super) fn free_table(table: PhysAddr) {
    TABLES.fetch_sub(1, Ordering::Relaxed);
    frames::free(table, 0);
}

impl DirectTables {
    /// From the frame allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self { early: None }
    }
}

impl Default for DirectTables {
    fn default() -> Self {
        Self::new()
    }
}

impl TableMemory for DirectTables {
    fn read(&self, table: PhysAddr, index: usize) -> u64 {
        // SAFETY: tables lie in RAM, which the direct map shows; `index` is below 512. A
        // CPU may walk the table meanwhile, hence volatile.
        unsafe { phys_to_ptr(table).cast::<u64>().add(index).read_volatile() }
    }

    fn write(&mut self, table: PhysAddr, index: usize, entry: u64) {
        // SAFETY: as for `read`; the owner of the tree is borrowed exclusively.
        unsafe { phys_to_ptr(table).cast::<u64>().add(index).write_volatile(entry) }
    }

    fn alloc(&mut self) -> Option<PhysAddr> {
        if let Some(early) = &mut self.early {
            return early.take(PAGE_SIZE as u64);
        }
        // A program can have many that hold one page each, of what needs no frame of its own.
        let table = frames::spare(1).then(|| frames::alloc(0)).flatten()?;
        TABLES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: just allocated.
        unsafe { frames::zero(table) };
        Some(table)
    }

    fn free(&mut self, table: PhysAddr) {
        if self.early.is_none() {
            free_table(table);
        }
    }
}

/// A range of free RAM, taken from its start upwards.
struct Carving {
    next: PhysAddr,
    end: PhysAddr,
}

impl Carving {
    /// Takes `len` bytes, rounded up to pages, zeroed.
    fn take(&mut self, len: u64) -> Option<PhysAddr> {
        let len = len.div_ceil(PAGE_SIZE as u64).checked_mul(PAGE_SIZE as u64)?;
        let start = self.next;
        let end = PhysAddr(start.0.checked_add(len)?);
        if end > self.end {
            return None;
        }
        self.next = end;
        // SAFETY: the range is free RAM that `early_mapped` says is writable at DIRECT_MAP,
        // and `next` has passed it.
        unsafe { phys_to_ptr(start).write_bytes(0, len as usize) };
        Some(start)
    }
}

/// The kernel's tables.
pub type KernelTable = PageTable<arch::paging::Format, DirectTables>;

/// Filled by [`init`].
static KERNEL: IrqLock<Option<KernelTable>> = IrqLock::new(None);
/// Pages of registers that were mapped before [`init`].
static EARLY_DEVICES: IrqLock<[Option<(VirtAddr, PhysAddr)>; layout::EARLY_DEVICE_PAGES]> =
    IrqLock::new([None; layout::EARLY_DEVICE_PAGES]);
/// First free address of the window's part for device registers.
static FIXED_NEXT: AtomicUsize = AtomicUsize::new(layout::FIXED);

/// Calls `f` with the kernel's tables.
///
/// # Panics
/// Before [`init`].
pub fn with<R>(f: impl FnOnce(&mut KernelTable) -> R) -> R {
    match KERNEL.lock().as_mut() {
        Some(table) => f(table),
        None => panic!("the kernel's page tables are used before mm::init"),
    }
}

/// The root table, whose upper half address spaces of the app copy on x64.
#[must_use]
pub fn root() -> PhysAddr {
    with(|t| t.root())
}

/// Why memory management could not start.
#[derive(Clone, Copy, Debug)]
pub enum InitError {
    /// No free RAM where the early tables reach.
    NoRam,
    /// RAM is too small for the tables.
    TooSmall,
    /// The memory map contradicts itself.
    Map(MapError),
}

impl core::fmt::Display for InitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoRam => "none is free where it can be reached",
            Self::TooSmall => "too little for the kernel's tables",
            Self::Map(_) => "the memory map contradicts itself",
        })
    }
}

impl From<MapError> for InitError {
    fn from(e: MapError) -> Self {
        if e == MapError::NoMemory { Self::TooSmall } else { Self::Map(e) }
    }
}

/// RAM that is taken before the first frame is handed out.
fn reserved(info: &BootInfo) -> [PhysRange; 4] {
    [
        // Address 0 is never handed out: too much takes it for "nothing".
        PhysRange::with_len(PhysAddr(0), PAGE_SIZE as u64),
        image::loaded(info.load_base),
        info.module.unwrap_or(PhysRange::EMPTY),
        info.dtb.unwrap_or(PhysRange::EMPTY),
    ]
}

/// What must not be written through the direct map: text and rodata, payload, module.
fn read_only(info: &BootInfo) -> [PhysRange; 4] {
    let s = image::segments();
    let base = info.load_base.0;
    let at = |v: usize| PhysAddr(base + (v - s.start) as u64);
    [
        PhysRange::new(at(s.start), at(s.rodata_end)),
        PhysRange::new(at(s.end), image::loaded(info.load_base).end),
        info.module.unwrap_or(PhysRange::EMPTY),
        info.dtb.unwrap_or(PhysRange::EMPTY),
    ]
}

/// Builds the kernel's address space and the frame allocator, and switches to them.
///
/// # Errors
/// See [`InitError`].
pub fn init(info: &BootInfo) -> Result<(), InitError> {
    let mut ram = regions::usable(&info.memory);
    let mut free = ram.clone();
    for r in reserved(info) {
        free.remove(r);
    }

    let mapped = arch::paging::early_mapped();
    let mut home = PhysRange::EMPTY;
    for r in free.ranges() {
        let within = PhysRange::new(r.start.max(mapped.start), r.end.min(mapped.end));
        if within.len() > home.len() {
            home = within;
        }
    }
    if home.is_empty() {
        return Err(InitError::NoRam);
    }
    let mut early = Carving { next: home.start, end: home.end };

    let root = early.take(PAGE_SIZE as u64).ok_or(InitError::TooSmall)?;
    let mut table = KernelTable::new(root, DirectTables { early: Some(early) });
    map_ram(&mut table, &mut ram, info)?;
    map_image(&mut table, info)?;
    table.reserve_top(VirtAddr(layout::WINDOW))?;
    for (va, page) in EARLY_DEVICES.lock().iter().flatten() {
        let flags = Flags::WRITE.with(Flags::DEVICE).with(Flags::GLOBAL);
        table.map(*va, *page, PAGE_SIZE, flags)?;
    }

    // The bitmaps come from the same range; what is left of it is handed out.
    let mut spans = [PhysRange::EMPTY; regions::MAX_ZONES];
    let zones = regions::zones(&free, &mut spans);
    let mut bits = [PhysAddr(0); regions::MAX_ZONES];
    let mut early = table.memory().early.take().ok_or(InitError::NoRam)?;
    for (span, bits) in spans.iter().zip(&mut bits).take(zones) {
        *bits = early.take(zone_words(span) as u64 * 8).ok_or(InitError::TooSmall)?;
    }
    free.remove(PhysRange::new(home.start, early.next));

    arch::paging::activate_kernel(root);
    let s = image::segments();
    let early = arch::reclaimable();
    if s.rodata_end <= early.start && early.end <= s.end {
        let start = PhysAddr(info.load_base.0 + (early.start - s.start) as u64);
        free.add(PhysRange::with_len(start, early.len() as u64));
    }
    *KERNEL.lock() = Some(table);
    for (i, (span, bits)) in spans.iter().zip(bits).take(zones).enumerate() {
        // SAFETY: taken above for this zone alone, zeroed, mapped for ever.
        let bits = unsafe {
            core::slice::from_raw_parts_mut(phys_to_ptr(bits).cast::<u64>(), zone_words(span))
        };
        frames::init(&free, i, *span, bits);
    }
    frames::set_reserve();
    Ok(())
}

fn zone_words(span: &PhysRange) -> usize {
    super::buddy::words_needed(span.start.0 >> 12, span.len() >> 12)
}

/// The direct map: all RAM and what was loaded into it, large pages where they fit.
// Not inlined, nor are its sets of ranges kept: the boot stack is small.
#[inline(never)]
fn map_ram(table: &mut KernelTable, ram: &mut RangeSet, info: &BootInfo) -> Result<(), MapError> {
    // A loader may have reported its own ranges as reserved: they are shown all the same.
    let mut fixed: RangeSet = RangeSet::new();
    read_only(info).into_iter().for_each(|r| fixed.add_touched(r));
    ram.add_touched(image::loaded(info.load_base));
    fixed.ranges().iter().for_each(|r| ram.remove(*r));
    for (set, flags) in [(&fixed, Flags::NONE), (&*ram, Flags::WRITE)] {
        for r in set.ranges() {
            let va = VirtAddr(arch::DIRECT_MAP.wrapping_add(r.start.0 as usize));
            table.map(va, r.start, r.len() as usize, flags.with(Flags::GLOBAL))?;
        }
    }
    Ok(())
}

/// The image at the addresses it was relocated for.
fn map_image(table: &mut KernelTable, info: &BootInfo) -> Result<(), MapError> {
    let s = image::segments();
    let guard = arch::boot_stack_guard().map_or(s.end, |guard| guard.0);
    let parts = [
        (s.start, s.text_end, Flags::EXECUTE),
        (s.text_end, s.rodata_end, Flags::NONE),
        (s.rodata_end, guard, Flags::WRITE),
        (guard + PAGE_SIZE, s.end, Flags::WRITE),
    ];
    for (start, end, flags) in parts.into_iter().filter(|(start, end, _)| start < end) {
        let pa = PhysAddr(info.load_base.0 + (start - s.start) as u64);
        table.map(VirtAddr(start), pa, end - start, flags.with(Flags::GLOBAL))?;
    }
    Ok(())
}

/// Maps a page of device registers before [`init`], at the address where it will stay.
/// `None` when the arch's early tables have no room for more.
pub fn map_early_device(page: PhysAddr) -> Option<VirtAddr> {
    let mut devices = EARLY_DEVICES.lock();
    if let Some((va, _)) = devices.iter().flatten().find(|(_, p)| *p == page) {
        return Some(*va);
    }
    let slot = devices.iter_mut().find(|d| d.is_none())?;
    let va = arch::paging::early_device(page)?;
    *slot = Some((va, page));
    Some(va)
}

/// Takes `len` bytes (whole pages) of the window's fixed part.
fn take_fixed(len: usize) -> Option<VirtAddr> {
    FIXED_NEXT
        .try_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            next.checked_add(len).filter(|end| *end <= layout::FIXED_END)
        })
        .ok()
        .map(VirtAddr)
}

/// Maps physical memory that is not RAM of ours into the window for ever: device registers
/// (`Flags::DEVICE`), firmware tables. Any start and length; the pointer is to `base`.
///
/// # Errors
/// `NoMemory`; `Misaligned` for an empty or wrapping range.
pub fn map_fixed(base: PhysAddr, len: u64, flags: Flags) -> Result<*mut u8, MapError> {
    let page = PAGE_SIZE as u64;
    let offset = base.0 % page;
    let start = PhysAddr(base.0 - offset);
    let end = base.0.checked_add(len).filter(|_| len > 0).ok_or(MapError::Misaligned)?;
    let len = (end - start.0).div_ceil(page).saturating_mul(page) as usize;
    let va = take_fixed(len).ok_or(MapError::NoMemory)?;
    with(|t| t.map(va, start, len, flags.with(Flags::GLOBAL)))?;
    arch::paging::publish();
    Ok(core::ptr::with_exposed_provenance_mut(va.0 + offset as usize))
}

/// The registers at `at`, which [`map_fixed`] or [`map_early_device`] mapped for the driver
/// that asks.
pub(crate) fn registers(at: usize, len: usize) -> driver_api::Mmio {
    // SAFETY: the caller has the address from one of the two: device memory, mapped
    // uncached for ever. Registers are laid out in words, on pages of their own.
    unsafe { driver_api::Mmio::new(core::ptr::with_exposed_provenance_mut(at), len) }
}

/// The I/O ports `base..base + len`.
pub(crate) fn ports(base: u16, len: u16) -> driver_api::Pio {
    // SAFETY: drivers ask for the ports of their device as the platform describes it; none
    // of those devices changes memory or the CPU's state by a port.
    unsafe { driver_api::Pio::new(base, len) }
}
