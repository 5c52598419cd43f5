//! Asking before the kernel's heap grows for something that the app wants: the kernel's side
//! of [`driver_api::memory`].

use super::{PAGE_SIZE, slab};

pub use driver_api::memory::{reserve_one, room};

/// Frames for the small objects around what is asked for: a slab each.
const SPARE: u64 = 8;

/// The frames that an allocation of `bytes` and some small ones beside it may take; what the
/// heap cannot give counts as it is.
#[must_use]
pub fn frames(bytes: usize) -> u64 {
    slab::footprint(bytes, 1).max(bytes).div_ceil(PAGE_SIZE) as u64 + SPARE
}

/// Whether an allocation of `bytes` leaves what is kept for the kernel itself
/// ([`super::frames`]).
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "Rust" fn osier_room(bytes: usize) -> bool {
    super::frames::available(frames(bytes))
}

/// Room for the records of one more mapping: they may be had when memory for its pages is not.
///
/// # Errors
/// `NoMemory`.
#[cfg(target_os = "none")]
pub fn room_to_map() -> driver_api::Result<()> {
    super::frames::spare(SPARE).then_some(()).ok_or(driver_api::Error::NoMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_counted_in_whole_blocks() {
        assert_eq!(frames(0), SPARE);
        assert_eq!(frames(1), SPARE + 1);
        assert_eq!(frames(PAGE_SIZE + 1), SPARE + 2);
        assert_eq!(frames(5 * PAGE_SIZE), SPARE + 8, "blocks of frames are powers of two");
    }
}
