//! The user's terminal while a guest owns it: every key goes to the guest at once and is
//! not echoed, except Ctrl-C, which stays a signal to xtask.

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr,
};
use std::io::stdin;

/// `_POSIX_VDISABLE` on Linux: no key has this special meaning.
const DISABLED: u8 = 0;

/// The terminal's settings before the guest got it; put back when dropped.
pub struct GuestMode {
    before: Termios,
}

impl GuestMode {
    /// Gives the terminal to the guest. `None` when stdin is no terminal, or is another
    /// job's: to change it from the background would stop xtask (SIGTTOU).
    #[must_use]
    pub fn enter() -> Option<Self> {
        let stdin = stdin();
        if !isatty(&stdin) || tcgetpgrp(&stdin).ok()? != rustix::process::getpgrp() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut guest = before.clone();
        guest.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        guest.special_codes[SpecialCodeIndex::VMIN] = 1;
        guest.special_codes[SpecialCodeIndex::VTIME] = 0;
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            guest.special_codes[key] = DISABLED;
        }
        tcsetattr(&stdin, OptionalActions::Now, &guest).ok()?;
        Some(Self { before })
    }
}

impl Drop for GuestMode {
    fn drop(&mut self) {
        // Drain: what the guest wrote last is shown before echo comes back.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}
