//! The names in a directory.

use crate::node::Node;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use driver_api::memory::{reserve_one, room};
use driver_api::{Error, Result};

/// Names in the order in which they came, for `read_dir`, and sorted, for lookups.
#[derive(Default)]
pub struct Directory {
    /// Ascending by cursor.
    entries: Vec<Entry>,
    /// Their cursors, sorted by the names that these stand for.
    by_name: Vec<u64>,
    last_cursor: u64,
}

/// An entry of a directory.
pub struct Entry {
    /// Where a reader goes on after it.
    pub cursor: u64,
    /// Its name.
    pub name: Box<[u8]>,
    /// What it names.
    pub node: Arc<Node>,
}

impl Directory {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is `name`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_ok()
    }

    /// The entries behind `cursor`, in the order in which they came.
    pub fn after(&self, cursor: u64) -> &[Entry] {
        let first = self.entries.partition_point(|e| e.cursor <= cursor);
        self.entries.get(first..).unwrap_or(&[])
    }

    fn at(&self, cursor: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&cursor, |e| e.cursor).ok()
    }

    /// Where `name` is in `by_name`, or would be.
    fn find(&self, name: &[u8]) -> core::result::Result<usize, usize> {
        self.by_name.binary_search_by(|&cursor| {
            let entry = self.at(cursor).and_then(|at| self.entries.get(at));
            entry.map_or(&[][..], |e| &e.name).cmp(name)
        })
    }

    /// Where `name` is in `entries`.
    fn index(&self, name: &[u8]) -> Option<usize> {
        self.at(*self.by_name.get(self.find(name).ok()?)?)
    }

    /// What `name` names.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        Some(&self.entries.get(self.index(name)?)?.node)
    }

    /// Adds a name that is free.
    ///
    /// # Errors
    /// `Exists`, `NoMemory`.
    pub fn insert(&mut self, name: &[u8], node: Arc<Node>) -> Result<()> {
        room(name.len())?;
        reserve_one(&mut self.entries)?;
        reserve_one(&mut self.by_name)?;
        let Err(place) = self.find(name) else { return Err(Error::Exists) };
        self.last_cursor += 1;
        self.by_name.insert(place, self.last_cursor);
        self.entries.push(Entry { cursor: self.last_cursor, name: name.into(), node });
        Ok(())
    }

    /// Removes a name; what it named.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let place = self.find(name).ok()?;
        let at = self.at(*self.by_name.get(place)?)?;
        self.by_name.remove(place);
        Some(self.entries.remove(at).node)
    }

    /// Puts `node` where another is; the place among the entries stays.
    pub fn replace(&mut self, name: &[u8], node: Arc<Node>) -> Option<Arc<Node>> {
        let at = self.index(name)?;
        Some(core::mem::replace(&mut self.entries.get_mut(at)?.node, node))
    }
}
