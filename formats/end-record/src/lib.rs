//! The end record: how the kernel tells xtask why the virtual machine ended.
//!
//! It travels over a channel of its own that unprivileged code cannot reach, so that no
//! output of an app can imitate it:
//!
//! - x64: QEMU's `isa-debugcon` at I/O port [`DEBUGCON_PORT`], announced to the kernel by
//!   the command-line word `osier.exit=debugcon`. Port I/O needs I/O privilege, which the
//!   app's ring 3 does not have.
//! - aarch64: semihosting calls `SYS_WRITEC`/`SYS_WRITE0` (Arm's "Semihosting for AArch32
//!   and AArch64", operations 3 and 4), announced by `osier.exit=semihosting`. QEMU refuses
//!   semihosting from EL0 unless it is started with `userspace=on`, which xtask never does.
//!
//! A record is one line of ASCII, ended by `\n`:
//!
//! ```text
//! osier-end 1 exit 0        the app ended with this status, 0 … 255
//! osier-end 1 signal 11     the app was ended by this signal, 1 … 64
//! osier-end 1 panic         the kernel panicked
//! osier-end 1 oom           memory ran out
//! osier-end 1 halt          the kernel stopped without an app's end (no first program …)
//! ```
//!
//! The last whole record counts, so a panic while an exit is under way is seen. After it
//! the kernel powers off: on x64 by a write to QEMU's `isa-debug-exit` at
//! [`DEBUG_EXIT_PORT`] when the command line says `osier.poweroff=isa-debug-exit`, else by
//! ACPI; on aarch64 by PSCI `SYSTEM_OFF`. A machine that is still there a second later is
//! ended by xtask.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

/// What every record begins with: the magic word and the version of the format.
pub const PREFIX: &str = "osier-end 1 ";
/// Longest record in bytes, the newline included.
pub const MAX_LEN: usize = 32;

/// Command-line key that names the channel.
pub const CHANNEL_KEY: &str = "osier.exit";
/// Value of [`CHANNEL_KEY`] for the I/O port [`DEBUGCON_PORT`].
pub const CHANNEL_DEBUGCON: &str = "debugcon";
/// Value of [`CHANNEL_KEY`] for semihosting.
pub const CHANNEL_SEMIHOSTING: &str = "semihosting";
/// I/O port of the channel on x64. QEMU's `isa-debugcon` can lie anywhere. Not at the usual
/// 0x402: SeaBIOS would write its own log there, some 5000 bytes at each boot of a `q35`.
pub const DEBUGCON_PORT: u16 = 0x500;

/// Command-line key that names a way to power off that is quicker than ACPI.
pub const POWEROFF_KEY: &str = "osier.poweroff";
/// Value of [`POWEROFF_KEY`] for a write to [`DEBUG_EXIT_PORT`].
pub const POWEROFF_DEBUG_EXIT: &str = "isa-debug-exit";
/// I/O port of QEMU's `isa-debug-exit` (its documented default).
pub const DEBUG_EXIT_PORT: u16 = 0x501;

/// How a virtual machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The app ended with this status.
    Exit(u8),
    /// The app was ended by this signal, 1 … 64.
    Signal(u8),
    /// The kernel panicked.
    Panic,
    /// Memory ran out.
    Oom,
    /// The kernel stopped for another reason than an app's end; the console says which.
    Halt,
}

/// The words of a record: `exit 0`, `signal 11`, `panic`, `oom`, `halt`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exit(status) => write!(f, "exit {status}"),
            End::Signal(signal) => write!(f, "signal {signal}"),
            End::Panic => f.write_str("panic"),
            End::Oom => f.write_str("oom"),
            End::Halt => f.write_str("halt"),
        }
    }
}

/// A text is not the words of an [`End`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEnd;

impl core::str::FromStr for End {
    type Err = NotAnEnd;

    fn from_str(words: &str) -> Result<Self, NotAnEnd> {
        // `u8::from_str` also takes `+1` and `007`, which no kernel writes.
        let number = |text: &str| {
            let canonical = text == "0" || !text.starts_with(['0', '+']);
            text.parse::<u8>().ok().filter(|_| canonical).ok_or(NotAnEnd)
        };
        match words.split_once(' ') {
            None if words == "panic" => Ok(End::Panic),
            None if words == "oom" => Ok(End::Oom),
            None if words == "halt" => Ok(End::Halt),
            Some(("exit", status)) => Ok(End::Exit(number(status)?)),
            Some(("signal", signal)) => match number(signal)? {
                signal @ 1..=64 => Ok(End::Signal(signal)),
                _ => Err(NotAnEnd),
            },
            _ => Err(NotAnEnd),
        }
    }
}

impl End {
    /// Writes the whole record, newline included, in one or more pieces.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_record(&self, out: &mut impl fmt::Write) -> fmt::Result {
        writeln!(out, "{PREFIX}{self}")
    }

    /// The last whole record in what came over the channel; anything else in it is ignored.
    #[must_use]
    pub fn last_in(channel: &[u8]) -> Option<End> {
        let whole = channel.iter().rposition(|&b| b == b'\n')?;
        channel
            .get(..whole)?
            .rsplit(|&b| b == b'\n')
            .find_map(|line| core::str::from_utf8(line).ok()?.strip_prefix(PREFIX)?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;
    use std::string::String;

    #[test]
    fn every_record_comes_back() {
        let statuses = (0..=255).map(End::Exit);
        let signals = (1..=64).map(End::Signal);
        for end in statuses.chain(signals).chain([End::Panic, End::Oom, End::Halt]) {
            let mut record = String::new();
            end.write_record(&mut record).unwrap();
            assert!(record.len() <= MAX_LEN, "{record}");
            assert_eq!(End::last_in(record.as_bytes()), Some(end), "{record}");
        }
    }

    #[test]
    fn the_last_whole_record_counts() {
        let channel = b"noise\nosier-end 1 exit 0\nosier-end 1 panic\n\xff\xfe\nosier-end 1 exit 7";
        assert_eq!(End::last_in(channel), Some(End::Panic));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for line in [
            "",
            "exit 0",
            "osier-end 2 exit 0",
            "osier-end 1 exit",
            "osier-end 1 exit 256",
            "osier-end 1 exit -1",
            "osier-end 1 exit +1",
            "osier-end 1 exit 007",
            "osier-end 1 exit 0 0",
            "osier-end 1 signal 0",
            "osier-end 1 signal 65",
            "osier-end 1 panics",
            " osier-end 1 panic",
            "osier-end 1 panic\r",
        ] {
            assert_eq!(End::last_in(format!("{line}\n").as_bytes()), None, "{line:?}");
        }
        assert_eq!(End::last_in(b"osier-end 1 panic"), None, "no newline: not whole");
    }
}
