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
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Line {
    /// Never fails: what does not fit is cut off, and newlines become spaces, so that one
    /// record stays one line.
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for b in s.bytes() {
            let Some(slot) = self.bytes.get_mut(self.len) else { break };
            *slot = if b == b'\n' { b' ' } else { b };
            self.len += 1;
        }
        Ok(())
    }
}

/// Begins a line of the log: `[    0.000123] LEVEL target: `.
pub fn begin(line: &mut Line, now_ns: u64, level: log::Level, target: &str) {
    use fmt::Write;
    let us = now_ns / 1000;
    let _ = write!(line, "[{:5}.{:06}] {level} {target}: ", us / 1_000_000, us % 1_000_000);
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
