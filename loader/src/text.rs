//! Bytes from outside in messages.

use core::fmt::{Display, Formatter, Result, Write};

/// Bytes that may be anything, as text for a terminal: printable ASCII as it is, all else
/// (a backslash too) as `\xNN`.
pub struct Text<'a>(pub &'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str("\\x5c")?,
                b' '..=b'~' => f.write_char(byte.into())?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;
    use std::string::ToString;

    #[test]
    fn nothing_reaches_the_terminal_that_it_obeys() {
        let text = Text(b"/bin/\xc3\xa4 b\x1b[2J\\\0~").to_string();
        assert_eq!(text, r"/bin/\xc3\xa4 b\x1b[2J\x5c\x00~");
    }
}
