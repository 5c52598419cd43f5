//! The page cache: the contents of regular files in memory.

mod registry;

pub use registry::{at_end, forget, mounted, sync_all, sync_fs};
