//! Who has the frames that are not free, by kind: what `/proc/meminfo` and the report of
//! `osier.leaks` say.

use super::layout::STACK_SIZE;
use super::{PAGE_SIZE, frames, heap, kernel, page, stack};

/// Frames in use, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Pages that the app has alone.
    pub app: u64,
    /// Pages of files.
    pub cached: u64,
    /// The kernel's heap.
    pub heap: u64,
    /// Stacks of threads in the kernel.
    pub stacks: u64,
    /// Page tables, without those that were made at boot.
    pub tables: u64,
}

impl Usage {
    /// What is so now.
    #[must_use]
    pub fn now() -> Self {
        let app = crate::process::get().map_or(0, |p| p.space.usage().owned);
        Self {
            app: app as u64,
            cached: page::count() as u64,
            heap: (heap::stats().held / PAGE_SIZE) as u64,
            stacks: (stack::count() * STACK_SIZE / PAGE_SIZE) as u64,
            tables: kernel::tables() as u64,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.app + self.cached + self.heap + self.stacks + self.tables
    }
}

/// Frames that are neither free nor of any kind: what devices were given, and leaks.
#[must_use]
pub fn other() -> u64 {
    let frames = frames::stats();
    frames.total.saturating_sub(frames.free).saturating_sub(Usage::now().sum())
}
