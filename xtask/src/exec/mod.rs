//! The only place with side effects: cargo, lld, file writes, QEMU.

pub mod kvm;
pub mod qemu;
pub mod setup;
pub mod supervise;
pub mod terminal;
