//! The kernel heap: slabs of equal objects in single frames, whole frames for the rest.
//!
//! It grows from the frame allocator and gives every empty slab back but one per class.
//! Out of memory is a null pointer; what a system call asks for checks
//! [`super::frames::available`] first, so that such a request fails long before.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use driver_api::sync::IrqLock;

use super::slab::{CLASSES, class_of, order_of, per_slab};
use super::{PAGE_SIZE, frames, phys_to_ptr, ptr_to_phys};

/// The start of a slab. `free` and `fresh` are offsets in the frame.
#[repr(C)]
struct Slab {
    /// Neighbours in the list of slabs that have free objects.
    next: *mut Slab,
    previous: *mut Slab,
    /// The last freed object; it holds the offset of the one freed before. 0: none.
    free: u16,
    /// Objects below this offset were never handed out: nothing has touched them.
    fresh: u16,
    used: u16,
    class: u16,
    magic: u32,
}

impl Slab {
    /// No freed object, and no room for a fresh one.
    fn is_full(&self) -> bool {
        usize::from(self.used) == per_slab(self.class.into())
    }
}

/// Tells a slab from other memory when something is freed.
const MAGIC: u32 = 0x05AB_051E;
const _: () = assert!(size_of::<Slab>() <= super::slab::HEADER);

/// One class: the slabs of it that have a free object.
struct Class {
    partial: *mut Slab,
    slabs: usize,
    used: usize,
}

// SAFETY: the slabs behind the pointer belong to the class, whoever holds its lock.
unsafe impl Send for Class {}

impl Class {
    const fn new() -> Self {
        Self { partial: null_mut(), slabs: 0, used: 0 }
    }

    /// # Safety
    /// `slab` is a slab of this class that is not in the list.
    unsafe fn link(&mut self, slab: *mut Slab) {
        // SAFETY: slabs in the list are alive, and the class is locked.
        unsafe {
            (*slab).previous = null_mut();
            (*slab).next = self.partial;
            if !self.partial.is_null() {
                (*self.partial).previous = slab;
            }
        }
        self.partial = slab;
    }

    /// # Safety
    /// `slab` is in this class's list.
    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: as for `link`.
        unsafe {
            let (previous, next) = ((*slab).previous, (*slab).next);
            if previous.is_null() {
                self.partial = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
        }
    }

    /// Adds a slab with all objects free.
    fn grow(&mut self, class: usize) -> Option<()> {
        let slab: *mut Slab = phys_to_ptr(frames::alloc(0)?).cast();
        let first = Slab {
            next: null_mut(),
            previous: null_mut(),
            free: 0,
            fresh: PAGE_SIZE as u16,
            used: 0,
            class: class as u16,
            magic: MAGIC,
        };
        // SAFETY: the frame was just allocated, and is aligned.
        unsafe {
            slab.write(first);
            self.link(slab);
        }
        self.slabs += 1;
        Some(())
    }

    fn alloc(&mut self, class: usize) -> Option<*mut u8> {
        if self.partial.is_null() {
            self.grow(class)?;
        }
        let size = CLASSES[class];
        let slab = self.partial;
        // SAFETY: slabs in the list are alive and have a free object: either one that was
        // freed, at `free`, or the next fresh one below `fresh`.
        unsafe {
            let at = if (*slab).free != 0 {
                let at = (*slab).free;
                (*slab).free = slab.cast::<u8>().add(at.into()).cast::<u16>().read();
                at
            } else {
                (*slab).fresh -= size;
                (*slab).fresh
            };
            (*slab).used += 1;
            if (*slab).is_full() {
                self.unlink(slab);
            }
            self.used += 1;
            Some(slab.cast::<u8>().add(at.into()))
        }
    }

