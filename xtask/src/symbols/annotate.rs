//! Console lines with what their addresses mean.
//!
//! Two shapes are understood:
//!
//! ```text
//!   #0 0xffffffff80212345                      a frame of the kernel
//!   #1 0x55d0c01a1234 (/bin/hello+0x1234)      a frame of a program: path in the image + offset
//! ```
//!
//! The offset is the address minus the program's load bias, so it counts as the program's
//! ELF file does. Frame 0 is where execution stood; all others are return addresses, which
//! point behind their call, so the byte before them is what is looked up.

use super::Symbols;
use std::collections::BTreeMap;

/// Reads an ELF file when it is first needed: of the kernel (`None`) or of the program at a
/// path in the image.
pub type Source = Box<dyn FnMut(Option<&str>) -> Option<Vec<u8>> + Send>;

/// Adds function, file and line to backtrace lines.
pub struct Annotator {
    source: Source,
    known: BTreeMap<Option<String>, Option<Symbols>>,
}

/// One frame of a backtrace as printed.
#[derive(Debug, PartialEq, Eq)]
struct Printed<'a> {
    number: u32,
    address: u64,
    /// Path in the image and offset; `None` for the kernel's.
    program: Option<(&'a str, u64)>,
}

impl Annotator {
    /// An annotator that gets ELF files from `source`, each at most once.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source, known: BTreeMap::new() }
    }

    /// What to write behind `line` (given without its line end): nothing when it is no
    /// backtrace line or nothing is known of its address.
    pub fn after(&mut self, line: &str) -> Option<String> {
        let printed = parse(line)?;
        let (of, at) = match printed.program {
            None => (None, printed.address),
            Some((path, offset)) => (Some(path.to_owned()), offset),
        };
        let source = &mut self.source;
        let symbols = self
            .known
            .entry(of)
            .or_insert_with_key(|of| Symbols::parse(&source(of.as_deref())?).ok())
            .as_ref()?;
        let at = if printed.number == 0 { at } else { at.checked_sub(1)? };
        let frames = symbols.frames(at);
        let (innermost, callers) = frames.split_first()?;
        let mut out = format!(" {innermost}");
        for caller in callers {
            out.push_str(&format!("\n      inlined into {caller}"));
        }
        Some(out)
    }
}

fn parse(line: &str) -> Option<Printed<'_>> {
    let mut words = line.trim_end().strip_prefix("  #")?.split(' ');
    let number = words.next()?.parse().ok()?;
    let address = hex(words.next()?)?;
    let program = match words.next() {
        None => None,
        Some(inside) => {
            let inside = inside.strip_prefix('(')?.strip_suffix(')')?;
            let (path, offset) = inside.rsplit_once('+')?;
            Some((path, hex(offset)?))
        }
    };
    if words.next().is_some() {
        return None;
    }
    Some(Printed { number, address, program })
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// A byte stream cut into lines as it passes: for each piece of input, what to show.
#[derive(Default)]
pub struct LineTail {
    line: Vec<u8>,
    /// A carriage return is held back: when a line feed follows, both come after what the
    /// annotator says.
    returned: bool,
}

/// A line longer than this is no backtrace line; its rest is not kept.
const LONGEST: usize = 512;

impl LineTail {
    /// Whether a line has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.line.is_empty()
    }

    /// Appends `bytes` to `show`, and before each line end what `annotator` has to say of
    /// the line. Only a carriage return waits, for the next byte.
    pub fn feed(&mut self, bytes: &[u8], annotator: &mut Annotator, show: &mut Vec<u8>) {
        for &b in bytes {
            let returned = std::mem::replace(&mut self.returned, b == b'\r');
            match b {
                b'\n' => {
                    if let Some(after) = annotator.after(&String::from_utf8_lossy(&self.line)) {
                        show.extend_from_slice(after.as_bytes());
                    }
                    self.line.clear();
                    show.extend_from_slice(if returned { b"\r\n" } else { b"\n" });
                }
                _ => {
                    if returned {
                        show.push(b'\r');
                    }
                    if b != b'\r' {
                        show.push(b);
                        if self.line.len() < LONGEST {
                            self.line.push(b);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object as _, ObjectSymbol as _};

    #[test]
    fn the_two_shapes() {
        assert_eq!(
            parse("  #0 0xffffffff80212345"),
            Some(Printed { number: 0, address: 0xffff_ffff_8021_2345, program: None })
        );
        assert_eq!(
            parse("  #12 0x201234 (/bin/a+b+0x1234)\r"),
            Some(Printed { number: 12, address: 0x20_1234, program: Some(("/bin/a+b", 0x1234)) })
        );
        for no in [
            "",
            "#0 0x1",
            "  #x 0x1",
            "  #0 1",
            "  #0 0x",
            "  #0 0x11112222333344445",
            "  #0 0x1 (/bin/x)",
            "  #0 0x1 (/bin/x+1)",
            "  #0 0x1 (/bin/x+0x1) y",
        ] {
            assert_eq!(parse(no), None, "{no:?}");
        }
    }

    #[inline(never)]
    fn crashing_here(n: u32) -> u32 {
        std::hint::black_box(n) + 1
    }

    fn own_program() -> (Annotator, u64) {
        std::hint::black_box(crashing_here as fn(u32) -> u32);
        let elf = std::fs::read("/proc/self/exe").unwrap();
        let file = object::File::parse(&*elf).unwrap();
        let symbol =
            file.symbols().find(|s| s.name().is_ok_and(|n| n.contains("crashing_here"))).unwrap();
        let at = symbol.address();
        let source: Source = Box::new(move |of| match of {
            None => None,
            Some("/bin/test") => Some(elf.clone()),
            Some(other) => panic!("asked for {other}"),
        });
        (Annotator::new(source), at)
    }

    #[test]
    fn a_stream_is_annotated_as_it_passes() {
        let (mut annotator, at) = own_program();
        let stream = format!(
            "prompt> \r\r\n  #0 {:#x} (/bin/test+{at:#x})\r\n  #1 0xffffffff80000000\nlast",
            at + 0x5000_0000
        );
        let mut tail = LineTail::default();
        let mut shown = Vec::new();
        // Byte by byte: a chunk's borders must not matter, and nothing shown is taken back.
        for b in stream.bytes() {
            let before = shown.clone();
            tail.feed(&[b], &mut annotator, &mut shown);
            assert!(shown.starts_with(&before));
        }
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.starts_with("prompt> \r\r\n  #0 "), "{shown}");
        assert!(shown.contains("tests::crashing_here at "), "{shown}");
        assert!(shown.contains("annotate.rs:"), "{shown}");
        assert_eq!(shown.matches('\r').count(), 3, "{shown}");
        assert!(shown.ends_with("\n  #1 0xffffffff80000000\nlast"), "{shown}");
    }

    #[test]
    fn a_return_address_names_its_call() {
        let (mut annotator, at) = own_program();
        let first = annotator.after(&format!("  #0 0x1 (/bin/test+{at:#x})")).unwrap();
        assert!(first.contains("crashing_here"), "{first}");
        let behind = annotator.after(&format!("  #1 0x1 (/bin/test+{at:#x})"));
        assert!(!behind.is_some_and(|b| b.contains("crashing_here")));
    }
}
