//! The only place with side effects: cargo, lld, file writes, QEMU.
