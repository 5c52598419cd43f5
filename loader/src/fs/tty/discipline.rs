//! The line discipline: what happens to a byte between the serial line and the program.
//!
//! POSIX.1 chapter 11, "General Terminal Interface"; numbers from
//! `include/uapi/asm-generic/termbits.h`. It allocates nothing and decides only: what to
//! echo goes to a callback, a signal is returned.

/// `c_iflag`: a carriage return becomes a newline.
pub const ICRNL: u32 = 0o400;
/// `c_iflag`: a newline becomes a carriage return.
pub const INLCR: u32 = 0o100;
/// `c_iflag`: carriage returns are dropped.
pub const IGNCR: u32 = 0o200;
/// `c_oflag`: output is processed at all.
pub const OPOST: u32 = 1;
/// `c_oflag`: a newline becomes a carriage return and a newline.
pub const ONLCR: u32 = 4;
/// `c_lflag`: INTR, QUIT and SUSP make signals.
pub const ISIG: u32 = 1;
/// `c_lflag`: input comes in lines that can be edited.
pub const ICANON: u32 = 2;
/// `c_lflag`: input is echoed.
pub const ECHO: u32 = 0o10;
/// `c_lflag`: ERASE rubs the character out on the screen.
pub const ECHOE: u32 = 0o20;
/// `c_lflag`: KILL rubs the line out.
pub const ECHOK: u32 = 0o40;
/// `c_lflag`: a newline is echoed even without ECHO.
pub const ECHONL: u32 = 0o100;
/// `c_lflag`: no flush of the input at a signal.
pub const NOFLSH: u32 = 0o200;
/// `c_lflag`: control characters are echoed as `^X`.
pub const ECHOCTL: u32 = 0o1000;
/// `c_lflag`: WERASE is known.
pub const IEXTEN: u32 = 0o10_0000;

/// Indices of `c_cc`.
mod cc {
    pub const INTR: usize = 0;
    pub const QUIT: usize = 1;
    pub const ERASE: usize = 2;
    pub const KILL: usize = 3;
    pub const EOF: usize = 4;
    pub const MIN: usize = 6;
    pub const SUSP: usize = 10;
    pub const EOL: usize = 11;
    pub const WERASE: usize = 14;
    pub const EOL2: usize = 16;
}

/// Longest line and most input that waits (`N_TTY_BUF_SIZE` of Linux).
const BUFFER: usize = 4096;

/// `struct termios` of the kernel's ABI: 36 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// Input modes.
    pub iflag: u32,
    /// Output modes.
    pub oflag: u32,
    /// Line speed and character size; kept, without an effect.
    pub cflag: u32,
    /// Local modes.
    pub lflag: u32,
    /// Line discipline; 0.
    pub line: u8,
    /// Control characters.
    pub cc: [u8; 19],
}

/// Length of [`Termios`] in the ABI.
pub const TERMIOS_LEN: usize = 36;

impl Termios {
    /// What a terminal begins with: Linux's `tty_std_termios` at 115200 8N1.
    pub const DEFAULT: Self = Self {
        iflag: ICRNL | 0o2000, // IXON, kept without an effect
        oflag: OPOST | ONLCR,
        cflag: 0o10002 | 0o60 | 0o200 | 0o2000, // B115200 CS8 CREAD HUPCL
        lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | 0o4000 | IEXTEN, // ECHOKE
        line: 0,
        cc: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
    };

    /// As the ABI has it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TERMIOS_LEN] {
        let mut out = [0; TERMIOS_LEN];
        let words = [self.iflag, self.oflag, self.cflag, self.lflag];
        for (to, word) in out.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out[16] = self.line;
        out[17..].copy_from_slice(&self.cc);
        out
    }

    /// From the ABI.
    #[must_use]
    pub fn from_bytes(raw: &[u8; TERMIOS_LEN]) -> Self {
        let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let mut cc = [0; 19];
        cc.copy_from_slice(&raw[17..]);
        Self { iflag: word(0), oflag: word(4), cflag: word(8), lflag: word(12), line: raw[16], cc }
    }

    /// What the program writes, as it goes to the line.
    pub fn output(&self, bytes: &[u8], emit: &mut dyn FnMut(&[u8])) {
        if self.oflag & (OPOST | ONLCR) != OPOST | ONLCR {
            emit(bytes);
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            let (line, more) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if !line.is_empty() {
                emit(line);
            }
            rest = match more {
                [_, after @ ..] => {
                    emit(b"\r\n");
                    after
                }
                [] => more,
            };
        }
    }

    const fn local(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }

    /// Whether `byte` is the control character at `index` (0 means "none").
    fn is(&self, byte: u8, index: usize) -> bool {
        byte != 0 && self.cc.get(index) == Some(&byte)
    }
}

