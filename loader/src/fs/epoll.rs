//! Sets of files to wait for (`epoll(7)`). A set can be in another, which is readable as long as
//! something in it is.

use super::file::{OpenFile, Stream};
use super::poll::{self, Events};
use crate::sync::Mutex;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use driver_api::{Error, Result};

/// `EPOLLEXCLUSIVE` (`linux/eventpoll.h`): of several sets at least one is told. Here all are,
/// which is no less.
const EXCLUSIVE: u32 = 1 << 28;
/// What may be said together with it: `EPOLLIN`, `EPOLLOUT`, `EPOLLERR`, `EPOLLHUP`, `EPOLLWAKEUP`,
/// `EPOLLET`.
const WITH_EXCLUSIVE: u32 = 1 | 4 | 8 | 16 | 1 << 29 | EDGE;
/// `EPOLLONESHOT`.
const ONE_SHOT: u32 = 1 << 30;
/// `EPOLLET`.
const EDGE: u32 = 1 << 31;
/// How many sets can be in each other (`epoll_ctl(2)`, `ELOOP`).
const MAX_DEPTH: usize = 5;

/// What is waited for, of one file.
struct Item {
    fd: i32,
    file: Weak<OpenFile>,
    /// The bits of `poll`, and the two above; 0 after a one-shot event.
    wanted: u32,
    data: u64,
    /// With [`EDGE`]: how many changes of any file there had been when it was reported last.
    seen: Option<u64>,
}

impl Item {
    /// What is to be told of it when there have been `changes`.
    fn events(&self, changes: u64) -> u32 {
        if self.wanted & EDGE != 0 && self.seen == Some(changes) {
            return 0;
        }
        let ready = self.file.upgrade().map(|f| f.poll().answer(self.wanted as u16));
        ready.map_or(0, |ready| u32::from(ready) & self.wanted)
    }
}

/// An event to report: the bits of `poll`, and the word that the caller gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// See [`Events`].
    pub events: u32,
    /// The caller's own.
    pub data: u64,
}

/// What is done with a file in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is put into it.
    Add,
    /// It is taken out.
    Delete,
    /// Something else is waited for.
    Modify,
}

/// A set.
pub struct Epoll {
    items: Mutex<Vec<Item>>,
    /// The sets that it is, or was, in.
    above: Mutex<Vec<Weak<OpenFile>>>,
}

/// Held while a set is put into another: so there is never a loop, and [`Epoll::poll`], which
/// goes down from set to set, ends.
static NESTING: Mutex<()> = Mutex::new(());

