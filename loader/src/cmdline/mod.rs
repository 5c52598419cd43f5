//! The command line: what is the kernel's, what is the environment, what is the program's.
//!
//! `osier.KEY=VALUE` and `virtio_mmio.device=…` are the kernel's and `env.NAME=VALUE` is a
//! variable, wherever they stand; the first remaining word is the program, the rest are its
//! arguments. A `--` before the program is dropped, as Linux's boot protocol writes it.
//!
//! There are two lines: the image's default, and the one that the VMM gives. Options and
//! variables of both hold, the VMM's winning; the program and its arguments are the VMM's
//! if it names one, else the image's.

pub mod words;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::strings::Strings;
use crate::text::Text;
use end_record::{
    CHANNEL_DEBUGCON, CHANNEL_KEY, CHANNEL_SEMIHOSTING, POWEROFF_DEBUG_EXIT, POWEROFF_KEY,
};
use log::LevelFilter;
use words::{Word, Words};

/// Where the end record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitChannel {
    /// The I/O port of QEMU's `isa-debugcon`.
    Debugcon,
    /// Semihosting.
    Semihosting,
}

/// What kind of file system the root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// In memory, over the bootfs.
    Ramfs,
    /// The read-only file system on a disk.
    Rofs,
    /// ZFS on a disk.
    Zfs,
}

/// The root file system: its kind, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// What kind.
    pub kind: RootKind,
    /// Of the image with this UUID.
    pub uuid: Option<[u8; 16]>,
}

/// What the kernel tests of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfTest {
    /// Scheduler, timers, memory.
    Kernel,
    /// The first block device.
    Block,
    /// The first network card, with a peer that sends back what it gets.
    Net,
    /// A device gave entropy.
    Entropy,
}

/// The kernel's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `osier.exit=debugcon|semihosting`: the channel of the end record.
    pub exit: Option<ExitChannel>,
    /// `osier.poweroff=isa-debug-exit`.
    pub poweroff_debug_exit: bool,
    /// `osier.loglevel=off|error|warn|info|debug|trace` (or 0 … 5): what the console shows.
    pub loglevel: LevelFilter,
    /// `osier.root=ramfs|rofs|zfs[:UUID]`.
    pub root: Option<Root>,
    /// `osier.bootchart=1`: print the stages of the boot with their times.
    pub bootchart: bool,
    /// `osier.leaks=1`: report what is still allocated at the end.
    pub leaks: bool,
    /// `osier.debug-panic=1`: panic after boot (debug kernels only).
    pub debug_panic: bool,
    /// `osier.selftest=1|block|net|entropy`: run the kernel's own tests, or those of a class
    /// of devices, instead of a program (debug kernels only).
    pub selftest: Option<SelfTest>,
}

impl Options {
    /// With none given.
    pub const DEFAULT: Self = Self {
        exit: None,
        poweroff_debug_exit: false,
        loglevel: LevelFilter::Warn,
        root: None,
        bootchart: false,
        leaks: false,
        debug_panic: false,
        selftest: None,
    };
}

/// An option.
#[derive(Clone, Copy)]
enum Key {
    Bootchart,
    DebugPanic,
    Exit,
    Leaks,
    LogLevel,
    PowerOff,
    Root,
    SelfTest,
}

/// The options, by what follows `osier.`.
const KEYS: [(&str, Key); 8] = [
    ("bootchart", Key::Bootchart),
    ("debug-panic", Key::DebugPanic),
    (after_prefix(CHANNEL_KEY), Key::Exit),
    ("leaks", Key::Leaks),
    ("loglevel", Key::LogLevel),
    (after_prefix(POWEROFF_KEY), Key::PowerOff),
    ("root", Key::Root),
    ("selftest", Key::SelfTest),
];

/// `key`, one of those that xtask shares and that are named in full there, without `osier.`.
const fn after_prefix(key: &str) -> &str {
    key.split_at("osier.".len()).1
}

/// The value that `word` names in `table`. A loop with one comparison: a comparison for each
/// name is much code to run cold.
fn named<T: Copy>(table: &[(&str, T)], word: &[u8]) -> Option<T> {
    table.iter().find(|(name, _)| name.as_bytes() == word).map(|(_, value)| *value)
}

/// What stands before the first `mark`, and what behind it, if there is one.
#[inline(never)]
fn cut(text: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&b| b == mark) {
        Some(at) => (text.get(..at).unwrap_or(text), text.get(at + 1..)),
        None => (text, None),
    }
}

