//! One thin file a command: gather → plan → exec → report.

pub mod bench;
pub mod build;
pub mod check;
pub mod doctor;
pub mod clean;
pub mod log;
pub mod plan;
pub mod repro;
pub mod size;
pub mod why;
pub mod profile;
pub mod run;
pub mod schema;
pub mod test;
pub mod new;
