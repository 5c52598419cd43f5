//! Signal frames as Linux lays them out on x86-64 (`arch/x86/include/asm/sigframe.h`,
//! `include/uapi/asm/sigcontext.h` and `ucontext.h`), built and read as values.
//!
//! ```text
//!   0  address that the handler returns to (sa_restorer)
//!   8  struct ucontext: flags 8, link 8, stack 24, sigcontext 256, mask 8
//! 312  siginfo, 128 bytes
//! 440  to the next multiple of 64: the FPU's state as XSAVE writes it
//! ```
//!
//! When the handler begins, the stack pointer is at the frame, 8 below a multiple of 16, as
//! after a call; when it has returned, it is 8 above.

use super::frame::{TrapFrame, USER_CS, USER_SS};
use alloc::vec::Vec;

/// A signal that a handler of the app is to get.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number.
    pub signal: u8,
    /// `siginfo_t`.
    pub info: [u8; INFO_LEN],
    /// Address of the handler.
    pub handler: usize,
    /// What the handler returns to: `sa_restorer`, which x86-64 demands.
    pub restorer: usize,
    /// The signals that are blocked again when it returns.
    pub mask: u64,
    /// The alternate stack: address, flags (`SS_…`), length.
    pub stack: (usize, u32, usize),
    /// The address that faulted, else 0.
    pub fault: usize,
}

/// What `rt_sigreturn` brings back besides registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The signals that are blocked.
    pub mask: u64,
    /// The alternate stack, as in [`Delivery::stack`].
    pub stack: (usize, u32, usize),
}

/// The bytes on the stack make no signal frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

/// Handlers without a restorer cannot return on this arch, as in Linux.
pub const TRAMPOLINE: [u8; 0] = [];

/// Length of `siginfo_t`.
pub const INFO_LEN: usize = 128;
/// What the compiler may use below the stack pointer (System V ABI, AMD64 3.2.2).
const RED_ZONE: usize = 128;
const UCONTEXT: usize = 8;
const STACK: usize = UCONTEXT + 16;
const CONTEXT: usize = UCONTEXT + 40;
const SEGMENTS: usize = CONTEXT + 18 * 8;
/// `err`, `trapno`, `oldmask`, `cr2`, `fpstate`.
const CR2: usize = SEGMENTS + 8 + 24;
const FPSTATE: usize = CR2 + 8;
const MASK: usize = CONTEXT + 256;
const INFO: usize = MASK + 8;
const FRAME: usize = INFO + INFO_LEN;
/// From the frame's start to the FPU's state.
const FPU: usize = 456;
/// `UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`: the SS in the context is meant.
const FLAGS: u64 = 6;

const _: () = assert!(FRAME == 440 && FPU >= FRAME && (FPU + 8).is_multiple_of(16));

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}

fn word(bytes: &[u8], at: usize) -> Result<usize, BadFrame> {
    let word = bytes.get(at..).and_then(|b| b.first_chunk()).ok_or(BadFrame)?;
    Ok(u64::from_le_bytes(*word) as usize)
}

/// Length of a whole frame with an FPU state of `fpu` bytes.
#[must_use]
pub const fn frame_len(fpu: usize) -> usize {
    FPU + fpu
}

/// Where the frame is that a handler returned from: it has taken the return address.
#[must_use]
pub const fn frame_at(sp: usize) -> usize {
    sp.wrapping_sub(8)
}

/// How far below the stack pointer a frame may begin.
#[must_use]
pub const fn below(sp: usize) -> usize {
    sp.saturating_sub(RED_ZONE)
}

/// Makes the frame for `delivery` below `top` (see [`below`], or the top of the alternate
/// stack), with the FPU's state `fpu`. Returns where it is to be written, and its bytes;
/// `None` without memory or when there is no room below `top`.
#[must_use]
pub fn build(
    frame: &TrapFrame,
    fpu: &[u8],
    top: usize,
    delivery: &Delivery,
) -> Option<(usize, Vec<u8>)> {
    let fpu_at = top.checked_sub(fpu.len())? & !63;
    let at = fpu_at.checked_sub(FPU)?;
    let len = frame_len(fpu.len());
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    bytes.resize(len, 0);
    put(&mut bytes, 0, &delivery.restorer.to_le_bytes());
    put(&mut bytes, UCONTEXT, &FLAGS.to_le_bytes());
    let (base, flags, size) = delivery.stack;
    put(&mut bytes, STACK, &base.to_le_bytes());
    put(&mut bytes, STACK + 8, &flags.to_le_bytes());
    put(&mut bytes, STACK + 16, &size.to_le_bytes());
    for (i, value) in frame.to_sigcontext().iter().enumerate() {
        put(&mut bytes, CONTEXT + i * 8, &value.to_le_bytes());
    }
    // cs, gs, fs, ss: those of user mode are constants.
    for (i, selector) in [USER_CS, 0, 0, USER_SS].into_iter().enumerate() {
        put(&mut bytes, SEGMENTS + i * 2, &selector.to_le_bytes());
    }
    put(&mut bytes, CR2, &delivery.fault.to_le_bytes());
    put(&mut bytes, FPSTATE, &fpu_at.to_le_bytes());
    put(&mut bytes, MASK, &delivery.mask.to_le_bytes());
    put(&mut bytes, INFO, &delivery.info);
    put(&mut bytes, FPU, fpu);
    Some((at, bytes))
}