/// What can be wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// No such `osier.` key.
    UnknownKey,
    /// The key does not take this value.
    BadValue,
    /// A quote was opened and not closed.
    UnclosedQuote,
}

/// A word with a mistake. The kernel warns and goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What is wrong.
    pub mistake: Mistake,
    /// With which word.
    pub word: Vec<u8>,
}

impl core::fmt::Display for Warning {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self.mistake {
            Mistake::UnknownKey => "unknown option",
            Mistake::BadValue => "bad value in",
            Mistake::UnclosedQuote => "no closing quote in",
        };
        write!(f, "command line: {what} {}", Text(&self.word))?;
        if self.mistake == Mistake::UnknownKey {
            f.write_str("; there are")?;
            KEYS.iter().try_for_each(|(key, _)| write!(f, " osier.{key}"))?;
        }
        Ok(())
    }
}

/// What a word is.
enum Kind<'a> {
    Option(&'a [u8]),
    Device,
    Env,
    Other,
}

fn kind(word: &[u8]) -> Kind<'_> {
    if let Some(option) = word.strip_prefix(b"osier.") {
        Kind::Option(option)
    } else if word.starts_with(b"virtio_mmio.device=") {
        Kind::Device
    } else if word.strip_prefix(b"env.").is_some_and(|v| !v.starts_with(b"=") && v.contains(&b'='))
    {
        Kind::Env
    } else {
        Kind::Other
    }
}

/// Applies `KEY=VALUE` (or `KEY`, which is `KEY=1`) to `options`.
fn apply(options: &mut Options, option: &[u8]) -> Result<(), Mistake> {
    let (key, value) = cut(option, b'=');
    let value = value.unwrap_or(b"1");
    let key = named(&KEYS, key).ok_or(Mistake::UnknownKey)?;
    let done = match key {
        Key::Exit => named(&CHANNELS, value).map(|c| options.exit = Some(c)),
        Key::PowerOff => {
            (value == POWEROFF_DEBUG_EXIT.as_bytes()).then(|| options.poweroff_debug_exit = true)
        }
        Key::LogLevel => level(value).map(|l| options.loglevel = l),
        Key::Root => root(value).map(|r| options.root = Some(r)),
        Key::Bootchart => flag(value).map(|f| options.bootchart = f),
        Key::Leaks => flag(value).map(|f| options.leaks = f),
        Key::DebugPanic => flag(value).map(|f| options.debug_panic = f),
        // Release kernels hold no tests.
        Key::SelfTest if !cfg!(debug_assertions) => Some(()),
        Key::SelfTest => selftest(value).map(|s| options.selftest = s),
    };
    done.ok_or(Mistake::BadValue)
}

const CHANNELS: [(&str, ExitChannel); 2] =
    [(CHANNEL_DEBUGCON, ExitChannel::Debugcon), (CHANNEL_SEMIHOSTING, ExitChannel::Semihosting)];