/// The signal that a key makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `SIGINT`.
    Interrupt,
    /// `SIGQUIT`.
    Quit,
    /// `SIGTSTP`.
    Suspend,
}

/// What a read finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// So many bytes; 0 is the end of the file.
    Bytes(usize),
    /// Nothing yet.
    Wait,
}

/// The state between line and program.
pub struct Discipline {
    /// The modes.
    pub termios: Termios,
    ring: [u8; BUFFER],
    /// First byte that was not read.
    head: usize,
    /// Bytes that may be read.
    ready: usize,
    /// Bytes after those: the line that is edited.
    editing: usize,
    /// Lines among the ready bytes, the ends of file included.
    lines: usize,
}

/// Marks the end of a file within the ring: no terminal sends it in canonical mode, where
/// it is looked for, because UTF-8 has no such byte; a raw one is passed through.
const EOF_MARK: u8 = 0xff;

impl Discipline {
    /// A terminal with nothing typed, in the usual modes.
    #[must_use]
    pub const fn new() -> Self {
        Self { termios: Termios::DEFAULT, ..Self::raw() }
    }

    /// A terminal with nothing typed and all modes off: all zero, so that a static takes no
    /// room in the image.
    #[must_use]
    pub const fn raw() -> Self {
        let termios = Termios { iflag: 0, oflag: 0, cflag: 0, lflag: 0, line: 0, cc: [0; 19] };
        Self { termios, ring: [0; BUFFER], head: 0, ready: 0, editing: 0, lines: 0 }
    }

    fn at(&self, index: usize) -> u8 {
        self.ring.get((self.head + index) % BUFFER).copied().unwrap_or(0)
    }

    fn push(&mut self, byte: u8) -> bool {
        let len = self.ready + self.editing;
        // One place is kept for the end of the line.
        if len >= BUFFER - 1 && byte != b'\n' && byte != EOF_MARK || len >= BUFFER {
            return false;
        }
        if let Some(slot) = self.ring.get_mut((self.head + len) % BUFFER) {
            *slot = byte;
        }
        self.editing += 1;
        true
    }

    /// Makes what is edited readable.
    fn commit(&mut self) {
        self.ready += self.editing;
        self.editing = 0;
    }

    /// Drops all input.
    pub fn flush(&mut self) {
        self.ready = 0;
        self.editing = 0;
        self.lines = 0;
    }

    /// New modes. What is being edited becomes readable when lines are given up.
    pub fn set(&mut self, termios: Termios) {
        if self.termios.local(ICANON) && !termios.local(ICANON) {
            self.commit();
            self.lines = 0;
        }
        self.termios = termios;
    }