/// Makes `frame` enter the handler, the signal frame having been written at `at`.
pub fn enter(frame: &mut TrapFrame, at: usize, delivery: &Delivery) {
    frame.set_arg(0, usize::from(delivery.signal));
    frame.set_arg(1, at + INFO);
    frame.set_arg(2, at + UCONTEXT);
    // The ABI wants the direction flag clear, and `al` says how many vector registers a
    // variadic function gets.
    let mut context = frame.to_sigcontext();
    let [.., rax, _rcx, _rsp, _rip, rflags] = &mut context;
    *rax = 0;
    *rflags &= !(1 << 10 | 1 << 8);
    frame.set_from_sigcontext(&context);
    frame.set_sp(at);
    frame.set_pc(delivery.handler);
}

/// `rt_sigreturn`: takes registers from `bytes`, those at [`frame_at`] the app's stack
/// pointer, which the app may have changed: of the flags only those that it could set
/// itself are taken. Returns also the FPU's state: it is where the frame had it, wherever
/// the context points to, unless that is nowhere.
///
/// # Errors
/// [`BadFrame`] when the bytes are too few.
pub fn restore<'a>(
    frame: &mut TrapFrame,
    bytes: &'a [u8],
) -> Result<(Returned, Option<&'a [u8]>), BadFrame> {
    let mut context = [0; 18];
    for (i, register) in context.iter_mut().enumerate() {
        *register = word(bytes, CONTEXT + i * 8)?;
    }
    let flags = word(bytes, STACK + 8)? as u32;
    let stack = (word(bytes, STACK)?, flags, word(bytes, STACK + 16)?);
    let mask = word(bytes, MASK)? as u64;
    let fpu = (word(bytes, FPSTATE)? != 0).then_some(bytes.get(FPU..).ok_or(BadFrame)?);
    frame.set_from_sigcontext(&context);
    Ok((Returned { mask, stack }, fpu))
}

/// Length of a whole frame.
#[cfg(target_os = "none")]
#[must_use]
pub fn total(fpu: &super::context::FpuState) -> usize {
    frame_len(fpu.bytes().len())
}

/// `rt_sigreturn`: [`restore`], and the FPU's state.
///
/// # Errors
/// [`BadFrame`].
#[cfg(target_os = "none")]
pub fn give_back(
    frame: &mut TrapFrame,
    fpu: &mut super::context::FpuState,
    bytes: &[u8],
) -> Result<Returned, BadFrame> {
    let (returned, state) = restore(frame, bytes)?;
    match state {
        Some(state) if !fpu.set_bytes(state) => Err(BadFrame),
        _ => Ok(returned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn delivery() -> Delivery {
        Delivery {
            signal: 11,
            info: [0xab; INFO_LEN],
            handler: 0x40_0000,
            restorer: 0x40_1000,
            mask: 0x8000_0000_0000_0001,
            stack: (0x7000_0000, 2, 0x2000),
            fault: 0xdead_0000,
        }
    }

    #[test]
    fn the_layout_is_linuxs() {
        let mut frame = TrapFrame::new_user(0x1234, 0x7fff_0000_1238);
        frame.set_arg(0, 0x77);
        let fpu = vec![0x11; 832];
        let (at, bytes) = build(&frame, &fpu, below(frame.sp()), &delivery()).unwrap();
        assert_eq!(at % 16, 8, "as after a call");
        assert_eq!((at + FPU) % 64, 0);
        assert!(at + bytes.len() <= frame.sp() - 128);
        assert_eq!(word(&bytes, 0), Ok(0x40_1000));
        assert_eq!(word(&bytes, 8 + 40 + 8 * 8), Ok(0x77), "rdi");
        assert_eq!(word(&bytes, 8 + 40 + 16 * 8), Ok(0x1234), "rip");
        assert_eq!(word(&bytes, 8 + 40 + 176), Ok(0xdead_0000), "cr2");
        assert_eq!(word(&bytes, 8 + 40 + 184), Ok(at + FPU), "fpstate");
        assert_eq!(word(&bytes, 8 + 296), Ok(0x8000_0000_0000_0001), "mask");
        assert_eq!(bytes[312..440], [0xab; 128]);
        assert_eq!(bytes[FPU..], fpu);
    }

    #[test]
    fn a_frame_comes_back_as_it_was_and_gives_no_privilege() {
        let mut frame = TrapFrame::new_user(0x1234, 0x7fff_0000_1238);
        let before = frame.to_sigcontext();
        let (at, mut bytes) = build(&frame, &[7; 512], frame.sp(), &delivery()).unwrap();
        enter(&mut frame, at, &delivery());
        assert_eq!((frame.pc(), frame.sp()), (0x40_0000, at));
        // The app asks for I/O privilege and interrupts off.
        put(&mut bytes, CONTEXT + 17 * 8, &0x3000_usize.to_le_bytes());
        let (returned, fpu) = restore(&mut frame, &bytes).unwrap();
        assert_eq!(returned, Returned { mask: delivery().mask, stack: delivery().stack });
        assert_eq!(fpu.unwrap(), &[7; 512]);
        let after = frame.to_sigcontext();
        assert_eq!(after[..17], before[..17]);
        assert_eq!(after[17], 0x202);
        for len in 0..FRAME {
            assert!(restore(&mut frame.clone(), &bytes[..len]).is_err());
        }
    }
}
