//! Scenarios, the deciding half: which cases there are, what a case does next, and whether
//! it held. Pure; `cmd::test` boots them.

mod cases;
mod script;

pub use cases::{Case, Filter, NoSuchMachine, cases};
pub use script::{Action, Script};
