//! From a relocated kernel and the files of an image to what boots: bootfs, `loader.img`,
//! and the `manifest` of what is in it. Values and bytes to bytes; reading the files is
//! `exec`'s.

mod bootfs;
mod entry;
mod loader_img;
mod manifest;

pub use bootfs::bootfs;
pub use entry::{PackContent, PackEntry, complete};
pub use loader_img::loader_img;
pub use manifest::manifest;
