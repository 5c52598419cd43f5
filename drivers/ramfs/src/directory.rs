//! The names in a directory.

use crate::node::Node;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::memory::{reserve_one, room};
use driver_api::{Error, Result};

/// Names in the order in which they came, for `read_dir`, and chained by hash, for lookups.
///
/// A name that is removed from a large directory leaves its place in both empty, until there are
/// more empty places than names: then all are moved together. So neither adding nor removing one
/// depends on how many there are, whatever the order. In a small one they are moved at once: what
/// it takes depends on nothing but how many names there were at a time.
#[derive(Default)]
pub struct Directory {
    /// Ascending by cursor.
    entries: Vec<Entry>,
    /// By the lower bits of the hash: one more than the index of the chain's first entry, or
    /// 0. Their number is a power of two; or 0, where a few names are one chain from the last
    /// to the first.
    chains: Vec<u32>,
    /// How many places are not empty.
    live: usize,
    last_cursor: u64,
}

/// A place in a directory.
pub struct Entry {
    /// Where a reader goes on after it.
    pub cursor: u64,
    /// What is here; `None` when it was removed.
    pub named: Option<Named>,
    hash: u32,
    /// The next entry of the chain, as in [`Directory::chains`].
    next: u32,
}

/// A name and its inode.
pub struct Named {
    /// The name.
    pub name: Box<[u8]>,
    /// What it names.
    pub node: Arc<Node>,
}

/// FNV-1a, 32 bits: the offset basis and the prime are its authors' (Fowler, Noll, Vo).
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// So many places are moved at once.
const FEW: usize = 64;
/// So many names are one chain.
const ONE_CHAIN: usize = 8;

impl Directory {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Whether there is `name`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    /// The places behind `cursor`, in the order in which they were filled.
    pub fn after(&self, cursor: u64) -> &[Entry] {
        let first = self.entries.partition_point(|e| e.cursor <= cursor);
        self.entries.get(first..).unwrap_or(&[])
    }

