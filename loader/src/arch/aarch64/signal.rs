//! Signal frames as Linux puts them on the app's stack
//! (`arch/arm64/include/uapi/asm/{sigcontext,ucontext}.h`, `arch/arm64/kernel/signal.c`).
//!
//! ```text
//! 0x0000  128  siginfo
//! 0x0080       ucontext: flags 8, link 8, stack (pointer 8, flags 4, padding 4, length 8),
//!              blocked signals 8, unused up to 128
//! 0x0130       sigcontext: fault address 8, x0-x30, sp, pc, pstate
//! 0x0250 4096  records {magic u32, length u32, …}; one of FPSIMD, then one of zeroes
//! 0x1250   16  frame record: x29 and pc, so that debuggers go through
//! ```

use alloc::vec::Vec;

use super::frame::TrapFrame;

/// Floating-point and SIMD registers of user mode.
#[repr(C, align(16))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FpuRegisters {
    /// q0-q31.
    pub vectors: [u128; 32],
    /// Control.
    pub fpcr: u64,
    /// Status.
    pub fpsr: u64,
}

impl FpuRegisters {
    /// What a program starts with: all zero, round to nearest.
    #[must_use]
    pub const fn new() -> Self {
        Self { vectors: [0; 32], fpcr: 0, fpsr: 0 }
    }
}

impl Default for FpuRegisters {
    fn default() -> Self {
        Self::new()
    }
}

/// A signal that a handler of the app is to get.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number.
    pub signal: u8,
    /// `siginfo_t`.
    pub info: [u8; INFO_LEN],
    /// Address of the handler.
    pub handler: usize,
    /// What the handler returns to: `sa_restorer`, or the address of [`TRAMPOLINE`].
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

/// Code for handlers without a restorer to return to: `mov x8, #139; svc #0`
/// (`rt_sigreturn`). Mapped read-only and executable for the app.
pub const TRAMPOLINE: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];

/// Length of `siginfo_t`.
pub const INFO_LEN: usize = 128;
const UCONTEXT: usize = INFO_LEN;
const STACK: usize = UCONTEXT + 16;
const MASK: usize = STACK + 24;
/// `struct sigcontext` is aligned to 16.
const CONTEXT: usize = UCONTEXT + 176;
const REGISTERS: usize = CONTEXT + 8;
const RECORDS: usize = CONTEXT + 288;
const RECORDS_LEN: usize = 4096;
const FRAME_RECORD: usize = RECORDS + RECORDS_LEN;
/// Length of a whole frame.
pub const FRAME_LEN: usize = FRAME_RECORD + 16;

/// `FPSIMD_MAGIC`, and the length of its record.
const FPSIMD_MAGIC: u32 = 0x4650_8001;
const FPSIMD_LEN: usize = 16 + 32 * 16;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}

fn word(bytes: &[u8], at: usize) -> Result<usize, BadFrame> {
    let word = bytes.get(at..).and_then(|b| b.first_chunk()).ok_or(BadFrame)?;
    Ok(u64::from_le_bytes(*word) as usize)
}

fn half(bytes: &[u8], at: usize) -> Result<u32, BadFrame> {
    let half = bytes.get(at..).and_then(|b| b.first_chunk()).ok_or(BadFrame)?;
    Ok(u32::from_le_bytes(*half))
}

/// Makes the frame for `delivery` below `top` (the interrupted stack pointer, or the top of
/// the alternate stack). Returns where it is to be written, and its bytes; `None` without
/// memory or when there is no room below `top`. Once it is written, [`enter`] goes there.
#[must_use]
pub fn build(
    frame: &TrapFrame,
    fpu: &FpuRegisters,
    top: usize,
    delivery: &Delivery,
) -> Option<(usize, Vec<u8>)> {
    let at = top.checked_sub(FRAME_LEN)? & !15;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(FRAME_LEN).ok()?;
    bytes.resize(FRAME_LEN, 0);
    put(&mut bytes, 0, &delivery.info);
    let (base, flags, len) = delivery.stack;
    put(&mut bytes, STACK, &base.to_le_bytes());
    put(&mut bytes, STACK + 8, &flags.to_le_bytes());
    put(&mut bytes, STACK + 16, &len.to_le_bytes());
    put(&mut bytes, MASK, &delivery.mask.to_le_bytes());
    put(&mut bytes, CONTEXT, &delivery.fault.to_le_bytes());
    let rest = [frame.sp(), frame.pc(), frame.flags()];
    for (i, value) in frame.regs.iter().chain(&rest).enumerate() {
        put(&mut bytes, REGISTERS + i * 8, &value.to_le_bytes());
    }
    put(&mut bytes, RECORDS, &FPSIMD_MAGIC.to_le_bytes());
    put(&mut bytes, RECORDS + 4, &(FPSIMD_LEN as u32).to_le_bytes());
    put(&mut bytes, RECORDS + 8, &(fpu.fpsr as u32).to_le_bytes());
    put(&mut bytes, RECORDS + 12, &(fpu.fpcr as u32).to_le_bytes());
    for (i, vector) in fpu.vectors.iter().enumerate() {
        put(&mut bytes, RECORDS + 16 + i * 16, &vector.to_le_bytes());
    }
    put(&mut bytes, FRAME_RECORD, &frame.frame_pointer().to_le_bytes());
    put(&mut bytes, FRAME_RECORD + 8, &frame.pc().to_le_bytes());
    Some((at, bytes))
}

