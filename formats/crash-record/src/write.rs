//! The kernel's side: items as bytes.

use crate::{HEADER, MAGIC};
use alloc::vec::Vec;

/// An item that is being written. Out of memory is remembered: then there is no item.
pub struct Item {
    bytes: Vec<u8>,
    whole: bool,
}

impl Item {
    /// An item of this kind (see [`crate::kind`]) with room for `payload` bytes.
    #[must_use]
    pub fn new(kind: u32, payload: usize) -> Self {
        let mut item = Self { bytes: Vec::new(), whole: true };
        item.whole = item.bytes.try_reserve_exact(HEADER.saturating_add(payload)).is_ok();
        item.put(&MAGIC);
        item.put(&kind.to_le_bytes());
        // Length and next one: known at the end.
        item.put(&[0; HEADER - 12]);
        item
    }

    /// Adds bytes as they are: the parts of a text whose length stands already.
    pub fn put(&mut self, bytes: &[u8]) {
        self.whole &= self.bytes.try_reserve(bytes.len()).is_ok();
        if self.whole {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Adds numbers.
    pub fn words(&mut self, words: &[u64]) {
        for word in words {
            self.put(&word.to_le_bytes());
        }
    }

    /// Adds a text.
    pub fn text(&mut self, text: &[u8]) {
        self.words(&[text.len() as u64]);
        self.put(text);
    }

    /// The item, the one at the physical address `next` following it (0: none); `None` when
    /// memory was out or the payload has 4 GiB.
    #[must_use]
    pub fn finish(mut self, next: u64) -> Option<Vec<u8>> {
        let len = u32::try_from(self.bytes.len().checked_sub(HEADER)?).ok()?;
        self.bytes.get_mut(12..16)?.copy_from_slice(&len.to_le_bytes());
        self.bytes.get_mut(16..24)?.copy_from_slice(&next.to_le_bytes());
        self.whole.then_some(self.bytes)
    }
}
