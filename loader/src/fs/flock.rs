//! Locks of whole files (`flock(2)`): they belong to open files, so two of one process can
//! be in each other's way.

use super::file::OpenFile;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use driver_api::{Error, Result};

/// What a lock is for: the mount's number and the inode's.
pub type Key = (u32, u64);

struct Held {
    key: Key,
    owner: Weak<OpenFile>,
    exclusive: bool,
}

/// All locks. One whose owner is gone is none.
pub struct Locks(Vec<Held>);

impl Locks {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Locks `key` for `owner`, in place of the lock that it has; `false` when another's
    /// lock is in the way: nothing has changed then.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn lock(&mut self, key: Key, owner: &Arc<OpenFile>, exclusive: bool) -> Result<bool> {
        self.0.retain(|held| held.owner.strong_count() > 0);
        let own = |held: &Held| held.owner.as_ptr() == Arc::as_ptr(owner);
        let in_the_way =
            |held: &Held| held.key == key && !own(held) && (exclusive || held.exclusive);
        if self.0.iter().any(in_the_way) {
            return Ok(false);
        }
        match self.0.iter_mut().find(|held| own(held)) {
            Some(held) => held.exclusive = exclusive,
            None => {
                self.0.try_reserve(1).map_err(|_| Error::NoMemory)?;
                self.0.push(Held { key, owner: Arc::downgrade(owner), exclusive });
            }
        }
        Ok(true)
    }

    /// Gives up the lock of `owner`, if it has one.
    pub fn unlock(&mut self, owner: &Arc<OpenFile>) {
        self.0.retain(|held| held.owner.as_ptr() != Arc::as_ptr(owner));
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_and_writers_do_not() {
        let mut locks = Locks::new();
        let file = || OpenFile::new(None, None, 0);
        let (a, b, key) = (file(), file(), (1, 7));
        assert_eq!(locks.lock(key, &a, false), Ok(true));
        assert_eq!(locks.lock(key, &b, false), Ok(true));
        assert_eq!(locks.lock(key, &a, true), Ok(false), "b reads");
        locks.unlock(&b);
        assert_eq!(locks.lock(key, &a, true), Ok(true));
        assert_eq!(locks.lock(key, &b, false), Ok(false));
        assert_eq!(locks.lock((1, 8), &b, true), Ok(true), "another file");
        assert_eq!(locks.lock(key, &a, false), Ok(true), "it gives way");
        drop(a);
        let c = file();
        assert_eq!(locks.lock(key, &c, true), Ok(true), "a closed file holds nothing");
    }
}
