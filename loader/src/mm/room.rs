//! Asking before the kernel's heap grows for something that the app wants.
//!
//! Small allocations cannot fail in Rust's library, and large ones would be met from what is
//! kept for the kernel itself ([`super::frames`]). So whatever a program can do again and
//! again asks here first and fails with `NoMemory` while the kernel still has its own.

use super::{PAGE_SIZE, slab};
use alloc::vec::Vec;
use driver_api::{Error, Result};

/// Frames for the small objects around what is asked for: a slab each.
const SPARE: u64 = 8;

#[cfg(target_os = "none")]
use super::frames::{available, spare};

/// Host tests have all they want.
#[cfg(not(target_os = "none"))]
fn available(frames: u64) -> bool {
    frames < u64::MAX
}

#[cfg(not(target_os = "none"))]
use available as spare;

/// Room for an allocation of `bytes` and some small ones beside it.
///
/// # Errors
/// `NoMemory`.
pub fn room(bytes: usize) -> Result<()> {
    let frames = bytes.div_ceil(PAGE_SIZE) as u64 + SPARE;
    available(frames).then_some(()).ok_or(Error::NoMemory)
}

/// Room for the records of one more mapping: they may be had when memory for its pages is not.
///
/// # Errors
/// `NoMemory`.
pub fn room_to_map() -> Result<()> {
    spare(SPARE).then_some(()).ok_or(Error::NoMemory)
}

/// Room for one more element of `vec`, which doubles when it is full.
///
/// # Errors
/// `NoMemory`.
pub fn reserve_one<T>(vec: &mut Vec<T>) -> Result<()> {
    if vec.len() == vec.capacity() {
        let bytes = (2 * vec.capacity()).saturating_mul(size_of::<T>());
        room(slab::footprint(bytes, align_of::<T>()))?;
    }
    vec.try_reserve(1).map_err(|_| Error::NoMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_room_for_one_more_and_nothing_impossible_is_promised() {
        let mut vec: Vec<u64> = Vec::new();
        for n in 0..100 {
            reserve_one(&mut vec).unwrap();
            assert!(vec.capacity() > vec.len());
            vec.push(n);
        }
        assert_eq!(room(usize::MAX), Ok(()), "the host has all");
    }
}
