//! What a thread had in its registers when it entered the kernel.

/// Selectors of user mode's segments (the GDT is in `cpu`).
pub(super) const USER_SS: u16 = 0x2b;
pub(super) const USER_CS: u16 = 0x33;

/// Everything that a thread had in its general registers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TrapFrame {
    pub(super) r15: usize,
    pub(super) r14: usize,
    pub(super) r13: usize,
    pub(super) r12: usize,
    pub(super) rbp: usize,
    pub(super) rbx: usize,
    pub(super) r11: usize,
    pub(super) r10: usize,
    pub(super) r9: usize,
    pub(super) r8: usize,
    pub(super) rax: usize,
    pub(super) rcx: usize,
    pub(super) rdx: usize,
    pub(super) rsi: usize,
    pub(super) rdi: usize,
    /// The IDT vector, or [`SYSCALL_VECTOR`].
    pub(super) vector: usize,
    /// The exception's error code, where it has one; the number of the system call.
    pub(super) code: usize,
    pub(super) rip: usize,
    pub(super) cs: usize,
    pub(super) rflags: usize,
    pub(super) rsp: usize,
    pub(super) ss: usize,
}

/// What [`TrapFrame::vector`] says of a system call.
pub(super) const SYSCALL_VECTOR: usize = 0x100;
pub(super) const FRAME: usize = size_of::<TrapFrame>();

/// RFLAGS bits (Intel SDM vol. 1, 3.4.3).
pub(super) const RFLAGS_RESERVED: usize = 1 << 1;
pub(super) const RFLAGS_TF: usize = 1 << 8;
pub(super) const RFLAGS_IF: usize = 1 << 9;
pub(super) const RFLAGS_RF: usize = 1 << 16;
/// What a program may set in a frame that it gives the kernel (a signal's context): status
/// flags, TF, DF, RF, AC and ID, as Linux allows.
const RFLAGS_USER: usize = 0x0005_0dd5 | 1 << 21;

impl TrapFrame {
    /// The frame of a thread that is to begin at `pc` in user mode, all registers zero.
    #[must_use]
    pub fn new_user(pc: usize, sp: usize) -> Self {
        Self {
            rip: pc,
            rsp: sp,
            cs: usize::from(USER_CS),
            ss: usize::from(USER_SS),
            rflags: RFLAGS_RESERVED | RFLAGS_IF,
            vector: SYSCALL_VECTOR,
            ..Self::default()
        }
    }

    /// Number of the system call.
    #[must_use]
    pub fn syscall_number(&self) -> usize {
        self.code
    }

    /// Its arguments.
    #[must_use]
    pub fn syscall_args(&self) -> [usize; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Sets its result: a value, or minus an errno.
    pub fn set_syscall_result(&mut self, result: isize) {
        self.rax = result.cast_unsigned();
    }

    /// Its result, when it was set.
    #[must_use]
    pub fn syscall_result(&self) -> isize {
        self.rax.cast_signed()
    }

    /// Makes the thread issue the system call again when it returns to user mode: back to
    /// the two-byte `syscall` instruction, with the number where it was.
    pub fn restart_syscall(&mut self) {
        self.rax = self.code;
        self.rip = self.rip.wrapping_sub(2);
    }

    /// Whether the frame was saved by a system call.
    #[must_use]
    pub fn is_syscall(&self) -> bool {
        self.vector == SYSCALL_VECTOR
    }

    /// Address of the next instruction.
    #[must_use]
    pub fn pc(&self) -> usize {
        self.rip
    }

    /// The stack pointer.
    #[must_use]
    pub fn sp(&self) -> usize {
        self.rsp
    }

    /// Sets the address of the next instruction.
    pub fn set_pc(&mut self, pc: usize) {
        self.rip = pc;
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.rsp = sp;
    }

    /// Sets the `n`-th (from 0, below 6) argument of the function that the thread goes on
    /// with, as the System V ABI passes it.
    pub fn set_arg(&mut self, n: usize, value: usize) {
        match n {
            0 => self.rdi = value,
            1 => self.rsi = value,
            2 => self.rdx = value,
            3 => self.rcx = value,
            4 => self.r8 = value,
            5 => self.r9 = value,
            _ => {}
        }
    }

    /// Sets the thread pointer (FS base) of the thread that runs.
    #[cfg(target_os = "none")]
    pub fn set_tls(&mut self, value: usize) {
        super::context::set_user_tls(value);
    }

    /// Whether the frame is of user mode.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.cs & 3 == 3
    }

