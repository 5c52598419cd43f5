//! A balanced search tree of areas by start address: an AA tree (A. Andersson, "Balanced
//! Search Trees Made Simple", 1993).
//!
//! Its depth is bounded by 2·log₂(n + 1) whatever the app maps in which order, so recursion is
//! safe on a kernel stack. It is here instead of the standard library's B-tree because that
//! costs a kernel 9 KiB of code for its one user.

use super::Vma;
use alloc::boxed::Box;

type Link = Option<Box<Node>>;

#[derive(Clone, Debug)]
struct Node {
    /// 1 for a leaf; a left child is one level lower, a right child at most on the same level,
    /// and its right child lower.
    level: u8,
    vma: Vma,
    left: Link,
    right: Link,
}

/// Areas by start address.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Link,
    len: usize,
}

impl Tree {
    /// No area.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many areas there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The area with the highest start that is at most `addr`.
    pub fn at_or_below(&self, addr: usize) -> Option<&Vma> {
        let (mut at, mut best) = (&self.root, None);
        while let Some(node) = at {
            at = if node.vma.start <= addr {
                best = Some(&node.vma);
                &node.right
            } else {
                &node.left
            };
        }
        best
    }

    /// The area with the lowest start that is at least `addr`.
    #[inline(never)]
    pub fn at_or_above(&self, addr: usize) -> Option<&Vma> {
        let (mut at, mut best) = (&self.root, None);
        while let Some(node) = at {
            at = if node.vma.start >= addr {
                best = Some(&node.vma);
                &node.left
            } else {
                &node.right
            };
        }
        best
    }

    /// The area that starts at `start`, to be changed in all but its start.
    pub fn get_mut(&mut self, start: usize) -> Option<&mut Vma> {
        let mut at = &mut self.root;
        loop {
            let node = at.as_mut()?;
            at = match start {
                s if s == node.vma.start => return Some(&mut node.vma),
                s if s < node.vma.start => &mut node.left,
                _ => &mut node.right,
            };
        }
    }

    /// Adds `vma`; no other area may start where it does.
    pub fn insert(&mut self, vma: Vma) {
        self.len += 1;
        insert(&mut self.root, vma);
    }

    /// Takes out the area that starts at `start`.
    pub fn remove(&mut self, start: usize) -> Option<Vma> {
        let gone = remove(&mut self.root, start);
        self.len -= usize::from(gone.is_some());
        gone
    }

    /// The areas that start in `start..end`, ascending.
    pub fn range(&self, start: usize, end: usize) -> impl Iterator<Item = &Vma> {
        let mut next = Some(start);
        core::iter::from_fn(move || {
            let vma = self.at_or_above(next?).filter(|vma| vma.start < end);
            next = vma.and_then(|vma| vma.start.checked_add(1));
            vma
        })
    }
}

fn level(link: &Link) -> u8 {
    link.as_ref().map_or(0, |node| node.level)
}

/// Turns right where a left child is on its parent's level.
fn skew(link: &mut Link) {
    let Some(node) = link else { return };
    if level(&node.left) != node.level {
        return;
    }
    let Some(mut left) = node.left.take() else { return };
    node.left = left.right.take();
    let parent = link.replace(left);
    if let Some(node) = link {
        node.right = parent;
    }
}

/// Turns left where two right children in a row are on their parent's level, and lifts the
/// middle one.
fn split(link: &mut Link) {
    let Some(node) = link else { return };
    if node.right.as_ref().is_none_or(|right| level(&right.right) != node.level) {
        return;
    }
    let Some(mut right) = node.right.take() else { return };
    node.right = right.left.take();
    right.level += 1;
    let parent = link.replace(right);
    if let Some(node) = link {
        node.left = parent;
    }
}

fn insert(link: &mut Link, vma: Vma) {
    let Some(node) = link else {
        *link = Some(Box::new(Node { level: 1, vma, left: None, right: None }));
        return;
    };
    insert(if vma.start < node.vma.start { &mut node.left } else { &mut node.right }, vma);
    skew(link);
    split(link);
}

fn remove(link: &mut Link, start: usize) -> Option<Vma> {
    let node = link.as_mut()?;
    let gone = if start < node.vma.start {
        remove(&mut node.left, start)
    } else if start > node.vma.start {
        remove(&mut node.right, start)
    } else if let Some(next) = lowest(&node.right) {
        // The next area takes its place.
        let next = remove(&mut node.right, next)?;
        Some(core::mem::replace(&mut node.vma, next))
    } else {
        // Without a right child it is a leaf, for a left child would be one level lower.
        return link.take().map(|node| node.vma);
    };
    rebalance(link);
    gone
}

/// The lowest start below `link`.
fn lowest(mut link: &Link) -> Option<usize> {
    let mut start = None;
    while let Some(node) = link {
        start = Some(node.vma.start);
        link = &node.left;
    }
    start
}

/// Restores the levels after a child of `link` lost an area.
fn rebalance(link: &mut Link) {
    let Some(node) = link else { return };
    let low = level(&node.left).min(level(&node.right)) + 1;
    if low < node.level {
        node.level = low;
        if let Some(right) = &mut node.right {
            right.level = right.level.min(low);
        }
    }
    skew(link);
    if let Some(node) = link {
        skew(&mut node.right);
        if let Some(right) = &mut node.right {
            skew(&mut right.right);
        }
    }
    split(link);
    if let Some(node) = link {
        split(&mut node.right);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Prot;
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Checks the levels below `link`.
    fn check(link: &Link) {
        let Some(node) = link else { return };
        assert_eq!(level(&node.left), node.level - 1);
        let right = level(&node.right);
        assert!(right == node.level || right == node.level - 1);
        assert!(node.right.as_ref().is_none_or(|r| level(&r.right) < node.level));
        check(&node.left);
        check(&node.right);
    }

    fn depth(link: &Link) -> u32 {
        link.as_ref().map_or(0, |n| 1 + depth(&n.left).max(depth(&n.right)))
    }

    fn vma(start: usize) -> Vma {
        Vma::anonymous(start, start + 1, Prot::READ)
    }

    #[test]
    fn it_does_what_a_map_does_and_stays_balanced() {
        let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
        let mut seed = 1_u64;
        for round in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (seed >> 33) as usize % 512;
            if model.remove(&key).is_some() {
                assert_eq!(tree.remove(key).map(|v| v.start), Some(key));
            } else {
                assert!(tree.remove(key).is_none() && tree.get_mut(key).is_none());
                tree.insert(vma(key));
                model.insert(key, ());
            }
            let at = (seed >> 20) as usize % 600;
            let below = model.range(..=at).next_back().map(|(k, ())| *k);
            assert_eq!(tree.at_or_below(at).map(|v| v.start), below);
            let above = model.range(at..).next().map(|(k, ())| *k);
            assert_eq!(tree.at_or_above(at).map(|v| v.start), above);
            assert_eq!(tree.len(), model.len());
            if round % 64 == 0 {
                check(&tree.root);
                let all: Vec<usize> = tree.range(0, usize::MAX).map(|v| v.start).collect();
                assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
                let part: Vec<usize> = tree.range(at, at + 99).map(|v| v.start).collect();
                assert_eq!(part, model.range(at..at + 99).map(|(k, ())| *k).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_ordered_flood_stays_shallow() {
        for descending in [false, true] {
            let mut tree = Tree::new();
            for n in 0..10_000 {
                tree.insert(vma(if descending { 10_000 - n } else { n }));
            }
            check(&tree.root);
            // 2·log₂(10 001) is 26.6.
            assert!(depth(&tree.root) <= 26, "{}", depth(&tree.root));
        }
    }
}
