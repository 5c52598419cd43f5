//! Number to name, from one packed string per arch.

use super::{SYSCALLS, Syscall};

/// What often stands in names: byte 0x80 + n of a packed name is the n-th of these, which saves
/// a kernel 1.2 KiB. In this order they are looked for, so that a longer one comes before its
/// parts.
const PIECES: &str = "_mempolicy process_ _module otify_ rt_sig sched_ epoll_ mount event futex \
                      file_ time lock open name sync move acce sock get set ctl msg sys key mq_ \
                      at re it in se tr st id ad io fd ch al an li le pr wa er";

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
    static NAMES: [u8; packed_len(true)] = pack(true);
    nth(&NAMES, number)
}

/// A call's name by its number on arm64.
#[must_use]
pub fn name_aarch64(number: u64) -> Option<Name> {
    static NAMES: [u8; packed_len(false)] = pack(false);
    nth(&NAMES, number)
}

/// The `number`-th of the names that `packed` holds, each ended by a 0 byte. An unassigned
/// number has the empty name. Linear, since a kernel looks up each unknown call once.
fn nth(packed: &'static [u8], number: u64) -> Option<Name> {
    let name = packed.split(|b| *b == 0).nth(usize::try_from(number).ok()?)?;
    (!name.is_empty()).then_some(Name(name))
}

/// Where each piece begins, and one past the end of the last one's space.
const STARTS: [usize; 46] = {
    let (mut starts, mut n, mut i) = ([0; 46], 1, 0);
    while i < PIECES.len() {
        if PIECES.as_bytes()[i] == b' ' {
            starts[n] = i + 1;
            n += 1;
        }
        i += 1;
    }
    starts[n] = PIECES.len() + 1;
    starts
};

/// The piece that `name` has at `at`: its number and length.
const fn piece(name: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut number = 0;
    while number + 1 < STARTS.len() {
        let (start, len) = (STARTS[number], STARTS[number + 1] - STARTS[number] - 1);
        let mut k = 0;
        while k < len && at + k < name.len() && name[at + k] == PIECES.as_bytes()[start + k] {
            k += 1;
        }
        if k == len {
            return Some((number as u8, len));
        }
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

/// Bytes of all packed names of an arch and of one 0 byte per number.
const fn packed_len(x64: bool) -> usize {
    pack_all(x64).1
}

const fn pack<const LEN: usize>(x64: bool) -> [u8; LEN] {
    let all = pack_all(x64).0;
    let (mut out, mut at) = ([0; LEN], 0);
    while at < LEN {
        out[at] = all[at];
        at += 1;
    }
    out
}

/// The packed names, and their length. Both arrays are larger than any table needs; the
/// compiler would refuse an overrun.
const fn pack_all(x64: bool) -> ([u8; 8192], usize) {
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
    while n < count(x64) {
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