/// Makes `frame` enter the handler, the signal frame having been written at `at`.
pub fn enter(frame: &mut TrapFrame, at: usize, delivery: &Delivery) {
    frame.set_arg(0, usize::from(delivery.signal));
    frame.set_arg(1, at);
    frame.set_arg(2, at + UCONTEXT);
    frame.regs[29] = at + FRAME_RECORD;
    frame.regs[30] = delivery.restorer;
    frame.set_sp(at);
    frame.set_pc(delivery.handler);
}

/// `rt_sigreturn`: takes registers from `bytes`, the [`FRAME_LEN`] bytes at the app's stack
/// pointer, which the app may have changed: of PSTATE only the flags are taken, and `frame`
/// and `fpu` change only when all is well.
///
/// # Errors
/// [`BadFrame`] when the bytes are too few, or the records make no sense.
pub fn restore(
    frame: &mut TrapFrame,
    fpu: &mut FpuRegisters,
    bytes: &[u8],
) -> Result<Returned, BadFrame> {
    let mut regs = [0; 31];
    for (i, register) in regs.iter_mut().enumerate() {
        *register = word(bytes, REGISTERS + i * 8)?;
    }
    let sp = word(bytes, REGISTERS + 31 * 8)?;
    let pc = word(bytes, REGISTERS + 32 * 8)?;
    let pstate = word(bytes, REGISTERS + 33 * 8)?;
    let stack = (word(bytes, STACK)?, half(bytes, STACK + 8)?, word(bytes, STACK + 16)?);
    let mask = word(bytes, MASK)? as u64;
    let records = bytes.get(RECORDS..FRAME_RECORD).ok_or(BadFrame)?;
    let found = fpsimd(records)?;

    *fpu = found;
    frame.regs = regs;
    frame.set_sp(sp);
    frame.set_pc(pc);
    frame.set_flags(pstate);
    Ok(Returned { mask, stack })
}

/// The FPSIMD record, which every frame must have.
fn fpsimd(records: &[u8]) -> Result<FpuRegisters, BadFrame> {
    let mut at = 0;
    loop {
        let (magic, len) = (half(records, at)?, half(records, at + 4)? as usize);
        if magic == FPSIMD_MAGIC && len == FPSIMD_LEN {
            let record = records.get(at..at + len).ok_or(BadFrame)?;
            let mut fpu = FpuRegisters::new();
            fpu.fpsr = u64::from(half(record, 8)?);
            fpu.fpcr = u64::from(half(record, 12)?);
            for (i, vector) in fpu.vectors.iter_mut().enumerate() {
                let bytes = record.get(16 + i * 16..).and_then(|b| b.first_chunk());
                *vector = u128::from_le_bytes(*bytes.ok_or(BadFrame)?);
            }
            return Ok(fpu);
        }
        if magic == 0 || len < 8 || !len.is_multiple_of(16) {
            return Err(BadFrame);
        }
        at = at.checked_add(len).ok_or(BadFrame)?;
    }
}

/// Where the frame is that a handler returned from: nothing was taken from the stack.
#[must_use]
pub const fn frame_at(sp: usize) -> usize {
    sp
}

/// How far below the stack pointer a frame may begin: there is no red zone.
#[must_use]
pub const fn below(sp: usize) -> usize {
    sp
}

/// Length of a whole frame.
#[cfg(target_os = "none")]
#[must_use]
pub const fn total(_fpu: &super::context::FpuState) -> usize {
    FRAME_LEN
}

