//! One thin file a command: gather → plan → exec → report.
