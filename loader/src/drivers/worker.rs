//! Threads that do what interrupts leave to them.

use alloc::sync::Arc;

use driver_api::sync::IrqLock;
use driver_api::{Error, Result, Wake, Worker};

use crate::thread::{self, Priority, Wait, WaitQueue};

/// What wakes a worker: a flag, so that a wake-up during its work is not lost.
struct Bell {
    rung: IrqLock<bool>,
    queue: WaitQueue,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock() = true;
        self.queue.wake_one();
    }
}

/// Starts the thread of `worker`.
///
/// # Errors
/// `NoMemory`.
pub fn start(name: &str, worker: Arc<dyn Worker>) -> Result<Arc<dyn Wake>> {
    // Rung from the beginning: the first call tells when the worker wants to run.
    let bell = Arc::new(Bell { rung: IrqLock::new(true), queue: WaitQueue::new() });
    let ours = Arc::clone(&bell);
    let run = move || {
        let mut deadline = None;
        loop {
            let how = Wait { deadline, interruptible: false };
            let (mut rung, _) = ours.queue.wait_while(&ours.rung, how, |rung| !*rung);
            *rung = false;
            drop(rung);
            deadline = worker.work();
        }
    };
    thread::spawn(name, Priority::Interrupt, run).map_err(|_| Error::NoMemory)?;
    Ok(bell)
}
