//! Osier's host program. The data's way is one line, and the modules mirror it:
//! config → plan → compile → link → relocate → pack → image → run.
#![forbid(unsafe_code)]

mod config;
mod model;

fn main() {}
