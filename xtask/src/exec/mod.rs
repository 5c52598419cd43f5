//! The only place with side effects: cargo, lld, file writes, QEMU.

pub mod actions;
pub mod audit;
pub mod bench_build;
pub mod boot;
pub mod build_dir;
pub mod cargo;
pub mod cargo_home;
pub mod clean;
pub mod cold;
pub mod console;
pub mod core_dump;
pub mod debug_port;
pub mod disk;
pub mod editor;
pub mod engine;
pub mod env;
pub mod flycheck;
pub mod fsx;
pub mod host;
pub mod host_tests;
pub mod io;
pub mod keeper;
pub mod kvm;
#[cfg(test)]
mod lld_tests;
pub mod lock;
pub mod log;
pub mod memo;
pub mod peer;
pub mod qemu;
pub mod qmp;
pub mod repro;
pub mod scenario;
pub mod setup;
pub mod stamps;
pub mod supervise;
pub mod terminal;
#[cfg(test)]
mod tests;
