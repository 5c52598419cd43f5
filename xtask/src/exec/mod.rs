//! The only place with side effects: cargo, lld, file writes, QEMU.

pub mod actions;
pub mod cargo;
pub mod engine;
pub mod env;
pub mod fsx;
pub mod host;
pub mod io;
pub mod kvm;
pub mod lock;
pub mod memo;
pub mod qemu;
pub mod setup;
pub mod stamps;
pub mod supervise;
pub mod terminal;
