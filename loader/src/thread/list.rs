//! First-in-first-out lists of threads that need no memory: the link is in the thread.
//!
//! A thread has a link per kind of list that it may be in at a time ([`RunQueue`],
//! [`Waiting`]); so neither making a thread runnable nor letting it wait can fail.

use alloc::sync::Arc;

use driver_api::sync::IrqLock;

/// The kind of list of threads that are ready to run.
pub enum RunQueue {}
/// The kind of list of threads that wait for something.
pub enum Waiting {}

/// A place in a list of `T`: what comes after, and whether it is in a list at all.
pub struct Link<T>(IrqLock<Place<T>>);

struct Place<T> {
    next: Option<Arc<T>>,
    linked: bool,
}

impl<T> Link<T> {
    /// Of something that is in no list.
    #[must_use]
    pub const fn new() -> Self {
        Self(IrqLock::new(Place { next: None, linked: false }))
    }
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What can be in a list of kind `K`.
pub trait Linked<K>: Sized {
    /// Its place in it.
    fn link(&self) -> &Link<Self>;
}

/// A list. Whoever has one keeps it under a lock.
pub struct List<T: Linked<K>, K> {
    head: Option<Arc<T>>,
    tail: Option<Arc<T>>,
    kind: core::marker::PhantomData<fn() -> K>,
}

impl<T: Linked<K>, K> List<T, K> {
    /// No members.
    #[must_use]
    pub const fn new() -> Self {
        Self { head: None, tail: None, kind: core::marker::PhantomData }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds `item` at the end. `false` when it is in a list of this kind already; nothing
    /// changes then.
    pub fn push(&mut self, item: Arc<T>) -> bool {
        {
            let mut place = item.link().0.lock();
            if place.linked {
                return false;
            }
            place.linked = true;
        }
        match self.tail.replace(Arc::clone(&item)) {
            Some(last) => last.link().0.lock().next = Some(item),
            None => self.head = Some(item),
        }
        true
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Arc<T>> {
        let first = self.head.take()?;
        {
            let mut place = first.link().0.lock();
            place.linked = false;
            self.head = place.next.take();
        }
        if self.head.is_none() {
            self.tail = None;
        }
        Some(first)
    }

    /// Takes `item` out; `false` when it is not in this list. Takes as long as the list is.
    pub fn remove(&mut self, item: &T) -> bool {
        self.take_first(|here| core::ptr::eq(here, item)).is_some()
    }

    /// Takes the first that is `wanted`.
    pub fn take_first(&mut self, wanted: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let mut before: Option<Arc<T>> = None;
        let mut at = self.head.clone();
        while let Some(here) = at {
            if wanted(&here) {
                let next = {
                    let mut place = here.link().0.lock();
                    place.linked = false;
                    place.next.take()
                };
                if next.is_none() {
                    self.tail.clone_from(&before);
                }
                match &before {
                    Some(b) => b.link().0.lock().next = next,
                    None => self.head = next,
                }
                return Some(here);
            }
            at = here.link().0.lock().next.clone();
            before = Some(here);
        }
        None
    }
}

impl<T: Linked<K>, K> Default for List<T, K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    struct Item {
        n: usize,
        link: Link<Item>,
    }

    impl Linked<RunQueue> for Item {
        fn link(&self) -> &Link<Item> {
            &self.link
        }
    }

    proptest! {
        #[test]
        fn a_list_is_a_queue(ops in proptest::collection::vec((0..4_u8, 0..12_usize), 0..120)) {
            let items: Vec<Arc<Item>> =
                (0..12).map(|n| Arc::new(Item { n, link: Link::new() })).collect();
            let mut list = List::<Item, RunQueue>::new();
            let mut model = VecDeque::new();
            for (op, n) in ops {
                match op {
                    0 => {
                        let new = !model.contains(&n);
                        prop_assert_eq!(list.push(Arc::clone(&items[n])), new);
                        if new {
                            model.push_back(n);
                        }
                    }
                    1 => prop_assert_eq!(list.pop().map(|i| i.n), model.pop_front()),
                    2 => {
                        let found = model.iter().position(|m| m % 4 == n % 4);
                        let taken = list.take_first(|i| i.n % 4 == n % 4).map(|i| i.n);
                        prop_assert_eq!(taken, found.and_then(|at| model.remove(at)));
                    }
                    _ => {
                        let found = model.iter().position(|&m| m == n);
                        prop_assert_eq!(list.remove(&items[n]), found.is_some());
                        found.map(|at| model.remove(at));
                    }
                }
                prop_assert_eq!(list.is_empty(), model.is_empty());
            }
            while let Some(item) = list.pop() {
                prop_assert_eq!(Some(item.n), model.pop_front());
            }
            prop_assert!(model.is_empty());
            drop(list);
            prop_assert!(items.iter().all(|i| Arc::strong_count(i) == 1), "a reference leaked");
        }
    }
}
