//! The lock for what threads share and hold while they may sleep.
//!
//! In the kernel a thread that waits for it sleeps; on the host, where there is no
//! scheduler, it spins.

pub use spin::Mutex;
