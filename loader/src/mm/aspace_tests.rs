use super::*;
use crate::fs::cache;
use crate::fs::{MountTable, NewMount, Path};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use driver_api::vfs::{FileType, NewInode, Timestamp};
use proptest::prelude::*;
use ramfs::RamFs;

const P: usize = PAGE_SIZE;
const BASE: usize = 0x10_0000;
const RW: Prot = Prot(3);
const READ: Access = Access { write: false, execute: false, user: true };
const WRITE: Access = Access { write: true, ..READ };
const FETCH: Access = Access { execute: true, ..READ };

/// Frames are boxes, the page table is a map.
#[derive(Default)]
struct Fake {
    frames: BTreeMap<u64, Vec<u8>>,
    table: BTreeMap<usize, (PhysAddr, Flags)>,
    next: u64,
    left: Option<usize>,
    stale: usize,
}

impl Fake {
    fn new_frame(&mut self, bytes: Vec<u8>) -> Result<PhysAddr> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(Error::NoMemory)?;
        }
        self.next += P as u64;
        self.frames.insert(self.next, bytes);
        Ok(PhysAddr(self.next))
    }
}

impl Mmu for Fake {
    fn frame(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<PhysAddr> {
        let mut bytes = vec![0; P];
        fill(&mut bytes)?;
        self.new_frame(bytes)
    }
    fn copy(&mut self, from: PhysAddr) -> Result<PhysAddr> {
        let bytes = match self.frames.get(&from.0) {
            Some(bytes) => bytes.clone(),
            None => bytes_at(from.0).to_vec(),
        };
        self.new_frame(bytes)
    }
    fn free(&mut self, frame: PhysAddr) {
        assert!(self.frames.remove(&frame.0).is_some(), "double free");
    }
    fn resident(&self, bytes: &'static [u8]) -> PhysAddr {
        PhysAddr(bytes.as_ptr().expose_provenance() as u64)
    }
    fn executable(&mut self, _: PhysAddr) {}
    fn map(&mut self, at: usize, to: PhysAddr, len: usize, flags: Flags) -> Result<()> {
        for i in (0..len).step_by(P) {
            let old = self.table.insert(at + i, (PhysAddr(to.0 + i as u64), flags));
            assert!(old.is_none(), "mapped twice");
        }
        Ok(())
    }
    fn unmap(&mut self, at: usize, len: usize) -> usize {
        let pages: Vec<usize> = self.table.range(at..at + len).map(|e| *e.0).collect();
        let mut owned = 0;
        for page in pages {
            let (frame, flags) = self.table.remove(&page).unwrap();
            if flags.has(Flags::OWNED) {
                self.free(frame);
                owned += 1;
            }
        }
        owned
    }
    fn take(&mut self, at: usize) -> Option<(PhysAddr, Flags)> {
        self.stale += 1;
        self.table.remove(&at)
    }
    fn protect(&mut self, at: usize, len: usize, new: &mut dyn FnMut(Flags) -> Flags) {
        for (_, (_, flags)) in self.table.range_mut(at..at + len) {
            *flags = new(*flags);
        }
    }
    fn query(&self, at: usize) -> Option<(PhysAddr, Flags)> {
        self.table.get(&at).copied()
    }
    fn prune(&mut self, at: usize, len: usize) {
        assert!(self.table.range(at..at + len).next().is_none(), "tables in use");
    }
}

/// What lies in a frame that is not the address space's: the resident file's, or the cache's.
fn bytes_at(frame: u64) -> &'static [u8; P] {
    // SAFETY: what is mapped lives, and the host's frames are where their addresses say.
    unsafe { &*core::ptr::with_exposed_provenance(frame as usize) }
}

#[repr(align(4096))]
struct Aligned([u8; 3 * P]);
static ALIGNED: Aligned = {
    let mut bytes = [0; 3 * P];
    bytes[0] = 1;
    bytes[P] = 2;
    bytes[2 * P] = 3;
    Aligned(bytes)
};
static FILE: &[u8; 3 * P] = &ALIGNED.0;

