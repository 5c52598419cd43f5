//! Number to name, from one packed string per arch.

use super::{SYSCALLS, Syscall};

/// What often stands in names: byte 0x80 + n of a packed name is the n-th of these, which saves
/// a kernel 1.2 KiB. Those that begin alike stand together, a longer one before its parts.
const PIECES: &str = "_mempolicy _module acce al an at ad ch ctl epoll_ event er futex file_ fd fs \
                      get in id it io key lock li le mount move msg mq_ name open otify_ process_ \
                      pr rt_sig re sched_ sync sock set sys se st time tr wa";

/// A call's name, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(&'static [u8]);

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        // Byte by byte: `str::split` is more code than all else here.
        let piece = |n: u8| PIECES.as_bytes().split(|&b| b == b' ').nth(n.into());
        self.0.iter().try_for_each(|&b| match b.checked_sub(0x80).and_then(piece) {
            None => f.write_char(char::from(b)),
            Some(piece) => piece.iter().try_for_each(|&b| f.write_char(char::from(b))),
        })
    }
}

/// A call's name by its number on x86-64.
#[must_use]
pub fn name_x64(number: u64) -> Option<Name> {
    static NAMES: [u8; X64.1] = cut(&X64.0);
    nth(&NAMES, number)
}

/// A call's name by its number on arm64.
#[must_use]
pub fn name_aarch64(number: u64) -> Option<Name> {
    static NAMES: [u8; AARCH64.1] = cut(&AARCH64.0);
    nth(&NAMES, number)
}

/// The `number`-th of the names that `packed` holds, each ended by a 0 byte. An unassigned
/// number has the empty name. Linear, since a kernel looks up each unknown call once.
fn nth(packed: &'static [u8], number: u64) -> Option<Name> {
    let name = packed.split(|b| *b == 0).nth(usize::try_from(number).ok()?)?;
    (!name.is_empty()).then_some(Name(name))
}

/// For each letter the first byte of the first piece that begins with it, and that piece's
/// number: so few are looked at that the compiler is done at once.
const FIRST: [(u16, u8); 128] = {
    let pieces = PIECES.as_bytes();
    let (mut first, mut at, mut number) = ([(u16::MAX, 0); 128], 0, 0);
    while at < pieces.len() {
        if first[pieces[at] as usize].0 == u16::MAX {
            first[pieces[at] as usize] = (at as u16, number);
        }
        while at < pieces.len() && pieces[at] != b' ' {
            at += 1;
        }
        at += 1;
        number += 1;
    }
    first
};

/// The piece that `name` has at `at`: its number and length.
const fn piece(name: &[u8], at: usize) -> Option<(u8, usize)> {
    let pieces = PIECES.as_bytes();
    let (start, mut number) = FIRST[name[at] as usize];
    let mut start = start as usize;
    while start < pieces.len() && pieces[start] == name[at] {
        let (mut len, mut same) = (0, true);
        while start + len < pieces.len() && pieces[start + len] != b' ' {
            same = same && at + len < name.len() && name[at + len] == pieces[start + len];
            len += 1;
        }
        if same {
            return Some((number, len));
        }
        start += len + 1;
        number += 1;
    }
    None
}

const fn number(s: &Syscall, x64: bool) -> Option<u16> {
    if x64 { s.x64 } else { s.aarch64 }
}

/// One more than the highest number.
const fn count(x64: bool) -> usize {
    let (mut i, mut count) = (0, 0);
    while i < SYSCALLS.len() {
        if let Some(n) = number(&SYSCALLS[i], x64)
            && n as usize >= count
        {
            count = n as usize + 1;
        }
        i += 1;
    }
    count
}

const X64: ([u8; 8192], usize) = pack(true);
const AARCH64: ([u8; 8192], usize) = pack(false);

/// The first bytes of `all`.
const fn cut<const LEN: usize>(all: &[u8]) -> [u8; LEN] {
    let (mut out, mut at) = ([0; LEN], 0);
    while at < LEN {
        out[at] = all[at];
        at += 1;
    }
    out
}

/// The packed names, and their length. Both arrays are larger than any table needs; the
/// compiler would refuse an overrun.
const fn pack(x64: bool) -> ([u8; 8192], usize) {
    let mut row = [usize::MAX; 1024];
    let mut i = 0;
    while i < SYSCALLS.len() {
        if let Some(n) = number(&SYSCALLS[i], x64) {
            row[n as usize] = i;
        }
        i += 1;
    }
    let mut out = [0; 8192];
    let (mut at, mut n) = (0, 0);
    let count = count(x64);
    while n < count {
        if row[n] != usize::MAX {
            let name = SYSCALLS[row[n]].name.as_bytes();
            let mut k = 0;
            while k < name.len() {
                let (byte, step) = match piece(name, k) {
                    Some((number, step)) => (0x80 + number, step),
                    None => (name[k], 1),
                };
                out[at] = byte;
                at += 1;
                k += step;
            }
        }
        at += 1;
        n += 1;
    }
    (out, at)
}
