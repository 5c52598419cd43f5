use super::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// An encoding as plain as can be: bit 0 leaf, bit 1 table, flags in bits 2 … 6.
enum Plain {}

impl PteFormat for Plain {
    fn max_leaf_level() -> u8 {
        2
    }
    fn table(next: PhysAddr) -> u64 {
        next.0 | 2
    }
    fn leaf(level: u8, addr: PhysAddr, flags: Flags) -> u64 {
        assert_eq!(addr.0 & (span(level) as u64 - 1), 0, "leaf not aligned to its span");
        addr.0 | 1 | u64::from(flags.0) << 2
    }
    fn decode(level: u8, entry: u64) -> Entry {
        let addr = PhysAddr(entry & !0xfff);
        match entry & 3 {
            0 => Entry::Empty,
            1 if level <= 2 => Entry::Leaf(addr, Flags((entry >> 2 & 31) as u8)),
            2 if level > 0 => Entry::Table(addr),
            _ => panic!("entry {entry:#x} at level {level}"),
        }
    }
}

struct Fake {
    tables: BTreeMap<u64, Vec<u64>>,
    next: u64,
    left: usize,
}

impl TableMemory for Fake {
    fn read(&self, table: PhysAddr, index: usize) -> u64 {
        self.tables[&table.0][index]
    }
    fn write(&mut self, table: PhysAddr, index: usize, entry: u64) {
        self.tables.get_mut(&table.0).unwrap()[index] = entry;
    }
    fn alloc(&mut self) -> Option<PhysAddr> {
        self.left = self.left.checked_sub(1)?;
        self.next += 0x1000;
        self.tables.insert(self.next, std::vec![0; ENTRIES]);
        Some(PhysAddr(self.next))
    }
    fn free(&mut self, table: PhysAddr) {
        assert!(self.tables.remove(&table.0).is_some(), "double free of a table");
    }
}

fn tree(tables: usize) -> PageTable<Plain, Fake> {
    let mut memory = Fake { tables: BTreeMap::new(), next: 0x1000_0000, left: tables };
    let root = memory.alloc().unwrap();
    PageTable::new(root, memory)
}

const RW: Flags = Flags::WRITE;
const MIB2: usize = 2 << 20;
const GIB: usize = 1 << 30;

#[test]
fn the_largest_leaves_that_fit_are_used() {
    let mut t = tree(100);
    let va = 0xffff_8000_0000_0000;
    t.map(VirtAddr(va), PhysAddr(0), 2 * GIB + MIB2 + PAGE_SIZE, RW).unwrap();
    let level = |t: &PageTable<Plain, Fake>, at| t.query(VirtAddr(va + at)).map(|m| m.level);
    assert_eq!(level(&t, 5), Some(2));
    assert_eq!(level(&t, 2 * GIB), Some(1));
    assert_eq!(level(&t, 2 * GIB + MIB2), Some(0));
    assert_eq!(level(&t, 2 * GIB + MIB2 + PAGE_SIZE), None);
    let m = t.query(VirtAddr(va + GIB + 0x1234)).unwrap();
    assert_eq!((m.addr, m.flags), (PhysAddr(GIB as u64 + 0x1234), RW));
}

#[test]
fn physical_misalignment_forces_small_leaves() {
    let mut t = tree(100);
    t.map(VirtAddr(MIB2), PhysAddr(0x1000), MIB2, RW).unwrap();
    assert_eq!(t.query(VirtAddr(MIB2)).unwrap().level, 0);
}

#[test]
fn a_part_of_a_large_leaf_can_be_protected_and_unmapped() {
    let mut t = tree(100);
    t.map(VirtAddr(GIB), PhysAddr(0), GIB, RW).unwrap();
    t.protect(VirtAddr(GIB + MIB2 + PAGE_SIZE), PAGE_SIZE, Flags::NONE).unwrap();
    t.unmap(VirtAddr(GIB + MIB2), PAGE_SIZE, &mut |va, pa, len| {
        assert_eq!((va.0, pa.0, len), (GIB + MIB2, MIB2 as u64, PAGE_SIZE));
    })
    .unwrap();
    assert_eq!(t.query(VirtAddr(GIB + MIB2)), None);
    let flags = |t: &PageTable<Plain, Fake>, va| t.query(VirtAddr(va)).unwrap().flags;
    assert_eq!(flags(&t, GIB + MIB2 + PAGE_SIZE), Flags::NONE);
    assert_eq!(flags(&t, GIB + MIB2 + 2 * PAGE_SIZE), RW);
    assert_eq!(flags(&t, GIB + 5 * MIB2), RW);
}

#[test]
fn the_end_of_the_address_space_can_be_mapped() {
    let mut t = tree(100);
    let last = VirtAddr(usize::MAX - PAGE_SIZE + 1);
    t.map(last, PhysAddr(0x5000), PAGE_SIZE, RW).unwrap();
    assert_eq!(t.query(VirtAddr(usize::MAX)).unwrap().addr, PhysAddr(0x5fff));
}