fn space() -> AddressSpace<Fake> {
    let bounds = Bounds { user_end: 1 << 47, mmap_top: 1 << 46, memory: 1 << 30 };
    AddressSpace::new(Fake::default(), bounds)
}

fn anon(pages: usize, prot: Prot) -> Vma {
    Vma::anonymous(0, pages * P, prot)
}

fn file(resident: bool, len: usize) -> Arc<Path> {
    let now = Timestamp::default();
    let fs = RamFs::new(0o755, now);
    let new = NewInode::plain(FileType::Regular, 0o644, now);
    let node = fs.root_node().add(b"f", &new).unwrap();
    let (_, root) = MountTable::new(NewMount::plain(fs.root(), "ramfs"));
    let path = root.with(root.dentry.child(b"f").unwrap());
    if resident {
        node.set_resident(&FILE[..len]);
    } else {
        cache::write(&path, None, &FILE[..len]).unwrap();
    }
    Arc::new(path)
}

/// The byte at `addr` as the app reads it.
fn read(space: &AddressSpace<Fake>, addr: usize) -> core::result::Result<u8, FaultError> {
    space.fault(addr, READ)?;
    let inner = space.inner.lock();
    let (frame, flags) = inner.mmu.table[&(addr & !(P - 1))];
    assert!(!flags.has(Flags::NO_ACCESS));
    let within = addr & (P - 1);
    Ok(match inner.mmu.frames.get(&frame.0) {
        Some(bytes) => bytes[within],
        None => bytes_at(frame.0)[within],
    })
}

fn write(
    space: &AddressSpace<Fake>,
    addr: usize,
    value: u8,
) -> core::result::Result<(), FaultError> {
    space.fault(addr, WRITE)?;
    let mut inner = space.inner.lock();
    let (frame, flags) = inner.mmu.table[&(addr & !(P - 1))];
    assert!(flags.has(Flags::WRITE) && flags.has(Flags::OWNED));
    inner.mmu.frames.get_mut(&frame.0).unwrap()[addr & (P - 1)] = value;
    Ok(())
}

#[test]
fn zeroes_come_on_demand_and_permissions_hold() {
    let s = space();
    let at = s.map(Place::Fixed(BASE), anon(2, RW)).unwrap();
    assert_eq!(s.usage(), Usage { pages: 2, owned: 0 });
    assert_eq!(read(&s, at), Ok(0));
    write(&s, at + P, 7).unwrap();
    assert_eq!(read(&s, at + P), Ok(7));
    assert_eq!(s.usage().owned, 2);
    assert_eq!(s.fault(at, FETCH), Err(FaultError::Denied));
    assert_eq!(s.fault(at + 2 * P, READ), Err(FaultError::Unmapped));
    s.protect(at, P, Prot::READ).unwrap();
    assert_eq!(write(&s, at, 1), Err(FaultError::Denied));
    s.protect(at, 2 * P, Prot::NONE).unwrap();
    assert_eq!(read(&s, at + P), Err(FaultError::Denied));
    s.protect(at, 2 * P, RW).unwrap();
    assert_eq!(read(&s, at + P), Ok(7), "what was there is still there");
    s.discard(at + P, P).unwrap();
    assert_eq!(read(&s, at + P), Ok(0));
    s.clear();
    assert!(s.inner.lock().mmu.frames.is_empty());
    assert_eq!(s.usage(), Usage { pages: 0, owned: 0 });
}

