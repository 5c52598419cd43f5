//! One thin file a command: gather → plan → exec → report.

pub mod bench;
pub mod bench_build;
pub mod bench_smp;
pub mod build;
pub mod check;
pub mod clean;
pub mod doctor;
pub mod log;
pub mod new;
pub mod plan;
pub mod profile;
pub mod repro;
pub mod run;
pub mod rust_analyzer;
pub mod schema;
pub mod size;
pub mod test;
pub mod why;