fn flag(value: &[u8]) -> Option<bool> {
    match value {
        b"1" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

fn selftest(value: &[u8]) -> Option<Option<SelfTest>> {
    Some(match value {
        b"0" => None,
        b"1" => Some(SelfTest::Kernel),
        b"block" => Some(SelfTest::Block),
        b"net" => Some(SelfTest::Net),
        b"entropy" => Some(SelfTest::Entropy),
        _ => return None,
    })
}

fn level(value: &[u8]) -> Option<LevelFilter> {
    let names = ["off", "error", "warn", "info", "debug", "trace"];
    let nth = match value {
        [digit @ b'0'..=b'5'] => usize::from(digit - b'0'),
        name => names.iter().position(|n| n.as_bytes() == name)?,
    };
    LevelFilter::iter().nth(nth)
}

const ROOTS: [(&str, RootKind); 3] =
    [("ramfs", RootKind::Ramfs), ("rofs", RootKind::Rofs), ("zfs", RootKind::Zfs)];

fn root(value: &[u8]) -> Option<Root> {
    let (kind, id) = cut(value, b':');
    let kind = named(&ROOTS, kind)?;
    let uuid = match id {
        Some(text) => Some(uuid(text)?),
        None => None,
    };
    Some(Root { kind, uuid })
}

/// `8-4-4-4-12` hexadecimal digits (RFC 9562, section 4).
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut value = 0_u128;
    for (i, &b) in text.iter().enumerate() {
        value = match (i, b) {
            (8 | 13 | 18 | 23, b'-') => value,
            (8 | 13 | 18 | 23, _) => return None,
            _ => value << 4 | u128::from(char::from(b).to_digit(16)?),
        };
    }
    (text.len() == 36).then_some(value.to_be_bytes())
}

/// Longest option word; longer ones are reported as bad values.
const MAX_OPTION: usize = 128;

/// The kernel's options alone: needs no allocator, says nothing.
#[cold]
#[inline(never)]
#[must_use]
pub fn options(default: &[u8], given: &[u8]) -> Options {
    let mut options = Options::DEFAULT;
    let mut buffer = [0; MAX_OPTION];
    for word in Words::new(default).chain(Words::new(given)) {
        if let Some(Kind::Option(option)) = word.text(&mut buffer).map(kind) {
            // What is wrong with it, `parse` says.
            let _ = apply(&mut options, option);
        }
    }
    options
}

/// Adds the values of the words `key=…` of `line` to `values`, in order.
pub fn values(line: &[u8], key: &str, values: &mut Vec<Vec<u8>>) {
    for word in Words::new(line) {
        let text: Vec<u8> = word.bytes().collect();
        let value = text.strip_prefix(key.as_bytes()).and_then(|v| v.strip_prefix(b"="));
        values.extend(value.map(<[u8]>::to_vec));
    }
}

/// The variables that a program has whatever the command line says, if with other values.
const ENVIRONMENT: &[u8] = b"PATH=/bin:/usr/bin:/sbin:/usr/sbin\0HOME=/\0TERM=vt100\0";

/// A command line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The kernel's options.
    pub options: Options,
    /// Environment variables, `NAME=VALUE`, each name once: [`ENVIRONMENT`], then what the lines
    /// add, in order of first appearance.
    pub env: Strings,
    /// The program and its arguments; empty when neither line names a program.
    pub words: Strings,
    /// What was wrong.
    pub warnings: Vec<Warning>,
}

/// Where the value begins in `NAME=VALUE`.
fn value_at(variable: &[u8]) -> usize {
    variable.iter().position(|&b| b == b'=').map_or(variable.len(), |at| at + 1)
}

impl Parsed {
    /// Gives a variable its value, in the place of an earlier one of this name.
    fn set_env(&mut self, variable: &[u8]) {
        let name = variable.get(..value_at(variable)).unwrap_or(variable);
        let mut env = Strings::new();
        let mut known = false;
        for old in self.env.iter() {
            let same = old.starts_with(name);
            env.push(if same { variable } else { old });
            known |= same;
        }
        if !known {
            env.push(variable);
        }
        self.env = env;
    }

    fn warn(&mut self, mistake: Mistake, word: &[u8]) {
        self.warnings.push(Warning { mistake, word: word.to_vec() });
    }

    /// Takes the next word of a line; `named`: there was a program's before it.
    fn add(&mut self, word: Word<'_>, named: &mut bool) {
        let mut buffer = [0; MAX_OPTION];
        let long: Vec<u8>;
        let text = match word.text(&mut buffer) {
            Some(text) => text,
            None => {
                long = word.bytes().collect();
                &long
            }
        };
        if word.unclosed {
            self.warn(Mistake::UnclosedQuote, text);
        }
        match kind(text) {
            Kind::Option(option) => {
                let applied = match text.len() {
                    0..=MAX_OPTION => apply(&mut self.options, option),
                    _ => Err(Mistake::BadValue),
                };
                if let Err(mistake) = applied {
                    self.warn(mistake, text);
                }
            }
            Kind::Env => self.set_env(text.get(b"env.".len()..).unwrap_or(&[])),
            // Their drivers ask for them, by `values`.
            Kind::Device => {}
            Kind::Other if !*named && text == b"--" => {}
            Kind::Other => {
                // The later line's program counts.
                if !*named {
                    self.words.clear();
                }
                *named = true;
                self.words.push(text);
            }
        }
    }
}

/// Takes the image's `default` line and the VMM's `given` line apart.
#[must_use]
pub fn parse(default: &[u8], given: &[u8]) -> Box<Parsed> {
    let mut parsed = Box::new(Parsed {
        options: Options::DEFAULT,
        env: Strings::from_bytes(ENVIRONMENT),
        words: Strings::new(),
        warnings: Vec::new(),
    });
    for line in [default, given] {
        let mut named = false;
        Words::new(line).for_each(|word| parsed.add(word, &mut named));
    }
    parsed
}

#[cfg(test)]
mod tests;