#[test]
fn resident_files_are_mapped_in_place_and_copied_when_written() {
    for resident in [true, false] {
        let s = space();
        let path = file(resident, 2 * P + 10);
        let backing = Backing::File { path, offset: P as u64 };
        let at = s.map(Place::Hint(0), Vma { backing, ..anon(3, RW) }).unwrap();
        assert_eq!(read(&s, at), Ok(2));
        assert_eq!(read(&s, at + P), Ok(3));
        if resident {
            assert!(s.inner.lock().mmu.frames.is_empty(), "not copied");
        }
        write(&s, at + 1, 9).unwrap();
        assert_eq!(read(&s, at), Ok(2));
        assert_eq!(read(&s, at + 1), Ok(9));
        assert_eq!(read(&s, at + 2 * P), Err(FaultError::Bus), "past the end of the file");
        s.protect(at, P, Prot::READ).unwrap();
        assert_eq!(read(&s, at + 1), Ok(9), "the copy stays when it becomes read-only");
        s.discard(at, 2 * P).unwrap();
        s.protect(at, P, RW).unwrap();
        assert_eq!(read(&s, at + 1), Ok(0), "the file again");
        write(&s, at, 5).unwrap();
        assert_eq!(FILE[P], 2);
        s.clear();
        assert!(s.inner.lock().mmu.frames.is_empty());
    }
}

#[test]
fn places() {
    let s = space();
    assert_eq!(s.map(Place::Fixed(P), anon(1, RW)), Err(Error::NotPermitted));
    assert_eq!(s.map(Place::Fixed(BASE + 1), anon(1, RW)), Err(Error::Invalid));
    assert_eq!(s.map(Place::Fixed((1 << 47) - P), anon(2, RW)), Err(Error::NoMemory));
    assert_eq!(s.map(Place::Hint(0), anon(0, RW)), Err(Error::Invalid));
    assert_eq!(s.map(Place::Hint(BASE), anon(1, RW)), Ok(BASE));
    let elsewhere = s.map(Place::Hint(BASE), anon(1, RW)).unwrap();
    assert_eq!(elsewhere, (1 << 46) - P);
    assert_eq!(s.map(Place::FixedNoReplace(BASE), anon(1, RW)), Err(Error::Exists));
    write(&s, BASE, 1).unwrap();
    s.map(Place::Fixed(BASE), anon(1, RW)).unwrap();
    assert_eq!(read(&s, BASE), Ok(0));
    assert_eq!(s.unmap(BASE, 0), Err(Error::Invalid));
    assert_eq!(s.unmap(BASE, usize::MAX), Err(Error::Invalid));
    assert_eq!(s.protect(BASE, 2 * P, RW), Err(Error::NoMemory));
    s.unmap(BASE - 4 * P, 8 * P).unwrap();
    assert_eq!(read(&s, BASE), Err(FaultError::Unmapped));
}

#[test]
fn a_shared_mapping_of_a_file_opened_for_reading_stays_read_only() {
    let s = space();
    let vma = Vma { shared: true, may_write: false, ..anon(1, Prot::READ) };
    let at = s.map(Place::Hint(0), vma).unwrap();
    assert_eq!(s.protect(at, P, RW), Err(Error::AccessDenied));
    assert_eq!(s.protect(at, P, Prot::NONE), Ok(()));
}

#[test]
fn the_heap_grows_shrinks_and_stops_at_its_neighbour() {
    let mut s = space();
    s.set_brk_start(BASE);
    assert_eq!(s.brk(0), BASE);
    assert_eq!(s.brk(BASE + 100), BASE + 100);
    write(&s, BASE + 50, 1).unwrap();
    assert_eq!(s.brk(BASE + 5 * P), BASE + 5 * P);
    assert_eq!(read(&s, BASE + 50), Ok(1));
    s.map(Place::Fixed(BASE + 8 * P), anon(1, RW)).unwrap();
    assert_eq!(s.brk(BASE + 9 * P), BASE + 5 * P);
    assert_eq!(s.brk(usize::MAX), BASE + 5 * P);
    assert_eq!(s.brk(BASE), BASE);
    assert_eq!(s.brk(BASE + P), BASE + P);
    assert_eq!(read(&s, BASE + 50), Ok(0));
}

