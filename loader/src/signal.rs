//! Signals: numbers, sets, what happens by default. (`signal(7)`, `asm-generic/signal.h`.)

/// Numbers of signals.
pub mod number {
    /// Terminal hung up.
    pub const HUP: u8 = 1;
    /// The interrupt key.
    pub const INT: u8 = 2;
    /// The quit key.
    pub const QUIT: u8 = 3;
    /// Illegal instruction.
    pub const ILL: u8 = 4;
    /// Breakpoint.
    pub const TRAP: u8 = 5;
    /// `abort`.
    pub const ABRT: u8 = 6;
    /// Access that memory refused.
    pub const BUS: u8 = 7;
    /// Arithmetic.
    pub const FPE: u8 = 8;
    /// Cannot be caught.
    pub const KILL: u8 = 9;
    /// Access to an address that is not mapped so.
    pub const SEGV: u8 = 11;
    /// A pipe without readers.
    pub const PIPE: u8 = 13;
    /// A timer expired.
    pub const ALRM: u8 = 14;
    /// A child changed.
    pub const CHLD: u8 = 17;
    /// Goes on after a stop.
    pub const CONT: u8 = 18;
    /// Cannot be caught.
    pub const STOP: u8 = 19;
    /// The suspend key.
    pub const TSTP: u8 = 20;
    /// Terminal input in the background.
    pub const TTIN: u8 = 21;
    /// Terminal output in the background.
    pub const TTOU: u8 = 22;
    /// Urgent data.
    pub const URG: u8 = 23;
    /// More CPU time than the soft limit allows.
    pub const XCPU: u8 = 24;
    /// A file longer than the limit allows.
    pub const XFSZ: u8 = 25;
    /// A timer of the app's own CPU time expired.
    pub const VTALRM: u8 = 26;
    /// A timer of all its CPU time expired.
    pub const PROF: u8 = 27;
    /// The window changed.
    pub const WINCH: u8 = 28;
    /// A system call that does not exist.
    pub const SYS: u8 = 31;
    /// The first real-time one: of these each that is sent is delivered.
    pub const RT: u8 = 32;
    /// The last one.
    pub const MAX: u8 = 64;
}

/// A set of signals: bit n - 1 for signal n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Set(pub u64);

impl Set {
    /// What cannot be blocked, caught or ignored.
    pub const UNBLOCKABLE: Self = Self(1 << (number::KILL - 1) | 1 << (number::STOP - 1));

    /// Just one; none for a number out of range.
    #[must_use]
    pub const fn of(signal: u8) -> Self {
        if signal == 0 || signal > number::MAX { Self(0) } else { Self(1 << (signal - 1)) }
    }

    /// Whether `signal` is in it.
    #[must_use]
    pub const fn has(self, signal: u8) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// The lowest in it that is not in `blocked`. (Linux delivers those of faults first,
    /// and they are the low ones.)
    #[must_use]
    pub const fn next(self, blocked: Self) -> Option<u8> {
        let ready = self.0 & !blocked.0;
        if ready == 0 { None } else { Some(ready.trailing_zeros() as u8 + 1) }
    }
}

/// What a signal does to a process that neither handles nor ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByDefault {
    /// Ends it.
    End,
    /// Ends it, with a report.
    Crash,
    /// Nothing. (Stops are nothing as well: there is no shell to go on from.)
    Ignore,
}

/// What `signal` does by default.
#[must_use]
pub const fn default(signal: u8) -> ByDefault {
    use number::{
        ABRT, BUS, CHLD, CONT, FPE, ILL, QUIT, SEGV, STOP, SYS, TRAP, TSTP, TTIN, TTOU, URG, WINCH,
        XCPU, XFSZ,
    };
    match signal {
        QUIT | ILL | TRAP | ABRT | BUS | FPE | SEGV | XCPU | XFSZ | SYS => ByDefault::Crash,
        CHLD | CONT | STOP | TSTP | TTIN | TTOU | URG | WINCH => ByDefault::Ignore,
        _ => ByDefault::End,
    }
}

/// Its name, for reports.
#[must_use]
pub const fn name(signal: u8) -> &'static str {
    const NAMES: [&str; 32] = [
        "0",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    if (signal as usize) < NAMES.len() { NAMES[signal as usize] } else { "a real-time signal" }
}

/// What the process wants done with a signal (`struct sigaction` of the kernel's ABI).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Action {
    /// [`Action::DEFAULT`], [`Action::IGNORE`], or the handler's address.
    pub handler: usize,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to (`SA_RESTORER`).
    pub restorer: usize,
    /// Blocked while the handler runs.
    pub mask: Set,
}

impl Action {
    /// `SIG_DFL`.
    pub const DEFAULT: usize = 0;
    /// `SIG_IGN`.
    pub const IGNORE: usize = 1;
    /// The handler gets a `siginfo` and a context.
    pub const SIGINFO: u64 = 4;
    /// `restorer` is valid.
    pub const RESTORER: u64 = 0x0400_0000;
    /// On the alternate stack.
    pub const ONSTACK: u64 = 0x0800_0000;
    /// System calls are made again.
    pub const RESTART: u64 = 0x1000_0000;
    /// The signal itself is not blocked meanwhile.
    pub const NODEFER: u64 = 0x4000_0000;
    /// Back to the default before the handler runs.
    pub const RESETHAND: u64 = 0x8000_0000;

    /// Whether `signal` is dropped.
    #[must_use]
    pub fn ignores(&self, signal: u8) -> bool {
        self.handler == Self::IGNORE
            || self.handler == Self::DEFAULT && default(signal) == ByDefault::Ignore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let set = Set(Set::of(1).0 | Set::of(64).0);
        assert!(set.has(1) && set.has(64) && !set.has(2) && !set.has(0) && !set.has(65));
        assert_eq!(set.next(Set::default()), Some(1));
        assert_eq!(set.next(Set::of(1)), Some(64));
        assert_eq!(set.next(Set(u64::MAX)), None);
        assert_eq!(Set::UNBLOCKABLE.0, 0x4_0100);
    }

    #[test]
    fn names_and_defaults() {
        assert_eq!(name(number::SEGV), "SIGSEGV");
        assert_eq!(name(number::SYS), "SIGSYS");
        assert_eq!(name(40), "a real-time signal");
        assert_eq!(default(number::SEGV), ByDefault::Crash);
        assert_eq!(default(number::CHLD), ByDefault::Ignore);
        assert_eq!(default(15), ByDefault::End);
    }
}
