//! The registers that the vectors save.

/// The registers of an interrupted context, as the vectors write them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TrapFrame {
    /// x0-x30.
    pub regs: [usize; 31],
    pub(super) sp: usize,
    pub(super) pc: usize,
    pub(super) pstate: usize,
    /// x0 as it was on entry: a system call's first argument, for restarts.
    pub orig_x0: usize,
    pub(super) esr: usize,
    /// A frame record (AAPCS64, "The Frame Pointer"), so that walks go through exceptions.
    pub(super) record: [usize; 2],
}

const _: () = assert!(size_of::<TrapFrame>().is_multiple_of(16));

/// PSTATE.M: EL0, AArch64.
const EL0T: usize = 0;
/// PSTATE.M[4:0].
const MODE: usize = 0x1f;
/// PSTATE bits that user mode may choose: N, Z, C, V.
const USER_FLAGS: usize = 0xf << 28;
/// Names of x0-x30 in crash reports.
const NAMES: [&str; 31] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
    "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "x29", "x30",
];

impl TrapFrame {
    /// The first frame of a thread of user mode: all registers 0.
    #[must_use]
    pub const fn new_user(pc: usize, sp: usize) -> Self {
        Self { regs: [0; 31], sp, pc, pstate: EL0T, orig_x0: 0, esr: 0, record: [0; 2] }
    }

    /// Number of the system call: x8.
    #[must_use]
    pub fn syscall_number(&self) -> usize {
        self.regs[8]
    }

    /// Arguments of the system call: x0-x5.
    #[must_use]
    pub fn syscall_args(&self) -> [usize; 6] {
        let [_, a1, a2, a3, a4, a5, ..] = self.regs;
        [self.orig_x0, a1, a2, a3, a4, a5]
    }

    /// What the system call returns: x0.
    pub fn set_syscall_result(&mut self, result: isize) {
        self.regs[0] = result as usize;
    }

    /// Makes the system call happen again when user mode goes on: the SVC is executed anew.
    pub fn restart_syscall(&mut self) {
        self.regs[0] = self.orig_x0;
        self.pc = self.pc.wrapping_sub(4);
    }

    /// Where it was interrupted.
    #[must_use]
    pub fn pc(&self) -> usize {
        self.pc
    }

    /// Its stack pointer.
    #[must_use]
    pub fn sp(&self) -> usize {
        self.sp
    }

    /// Sets where it goes on.
    pub fn set_pc(&mut self, pc: usize) {
        self.pc = pc;
    }

    /// Sets its stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.sp = sp;
    }

    /// Sets the `n`-th argument of a function that user mode is about to enter (0 … 7).
    pub fn set_arg(&mut self, n: usize, value: usize) {
        if let Some(register) = self.regs.get_mut(n).filter(|_| n < 8) {
            *register = value;
        }
    }

    /// Makes sure that it returns to user mode, whatever PSTATE says.
    pub fn make_user(&mut self) {
        self.pstate = (self.pstate & USER_FLAGS) | EL0T;
    }

    /// The condition flags, as a signal frame keeps them.
    #[must_use]
    pub fn flags(&self) -> usize {
        self.pstate
    }

    /// Takes the condition flags from `flags` and nothing else: safe with a value that user
    /// mode has written.
    pub fn set_flags(&mut self, flags: usize) {
        self.pstate = (self.pstate & !USER_FLAGS) | (flags & USER_FLAGS);
    }

    /// Whether user mode was interrupted.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.pstate & MODE == EL0T
    }

    /// Its frame pointer: x29.
    #[must_use]
    pub fn frame_pointer(&self) -> usize {
        self.regs[29]
    }

    /// All registers by name, for crash reports.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        let general = NAMES.iter().copied().zip(self.regs.iter().copied());
        general.chain([
            ("sp", self.sp),
            ("pc", self.pc),
            ("pstate", self.pstate),
            ("esr", self.esr),
        ])
    }
}
