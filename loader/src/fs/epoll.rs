//! Sets of files to wait for (`epoll(7)`). Sets are not put into sets.

use super::file::{OpenFile, Stream};
use super::poll::Events;
use crate::sync::Mutex;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use driver_api::{Error, Result};

/// `EPOLLONESHOT` (`linux/eventpoll.h`).
const ONE_SHOT: u32 = 1 << 30;
/// `EPOLLET`.
const EDGE: u32 = 1 << 31;

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
}

impl Epoll {
    /// An empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: Mutex::new(Vec::new()) }
    }

    /// The set that `file` is.
    #[must_use]
    pub fn of(file: &OpenFile) -> Option<&Self> {
        let stream: &dyn Any = &**file.stream.as_ref()?;
        stream.downcast_ref()
    }

    /// Changes what is waited for of `file`, which is open as `fd`.
    ///
    /// # Errors
    /// `Exists`, `NotFound`; `NotPermitted` for what is always ready (files, directories);
    /// `Invalid` for a set; `NoMemory`.
    pub fn change(
        &self,
        change: Change,
        fd: i32,
        file: &Arc<OpenFile>,
        events: u32,
        data: u64,
    ) -> Result<()> {
        if Self::of(file).is_some() {
            return Err(Error::Invalid);
        }
        if file.stream.is_none() {
            return Err(Error::NotPermitted);
        }
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
            let Some(file) = item.file.upgrade() else { continue };
            let events = u32::from(file.poll().answer(item.wanted as u16)) & item.wanted;
            if events == 0 || item.wanted & EDGE != 0 && item.seen == Some(changes) {
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
        let ready = self
            .items
            .lock()
            .iter()
            .any(|i| i.file.upgrade().is_some_and(|f| f.poll().answer(i.wanted as u16) != 0));
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

    #[test]
    fn what_can_be_used_is_told_in_turns() {
        let set = Epoll::new();
        let files = [counter(1), counter(0), counter(1)];
        for (fd, file) in (3..).zip(&files) {
            set.change(Change::Add, fd, file, 1, fd as u64).unwrap();
        }
        let one = |set: &Epoll| set.ready(1, 0).iter().map(|r| r.data).collect::<Vec<_>>();
        assert_eq!((one(&set), one(&set), one(&set)), ([3].into(), [5].into(), [3].into()));
        assert_eq!(set.poll(), Events::READ);
        assert_eq!(set.change(Change::Add, 3, &files[0], 1, 0), Err(Error::Exists));
        set.change(Change::Delete, 3, &files[0], 0, 0).unwrap();
        assert_eq!(set.change(Change::Modify, 3, &files[0], 1, 0), Err(Error::NotFound));
        drop(files);
        assert!(set.ready(9, 0).is_empty(), "closed files are not in the set");
    }

    #[test]
    fn edges_and_single_shots() {
        let set = Epoll::new();
        let file = counter(1);
        set.change(Change::Add, 3, &file, 1 | EDGE, 7).unwrap();
        let told = [Ready { events: 1, data: 7 }];
        assert_eq!(set.ready(9, 5), told);
        assert!(set.ready(9, 5).is_empty());
        assert_eq!(set.ready(9, 6), told);
        set.change(Change::Modify, 3, &file, 1 | ONE_SHOT, 7).unwrap();
        assert_eq!(set.ready(9, 6), told);
        assert!(set.ready(9, 7).is_empty());
        set.change(Change::Modify, 3, &file, 4 | ONE_SHOT, 7).unwrap();
        assert_eq!(set.ready(9, 8), [Ready { events: 4, data: 7 }]);
    }

    #[test]
    fn sets_and_files_are_refused() {
        let set = Epoll::new();
        let other = OpenFile::new(None, Some(Arc::new(Epoll::new())), flags::RDWR);
        assert_eq!(set.change(Change::Add, 3, &other, 1, 0), Err(Error::Invalid));
        let plain = OpenFile::new(None, None, flags::RDWR);
        assert_eq!(set.change(Change::Add, 3, &plain, 1, 0), Err(Error::NotPermitted));
    }
}
