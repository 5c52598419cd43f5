//! What a build did, for people and as JSON.

mod event;
mod plain;

pub use event::{Event, FORMAT, Observer, Outcome};
pub use plain::Plain;