    /// Takes one byte from the line; `echo` gets what goes back. Returns the signal that
    /// the key makes.
    pub fn input(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8])) -> Option<Key> {
        let t = self.termios;
        let byte = match byte {
            b'\r' if t.iflag & IGNCR != 0 => return None,
            b'\r' if t.iflag & ICRNL != 0 => b'\n',
            b'\n' if t.iflag & INLCR != 0 => b'\r',
            other => other,
        };
        if t.local(ISIG) {
            let keys =
                [(cc::INTR, Key::Interrupt), (cc::QUIT, Key::Quit), (cc::SUSP, Key::Suspend)];
            if let Some((_, key)) = keys.into_iter().find(|&(index, _)| t.is(byte, index)) {
                if !t.local(NOFLSH) {
                    self.flush();
                }
                self.echo(byte, echo);
                return Some(key);
            }
        }
        if !t.local(ICANON) {
            if self.push(byte) {
                self.commit();
                self.echo(byte, echo);
            }
            return None;
        }
        if t.is(byte, cc::ERASE) {
            self.erase_char(echo);
        } else if t.is(byte, cc::KILL) {
            while self.editing > 0 {
                self.erase_char(echo);
            }
        } else if t.is(byte, cc::WERASE) && t.local(IEXTEN) {
            while self.last().is_some_and(|b| b == b' ' || b == b'\t') {
                self.erase_char(echo);
            }
            while self.last().is_some_and(|b| b != b' ' && b != b'\t') {
                self.erase_char(echo);
            }
        } else if t.is(byte, cc::EOF) {
            if self.push(EOF_MARK) {
                self.commit();
                self.lines += 1;
            }
        } else {
            let ends = byte == b'\n' || t.is(byte, cc::EOL) || t.is(byte, cc::EOL2);
            if byte == EOF_MARK || !self.push(byte) {
                return None;
            }
            if ends {
                self.commit();
                self.lines += 1;
            }
            self.echo(byte, echo);
        }
        None
    }

    fn last(&self) -> Option<u8> {
        (self.editing > 0).then(|| self.at(self.ready + self.editing - 1))
    }

    /// Takes the last character of the line away, all bytes of it in UTF-8.
    fn erase_char(&mut self, echo: &mut dyn FnMut(&[u8])) {
        let mut columns = 0;
        while let Some(byte) = self.last() {
            self.editing -= 1;
            // 10xxxxxx continues a character.
            if byte & 0xc0 != 0x80 {
                let control = byte < 0x20 && byte != b'\t' || byte == 0x7f;
                columns = if control && self.termios.local(ECHOCTL) { 2 } else { 1 };
                break;
            }
        }
        if self.termios.local(ECHO) && self.termios.local(ECHOE) {
            for _ in 0..columns {
                echo(b"\x08 \x08");
            }
        }
    }

    fn echo(&self, byte: u8, echo: &mut dyn FnMut(&[u8])) {
        let t = &self.termios;
        if !t.local(ECHO) {
            if byte == b'\n' && t.local(ECHONL) && t.local(ICANON) {
                t.output(b"\n", echo);
            }
            return;
        }
        match byte {
            b'\n' | b'\t' => t.output(&[byte], echo),
            0..0x20 | 0x7f if t.local(ECHOCTL) => echo(&[b'^', byte ^ 0x40]),
            _ => echo(&[byte]),
        }
    }

    /// Whether a read would find something.
    #[must_use]
    pub fn readable(&self) -> bool {
        if self.termios.local(ICANON) {
            self.lines > 0
        } else {
            // VMIN 0 never waits (VTIME is treated as 0), 1 or more waits for one byte.
            self.ready > 0
        }
    }

    /// How many bytes a read could give now (`FIONREAD`).
    #[must_use]
    pub fn available(&self) -> usize {
        self.ready
    }

    /// Reads a line, or in raw mode what there is.
    pub fn read(&mut self, buf: &mut [u8]) -> ReadState {
        if buf.is_empty() {
            return ReadState::Bytes(0);
        }
        let canonical = self.termios.local(ICANON);
        if canonical && self.lines == 0 {
            return ReadState::Wait;
        }
        if !canonical && self.ready == 0 {
            let min = self.termios.cc.get(cc::MIN).copied().unwrap_or(1);
            return if min == 0 { ReadState::Bytes(0) } else { ReadState::Wait };
        }
        let t = self.termios;
        let mut n = 0;
        while let Some(slot) = buf.get_mut(n) {
            if self.ready == 0 {
                break;
            }
            let byte = self.at(0);
            // A line that fills the buffer exactly leaves nothing for the next read, not
            // even its end of file.
            self.head = (self.head + 1) % BUFFER;
            self.ready -= 1;
            if canonical && byte == EOF_MARK {
                self.lines = self.lines.saturating_sub(1);
                return ReadState::Bytes(n);
            }
            *slot = byte;
            n += 1;
            if canonical && (byte == b'\n' || t.is(byte, cc::EOL) || t.is(byte, cc::EOL2)) {
                self.lines = self.lines.saturating_sub(1);
                return ReadState::Bytes(n);
            }
        }
        if canonical && self.ready > 0 && self.at(0) == EOF_MARK {
            self.head = (self.head + 1) % BUFFER;
            self.ready -= 1;
            self.lines = self.lines.saturating_sub(1);
        }
        ReadState::Bytes(n)
    }
}

impl Default for Discipline {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn type_in(d: &mut Discipline, keys: &[u8]) -> (Vec<u8>, Vec<Key>) {
        let (mut echoed, mut signals) = (vec![], vec![]);
        for &key in keys {
            signals.extend(d.input(key, &mut |b| echoed.extend_from_slice(b)));
        }
        (echoed, signals)
    }