    /// The frame pointer, where a backtrace begins.
    #[must_use]
    pub fn frame_pointer(&self) -> usize {
        self.rbp
    }

    /// The registers in the order of a `sigcontext` (Linux's
    /// `arch/x86/include/uapi/asm/sigcontext.h`): r8 … r15, rdi, rsi, rbp, rbx, rdx, rax,
    /// rcx, rsp, rip, rflags.
    #[must_use]
    pub fn to_sigcontext(&self) -> [usize; 18] {
        [
            self.r8,
            self.r9,
            self.r10,
            self.r11,
            self.r12,
            self.r13,
            self.r14,
            self.r15,
            self.rdi,
            self.rsi,
            self.rbp,
            self.rbx,
            self.rdx,
            self.rax,
            self.rcx,
            self.rsp,
            self.rip,
            self.rflags,
        ]
    }

    /// The first 21 registers in the order of Linux's `struct user_regs_struct`: r15, r14, r13,
    /// r12, rbp, rbx, r11 … r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss.
    #[must_use]
    pub fn to_elf(&self) -> [usize; 21] {
        // The number of the system call, for those that were in one.
        let original = if self.is_syscall() { self.code } else { usize::MAX };
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.rbp,
            self.rbx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.rax,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            original,
            self.rip,
            self.cs,
            self.rflags,
            self.rsp,
            self.ss,
        ]
    }

    /// Takes the registers from a `sigcontext`, which the app may have changed: segments
    /// stay, and of the flags only those that the app could set itself are taken.
    pub fn set_from_sigcontext(&mut self, r: &[usize; 18]) {
        let rflags;
        [
            self.r8, self.r9, self.r10, self.r11, self.r12, self.r13, self.r14, self.r15, self.rdi,
            self.rsi, self.rbp, self.rbx, self.rdx, self.rax, self.rcx, self.rsp, self.rip, rflags,
        ] = *r;
        self.rflags = self.rflags & !RFLAGS_USER | rflags & RFLAGS_USER;
        // Not to be taken for a system call that could be restarted.
        self.vector = SYSCALL_VECTOR;
        self.code = usize::MAX;
    }

    /// Names and values, for reports.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        let values = [
            self.rip,
            self.rsp,
            self.rbp,
            self.rflags,
            self.rax,
            self.rbx,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            self.r8,
            self.r9,
            self.r10,
            self.r11,
            self.r12,
            self.r13,
            self.r14,
            self.r15,
            self.cs,
            self.code,
        ];
        // In one string: a list of names would be pointers, and relocations.
        const NAMES: &[u8] =
            b"rip rsp rbp rflags rax rbx rcx rdx rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 cs code";
        NAMES
            .split(|&b| b == b' ')
            .map(|name| core::str::from_utf8(name).unwrap_or_default())
            .zip(values)
            // Of the kernel's own faults this is the last one.
            .chain((!self.is_user()).then(|| ("cr2", cr2())))
    }

    /// Whether interrupts were on.
    pub(super) fn interrupts_were_on(&self) -> bool {
        self.rflags & RFLAGS_IF != 0
    }
}

/// The address that the last page fault on this CPU was about.
pub(super) fn cr2() -> usize {
    let address: usize;
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mov {}, cr2", out(reg) address,
            options(nomem, nostack, preserves_flags));
    }
    address
}