/// `rt_sigreturn`: [`restore`], for what a thread has.
///
/// # Errors
/// [`BadFrame`].
#[cfg(target_os = "none")]
pub fn give_back(
    frame: &mut TrapFrame,
    fpu: &mut super::context::FpuState,
    bytes: &[u8],
) -> Result<Returned, BadFrame> {
    restore(frame, fpu.registers(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interrupted() -> (TrapFrame, FpuRegisters) {
        let mut frame = TrapFrame::new_user(0x22_a784, 0xfffc_6e39_8990);
        for (i, register) in frame.regs.iter_mut().enumerate() {
            *register = 0x1000 + i;
        }
        frame.set_flags(0x6000_0000);
        let mut fpu = FpuRegisters::new();
        for (i, vector) in fpu.vectors.iter_mut().enumerate() {
            *vector = u128::MAX - i as u128;
        }
        (fpu.fpcr, fpu.fpsr) = (0x0100_0000, 0x1f);
        (frame, fpu)
    }

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
        // By the definitions in uapi/asm: sigcontext is aligned to 16, and so is what follows
        // its 280 bytes of registers.
        assert_eq!((UCONTEXT, STACK, MASK, CONTEXT), (128, 144, 168, 304));
        assert_eq!((RECORDS, FRAME_RECORD), (128 + 464, 128 + 4560));
        let (frame, fpu) = interrupted();
        let (at, bytes) = build(&frame, &fpu, frame.sp(), &delivery()).unwrap();
        assert_eq!((at % 16, bytes.len()), (0, FRAME_LEN));
        assert!(at + FRAME_LEN <= frame.sp());
        assert_eq!(bytes[..128], [0xab; 128]);
        assert_eq!(word(&bytes, 304), Ok(0xdead_0000), "fault_address");
        assert_eq!(word(&bytes, 312), Ok(0x1000), "x0");
        assert_eq!(word(&bytes, 312 + 31 * 8), Ok(frame.sp()));
        assert_eq!(half(&bytes, 592), Ok(FPSIMD_MAGIC));
        assert_eq!(half(&bytes, 592 + 528), Ok(0), "the end of the records");
    }

    #[test]
    fn what_was_interrupted_comes_back() {
        let (frame, fpu) = interrupted();
        let delivery = delivery();
        let (at, bytes) = build(&frame, &fpu, frame.sp(), &delivery).unwrap();
        let mut handler = frame;
        enter(&mut handler, at, &delivery);
        assert_eq!((handler.pc(), handler.sp()), (0x40_0000, at));
        assert_eq!(handler.regs[..3], [11, at, at + 128]);
        assert_eq!((handler.regs[29], handler.regs[30]), (at + FRAME_RECORD, 0x40_1000));

        let mut fpu_now = FpuRegisters::new();
        let returned = restore(&mut handler, &mut fpu_now, &bytes).unwrap();
        assert_eq!(returned, Returned { mask: delivery.mask, stack: delivery.stack });
        assert_eq!(handler.regs, frame.regs);
        assert_eq!((handler.pc(), handler.sp()), (frame.pc(), frame.sp()));
        assert_eq!((handler.flags(), fpu_now), (frame.flags(), fpu));
    }

    #[test]
    fn a_frame_that_the_app_has_changed_gives_no_privilege() {
        let (frame, fpu) = interrupted();
        let (_, mut bytes) = build(&frame, &fpu, frame.sp(), &delivery()).unwrap();
        put(&mut bytes, REGISTERS + 33 * 8, &usize::MAX.to_le_bytes());
        let (mut now, mut fpu_now) = interrupted();
        restore(&mut now, &mut fpu_now, &bytes).unwrap();
        assert!(now.is_user());
        assert_eq!(now.flags(), 0xf000_0000, "N, Z, C, V and nothing else");
    }

    #[test]
    fn broken_frames_are_refused_and_change_nothing() {
        let (frame, fpu) = interrupted();
        let (_, bytes) = build(&frame, &fpu, frame.sp(), &delivery()).unwrap();
        let refused = |bytes: &[u8]| {
            let mut now = TrapFrame::new_user(1, 2);
            let mut fpu_now = FpuRegisters::new();
            assert_eq!(restore(&mut now, &mut fpu_now, bytes), Err(BadFrame));
            assert_eq!((now.pc(), now.sp(), now.regs), (1, 2, [0; 31]));
            assert_eq!(fpu_now, FpuRegisters::new());
        };
        for len in (0..RECORDS + FPSIMD_LEN).step_by(7) {
            refused(&bytes[..len]);
        }
        for (magic, len) in [(0, 0), (1, 0), (1, 4), (1, 24), (1, u32::MAX), (FPSIMD_MAGIC, 16)] {
            let mut broken = bytes.clone();
            broken[RECORDS + 16..FRAME_RECORD].fill(0);
            put(&mut broken, RECORDS, &u32::to_le_bytes(magic));
            put(&mut broken, RECORDS + 4, &u32::to_le_bytes(len));
            refused(&broken);
        }
        assert!(build(&frame, &fpu, 100, &delivery()).is_none(), "no room");
    }
}