    fn read(d: &mut Discipline, len: usize) -> Option<Vec<u8>> {
        let mut buf = vec![0; len];
        match d.read(&mut buf) {
            ReadState::Wait => None,
            ReadState::Bytes(n) => Some(buf[..n].to_vec()),
        }
    }

    #[test]
    fn a_line_is_edited_echoed_and_read_once_it_ends() {
        let mut d = Discipline::new();
        let (echoed, _) = type_in(&mut d, b"hellp\x7fo");
        assert_eq!(echoed, b"hellp\x08 \x08o");
        assert_eq!(read(&mut d, 10), None);
        assert!(!d.readable());
        type_in(&mut d, b"\rnext");
        assert!(d.readable());
        assert_eq!(read(&mut d, 3).unwrap(), b"hel");
        assert_eq!(read(&mut d, 10).unwrap(), b"lo\n");
        assert_eq!(read(&mut d, 10), None);
        let (echoed, _) = type_in(&mut d, b"\x15x\n");
        assert_eq!(echoed, b"\x08 \x08\x08 \x08\x08 \x08\x08 \x08x\r\n");
        assert_eq!(read(&mut d, 10).unwrap(), b"x\n");
    }

    #[test]
    fn utf8_is_erased_by_characters_and_words_by_words() {
        let mut d = Discipline::new();
        type_in(&mut d, "aä\x7fb cd\x17e\n".as_bytes());
        assert_eq!(read(&mut d, 20).unwrap(), b"ab e\n");
    }

    #[test]
    fn end_of_file_ends_a_line_without_a_byte() {
        let mut d = Discipline::new();
        type_in(&mut d, b"\x04");
        assert_eq!(read(&mut d, 10).unwrap(), b"");
        assert_eq!(read(&mut d, 10), None);
        type_in(&mut d, b"abc\x04\x04");
        assert_eq!(read(&mut d, 3).unwrap(), b"abc");
        assert_eq!(read(&mut d, 3).unwrap(), b"");
        assert_eq!(read(&mut d, 3), None);
    }

    #[test]
    fn keys_make_signals_and_drop_the_line() {
        let mut d = Discipline::new();
        let (echoed, signals) = type_in(&mut d, b"ab\x03\x1c\x1a");
        assert_eq!(signals, [Key::Interrupt, Key::Quit, Key::Suspend]);
        assert_eq!(echoed, b"ab^C^\\^Z");
        type_in(&mut d, b"\n");
        assert_eq!(read(&mut d, 10).unwrap(), b"\n");
    }

    #[test]
    fn raw_mode_passes_every_byte_at_once() {
        let mut d = Discipline::new();
        type_in(&mut d, b"half");
        let raw = Termios { iflag: 0, oflag: 0, lflag: 0, ..Termios::DEFAULT };
        d.set(raw);
        assert_eq!(read(&mut d, 10).unwrap(), b"half");
        let (echoed, signals) = type_in(&mut d, b"\x03\r\xff\x04");
        assert!(echoed.is_empty() && signals.is_empty());
        assert_eq!(read(&mut d, 10).unwrap(), b"\x03\r\xff\x04");
        assert_eq!(read(&mut d, 10), None);
        let mut cc = raw.cc;
        cc[cc::MIN] = 0;
        d.set(Termios { cc, ..raw });
        assert_eq!(read(&mut d, 10).unwrap(), b"");
    }

    #[test]
    fn too_much_input_is_dropped_and_the_line_still_ends() {
        let mut d = Discipline::new();
        type_in(&mut d, &[b'x'; 5000]);
        type_in(&mut d, b"\n");
        let line = read(&mut d, 10000).unwrap();
        assert_eq!(line.len(), BUFFER);
        assert_eq!(line.last(), Some(&b'\n'));
    }

    #[test]
    fn output_gets_carriage_returns() {
        let mut d = Discipline::new();
        let out = |d: &Discipline, s: &[u8]| {
            let mut out = vec![];
            d.termios.output(s, &mut |b| out.extend_from_slice(b));
            out
        };
        assert_eq!(out(&d, b"a\n\nb"), b"a\r\n\r\nb");
        d.termios.oflag = 0;
        assert_eq!(out(&d, b"a\nb"), b"a\nb");
    }

    #[test]
    fn the_abi_form_round_trips() {
        let raw = Termios::DEFAULT.to_bytes();
        assert_eq!(&raw[..4], &0x500_u32.to_le_bytes());
        assert_eq!(Termios::from_bytes(&raw), Termios::DEFAULT);
    }
}
