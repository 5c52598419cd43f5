//! A line being formatted, without an allocator.

use core::fmt;

/// Longest line of the log in bytes; the rest is cut off.
pub const MAX: usize = 480;

/// Formatted text of bounded length.
pub struct Line {
    bytes: [u8; MAX],
    len: usize,
}

impl Line {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; MAX], len: 0 }
    }

    /// What was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Adds what fits; newlines become spaces, so that one record stays one line.
    fn push(&mut self, text: &[u8]) {
        for &b in text {
            let Some(slot) = self.bytes.get_mut(self.len) else { break };
            *slot = if b == b'\n' { b' ' } else { b };
            self.len += 1;
        }
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Line {
    /// Never fails: what does not fit is cut off.
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}

/// Begins a line of the log: `[    0.000123] LEVEL target: `.
pub fn begin(line: &mut Line, now_ns: u64, level: log::Level, target: &str) {
    // By hand: the formatter's padding is much code to run cold for the first line.
    let mut us = now_ns / 1000;
    let mut stamp = [b' '; 24];
    let mut at = stamp.len();
    // The digits of 2⁶⁴ ns in µs are 17.
    for place in 0..17 {
        if place == 6 {
            at -= 1;
            stamp[at] = b'.';
        }
        at -= 1;
        stamp[at] = b'0' + (us % 10) as u8;
        us /= 10;
        if us == 0 && place >= 6 {
            break;
        }
    }
    let stamp = &stamp[at.min(stamp.len() - 12)..];
    for part in [b"[", stamp, b"] ", level.as_str().as_bytes(), b" ", target.as_bytes(), b": "] {
        line.push(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn lines_look_as_agreed() {
        let mut line = Line::new();
        begin(&mut line, 12_000_123_999, log::Level::Warn, "ns16550");
        write!(line, "two\nlines {}", 1).unwrap();
        assert_eq!(line.bytes(), b"[   12.000123] WARN ns16550: two lines 1");
        for (ns, stamp) in [
            (0, "[    0.000000]"),
            (98_765_432_100_000, "[98765.432100]"),
            (123_456_000_000_000, "[123456.000000]"),
            (u64::MAX, "[18446744073.709551]"),
        ] {
            let mut line = Line::new();
            begin(&mut line, ns, log::Level::Info, "x");
            assert_eq!(line.bytes(), std::format!("{stamp} INFO x: ").as_bytes());
        }
    }

    #[test]
    fn long_lines_are_cut_off() {
        let mut line = Line::new();
        for _ in 0..MAX {
            write!(line, "abc").unwrap();
        }
        assert_eq!(line.bytes().len(), MAX);
    }
}
