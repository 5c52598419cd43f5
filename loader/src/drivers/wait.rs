//! Places where drivers' callers wait.

use driver_api::sync::IrqLock;
use driver_api::wait::WaitPlace;

use crate::thread::{Wait, WaitQueue};

/// A queue, and a lock that closes the gap between looking and waiting.
pub struct Place {
    gate: IrqLock<()>,
    queue: WaitQueue,
}

impl Place {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { gate: IrqLock::new(()), queue: WaitQueue::new() }
    }
}

impl WaitPlace for Place {
    fn wait_until(&self, ready: &mut dyn FnMut() -> bool) {
        let _ = self.queue.wait_while(&self.gate, Wait::FOREVER, |()| !ready());
    }

    fn wake(&self) {
        // Whoever has looked in vain is in the queue once the gate is free.
        drop(self.gate.lock());
        self.queue.wake_all();
    }
}
