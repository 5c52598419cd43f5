//! Framing of the language server protocol (LSP 3.17, "Base Protocol"): a header of
//! `Name: value` lines that end in CR LF, an empty line, and a body whose length in bytes
//! `Content-Length` gives.

use std::fmt;

/// The longest header that is taken. Real ones have one or two lines.
const MAX_HEADER: usize = 4 << 10;
/// The longest body that is taken: a limit against a peer that speaks another protocol,
/// beyond any message of an editor.
const MAX_BODY: usize = 256 << 20;
/// What ends a header.
const END: &[u8] = b"\r\n\r\n";

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame(String);

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadFrame {}

/// Cuts a stream of bytes into the bodies of its messages.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// The length of the body that follows, once its header is read.
    body: Option<usize>,
}

impl Decoder {
    /// Takes in bytes as they arrive.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole body; `None` until more bytes have come.
    ///
    /// # Errors
    /// For a header that is none, that is too long, or that lacks the length. The stream is
    /// of no use after it.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, BadFrame> {
        let length = match self.body {
            Some(length) => length,
            None => {
                let Some(at) = self.bytes.windows(END.len()).position(|w| w == END) else {
                    return if self.bytes.len() > MAX_HEADER {
                        Err(BadFrame(format!("no header ends within {MAX_HEADER} bytes")))
                    } else {
                        Ok(None)
                    };
                };
                let header: Vec<u8> = self.bytes.drain(..at + END.len()).collect();
                *self.body.insert(content_length(&header)?)
            }
        };
        if self.bytes.len() < length {
            return Ok(None);
        }
        self.body = None;
        let rest = self.bytes.split_off(length);
        Ok(Some(std::mem::replace(&mut self.bytes, rest)))
    }

    /// Whether the stream may end here: no message is begun.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.bytes.is_empty() && self.body.is_none()
    }
}

fn content_length(header: &[u8]) -> Result<usize, BadFrame> {
    let text = std::str::from_utf8(header)
        .map_err(|_| BadFrame("a header is not text".to_owned()))?
        .trim_end();
    let mut length = None;
    for line in text.split("\r\n") {
        let (name, value) =
            line.split_once(':').ok_or_else(|| BadFrame(format!("`{line}` is no header")))?;
        // Names are those of HTTP, where case does not count.
        if name.trim().eq_ignore_ascii_case("content-length") {
            let bad = || BadFrame(format!("`{}` is no length", value.trim()));
            length = Some(value.trim().parse::<usize>().map_err(|_| bad())?);
        }
    }
    match length {
        None => Err(BadFrame(format!("the header `{text}` lacks Content-Length"))),
        Some(n) if n > MAX_BODY => Err(BadFrame(format!("a message of {n} bytes"))),
        Some(n) => Ok(n),
    }
}

/// The message with its header.
#[must_use]
pub fn encode(body: &[u8]) -> Vec<u8> {
    let mut out = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<Vec<u8>>, BadFrame> {
        let mut out = Vec::new();
        while let Some(body) = decoder.next()? {
            out.push(body);
        }
        Ok(out)
    }

    proptest! {
        #[test]
        fn messages_come_back_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cut in 1_usize..50,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|b| encode(b)).collect();
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.feed(piece);
                got.extend(all(&mut decoder).unwrap());
            }
            prop_assert_eq!(got, bodies);
            prop_assert!(decoder.is_between());
        }
    }

    #[test]
    fn other_headers_are_passed_over() {
        let mut decoder = Decoder::default();
        decoder.feed(b"Content-Type: x; charset=utf-8\r\ncontent-length:2\r\n\r\n{}");
        assert_eq!(all(&mut decoder).unwrap(), [b"{}"]);
        decoder.feed(b"Content-Length: 2\r\n\r\n{");
        assert_eq!(decoder.next(), Ok(None));
        assert!(!decoder.is_between());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let long = "x".repeat(MAX_HEADER + 1);
        for (bytes, says) in [
            ("GET / HTTP/1.1\r\n\r\n", "`GET / HTTP/1.1` is no header"),
            ("Content-Type: x\r\n\r\n", "lacks Content-Length"),
            ("Content-Length: -1\r\n\r\n", "`-1` is no length"),
            ("Content-Length: 99999999999999999999\r\n\r\n", "is no length"),
            ("Content-Length: 268435457\r\n\r\n", "a message of 268435457 bytes"),
            (&long, "no header ends within 4096 bytes"),
        ] {
            let mut decoder = Decoder::default();
            decoder.feed(bytes.as_bytes());
            let e = decoder.next().unwrap_err().to_string();
            assert!(e.contains(says), "{e}");
        }
    }
}
