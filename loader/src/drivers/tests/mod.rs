//! Tests of drivers against the machine's devices, in debug kernels:
//! `osier.selftest=block|net|entropy` runs one class of them instead of a program.

mod block;
mod net;

pub(crate) use block::BLOCK;
pub(crate) use net::{NET, prepare};

use crate::entropy;
use crate::selftest::{Failure, Test, ensure};

/// A device seeds the generator.
pub(crate) const ENTROPY: &[Test] = &[("device-entropy", a_device_gave_entropy)];

fn a_device_gave_entropy() -> Result<(), Failure> {
    ensure(super::ENTROPY_SOURCES.load(core::sync::atomic::Ordering::Relaxed) > 0, "no device")?;
    ensure(entropy::is_seeded(), "the generator is not seeded")?;
    let (mut a, mut b) = ([0; 32], [0; 32]);
    entropy::fill(&mut a).map_err(|_| "not seeded")?;
    entropy::fill(&mut b).map_err(|_| "not seeded")?;
    ensure(a != b && a != [0; 32], "the same bytes twice")
}
