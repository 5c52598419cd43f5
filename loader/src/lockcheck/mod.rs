//! The order in which locks are taken, watched in debug kernels.
//!
//! Locks made at the same place in the source are one class. Whenever a lock is waited for
//! while others are held, the order "held before wanted" is noted; an order that
//! contradicts one noted before could deadlock some day, on some number of CPUs, and is a
//! panic at once, with both places. So is waiting for a lock that is held already, and sleeping,
//! or taking a lock that may sleep, while an `IrqLock` is held. `IrqLock`s are held by a CPU,
//! locks that are slept for by a thread.

pub mod graph;

#[cfg(all(target_os = "none", debug_assertions))]
mod checker;
#[cfg(all(target_os = "none", debug_assertions))]
mod tests;
#[cfg(all(target_os = "none", debug_assertions))]
pub(crate) use checker::{Held, about_to_wait, catch, init};
#[cfg(all(target_os = "none", debug_assertions))]
pub(crate) use tests::mistakes_are_found;
