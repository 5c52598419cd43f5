//! Where threads wait for pages that somebody works on.

use crate::sync::{Wait, WaitQueue, Woken};
use driver_api::sync::IrqLock;

/// Opens again and again; who asked before it did can tell.
pub struct Gate {
    opened: IrqLock<u32>,
    waiting: WaitQueue,
}

impl Gate {
    /// Never opened yet.
    pub const fn new() -> Self {
        Self { opened: IrqLock::new(0), waiting: WaitQueue::new() }
    }

    /// How often it has opened: to be asked while the reason to wait is known to last.
    pub fn opened(&self) -> u32 {
        *self.opened.lock()
    }

    /// Waits until it has opened once more than `seen`.
    pub fn wait(&self, seen: u32) {
        let how = Wait { deadline: None, interruptible: false };
        // On the host a wait ends at once.
        while self.waiting.wait_while(&self.opened, how, |now| *now == seen).1 != Woken::Woken {
            core::hint::spin_loop();
        }
    }

    /// Lets through who waits.
    pub fn open(&self) {
        let mut opened = self.opened.lock();
        *opened = opened.wrapping_add(1);
        drop(opened);
        self.waiting.wake_all();
    }
}