    /// Where `name` is in `entries`.
    fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = hash(name);
        let mut at = match self.chains.get(self.chain(hash)) {
            Some(first) => *first,
            None => self.entries.len() as u32,
        };
        loop {
            let index = at.checked_sub(1)? as usize;
            let entry = self.entries.get(index)?;
            if entry.hash == hash && entry.named.as_ref().is_some_and(|n| *n.name == *name) {
                return Some(index);
            }
            at = entry.next;
        }
    }

    /// The chain of a hash; none while there are no chains.
    fn chain(&self, hash: u32) -> usize {
        hash as usize & self.chains.len().wrapping_sub(1)
    }

    /// Puts the entry at `index` in front of its chain.
    fn link(&mut self, index: usize) {
        let Some(hash) = self.entries.get(index).map(|e| e.hash) else { return };
        let chain = self.chain(hash);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.next = match self.chains.get_mut(chain) {
                Some(first) => core::mem::replace(first, index as u32 + 1),
                None => index as u32,
            };
        }
    }

    /// Moves the entries together, and chains them anew.
    fn tidy(&mut self) {
        self.entries.retain(|e| e.named.is_some());
        self.chains.fill(0);
        (0..self.entries.len()).for_each(|index| self.link(index));
    }

    /// Makes room for one more entry and its place in a chain.
    fn reserve(&mut self) -> Result<()> {
        reserve_one(&mut self.entries)?;
        let count = self.chains.len();
        if self.entries.len() < count.max(ONE_CHAIN) {
            return Ok(());
        }
        let more = count.max(2 * ONE_CHAIN);
        room((count + more).saturating_mul(size_of::<u32>()))?;
        self.chains.try_reserve_exact(more).map_err(|_| Error::NoMemory)?;
        self.chains.resize(count + more, 0);
        self.tidy();
        Ok(())
    }

    /// What `name` names.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        Some(&self.entries.get(self.find(name)?)?.named.as_ref()?.node)
    }

    /// Adds a name that is free.
    ///
    /// # Errors
    /// `Exists`, `NoMemory`.
    pub fn insert(&mut self, name: &[u8], node: Arc<Node>) -> Result<()> {
        room(name.len())?;
        self.reserve()?;
        if self.contains(name) {
            return Err(Error::Exists);
        }
        self.last_cursor += 1;
        self.live += 1;
        let (cursor, index) = (self.last_cursor, self.entries.len());
        let named = Some(Named { name: name.into(), node });
        self.entries.push(Entry { cursor, named, hash: hash(name), next: 0 });
        self.link(index);
        Ok(())
    }

    /// Removes a name; what it named.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let at = self.find(name)?;
        let named = self.entries.get_mut(at)?.named.take()?;
        self.live -= 1;
        let places = self.entries.len();
        if places <= FEW || places > 2 * self.live {
            self.tidy();
        }
        Some(named.node)
    }

    /// Puts `node` where another is; the place among the entries stays.
    pub fn replace(&mut self, name: &[u8], node: Arc<Node>) -> Option<Arc<Node>> {
        let at = self.find(name)?;
        let named = self.entries.get_mut(at)?.named.as_mut()?;
        Some(core::mem::replace(&mut named.node, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RamFs;
    use alloc::format;
    use alloc::string::String;
    use driver_api::vfs::Timestamp;

    /// A directory, and how many entries were moved or chained anew in it.
    struct Counted {
        dir: Directory,
        node: Arc<Node>,
        moved: usize,
    }

    impl Counted {
        fn new() -> Self {
            let fs = RamFs::new(0o755, Timestamp::default());
            Self { dir: Directory::default(), node: fs.root_node().clone(), moved: 0 }
        }

        fn add(&mut self, n: usize) {
            let before = self.dir.chains.len();
            self.dir.insert(format!("file{n}").as_bytes(), self.node.clone()).unwrap();
            if self.dir.chains.len() != before {
                self.moved += self.dir.entries.len();
            }
        }

        fn remove(&mut self, n: usize) {
            let before = self.dir.entries.len();
            assert!(self.dir.remove(format!("file{n}").as_bytes()).is_some());
            if self.dir.entries.len() != before {
                self.moved += before;
            }
            let (places, live) = (self.dir.entries.len(), self.dir.len());
            assert!(places <= 2 * live && (places > FEW || places == live));
        }
    }

    const MANY: usize = 100_000;

    #[test]
    fn names_come_and_go_in_any_order_at_a_constant_price() {
        let orders: [fn(usize) -> usize; 3] = [|n| n, |n| MANY - 1 - n, |n| n * 7919 % MANY];
        for order in orders {
            let mut counted = Counted::new();
            (0..MANY).for_each(|n| counted.add(n));
            assert_eq!(counted.dir.len(), MANY);
            (0..MANY).for_each(|n| counted.remove(order(n)));
            assert!(counted.dir.is_empty());
            assert!(counted.moved <= 4 * MANY, "{} moves", counted.moved);
        }
    }

    #[test]
    fn chains_stay_short() {
        let mut counted = Counted::new();
        (0..MANY).for_each(|n| counted.add(n));
        let mut longest = 0;
        for &first in &counted.dir.chains {
            let (mut at, mut length) = (first, 0);
            while let Some(entry) =
                at.checked_sub(1).and_then(|i| counted.dir.entries.get(i as usize))
            {
                length += 1;
                at = entry.next;
            }
            longest = longest.max(length);
        }
        assert!(longest <= 16, "{longest}");
    }

    #[test]
    fn a_queue_of_names_stays_small() {
        let mut counted = Counted::new();
        (0..100).for_each(|n| counted.add(n));
        for n in 0..10_000 {
            counted.add(n + 100);
            counted.remove(n);
        }
        assert!(counted.dir.entries.len() <= 200 && counted.dir.chains.len() <= 256);
        assert!(counted.moved <= 4 * 10_000, "{} moves", counted.moved);
        let left: Vec<String> = (counted.dir.after(0).iter())
            .filter_map(|e| e.named.as_ref())
            .map(|n| String::from_utf8(n.name.to_vec()).unwrap())
            .collect();
        let wanted: Vec<String> = (10_000..10_100).map(|n| format!("file{n}")).collect();
        assert_eq!(left, wanted);
        let cursors: Vec<u64> = counted.dir.after(0).iter().map(|e| e.cursor).collect();
        assert!(cursors.is_sorted());
        for name in left {
            assert!(counted.dir.get(name.as_bytes()).is_some(), "{name}");
        }
        assert!(!counted.dir.contains(b"file9999") && !counted.dir.contains(b""));
        assert_eq!(counted.dir.insert(b"file10000", counted.node.clone()), Err(Error::Exists));
    }
}
