//! The kernel's log, for the app to read.

use super::{Errno, Outcome, syscall};
use crate::log::{line, line_numbers, read_line};
use crate::user;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use driver_api::Error;

/// `SYSLOG_ACTION_*` (`include/linux/syslog.h`).
mod action {
    pub const CLOSE: u32 = 0;
    pub const OPEN: u32 = 1;
    pub const READ_ALL: u32 = 3;
    pub const READ_CLEAR: u32 = 4;
    pub const CLEAR: u32 = 5;
    pub const SIZE_BUFFER: u32 = 10;
}

/// What a buffer for the whole log has room for: the lines that the ring keeps, and their heads.
const SIZE: usize = 32 << 10;

/// The number of the first line that is not cleared.
static CLEARED: AtomicU64 = AtomicU64::new(0);

/// The latest lines that fit into `len` bytes, whole, each after its level as `<N>`.
fn read_all(to: usize, len: usize) -> Outcome {
    let numbers = line_numbers();
    let mut text: Vec<u8> = Vec::new();
    let mut bytes = [0; line::MAX];
    for number in numbers.start.max(CLEARED.load(Ordering::Relaxed))..numbers.end {
        // It may have made room for a later one.
        let Some((level, n)) = read_line(number, &mut bytes) else { continue };
        text.try_reserve(n + 4).map_err(|_| Error::NoMemory)?;
        // Error, warning, information, debugging (`syslog(2)`, the log level).
        let digit = b"03467".get(usize::from(level)).copied().unwrap_or(b'7');
        text.extend_from_slice(&[b'<', digit, b'>']);
        text.extend_from_slice(bytes.get(..n).unwrap_or(&[]));
        text.push(b'\n');
    }
    let mut rest = text.as_slice();
    while rest.len() > len {
        let end = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |at| at + 1);
        rest = rest.get(end..).unwrap_or(&[]);
    }
    user::write(to, rest)?;
    Ok(rest.len())
}

syscall! {
    /// `syslog(2)`: reads the log and clears it, without waiting for lines (`SYSLOG_ACTION_READ`);
    /// the console's level is the command line's.
    fn syslog(what: u32, to: usize, len: i32) {
        let len = || match usize::try_from(len) {
            Ok(len) if to != 0 => Ok(len),
            _ => Err(Errno::EINVAL),
        };
        let read = match what {
            action::CLOSE | action::OPEN | action::CLEAR => 0,
            action::READ_ALL | action::READ_CLEAR => read_all(to, len()?)?,
            action::SIZE_BUFFER => return Ok(SIZE),
            _ => return Err(Errno::EINVAL),
        };
        if matches!(what, action::READ_CLEAR | action::CLEAR) {
            CLEARED.store(line_numbers().end, Ordering::Relaxed);
        }
        Ok(read)
    }
}
