//! File descriptors.

use alloc::vec::Vec;
use driver_api::{Error, Result};

/// Most descriptors of the process (the hard limit of `RLIMIT_NOFILE`, Linux's default).
pub const MAX_FILES: usize = 4096;

/// A descriptor's entry.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// The open file.
    pub file: T,
    /// Whether `execve` closes it (`FD_CLOEXEC`). Kept, for there is no `execve`.
    pub cloexec: bool,
}

/// The open files of a process by number. `T` is a handle that is cheap to clone.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<Entry<T>>>,
    /// New descriptors are below it (the soft limit of `RLIMIT_NOFILE`).
    limit: usize,
}

impl<T: Clone> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Table<T> {
    /// No open file.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), limit: MAX_FILES }
    }

    /// `file` as the descriptors 0 to `count`, and no other open file.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn with_first(count: usize, file: &T) -> Result<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        for _ in 0..count {
            slots.push(Some(Entry { file: file.clone(), cloexec: false }));
        }
        Ok(Self { slots, limit: MAX_FILES })
    }

    /// How many descriptors there can be.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// From now on no descriptor of `limit` and more is made; those that are there stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FILES);
    }

    /// The file behind `fd`.
    ///
    /// # Errors
    /// `BadFile`.
    pub fn get(&self, fd: i32) -> Result<T> {
        self.entry(fd).map(|e| e.file.clone())
    }

    /// The entry of `fd`.
    ///
    /// # Errors
    /// `BadFile`.
    pub fn entry(&self, fd: i32) -> Result<&Entry<T>> {
        usize::try_from(fd).ok().and_then(|fd| self.slots.get(fd)?.as_ref()).ok_or(Error::BadFile)
    }

    /// Sets whether `execve` closes `fd`.
    ///
    /// # Errors
    /// `BadFile`.
    pub fn set_cloexec(&mut self, fd: i32, cloexec: bool) -> Result<()> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.slots.get_mut(fd)?.as_mut());
        slot.ok_or(Error::BadFile)?.cloexec = cloexec;
        Ok(())
    }

    /// Opens `file` as the lowest free number that is not below `from`.
    ///
    /// # Errors
    /// `TooManyFiles`, `Invalid` for an impossible `from`, `NoMemory`.
    pub fn add(&mut self, file: T, cloexec: bool, from: i32) -> Result<i32> {
        let from = usize::try_from(from).ok().filter(|&f| f < self.limit.max(1));
        let from = from.ok_or(Error::Invalid)?;
        let free = self.slots.iter().skip(from).position(Option::is_none);
        let fd = free.map_or(self.slots.len().max(from), |i| from + i);
        if fd >= self.limit {
            return Err(Error::TooManyFiles);
        }
        // Whoever opens has made an object or two already: they are dropped again.
        crate::mm::room::room(0)?;
        self.put(fd, Entry { file, cloexec })?;
        Ok(fd as i32)
    }

    /// Opens `file` as `fd`; what was there comes back, to be closed without the lock.
    ///
    /// # Errors
    /// `BadFile` for a number out of range, `NoMemory`.
    pub fn replace(&mut self, fd: i32, file: T, cloexec: bool) -> Result<Option<T>> {
        let fd = usize::try_from(fd).ok().filter(|&f| f < self.limit).ok_or(Error::BadFile)?;
        self.put(fd, Entry { file, cloexec })
    }

    fn put(&mut self, fd: usize, entry: Entry<T>) -> Result<Option<T>> {
        if fd >= self.slots.len() {
            self.slots.try_reserve(fd + 1 - self.slots.len()).map_err(|_| Error::NoMemory)?;
            self.slots.resize_with(fd + 1, || None);
        }
        let slot = self.slots.get_mut(fd).ok_or(Error::BadFile)?;
        Ok(slot.replace(entry).map(|old| old.file))
    }

    /// Closes `fd`; the file comes back, to be dropped without the lock.
    ///
    /// # Errors
    /// `BadFile`.
    pub fn remove(&mut self, fd: i32) -> Result<T> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.slots.get_mut(fd));
        slot.and_then(Option::take).map(|e| e.file).ok_or(Error::BadFile)
    }

    /// All open descriptors, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Entry<T>)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| Some((i as i32, s.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_descriptors_are_one_file() {
        let mut t = Table::with_first(3, &'a').unwrap();
        assert!(t.iter().map(|(fd, e)| (fd, e.file)).eq([(0, 'a'), (1, 'a'), (2, 'a')]));
        assert_eq!(t.add('b', false, 0), Ok(3));
    }

    #[test]
    fn the_lowest_free_number_is_taken() {
        let mut t = Table::new();
        assert_eq!(t.add('a', false, 0), Ok(0));
        assert_eq!(t.add('b', true, 0), Ok(1));
        assert_eq!(t.add('c', false, 10), Ok(10));
        assert_eq!(t.add('d', false, 0), Ok(2));
        assert_eq!(t.remove(1), Ok('b'));
        assert_eq!(t.remove(1), Err(Error::BadFile));
        assert_eq!(t.add('e', false, 0), Ok(1));
        assert_eq!(t.get(10), Ok('c'));
        assert_eq!(t.get(9), Err(Error::BadFile));
        assert_eq!(t.get(-1), Err(Error::BadFile));
        assert_eq!(t.replace(10, 'f', true), Ok(Some('c')));
        assert_eq!(t.replace(11, 'g', true), Ok(None));
        assert!(t.entry(11).unwrap().cloexec);
        t.set_cloexec(11, false).unwrap();
        assert!(!t.entry(11).unwrap().cloexec);
        assert_eq!(t.set_cloexec(99, false), Err(Error::BadFile));
    }

    #[test]
    fn the_limit_holds() {
        let mut t = Table::new();
        for i in 0..MAX_FILES as i32 {
            assert_eq!(t.add((), false, 0), Ok(i));
        }
        assert_eq!(t.add((), false, 0), Err(Error::TooManyFiles));
        assert_eq!(t.add((), false, MAX_FILES as i32), Err(Error::Invalid));
        assert_eq!(t.add((), false, -1), Err(Error::Invalid));
        assert_eq!(t.replace(MAX_FILES as i32, (), false), Err(Error::BadFile));
        // A lower limit is for new ones.
        t.set_limit(10);
        assert_eq!(t.remove(5), Ok(()));
        assert_eq!(t.add((), false, 0), Ok(5));
        assert_eq!(t.add((), false, 0), Err(Error::TooManyFiles));
        assert_eq!(t.add((), false, 10), Err(Error::Invalid));
        assert_eq!(t.replace(10, (), false), Err(Error::BadFile));
        assert_eq!((t.replace(9, (), false), t.get(20)), (Ok(Some(())), Ok(())));
        t.set_limit(0);
        assert_eq!(t.add((), false, 0), Err(Error::TooManyFiles));
        t.set_limit(usize::MAX);
        assert_eq!(t.limit(), MAX_FILES);
    }
}
