//! Locks of ranges of files (`fcntl(2)`): of the process (POSIX: they go when it closes the
//! file, by whichever descriptor), and of open files (`F_OFD_…`: they go with these).
//!
//! There is one process, so its own locks are never in each other's way, nor can it wait for
//! itself: there are no deadlocks to detect. (Among open files Linux detects none either.)

use super::file::OpenFile;
use super::flock::Key;
use crate::mm::room::room;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use driver_api::{Error, Result};

/// Whose a lock is.
#[derive(Clone, Debug)]
pub enum Owner {
    /// The process's.
    Process,
    /// An open file's.
    File(Weak<OpenFile>),
}

impl Owner {
    /// Of this open file.
    #[must_use]
    pub fn file(file: &Arc<OpenFile>) -> Self {
        Self::File(Arc::downgrade(file))
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Process, Self::Process) => true,
            (Self::File(a), Self::File(b)) => a.ptr_eq(b),
            _ => false,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self, Self::File(file) if file.strong_count() == 0)
    }
}

/// A lock.
#[derive(Clone, Debug)]
pub struct Lock {
    /// Of which file.
    pub key: Key,
    /// Whose.
    pub owner: Owner,
    /// For writing: nobody else may have one.
    pub exclusive: bool,
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX` as far as the file ever goes.
    pub last: u64,
}

impl Lock {
    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    /// Whether the two are of the same file and owner.
    fn belongs_to(&self, other: &Self) -> bool {
        self.key == other.key && self.owner.same(&other.owner)
    }

    fn is_in_the_way(&self, wanted: &Self) -> bool {
        self.key == wanted.key
            && !self.owner.same(&wanted.owner)
            && (self.exclusive || wanted.exclusive)
            && self.overlaps(wanted)
            && !self.owner.is_gone()
    }
}

/// All of them.
pub struct RecordLocks(Vec<Lock>);

impl RecordLocks {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A lock of somebody else that is in the way of `wanted`.
    #[must_use]
    pub fn conflict(&self, wanted: &Lock) -> Option<&Lock> {
        self.0.iter().find(|held| held.is_in_the_way(wanted))
    }

    /// Locks the range of `wanted` for its owner, in place of what it has there; `false` when
    /// another's lock is in the way.
    ///
    /// # Errors
    /// `NoMemory`. Nothing has changed then, nor after `false`.
    pub fn lock(&mut self, wanted: Lock) -> Result<bool> {
        if self.conflict(&wanted).is_some() {
            return Ok(false);
        }
        self.replace(wanted, true)?;
        Ok(true)
    }

    /// Unlocks the range of `range` for its owner.
    ///
    /// # Errors
    /// `NoMemory`, when a lock would be cut in two. Nothing has changed then.
    pub fn unlock(&mut self, range: Lock) -> Result<()> {
        self.replace(range, false)
    }

    /// Unlocks all that the process has of a file; whether that was anything.
    pub fn release(&mut self, key: Key) -> bool {
        let before = self.0.len();
        self.0.retain(|held| held.key != key || !matches!(held.owner, Owner::Process));
        self.0.len() != before
    }

    /// Cuts the range of `new` out of what its owner has, and puts `new` there if it is `kept`.
    /// A lock of the same kind that it touches becomes part of it.
    fn replace(&mut self, mut new: Lock, kept: bool) -> Result<()> {
        self.0.retain(|held| !held.owner.is_gone());
        // One may be cut in two, and the new one comes.
        room((self.0.len() + 2) * 2 * size_of::<Lock>())?;
        self.0.try_reserve(2).map_err(|_| Error::NoMemory)?;
        let mut n = 0;
        while let Some(held) = self.0.get(n) {
            if !held.belongs_to(&new) {
                n += 1;
            } else if kept && held.exclusive == new.exclusive {
                let touches = held.start <= new.last.saturating_add(1)
                    && new.start <= held.last.saturating_add(1);
                if !touches {
                    n += 1;
                    continue;
                }
                (new.start, new.last) = (new.start.min(held.start), new.last.max(held.last));
                self.0.swap_remove(n);
            } else if !held.overlaps(&new) {
                n += 1;
            } else {
                let (before, after) = (held.clone(), self.0.swap_remove(n));
                // What is left of it belongs to nothing that comes later in the list.
                if before.start < new.start {
                    self.0.insert(0, Lock { last: new.start - 1, ..before });
                    n += 1;
                }
                if after.last > new.last {
                    self.0.insert(0, Lock { start: new.last + 1, ..after });
                    n += 1;
                }
            }
        }
        if kept {
            self.0.push(new);
        }
        Ok(())
    }
}

impl Default for RecordLocks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = (1, 7);

    fn lock(owner: &Owner, exclusive: bool, start: u64, last: u64) -> Lock {
        Lock { key: KEY, owner: owner.clone(), exclusive, start, last }
    }

    #[test]
    fn owners_are_in_each_others_way_where_they_overlap() {
        let mut locks = RecordLocks::new();
        let files = [0, 1].map(|_| OpenFile::new(None, None, 0));
        let [a, b] = [0, 1].map(|n| Owner::file(&files[n]));
        assert_eq!(locks.lock(lock(&a, true, 10, 19)), Ok(true));
        assert_eq!(locks.lock(lock(&Owner::Process, false, 0, 9)), Ok(true));
        assert_eq!(locks.lock(lock(&b, false, 0, 10)), Ok(false));
        assert_eq!(locks.lock(lock(&b, false, 5, 9)), Ok(true), "readers share");
        assert_eq!(locks.lock(lock(&b, true, 5, 9)), Ok(false));
        assert_eq!(locks.lock(Lock { key: (1, 8), ..lock(&b, true, 0, 99) }), Ok(true));
        let found = locks.conflict(&lock(&b, false, 15, u64::MAX)).unwrap();
        assert_eq!((found.start, found.last, found.exclusive), (10, 19, true));
        assert!(locks.release(KEY) && !locks.release(KEY));
        assert_eq!(locks.lock(lock(&b, true, 5, 9)), Ok(true), "the process closed it");
        let [first, _] = files;
        drop(first);
        assert_eq!(locks.lock(lock(&b, true, 0, 99)), Ok(true), "a closed file holds nothing");
        assert_eq!(locks.0.len(), 2, "one of each file");
    }

    #[test]
    fn locks_are_cut_and_joined() {
        let mut locks = RecordLocks::new();
        let own = Owner::Process;
        locks.lock(lock(&own, true, 0, i64::MAX as u64)).unwrap();
        locks.unlock(lock(&own, false, 10, 19)).unwrap();
        locks.lock(lock(&own, false, 15, 29)).unwrap();
        let mut held: Vec<_> = locks.0.iter().map(|l| (l.start, l.last, l.exclusive)).collect();
        held.sort_unstable();
        let end = i64::MAX as u64;
        assert_eq!(held, [(0, 9, true), (15, 29, false), (30, end, true)]);
        locks.lock(lock(&own, true, 10, 29)).unwrap();
        let held: Vec<_> = locks.0.iter().map(|l| (l.start, l.last, l.exclusive)).collect();
        assert_eq!(held, [(0, end, true)]);
    }

    proptest! {
        /// Against a model: what each owner has of each byte.
        #[test]
        fn each_byte_is_as_the_model_says(
            ops in proptest::collection::vec((0..3_usize, 0..3_u8, 0..24_u64, 0..24_u64), 1..60),
        ) {
            let files = [0, 1].map(|_| OpenFile::new(None, None, 0));
            let owners = [Owner::Process, Owner::file(&files[0]), Owner::file(&files[1])];
            let mut locks = RecordLocks::new();
            let mut model = [[None; 24]; 3];
            for (who, what, a, b) in ops {
                let (start, last) = (a.min(b), a.max(b));
                let range = start as usize..=last as usize;
                let wanted = lock(&owners[who], what == 2, start, last);
                if what == 0 {
                    locks.unlock(wanted).unwrap();
                    model[who][range].fill(None);
                    continue;
                }
                let conflict = (0..3).filter(|o| *o != who).any(|o| {
                    model[o][range.clone()].iter().flatten().any(|held| *held || what == 2)
                });
                prop_assert_eq!(locks.conflict(&wanted).is_some(), conflict);
                prop_assert_eq!(locks.lock(wanted), Ok(!conflict));
                if !conflict {
                    model[who][range].fill(Some(what == 2));
                }
                for (owner, bytes) in owners.iter().zip(&model) {
                    for (at, byte) in (0..).zip(bytes) {
                        let mut held = locks.0.iter().filter(|l| {
                            l.owner.same(owner) && l.start <= at && at <= l.last
                        });
                        prop_assert_eq!(held.next().map(|l| l.exclusive), *byte);
                        prop_assert!(held.next().is_none(), "no byte twice");
                    }
                }
            }
        }
    }
}
