use super::Mappings;
use std::cell::Cell;

std::thread_local! {
    /// The address space of the test that runs in this thread.
    static SPACE: Cell<Option<&'static dyn Mappings>> = const { Cell::new(None) };
}

/// Where pages of files can be mapped.
pub fn mappings() -> Option<&'static dyn Mappings> {
    SPACE.get()
}