#[test]
fn bad_requests_change_nothing() {
    let mut t = tree(100);
    let odd = Err(MapError::Misaligned);
    assert_eq!(t.map(VirtAddr(1), PhysAddr(0), PAGE_SIZE, RW), odd);
    assert_eq!(t.map(VirtAddr(0), PhysAddr(8), PAGE_SIZE, RW), odd);
    assert_eq!(t.map(VirtAddr(0), PhysAddr(0), 1, RW), odd);
    t.map(VirtAddr(4 * PAGE_SIZE), PhysAddr(0), PAGE_SIZE, RW).unwrap();
    let taken = Err(MapError::Mapped(VirtAddr(4 * PAGE_SIZE)));
    assert_eq!(t.map(VirtAddr(0), PhysAddr(0), 8 * PAGE_SIZE, RW), taken);
    for page in [0, 1, 2, 3, 5] {
        assert_eq!(t.query(VirtAddr(page * PAGE_SIZE)), None, "page {page} was left mapped");
    }
}

#[test]
fn running_out_of_tables_maps_nothing() {
    let mut t = tree(4); // root + one chain
    let pages = 600 * PAGE_SIZE; // needs a second level-0 table
    assert_eq!(t.map(VirtAddr(0), PhysAddr(0x1000), pages, RW), Err(MapError::NoMemory));
    assert!((0..600).all(|i| t.query(VirtAddr(i * PAGE_SIZE)).is_none()));
}

#[test]
fn pruning_gives_every_empty_table_back() {
    let mut t = tree(1000);
    let len = 3 * MIB2;
    t.map(VirtAddr(GIB - MIB2), PhysAddr(0x1000), len, RW).unwrap();
    t.unmap(VirtAddr(GIB - MIB2), len - PAGE_SIZE, &mut |_, _, _| {}).unwrap();
    let mut gone = Vec::new();
    t.prune(VirtAddr(GIB - MIB2), len, &mut |table| gone.push(table));
    assert_eq!(gone.len(), 3, "two full level-0 tables, and level 1 of the first GiB");
    t.unmap(VirtAddr(0), 4 * GIB, &mut |_, _, _| {}).unwrap();
    t.prune(VirtAddr(0), 4 * GIB, &mut |table| gone.push(table));
    for table in gone {
        t.memory().free(table);
    }
    assert_eq!(t.memory().tables.len(), 1, "only the root is left");
}

mod model {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Map(usize, u64, usize, u8),
        Unmap(usize, usize),
        Protect(usize, usize, u8),
    }

    /// Pages around the border of two level-1 tables, so that all sizes of leaf occur.
    const WINDOW: usize = 2048;
    const BASE: usize = GIB - 1024 * PAGE_SIZE;

    fn op() -> impl Strategy<Value = Op> {
        let at = || prop_oneof![0..WINDOW, Just(0), Just(512), Just(1024), Just(1536)];
        let len = || prop_oneof![1..600_usize, Just(512), Just(1024)];
        prop_oneof![
            (at(), prop_oneof![0..4096_u64, Just(512), Just(0)], len(), 0..32_u8)
                .prop_map(|(v, p, l, f)| Op::Map(v, p, l, f)),
            (at(), len()).prop_map(|(v, l)| Op::Unmap(v, l)),
            (at(), len(), 0..32_u8).prop_map(|(v, l, f)| Op::Protect(v, l, f)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn the_tree_says_what_a_plain_map_says(ops in proptest::collection::vec(op(), 1..40)) {
            let mut t = tree(10_000);
            let mut model: BTreeMap<usize, (u64, u8)> = BTreeMap::new();
            let va = |page: usize| VirtAddr(BASE + page * PAGE_SIZE);
            for op in ops {
                match op {
                    Op::Map(v, p, l, f) => {
                        let free = (v..v + l).all(|page| !model.contains_key(&page));
                        let done = t.map(va(v), PhysAddr(p << 12), l * PAGE_SIZE, Flags(f));
                        prop_assert_eq!(done.is_ok(), free);
                        if free {
                            model.extend((0..l).map(|i| (v + i, (p + i as u64, f))));
                        }
                    }
                    Op::Unmap(v, l) => {
                        let mut bytes = 0;
                        t.unmap(va(v), l * PAGE_SIZE, &mut |_, _, len| bytes += len).unwrap();
                        let before = model.len();
                        model.retain(|page, _| !(v..v + l).contains(page));
                        prop_assert_eq!(bytes, (before - model.len()) * PAGE_SIZE);
                        t.prune(va(v), l * PAGE_SIZE, &mut |_| {});
                    }
                    Op::Protect(v, l, f) => {
                        t.protect(va(v), l * PAGE_SIZE, Flags(f)).unwrap();
                        for (_, entry) in model.range_mut(v..v + l) {
                            entry.1 = f;
                        }
                    }
                }
            }
            for page in 0..WINDOW + 1100 {
                let found = t.query(va(page)).map(|m| (m.addr.0 >> 12, m.flags.0));
                prop_assert_eq!(found, model.get(&page).copied(), "page {}", page);
            }
        }
    }
}
