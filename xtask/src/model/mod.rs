//! The words of Osier as types: values without I/O, shared by every stage.

mod arch;
mod digest;
mod layout;
mod name;
mod pattern;

pub use arch::Arch;
pub use digest::{Digest, Hasher};
pub use layout::Layout;
pub use name::{Mode, Name};
pub use pattern::Pattern;
