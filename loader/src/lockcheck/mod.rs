//! The order in which locks are taken, watched in debug kernels.
//!
//! Locks made at the same place in the source are one class. Whenever a lock is waited for
//! while others are held, the order "held before wanted" is noted; an order that
//! contradicts one noted before could deadlock some day, on some number of CPUs, and is a
//! panic at once, with both places. So is waiting for a lock that this CPU holds already,
//! and sleeping while an `IrqLock` is held.

pub mod graph;

#[cfg(all(target_os = "none", debug_assertions))]
mod checker;
#[cfg(all(target_os = "none", debug_assertions))]
pub(crate) use checker::{about_to_wait, init};