#[test]
fn remap_grows_in_place_moves_and_shrinks() {
    let s = space();
    let at = s.map(Place::Fixed(BASE), anon(2, RW)).unwrap();
    write(&s, at, 1).unwrap();
    write(&s, at + P, 2).unwrap();
    assert_eq!(s.remap(at, 2 * P, 4 * P, false, None), Ok(at));
    s.map(Place::Fixed(BASE + 4 * P), anon(1, Prot::READ)).unwrap();
    assert_eq!(s.remap(at, 4 * P, 5 * P, false, None), Err(Error::NoMemory));
    let moved = s.remap(at, 4 * P, 5 * P, true, None).unwrap();
    assert_ne!(moved, at);
    assert_eq!((read(&s, moved), read(&s, moved + P)), (Ok(1), Ok(2)));
    assert_eq!(read(&s, at), Err(FaultError::Unmapped));
    assert_eq!(s.remap(moved, 5 * P, P, false, None), Ok(moved));
    assert_eq!(read(&s, moved + P), Err(FaultError::Unmapped));
    assert_eq!(s.remap(moved, P, P, true, Some(BASE)), Ok(BASE));
    assert_eq!(read(&s, BASE), Ok(1));
    assert_eq!(s.remap(moved, P, P, true, None), Err(Error::Fault));
    assert_eq!(s.remap(BASE, 2 * P, 3 * P, true, Some(BASE + P)), Err(Error::Fault));
    assert_eq!(s.remap(BASE, P, 2 * P, true, Some(BASE - P)), Err(Error::Invalid));
    s.clear();
    assert!(s.inner.lock().mmu.frames.is_empty());
}

#[test]
fn out_of_memory_is_said_and_leaves_no_trace() {
    let s = space();
    let at = s.map(Place::Hint(0), anon(3, RW)).unwrap();
    s.inner.lock().mmu.left = Some(2);
    assert_eq!(write(&s, at, 1), Ok(()));
    assert_eq!(read(&s, at + P), Ok(0));
    assert_eq!(write(&s, at + 2 * P, 1), Err(FaultError::NoMemory));
    s.unmap(at + P, P).unwrap();
    s.inner.lock().mmu.left = Some(1);
    assert_eq!(write(&s, at + 2 * P, 1), Ok(()));
    assert_eq!(s.usage(), Usage { pages: 2, owned: 2 });
}

