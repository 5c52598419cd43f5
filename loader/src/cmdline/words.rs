//! Words of a command line: separated by white space, with `"…"` around what holds some.
//!
//! A quoted part may be any part of a word (`env.GREETING="good morning"`). In quotes,
//! `\"` stands for a quote and `\\` for a backslash; elsewhere a backslash is a backslash.

/// A word as it stands, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    raw: &'a [u8],
    /// A quote was opened and not closed.
    pub unclosed: bool,
    /// There is none: the word is as it stands.
    plain: bool,
}

/// The words of a line.
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// The words of `line`. Zero bytes separate words too.
    #[must_use]
    pub const fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }
}

fn is_space(b: u8) -> bool {
    b.is_ascii_whitespace() || b == 0
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let mut text = self.rest;
        while let [b, rest @ ..] = text
            && is_space(*b)
        {
            text = rest;
        }
        if text.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped, mut plain) = (false, false, true);
        let mut end = text.len();
        for (i, &b) in text.iter().enumerate() {
            match b {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => {
                    quoted = !quoted;
                    plain = false;
                }
                _ if is_space(b) && !quoted => {
                    end = i;
                    break;
                }
                _ => {}
            }
        }
        let (raw, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        Some(Word { raw, unclosed: quoted, plain })
    }
}

impl<'a> Word<'a> {
    /// The word's bytes without quotes.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        let (mut quoted, mut escaped) = (false, false);
        self.raw.iter().enumerate().filter_map(move |(i, &b)| {
            if escaped {
                escaped = false;
                return Some(b);
            }
            match b {
                b'"' => {
                    quoted = !quoted;
                    None
                }
                b'\\' if quoted && matches!(self.raw.get(i + 1), Some(b'"' | b'\\')) => {
                    escaped = true;
                    None
                }
                _ => Some(b),
            }
        })
    }

    /// The word without quotes, if need be copied to `buffer`; `None` when it is longer than
    /// that.
    #[must_use]
    pub fn text<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if self.plain {
            return (self.raw.len() <= buffer.len()).then_some(self.raw);
        }
        let mut n = 0;
        for b in self.bytes() {
            *buffer.get_mut(n)? = b;
            n += 1;
        }
        buffer.get(..n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    fn words(line: &str) -> Vec<String> {
        Words::new(line.as_bytes())
            .map(|w| String::from_utf8(w.bytes().collect()).unwrap())
            .collect()
    }

    #[test]
    fn white_space_separates_and_quotes_join() {
        assert_eq!(words("  a\tb\n c  "), ["a", "b", "c"]);
        assert_eq!(words(r#"a "b c" d"e f"g"#), ["a", "b c", "de fg"]);
        assert_eq!(words(r#""" x"#), ["", "x"]);
        assert_eq!(words(r#""say \"hi\" \\ \n""#), [r#"say "hi" \ \n"#]);
        assert_eq!(words(r"C:\dir\"), [r"C:\dir\"]);
        assert!(words(" \0 ").is_empty());
    }

    #[test]
    fn an_open_quote_takes_the_rest_and_says_so() {
        let all: Vec<Word<'_>> = Words::new(b"a \"b c").collect();
        assert_eq!(all.len(), 2);
        assert!(!all[0].unclosed && all[1].unclosed);
        assert_eq!(words("a \"b c"), ["a", "b c"]);
    }

    #[test]
    fn long_words_do_not_fit() {
        let word = Words::new(b"12\"34\"5").next().unwrap();
        assert_eq!(word.text(&mut [0; 5]), Some(b"12345".as_slice()));
        assert_eq!(word.text(&mut [0; 4]), None);
        let plain = Words::new(b"12345").next().unwrap();
        assert_eq!(plain.text(&mut [0; 5]), Some(b"12345".as_slice()));
        assert_eq!(plain.text(&mut [0; 4]), None);
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(given in proptest::collection::vec("[ -~]{0,12}", 0..8)) {
            let line: Vec<String> = given.iter()
                .map(|w| std::format!("\"{}\"", w.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            prop_assert_eq!(words(&line.join(" ")), given);
        }

        #[test]
        fn any_bytes_are_words(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = Words::new(&line).map(|w| w.bytes().count()).sum();
            prop_assert!(total <= line.len());
        }
    }
}
