//! The checker finds what it is for: one of the kernel's own tests.

use driver_api::sync::IrqLock;

use super::{about_to_wait, catch};
use crate::selftest::Failure;
use crate::thread::Mutex;

/// Takes the first, and the second while it is held.
fn both<A, B>(first: impl FnOnce() -> A, second: impl FnOnce() -> B) {
    let _held = first();
    drop(second());
}

/// How many mistakes it takes for two orders of each kind of lock to be found, and for sleeping
/// or what may sleep while an `IrqLock` is held.
pub(crate) fn mistakes_are_found() -> Result<(), Failure> {
    let (a, b, c) = (IrqLock::new(()), IrqLock::new(()), IrqLock::new(()));
    let (d, e) = (Mutex::new(()), driver_api::Mutex::new(()));
    let kept = catch(|| {
        both(|| a.lock(), || b.lock());
        both(|| b.lock(), || c.lock());
        both(|| d.lock(), || e.lock());
        both(|| d.lock(), || a.lock());
        both(|| a.lock(), || about_to_be_tried(&d));
    });
    let wrong: [(&dyn Fn(), Failure); 5] = [
        (&|| both(|| b.lock(), || a.lock()), "two in the opposite order"),
        (&|| both(|| c.lock(), || a.lock()), "two in the opposite order, over a third"),
        (&|| both(|| e.lock(), || d.lock()), "two that are slept for in the opposite order"),
        (&|| both(|| a.lock(), || d.lock()), "one that may sleep, while an IrqLock is held"),
        (&|| both(|| a.lock(), about_to_wait), "sleeping while an IrqLock is held"),
    ];
    if kept != 0 {
        return Err("orders that are kept were found wrong");
    }
    wrong.into_iter().try_for_each(|(f, what)| if catch(f) == 1 { Ok(()) } else { Err(what) })
}

/// A lock that is taken without waiting has no order.
fn about_to_be_tried(lock: &Mutex<()>) {
    drop(lock.try_lock());
}
