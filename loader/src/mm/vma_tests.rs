use super::*;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

const P: usize = PAGE_SIZE;
const RW: Prot = Prot(3);

fn anon(start: usize, end: usize) -> Vma {
    Vma::anonymous(start * P, end * P, RW)
}

fn shape(tree: &VmaTree) -> Vec<(usize, usize, Prot)> {
    tree.iter().map(|v| (v.start / P, v.end / P, v.prot)).collect()
}

#[test]
fn neighbours_that_continue_become_one() {
    let mut t = VmaTree::new();
    t.insert(anon(1, 2));
    t.insert(anon(3, 4));
    t.insert(anon(2, 3));
    assert_eq!(shape(&t), [(1, 4, RW)]);
    t.insert(Vma { prot: Prot::READ, ..anon(4, 5) });
    assert_eq!(t.count(), 2);
    t.update(4 * P, 5 * P, &mut |v| v.prot = RW);
    assert_eq!(shape(&t), [(1, 5, RW)]);
    assert_eq!(t.pages(), 4);
}

#[test]
fn device_areas_keep_their_offsets_when_cut() {
    let mut t = VmaTree::new();
    let backing = Backing::Device { phys: PhysAddr(0x10_0000) };
    t.insert(Vma { backing, ..anon(1, 5) });
    let gone = t.remove(2 * P, 3 * P);
    assert_eq!(format!("{:?}", gone[0].backing), "device phys 0x101000");
    let last = t.find(3 * P).unwrap();
    assert_eq!(format!("{:?}", last.backing), "device phys 0x102000");
    t.insert(gone[0].clone());
    assert_eq!(t.count(), 1);
}

#[test]
fn shared_anonymous_areas_stay_apart() {
    let mut t = VmaTree::new();
    t.insert(Vma { shared: true, ..anon(1, 2) });
    t.insert(Vma { shared: true, ..anon(2, 3) });
    assert_eq!(t.count(), 2);
}

#[test]
fn gaps_are_found_from_the_top() {
    let mut t = VmaTree::new();
    let gap = |t: &VmaTree, n: usize| t.find_gap(n * P, 2 * P, 20 * P, P).map(|a| a / P);
    assert_eq!(gap(&t, 3), Some(17));
    t.insert(anon(18, 25));
    assert_eq!(gap(&t, 3), Some(15));
    t.insert(anon(12, 14));
    assert_eq!(gap(&t, 4), Some(14));
    assert_eq!(gap(&t, 5), Some(7));
    assert_eq!(gap(&t, 10), Some(2));
    assert_eq!(gap(&t, 11), None);
    assert_eq!(t.find_gap(P, 2 * P, 20 * P, 16 * P), Some(16 * P));
    assert_eq!(t.find_gap(3 * P, 2 * P, 20 * P, 16 * P), None);
    assert_eq!(gap(&t, usize::MAX / P), None);
}

#[test]
fn coverage() {
    let mut t = VmaTree::new();
    t.insert(anon(1, 3));
    t.insert(Vma { prot: Prot::READ, ..anon(3, 4) });
    assert!(t.covers(P, 4 * P));
    assert!(!t.covers(P, 5 * P));
    assert!(!t.covers(0, 2 * P));
    assert!(t.is_free(4 * P, 9 * P));
    assert_eq!(t.at_or_above(0).unwrap().start, P);
    assert_eq!(t.at_or_above(3 * P).unwrap().start, 3 * P);
    assert!(t.at_or_above(4 * P).is_none());
}

#[derive(Clone, Debug)]
enum Op {
    Map(usize, usize, u8),
    Unmap(usize, usize),
    Protect(usize, usize, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let range = (0_usize..40, 1_usize..12);
    (range, 0_u8..3, 0_u8..8).prop_map(|((start, len), kind, prot)| match kind {
        0 => Op::Map(start, start + len, prot),
        1 => Op::Unmap(start, start + len),
        _ => Op::Protect(start, start + len, prot),
    })
}

proptest! {
    /// The tree agrees with a plain array of pages, and never keeps two areas that could
    /// be one.
    #[test]
    fn agrees_with_an_array_of_pages(ops in prop::collection::vec(op(), 1..60)) {
        let mut tree = VmaTree::new();
        let mut pages: Vec<Option<u8>> = vec![None; 64];
        for op in ops {
            match op {
                Op::Map(s, e, prot) => {
                    tree.remove(s * P, e * P);
                    tree.insert(Vma { prot: Prot(prot), ..anon(s, e) });
                    pages[s..e].fill(Some(prot));
                }
                Op::Unmap(s, e) => {
                    let gone: usize = tree.remove(s * P, e * P).iter().map(Vma::len).sum();
                    prop_assert_eq!(gone / P, pages[s..e].iter().flatten().count());
                    pages[s..e].fill(None);
                }
                Op::Protect(s, e, prot) => {
                    tree.update(s * P, e * P, &mut |v| v.prot = Prot(prot));
                    pages[s..e].iter_mut().flatten().for_each(|p| *p = prot);
                }
            }
            for (i, page) in pages.iter().enumerate() {
                prop_assert_eq!(tree.find(i * P).map(|v| v.prot.0), *page);
            }
            prop_assert_eq!(tree.pages(), pages.iter().flatten().count());
            let all: Vec<_> = tree.iter().collect();
            for pair in all.windows(2) {
                prop_assert!(!pair[0].continued_by(pair[1]));
            }
            if let Some(at) = tree.find_gap(3 * P, 0, 64 * P, P) {
                prop_assert!(tree.is_free(at, at + 3 * P));
                prop_assert!(pages[at / P + 1..].windows(3).all(|w| w.iter().any(Option::is_some)));
            } else {
                prop_assert!(pages.windows(3).all(|w| w.iter().any(Option::is_some)));
            }
        }
    }
}