    /// # Safety
    /// `object` came from [`Self::alloc`] of this class and is not used any more.
    unsafe fn free(&mut self, object: *mut u8, class: usize) {
        let offset = object.addr() % PAGE_SIZE;
        let slab: *mut Slab = object.wrapping_sub(offset).cast();
        let size = CLASSES[class];
        // SAFETY: the object lies in a slab, whose header is at the start of its frame; the
        // object itself is free memory now.
        unsafe {
            if (*slab).magic != MAGIC
                || usize::from((*slab).class) != class
                || (*slab).used == 0
                || !(PAGE_SIZE - offset).is_multiple_of(size.into())
            {
                panic!("heap: {object:p} freed, which is not an object of {size} bytes");
            }
            let full = (*slab).is_full();
            object.cast::<u16>().write((*slab).free);
            (*slab).free = offset as u16;
            (*slab).used -= 1;
            self.used -= 1;
            if full {
                self.link(slab);
            }
            // Keep one empty slab, else an alloc–free pair would cost a frame each time.
            let alone = (*slab).next.is_null() && (*slab).previous.is_null();
            if (*slab).used == 0 && !alone {
                self.unlink(slab);
                (*slab).magic = 0;
                self.slabs -= 1;
                frames::free(ptr_to_phys(slab.cast()), 0);
            }
        }
    }
}

static HEAP: [IrqLock<Class>; CLASSES.len()] =
    [const { IrqLock::new(Class::new()) }; CLASSES.len()];
/// Frames that are allocations of their own.
static WHOLE: AtomicUsize = AtomicUsize::new(0);

/// Accounting of the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes in objects that are in use, rounded up to their class.
    pub used: usize,
    /// Bytes of all frames of the heap.
    pub held: usize,
}

/// How large the heap is.
#[must_use]
pub fn stats() -> HeapStats {
    let whole = whole_frames() * PAGE_SIZE;
    let mut stats = HeapStats { used: whole, held: whole };
    for (size, used, slabs) in classes() {
        stats.used += used * usize::from(size);
        stats.held += slabs * PAGE_SIZE;
    }
    stats
}

/// Frames of allocations that are too large for an object.
#[must_use]
pub fn whole_frames() -> usize {
    WHOLE.load(Ordering::Relaxed)
}

/// Each size of objects in bytes: how many are in use, and in how many slabs. All at once: a
/// text about them grows in the heap and would count itself, or not, by how long it is already.
pub fn classes() -> [(u16, usize, usize); CLASSES.len()] {
    core::array::from_fn(|n| {
        let class = HEAP[n].lock();
        (CLASSES[n], class.used, class.slabs)
    })
}

/// The kernel's global allocator; the final crate declares it. All of them are the same
/// heap.
pub struct KernelHeap(());

impl KernelHeap {
    /// The heap.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for KernelHeap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: objects and frames are handed out once until they come back, with the size and
// alignment that `class_of` and `order_of` promise (tested).
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout.size(), layout.align()) {
            Some(class) => HEAP[class].lock().alloc(class).unwrap_or_default(),
            None => order_of(layout.size(), layout.align()).and_then(frames::alloc).map_or(
                null_mut(),
                |addr| {
                    WHOLE.fetch_add(frames_of(layout), Ordering::Relaxed);
                    phys_to_ptr(addr)
                },
            ),
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        match class_of(layout.size(), layout.align()) {
            // SAFETY: the caller's contract.
            Some(class) => unsafe { HEAP[class].lock().free(ptr, class) },
            None => {
                if let Some(order) = order_of(layout.size(), layout.align()) {
                    WHOLE.fetch_sub(frames_of(layout), Ordering::Relaxed);
                    frames::free(ptr_to_phys(ptr), order);
                }
            }
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract: `new_size` is not 0 and does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let class = class_of(layout.size(), layout.align());
        let same = class == class_of(new_size, layout.align())
            && (class.is_some() || frames_of(layout) == frames_of(new));
        if same {
            return ptr;
        }
        // SAFETY: as `GlobalAlloc`'s own: both are live and do not overlap.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(ptr, layout.size().min(new_size));
                self.dealloc(ptr, layout);
            }
            moved
        }
    }
}

/// Frames of an allocation that takes whole frames.
fn frames_of(layout: Layout) -> usize {
    order_of(layout.size(), layout.align()).map_or(0, |order| 1 << order)
}
