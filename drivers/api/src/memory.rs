//! Asking before the kernel's heap grows for something that the app wants.
//!
//! Small allocations cannot fail in Rust's library, and large ones would be met from what is
//! kept for the kernel itself. So whatever a program can do again and again, here and in the
//! kernel, asks first and fails with `NoMemory` while the kernel still has its own.

use alloc::vec::Vec;

use crate::{Error, Result};

#[cfg(target_os = "none")]
unsafe extern "Rust" {
    /// In the kernel (`loader/src/mm/room.rs`).
    safe fn osier_room(bytes: usize) -> bool;
}

/// Host tests have all they want.
#[cfg(not(target_os = "none"))]
fn osier_room(_bytes: usize) -> bool {
    true
}

/// Room for an allocation of `bytes` and some small ones beside it.
///
/// # Errors
/// `NoMemory`.
pub fn room(bytes: usize) -> Result<()> {
    osier_room(bytes).then_some(()).ok_or(Error::NoMemory)
}

/// Room for one more element of `vec`, which doubles when it is full.
///
/// # Errors
/// `NoMemory`.
pub fn reserve_one<T>(vec: &mut Vec<T>) -> Result<()> {
    if vec.len() == vec.capacity() {
        room((2 * vec.capacity()).saturating_mul(size_of::<T>()))?;
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
