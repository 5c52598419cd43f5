//! Running the app's signal handlers, and coming back from them.

use super::thread::{Fault, UserThread};
use super::{PID, Process, crash, get, try_current};
use crate::arch::signal::{self as frames, Delivery, INFO_LEN, TRAMPOLINE};
use crate::arch::trap::TrapFrame;
use crate::mm::PAGE_SIZE;
use crate::mm::aspace::{AddressSpace, Place};
use crate::mm::pages::UserPages;
use crate::mm::vma::{Prot, Vma};
use crate::signal::{Action, Set, number};
use crate::thread;
use crate::user;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// `SS_ONSTACK` and `SS_DISABLE`.
const ON_STACK: u32 = 1;
const DISABLED: u32 = 2;
/// `SS_AUTODISARM`: the alternate stack is given up while a handler runs.
pub const DISARMS: u32 = 1 << 31;

/// The first 16 bytes of a `siginfo`: number, errno 0, code; and two words more.
fn info(signal: u8, code: i32, words: [u64; 2]) -> [u8; INFO_LEN] {
    let mut raw = [0; INFO_LEN];
    raw[0] = signal;
    raw[8..12].copy_from_slice(&code.to_le_bytes());
    raw[16..24].copy_from_slice(&words[0].to_le_bytes());
    raw[24..32].copy_from_slice(&words[1].to_le_bytes());
    raw
}

/// The `siginfo` of a fault: `si_addr`.
pub fn fault_info(fault: &Fault<'_>) -> [u8; INFO_LEN] {
    info(fault.signal, fault.code, [fault.address as u64, 0])
}

/// The `siginfo` of a signal that the kernel sent of itself: `SI_KERNEL`.
pub fn kernel_info(signal: u8) -> [u8; INFO_LEN] {
    info(signal, 0x80, [0; 2])
}

/// The `siginfo` of a signal that the process sent to itself (`SI_USER`) or to one of its
/// threads (`SI_TKILL`): `si_pid`, `si_uid`.
pub fn sent_info(signal: u8, uid: u32, shared: bool) -> [u8; INFO_LEN] {
    info(signal, if shared { 0 } else { -6 }, [u64::from(PID) | u64::from(uid) << 32, 0])
}

/// Makes `frame` run the handler of `signal`; `false` when there is no stack for it.
/// `restart`: a system call was interrupted that is made again unless the handler's action
/// says otherwise; taken.
pub fn run(
    frame: &mut TrapFrame,
    process: &Process,
    thread: &Arc<UserThread>,
    signal: u8,
    action: &Action,
    info: [u8; INFO_LEN],
    restart: &mut bool,
) -> bool {
    if core::mem::take(restart) && action.flags & Action::RESTART != 0 {
        frame.restart_syscall();
    }
    let (mask, stack, disarms) = {
        let mut signals = thread.signals.lock();
        // After a wait under another mask the mask from before the wait comes back.
        let blocked = signals.blocked;
        (signals.saved.take().unwrap_or(blocked), signals.stack, signals.disarms)
    };
    let on_it = !disarms && frame.sp().wrapping_sub(stack.0) < stack.1;
    let switch = action.flags & Action::ONSTACK != 0 && stack.1 > 0 && !on_it;
    let top = if switch { stack.0.saturating_add(stack.1) } else { frames::below(frame.sp()) };
    let flags = match stack.1 {
        0 => DISABLED,
        _ if disarms => DISARMS,
        _ if on_it => ON_STACK,
        _ => 0,
    };
    let has_restorer = action.flags & Action::RESTORER != 0;
    let fault = info.get(16..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
    let delivery = Delivery {
        signal,
        info,
        handler: action.handler,
        restorer: if has_restorer { action.restorer } else { process.trampoline },
        mask: mask.0,
        stack: (stack.0, flags, stack.1),
        fault: if matches!(signal, number::SEGV | number::BUS) { fault as usize } else { 0 },
    };
    let running = thread::current();
    let Some(context) = running.user() else { return false };
    let built = context.with_fpu(|fpu| frames::build(frame, fpu.registers(), top, &delivery));
    let Some((at, bytes)) = built else { return false };
    if switch && at < stack.0 || user::write(at, &bytes).is_err() {
        return false;
    }
    frames::enter(frame, at, &delivery);

    let blocked = {
        let own =
            if action.flags & Action::NODEFER == 0 { Set::of(signal) } else { Set::default() };
        let mut signals = thread.signals.lock();
        if disarms {
            (signals.stack, signals.disarms) = ((0, 0), false);
        }
        let before = signals.blocked;
        Set((before.0 | action.mask.0 | own.0) & !Set::UNBLOCKABLE.0)
    };
    thread.set_blocked(blocked);
    if action.flags & Action::RESETHAND != 0
        && let Some(slot) = process.actions.lock().get_mut(usize::from(signal).wrapping_sub(1))
    {
        slot.handler = Action::DEFAULT;
    }
    true
}

/// `rt_sigreturn`: back to what the signal interrupted.
pub fn return_from(frame: &mut TrapFrame) {
    let running = thread::current();
    let restored = running.user().and_then(|context| {
        let len = context.with_fpu(|fpu| frames::total(fpu));
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).ok()?;
        bytes.resize(len, 0);
        user::read(frames::frame_at(frame.sp()), &mut bytes).ok()?;
        context.with_fpu(|fpu| frames::give_back(frame, fpu, &bytes)).ok()
    });
    match (restored, try_current()) {
        (Some(returned), Some(thread)) => {
            thread.set_blocked(Set(returned.mask & !Set::UNBLOCKABLE.0));
            let (base, flags, len) = returned.stack;
            let mut signals = thread.signals.lock();
            signals.stack = if flags & DISABLED != 0 { (0, 0) } else { (base, len) };
            signals.disarms = flags & DISARMS != 0;
        }
        _ => {
            // The frame is not there, or makes no sense: as in Linux, a fault.
            crash::end(frame, number::SEGV, None, kernel_info(number::SEGV))
        }
    }
}

/// A page for the code that handlers without a restorer return to.
pub fn place_trampoline(space: &AddressSpace<UserPages>) -> Option<usize> {
    if TRAMPOLINE.is_empty() {
        return None;
    }
    let page = Vma::anonymous(0, PAGE_SIZE, Prot::READ.with(Prot::WRITE));
    space.map(Place::Hint(0), page).ok()
}

/// Puts the code there. The address space is in force.
pub fn fill_trampoline(at: usize) {
    if let Some(process) = get().filter(|_| at != 0)
        && user::write(at, &TRAMPOLINE).is_ok()
    {
        let _ = process.space.protect(at, PAGE_SIZE, Prot::READ.with(Prot::EXECUTE));
    }
}