impl Epoll {
    /// An empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: Mutex::new(Vec::new()), above: Mutex::new(Vec::new()) }
    }

    /// The set that `file` is.
    #[must_use]
    pub fn of(file: &OpenFile) -> Option<&Self> {
        let stream: &dyn Any = &**file.stream.as_ref()?;
        stream.downcast_ref()
    }

    /// Changes what the set `set` waits for of `file`, which is open as `fd`.
    ///
    /// # Errors
    /// `Exists`, `NotFound`; `NotPermitted` for what is always ready (files, directories);
    /// `Invalid` when `set` is none or is `file`, and for wrong `events`; `Loop` when sets would
    /// be in each other in a circle, or too deep; `NoMemory`.
    pub fn change(
        set: &Arc<OpenFile>,
        change: Change,
        fd: i32,
        file: &Arc<OpenFile>,
        events: u32,
        data: u64,
    ) -> Result<()> {
        let this = Self::of(set).filter(|_| !Arc::ptr_eq(set, file)).ok_or(Error::Invalid)?;
        if file.stream.is_none() {
            return Err(Error::NotPermitted);
        }
        let inner = Self::of(file);
        let exclusive = events & EXCLUSIVE != 0 && change != Change::Delete;
        let alone =
            change == Change::Modify || inner.is_some() || events & !WITH_EXCLUSIVE != EXCLUSIVE;
        if exclusive && alone {
            return Err(Error::Invalid);
        }
        match inner.filter(|_| change == Change::Add) {
            None => this.change_item(change, fd, file, events, data),
            Some(inner) => {
                let _nesting = NESTING.lock();
                let below = inner.depth_below(this).ok_or(Error::TooManySymlinks)?;
                if this.depth_above() + below > MAX_DEPTH {
                    return Err(Error::TooManySymlinks);
                }
                let mut above = inner.above.lock();
                above.retain(|set| set.strong_count() > 0);
                above.try_reserve(1).map_err(|_| Error::NoMemory)?;
                this.change_item(change, fd, file, events, data)?;
                above.push(Arc::downgrade(set));
                Ok(())
            }
        }
    }

    /// How many sets there are from this one downwards at most; `None` when `top` is one of
    /// them. Under [`NESTING`].
    fn depth_below(&self, top: &Self) -> Option<usize> {
        if core::ptr::eq(self, top) {
            return None;
        }
        let mut deepest = 0;
        for item in self.items.lock().iter() {
            if let Some(file) = item.file.upgrade()
                && let Some(set) = Self::of(&file)
            {
                deepest = deepest.max(set.depth_below(top)?);
            }
        }
        Some(deepest + 1)
    }

    /// How many there are from this one upwards at most. Under [`NESTING`].
    fn depth_above(&self) -> usize {
        let above = self.above.lock();
        let sets = above.iter().filter_map(Weak::upgrade);
        // One that it was taken out of counts no more.
        let depth = |set: Arc<OpenFile>| {
            let set = Self::of(&set).filter(|set| set.holds(self))?;
            Some(set.depth_above())
        };
        sets.filter_map(depth).max().unwrap_or(0) + 1
    }

    fn holds(&self, other: &Self) -> bool {
        let is_other =
            |file: Arc<OpenFile>| Self::of(&file).is_some_and(|s| core::ptr::eq(s, other));
        self.items.lock().iter().any(|i| i.file.upgrade().is_some_and(is_other))
    }

    fn change_item(
        &self,
        change: Change,
        fd: i32,
        file: &Arc<OpenFile>,
        events: u32,
        data: u64,
    ) -> Result<()> {
        let mut items = self.items.lock();
        // Those that were closed are gone, and their numbers may have others now.
        items.retain(|i| i.file.strong_count() > 0);
        let found = items.iter().position(|i| i.fd == fd && i.file.as_ptr() == Arc::as_ptr(file));
        let always = u32::from(Events::ERROR.with(Events::HANG_UP).0);
        let item =
            || Item { fd, file: Arc::downgrade(file), wanted: events | always, data, seen: None };
        match (change, found) {
            (Change::Add, Some(_)) => return Err(Error::Exists),
            (Change::Add, None) => {
                items.try_reserve(1).map_err(|_| Error::NoMemory)?;
                items.push(item());
            }
            (_, None) => return Err(Error::NotFound),
            (Change::Delete, Some(at)) => {
                items.remove(at);
            }
            (Change::Modify, Some(at)) => {
                if let Some(slot) = items.get_mut(at) {
                    *slot = item();
                }
            }
        }
        Ok(())
    }

    /// Up to `max` files that can be used; `changes` is how often any file has changed.
    ///
    /// A file that is waited for with `EPOLLET` is told again only after something has
    /// changed. What changed may have been another file: such an event too many is what
    /// programs must bear, one too few is not.
    #[must_use]
    pub fn ready(&self, max: usize, changes: u64) -> Vec<Ready> {
        let mut out = Vec::new();
        let mut items = self.items.lock();
        let mut told = 0;
        for item in items.iter_mut() {
            if out.len() == max {
                break;
            }
            told += 1;
            let events = item.events(changes);
            if events == 0 {
                continue;
            }
            item.seen = Some(changes);
            if item.wanted & ONE_SHOT != 0 {
                item.wanted = 0;
            }
            out.push(Ready { events, data: item.data });
        }
        // Those who were not looked at come first next time.
        let len = items.len();
        items.rotate_left(told % len.max(1));
        out
    }
}

