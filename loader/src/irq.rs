//! Hard interrupts: which handler serves which line.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use driver_api::Once;
use driver_api::sync::IrqLock;
use driver_api::{Error, IrqHandler, IrqLine, IrqReturn, Result, Trigger};

use crate::arch;

/// How many handlers there can be. Lines with several devices have one for each.
const MAX_HANDLERS: usize = 64;

/// A line that nobody wants is masked after as many interrupts in a row, or it would never
/// let the CPU do anything else.
const MAX_UNHANDLED: u32 = 1000;

struct Attached {
    line: IrqLine,
    trigger: Trigger,
    handler: &'static dyn IrqHandler,
    unhandled: AtomicU32,
    /// Deferred by handlers of the line less done by their threads, counted at the line's
    /// first handler; `done` may come before the line is masked.
    deferred: AtomicI32,
}

/// Filled from the front and never emptied, so that an interrupt reads it without a lock.
static HANDLERS: [Once<Attached>; MAX_HANDLERS] = [const { Once::new() }; MAX_HANDLERS];
/// Held while a handler is added.
static ADDING: IrqLock<()> = IrqLock::new(());

fn attached() -> impl Iterator<Item = &'static Attached> {
    HANDLERS.iter().map_while(Once::get)
}

/// Attaches a handler to a line and unmasks it.
///
/// # Errors
/// `Busy` when the line is used with another trigger or as an edge (those cannot be
/// shared), or the table is full; `Invalid` when the controller lacks the line.
pub fn attach(line: IrqLine, trigger: Trigger, handler: &'static dyn IrqHandler) -> Result<()> {
    add(line, trigger, handler)?;
    arch::irq::enable(line, trigger)
}

/// Attaches a handler to a line that is, or will be, unmasked by somebody else.
///
/// # Errors
/// `Busy`, as [`attach`].
pub fn add(line: IrqLine, trigger: Trigger, handler: &'static dyn IrqHandler) -> Result<()> {
    let _adding = ADDING.lock();
    if attached().any(|a| a.line == line && (a.trigger != trigger || trigger == Trigger::Edge)) {
        return Err(Error::Busy);
    }
    let slot = HANDLERS.iter().find(|h| h.get().is_none()).ok_or(Error::Busy)?;
    slot.call_once(|| Attached {
        line,
        trigger,
        handler,
        unhandled: AtomicU32::new(0),
        deferred: AtomicI32::new(0),
    });
    Ok(())
}

/// Held while a line is masked or unmasked for a deferred handler.
static MASKING: IrqLock<()> = IrqLock::new(());

/// The thread of a handler that said `Deferred` has done its work.
pub fn done(line: IrqLine) {
    let Some(first) = attached().find(|a| a.line == line) else { return };
    let _masking = MASKING.lock();
    if first.deferred.fetch_sub(1, Ordering::Relaxed) == 1
        && let Err(e) = arch::irq::enable(line, first.trigger)
    {
        log::error!("interrupt line {} cannot be unmasked: {e:?}", line.0);
    }
}

/// Masks the line of `first` until [`done`] was called as often as this.
#[cold]
fn defer(first: &Attached) {
    let _masking = MASKING.lock();
    if first.deferred.fetch_add(1, Ordering::Relaxed) == 0 {
        arch::irq::disable(first.line);
    }
}

/// Calls the handlers of `line`: from the arch's vector code, on the interrupt stack,
/// interrupts off.
pub fn dispatch(line: IrqLine) {
    let cpu = arch::percpu::current();
    cpu.in_interrupt.fetch_add(1, Ordering::Relaxed);
    let mut first = None;
    let mut handled = false;
    for a in attached().filter(|a| a.line == line) {
        let first = *first.get_or_insert(a);
        match a.handler.handle() {
            IrqReturn::Handled => handled = true,
            IrqReturn::NotMine => {}
            IrqReturn::Deferred => {
                handled = true;
                defer(first);
            }
        }
    }
    let in_a_row = match first {
        Some(a) if handled => {
            a.unhandled.store(0, Ordering::Relaxed);
            0
        }
        Some(a) => a.unhandled.fetch_add(1, Ordering::Relaxed) + 1,
        None => MAX_UNHANDLED,
    };
    if in_a_row >= MAX_UNHANDLED {
        arch::irq::disable(line);
        log::warn!("interrupt line {} is masked: nobody handles it", line.0);
    }
    cpu.in_interrupt.fetch_sub(1, Ordering::Relaxed);
}
