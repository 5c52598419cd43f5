//! One thin file a command: gather → plan → exec → report.

pub mod doctor;