impl Default for Epoll {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream for Epoll {
    fn poll(&self) -> Events {
        let changes = poll::changes();
        let ready = self.items.lock().iter().any(|i| i.events(changes) != 0);
        if ready { Events::READ } else { Events::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::eventfd::EventFd;
    use crate::fs::file::flags;

    fn counter(count: u64) -> Arc<OpenFile> {
        OpenFile::new(None, Some(Arc::new(EventFd::new(count, false))), flags::RDWR)
    }

    fn new_set() -> Arc<OpenFile> {
        OpenFile::new(None, Some(Arc::new(Epoll::new())), flags::RDWR)
    }

    fn add(set: &Arc<OpenFile>, fd: i32, file: &Arc<OpenFile>, events: u32) -> Result<()> {
        Epoll::change(set, Change::Add, fd, file, events, fd as u64)
    }

    /// What `set` tells: events and data.
    fn told(set: &Arc<OpenFile>, max: usize, changes: u64) -> Vec<(u32, u64)> {
        let ready = Epoll::of(set).unwrap().ready(max, changes);
        ready.iter().map(|r| (r.events, r.data)).collect()
    }

    #[test]
    fn what_can_be_used_is_told_in_turns() {
        let set = new_set();
        let files = [counter(1), counter(0), counter(1)];
        for (fd, file) in (3..).zip(&files) {
            add(&set, fd, file, 1).unwrap();
        }
        assert_eq!([told(&set, 1, 0), told(&set, 1, 0)], [[(1, 3)], [(1, 5)]]);
        assert_eq!(told(&set, 1, 0), [(1, 3)]);
        assert_eq!(set.poll(), Events::READ);
        assert_eq!(add(&set, 3, &files[0], 1), Err(Error::Exists));
        let change = |change| Epoll::change(&set, change, 3, &files[0], 1, 0);
        change(Change::Delete).unwrap();
        assert_eq!(change(Change::Modify), Err(Error::NotFound));
        drop(files);
        assert!(told(&set, 9, 0).is_empty(), "closed files are not in the set");
    }

    #[test]
    fn edges_and_single_shots() {
        let set = new_set();
        let file = counter(1);
        add(&set, 3, &file, 1 | EDGE).unwrap();
        assert_eq!(told(&set, 9, 5), [(1, 3)]);
        assert!(told(&set, 9, 5).is_empty());
        assert_eq!(told(&set, 9, 6), [(1, 3)]);
        let modify = |events| Epoll::change(&set, Change::Modify, 3, &file, events, 7);
        modify(1 | ONE_SHOT).unwrap();
        assert_eq!(told(&set, 9, 6), [(1, 7)]);
        assert!(told(&set, 9, 7).is_empty());
        assert_eq!(set.poll(), Events::default(), "a shot that was fired");
        modify(4 | ONE_SHOT).unwrap();
        assert_eq!(told(&set, 9, 8), [(4, 7)]);
    }

    #[test]
    fn a_set_in_a_set_is_readable_while_something_in_it_is() {
        let (outer, inner, file) = (new_set(), new_set(), counter(0));
        add(&inner, 3, &file, 1).unwrap();
        add(&outer, 4, &inner, 1).unwrap();
        assert_eq!((outer.poll(), told(&outer, 9, 0).len()), (Events::default(), 0));
        file.write(&1_u64.to_le_bytes()).unwrap();
        assert_eq!((outer.poll(), told(&outer, 9, 1)), (Events::READ, [(1, 4)].into()));
        assert_eq!(told(&inner, 9, 1), [(1, 3)]);
        drop(file);
        assert!(told(&outer, 9, 2).is_empty());
    }

    #[test]
    fn no_circles_and_no_deeper_than_five() {
        let sets: Vec<_> = (0..6).map(|_| new_set()).collect();
        assert_eq!(add(&sets[0], 3, &sets[0], 1), Err(Error::Invalid), "itself");
        // From the bottom up, then from the top down: the depth is that of the whole.
        for n in [1, 0, 3] {
            add(&sets[n], 3, &sets[n + 1], 1).unwrap();
        }
        add(&sets[2], 3, &sets[3], 1).unwrap();
        assert_eq!(add(&sets[4], 3, &sets[5], 1), Err(Error::TooManySymlinks), "six");
        assert_eq!(add(&sets[5], 3, &sets[0], 1), Err(Error::TooManySymlinks), "six");
        assert_eq!(add(&sets[3], 4, &sets[5], 1), Ok(()), "five, twice");
        for top in [1, 3, 4] {
            assert_eq!(add(&sets[top], 9, &sets[0], 1), Err(Error::TooManySymlinks), "a circle");
        }
        // What is taken out, or closed, counts no more.
        Epoll::change(&sets[0], Change::Delete, 3, &sets[1], 0, 0).unwrap();
        assert_eq!(add(&sets[4], 3, &sets[0], 1), Ok(()));
    }

    #[test]
    fn exclusive_waits_are_for_plain_files_and_for_new_ones() {
        let (set, other, file) = (new_set(), new_set(), counter(1));
        assert_eq!(add(&set, 3, &other, 1 | EXCLUSIVE), Err(Error::Invalid));
        assert_eq!(add(&set, 3, &file, 1 | EXCLUSIVE | ONE_SHOT), Err(Error::Invalid));
        assert_eq!(add(&set, 3, &file, 1 | EXCLUSIVE | EDGE), Ok(()));
        assert_eq!(told(&set, 9, 1), [(1, 3)]);
        let modify = Epoll::change(&set, Change::Modify, 3, &file, 1 | EXCLUSIVE, 0);
        assert_eq!(modify, Err(Error::Invalid));
    }

    #[test]
    fn files_are_refused() {
        let plain = OpenFile::new(None, None, flags::RDWR);
        assert_eq!(add(&new_set(), 3, &plain, 1), Err(Error::NotPermitted));
        assert_eq!(add(&plain, 3, &counter(1), 1), Err(Error::Invalid));
    }
}
