//! Scenarios, the deciding half: which cases there are, what a case does next, and whether
//! it held. Pure; `cmd::test` boots them.

mod cases;
pub mod frames;
mod script;

/// The peers: helpers on the host's side, by the names that steps call them by.
pub const PEERS: &[&str] = &["frames"];

pub use cases::{Case, Filter, NoSuchMachine, cases};
pub use script::{Action, Script};