#[derive(Clone, Debug)]
enum Op {
    Map(usize, usize, bool),
    Unmap(usize, usize),
    Protect(usize, usize, u8),
    Discard(usize, usize),
    Move(usize, usize, usize),
    Write(usize, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let page = 0_usize..24;
    let len = 1_usize..8;
    (0_u8..8, page.clone(), len, page, any::<u8>()).prop_map(|(kind, at, len, to, v)| match kind {
        0 => Op::Map(at, len, v & 1 == 0),
        1 => Op::Unmap(at, len),
        2 => Op::Protect(at, len, v & 3),
        3 => Op::Discard(at, len),
        4 => Op::Move(at, len, to),
        _ => Op::Write(at, v),
    })
}

proptest! {
    /// Whatever is done, every page reads as a model says, and no frame is lost.
    #[test]
    fn agrees_with_a_model(ops in prop::collection::vec(op(), 1..50)) {
        #[derive(Clone, Copy)]
        struct Page { prot: u8, value: u8 }
        let s = space();
        let mut model: Vec<Option<Page>> = vec![None; 64];
        let addr = |page: usize| BASE + page * P;
        for op in ops {
            match op {
                Op::Map(at, len, write) => {
                    let prot = if write { RW } else { Prot::READ };
                    s.map(Place::Fixed(addr(at)), anon(len, prot)).unwrap();
                    model[at..at + len].fill(Some(Page { prot: prot.0, value: 0 }));
                }
                Op::Unmap(at, len) => {
                    s.unmap(addr(at), len * P).unwrap();
                    model[at..at + len].fill(None);
                }
                Op::Protect(at, len, prot) => {
                    let whole = model[at..at + len].iter().all(Option::is_some);
                    prop_assert_eq!(s.protect(addr(at), len * P, Prot(prot)).is_ok(), whole);
                    if whole {
                        model[at..at + len].iter_mut().flatten().for_each(|p| p.prot = prot);
                    }
                }
                Op::Discard(at, len) => {
                    let _ = s.discard(addr(at), len * P);
                    model[at..at + len].iter_mut().flatten().for_each(|p| p.value = 0);
                }
                Op::Move(at, len, to) => {
                    if s.remap(addr(at), len * P, len * P, true, Some(addr(to))).is_ok() {
                        let moved = model[at..at + len].to_vec();
                        model[at..at + len].fill(None);
                        model[to..to + len].copy_from_slice(&moved);
                    } else {
                        // It may have made room at the target before it failed: never when
                        // the source is not one area, which is checked first.
                        let one = s.area(addr(at)).is_some_and(|v| v.end >= addr(at + len));
                        let apart = at + len <= to || to + len <= at;
                        prop_assert!(!(one && apart));
                    }
                }
                Op::Write(at, value) => {
                    let may = model[at].is_some_and(|p| p.prot & 2 != 0);
                    prop_assert_eq!(write(&s, addr(at), value).is_ok(), may);
                    if let Some(page) = model[at].as_mut().filter(|_| may) {
                        page.value = value;
                    }
                }
            }
            for (i, page) in model.iter().enumerate().take(40) {
                let expected = page.filter(|p| p.prot != 0).map(|p| p.value);
                prop_assert_eq!(read(&s, addr(i)).ok(), expected, "page {}", i);
            }
            let frames = s.inner.lock().mmu.frames.len();
            prop_assert_eq!(s.usage().owned, frames);
            prop_assert_eq!(s.usage().pages, model.iter().flatten().count());
        }
        s.clear();
        prop_assert!(s.inner.lock().mmu.frames.is_empty());
    }
}

#[test]
fn shared_pages_are_the_files_own_and_found_by_it() {
    use crate::fs::cache::Mappings;
    use crate::fs::cache::device::DeviceMappings;
    let (s, path) = (space(), file(false, 3 * P));
    let key = core::ptr::from_ref(path.inode().paged().unwrap().cache()).addr();
    let map = |shared, offset| {
        let backing = Backing::File { path: path.clone(), offset };
        s.map(Place::Hint(0), Vma { shared, backing, ..anon(2, RW) }).unwrap()
    };
    let (a, b, private) = (map(true, 0), map(true, P as u64), map(false, P as u64));
    let entry = |at| s.inner.lock().mmu.query(at);
    for at in [a + P, b, private] {
        s.fault(at, WRITE).unwrap();
    }
    let (Some((frame, flags)), Some((same, _))) = (entry(a + P), entry(b)) else { panic!() };
    assert_eq!(frame, same);
    assert!(flags.has(Flags::WRITE) && !flags.has(Flags::OWNED));
    assert!(entry(private).is_some_and(|(copy, f)| copy != frame && f.has(Flags::OWNED)));
    assert_eq!(s.usage().owned, 1);
    // Written out: stores fault, but for those to a private copy.
    DeviceMappings::protect(&s, key, 1..2);
    assert!([a + P, b].iter().all(|at| !entry(*at).unwrap().1.has(Flags::WRITE)));
    assert!(entry(private).unwrap().1.has(Flags::WRITE));
    s.fault(b, WRITE).unwrap();
    assert!(entry(b).unwrap().1.has(Flags::WRITE));
    // Dropped: the copy stays. Cut: it goes too.
    assert!(s.try_unmap(key, 1..2));
    assert!(entry(a + P).is_none() && entry(b).is_none() && entry(private).is_some());
    s.fault(b, READ).unwrap();
    cache::truncate(&path, P as u64).unwrap();
    Mappings::unmap(&s, key, 1..u64::MAX, true);
    assert!(entry(b).is_none() && entry(private).is_none());
    assert_eq!((s.fault(b, WRITE), s.usage().owned), (Err(FaultError::Bus), 0));
    assert_eq!(s.shared_files(a, 2 * P).unwrap().len(), 1);
}
