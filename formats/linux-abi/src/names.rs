//! Number to name, from one packed string per arch.

use super::{SYSCALLS, Syscall};

/// A call's name by its number on x86-64.
#[must_use]
pub fn name_x64(number: u64) -> Option<&'static str> {
    static NAMES: [u8; packed_len(true)] = pack(true);
    nth(&NAMES, number)
}

/// A call's name by its number on arm64.
#[must_use]
pub fn name_aarch64(number: u64) -> Option<&'static str> {
    static NAMES: [u8; packed_len(false)] = pack(false);
    nth(&NAMES, number)
}

/// The `number`-th of the names that `packed` holds, each ended by a 0 byte. An unassigned
/// number has the empty name. Linear, since a kernel looks up each unknown call once.
fn nth(packed: &'static [u8], number: u64) -> Option<&'static str> {
    let name = packed.split(|b| *b == 0).nth(usize::try_from(number).ok()?)?;
    core::str::from_utf8(name).ok().filter(|n| !n.is_empty())
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

/// Bytes of all names of an arch and of one 0 byte per number.
const fn packed_len(x64: bool) -> usize {
    let (mut i, mut len) = (0, count(x64));
    while i < SYSCALLS.len() {
        if number(&SYSCALLS[i], x64).is_some() {
            len += SYSCALLS[i].name.len();
        }
        i += 1;
    }
    len
}

const fn pack<const LEN: usize>(x64: bool) -> [u8; LEN] {
    // 1024 is more than any number of the table; the compiler would refuse an overrun.
    let mut row = [usize::MAX; 1024];
    let mut i = 0;
    while i < SYSCALLS.len() {
        if let Some(n) = number(&SYSCALLS[i], x64) {
            row[n as usize] = i;
        }
        i += 1;
    }
    let mut out = [0; LEN];
    let (mut at, mut n) = (0, 0);
    while n < count(x64) {
        if row[n] != usize::MAX {
            let name = SYSCALLS[row[n]].name.as_bytes();
            let mut k = 0;
            while k < name.len() {
                out[at] = name[k];
                at += 1;
                k += 1;
            }
        }
        at += 1;
        n += 1;
    }
    out
}
