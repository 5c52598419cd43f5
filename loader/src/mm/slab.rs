//! Size classes of the kernel heap, as numbers.

use super::PAGE_SIZE;

/// Bytes at the start of a slab (one frame) for its header.
pub const HEADER: usize = 32;

/// Sizes of objects in bytes. Objects are packed against the end of the frame, so one is
/// aligned to the largest power of two that divides its size. The larger sizes are what
/// divides a frame less its header into 7, 6, 4, 3 and 2.
pub const CLASSES: [u16; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 672, 1008, 1344, 2032];

/// The class for `size` bytes aligned to `align` (a power of two); `None` when it takes
/// whole frames.
#[must_use]
pub fn class_of(size: usize, align: usize) -> Option<usize> {
    CLASSES.iter().position(|&c| usize::from(c) >= size && usize::from(c).is_multiple_of(align))
}

/// The order of frames for `size` bytes aligned to `align`; `None` beyond what there is.
#[must_use]
pub fn order_of(size: usize, align: usize) -> Option<u8> {
    let bytes = size.max(align).checked_next_power_of_two()?.max(PAGE_SIZE);
    let order = (bytes / PAGE_SIZE).trailing_zeros() as u8;
    (order <= super::buddy::MAX_ORDER).then_some(order)
}

/// Bytes that the heap spends on `size` bytes aligned to `align`; 0 for what it cannot give
/// and for nothing.
#[must_use]
pub fn footprint(size: usize, align: usize) -> usize {
    if size == 0 {
        return 0;
    }
    match class_of(size, align).and_then(|class| CLASSES.get(class)) {
        Some(&class) => class.into(),
        None => order_of(size, align).map_or(0, |order| PAGE_SIZE << order),
    }
}

/// Objects of class `class` in a slab.
#[must_use]
pub fn per_slab(class: usize) -> usize {
    CLASSES.get(class).map_or(0, |&c| (PAGE_SIZE - HEADER) / usize::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_gets_room_and_alignment() {
        for align in (0..=12).map(|n| 1_usize << n) {
            for size in 0..5000 {
                match class_of(size, align) {
                    Some(class) => {
                        let c = usize::from(CLASSES[class]);
                        assert!(c >= size && per_slab(class) >= 2);
                        for n in 1..=per_slab(class) {
                            let offset = PAGE_SIZE - n * c;
                            assert!(
                                offset >= HEADER && offset.is_multiple_of(align),
                                "{size} {align}"
                            );
                        }
                    }
                    None => {
                        let bytes = PAGE_SIZE << order_of(size, align).unwrap();
                        assert!(bytes >= size && bytes >= align);
                    }
                }
            }
        }
    }

    #[test]
    fn absurd_requests_are_refused() {
        assert_eq!(order_of(usize::MAX / 2 + 2, 1), None);
        assert_eq!(order_of(1 << 40, 1), None);
        assert_eq!(order_of(1 << 30, 1), Some(18));
    }
}
