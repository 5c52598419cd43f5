//! The bytes that a program finds at its first stack pointer.
//!
//! System V ABI, AMD64 supplement 3.4.1 (figure 3.9) and Linux's `create_elf_tables`; arm64
//! uses the same layout. From the stack pointer up: `argc`, the `argv` pointers and a null,
//! the `envp` pointers and a null, the auxiliary vector ended by `AT_NULL`, then the strings,
//! the 16 random bytes and a zero word at the very top. The stack pointer is a multiple of 16.

use crate::strings::Strings;
use alloc::vec::Vec;

/// Keys of the auxiliary vector (`include/uapi/linux/auxvec.h`).
pub mod at {
    /// End of the vector.
    pub const NULL: u64 = 0;
    /// Address of the program headers.
    pub const PHDR: u64 = 3;
    /// Size of one.
    pub const PHENT: u64 = 4;
    /// How many.
    pub const PHNUM: u64 = 5;
    /// Page size.
    pub const PAGESZ: u64 = 6;
    /// Where the interpreter was loaded; 0 without one.
    pub const BASE: u64 = 7;
    /// Flags; 0.
    pub const FLAGS: u64 = 8;
    /// The program's (not the interpreter's) first instruction.
    pub const ENTRY: u64 = 9;
    /// Real user id.
    pub const UID: u64 = 11;
    /// Effective user id.
    pub const EUID: u64 = 12;
    /// Real group id.
    pub const GID: u64 = 13;
    /// Effective group id.
    pub const EGID: u64 = 14;
    /// Address of the platform's name.
    pub const PLATFORM: u64 = 15;
    /// CPU features.
    pub const HWCAP: u64 = 16;
    /// Ticks a second of `times()`.
    pub const CLKTCK: u64 = 17;
    /// Whether the program runs with raised privileges.
    pub const SECURE: u64 = 23;
    /// Address of 16 random bytes.
    pub const RANDOM: u64 = 25;
    /// More CPU features.
    pub const HWCAP2: u64 = 26;
    /// Address of the program's path.
    pub const EXECFN: u64 = 31;
}

/// What the stack tells the program.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// Arguments, the program's name first.
    pub args: &'a Strings,
    /// `NAME=VALUE` strings.
    pub env: &'a Strings,
    /// Path that was started (`AT_EXECFN`).
    pub execfn: &'a [u8],
    /// Name of the platform (`AT_PLATFORM`).
    pub platform: &'a [u8],
    /// `AT_RANDOM`.
    pub random: [u8; 16],
    /// The other pairs of the auxiliary vector, without the four that this module adds and
    /// without `AT_NULL`.
    pub aux: &'a [(u64, u64)],
}

/// A stack's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where the bytes go: the stack pointer, a multiple of 16.
    pub sp: u64,
    /// From `sp` to the top of the stack.
    pub bytes: Vec<u8>,
}

/// The contents do not fit: arguments and environment together are too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Builds the image that ends at `top` (a multiple of 16) and takes at most `limit` bytes.
///
/// # Errors
/// [`TooLong`] when it does not fit in `limit`.
pub fn build(top: u64, limit: usize, contents: &Contents<'_>) -> Result<Image, TooLong> {
    let lists = [contents.args, contents.env];
    let texts = [contents.execfn, contents.platform];
    let aux = contents.aux.len() + 4;
    let mut words = 1 + lists.len() + 2 * aux;
    // 8 zero bytes at the top, as Linux leaves.
    let mut above = contents.random.len() + 8;
    for list in lists {
        words += list.count();
        above += list.as_bytes().len();
    }
    above += texts.iter().map(|text| text.len() + 1).sum::<usize>();
    let size = (words * 8 + above).next_multiple_of(16);
    if size > limit || size as u64 > top {
        return Err(TooLong);
    }
    let sp = top - size as u64;

    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| TooLong)?;
    bytes.resize(words * 8, 0);
    let mut slots = bytes.as_chunks_mut::<8>().0.iter_mut();
    let mut word = |value: u64| {
        if let Some(slot) = slots.next() {
            *slot = value.to_le_bytes();
        }
    };
    word(contents.args.count() as u64);
    // Right above the words: the random bytes, the strings in the order of their pointers,
    // and what rounding left over.
    let random = sp + (words * 8) as u64;
    let mut at = random + contents.random.len() as u64;
    for list in lists {
        let mut begins = true;
        for byte in list.as_bytes() {
            if begins {
                word(at);
            }
            begins = *byte == 0;
            at += 1;
        }
        word(0);
    }
    let platform = at + texts[0].len() as u64 + 1;
    let own = [(at::RANDOM, random), (at::EXECFN, at), (at::PLATFORM, platform), (at::NULL, 0)];
    for pairs in [contents.aux, &own] {
        for &(key, value) in pairs {
            word(key);
            word(value);
        }
    }
    let (args, env) = (contents.args.as_bytes(), contents.env.as_bytes());
    let [execfn, platform] = texts;
    for part in [&contents.random, args, env, execfn, b"\0", platform, b"\0"] {
        bytes.extend_from_slice(part);
    }
    bytes.resize(size, 0);
    Ok(Image { sp, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn strings(given: &[&[u8]]) -> Strings {
        let mut strings = Strings::new();
        given.iter().for_each(|s| strings.push(s));
        strings
    }

    fn contents<'a>(args: &'a Strings, env: &'a Strings) -> Contents<'a> {
        Contents {
            args,
            env,
            execfn: b"/bin/hello",
            platform: b"x86_64",
            random: *b"0123456789abcdef",
            aux: &[(at::PAGESZ, 4096), (at::ENTRY, 0x1234)],
        }
    }

    struct Reader<'a>(&'a Image);

    impl Reader<'_> {
        fn word(&self, at: u64) -> u64 {
            let i = (at - self.0.sp) as usize;
            u64::from_le_bytes(self.0.bytes[i..i + 8].try_into().unwrap())
        }
        fn string(&self, at: u64) -> &[u8] {
            let rest = &self.0.bytes[(at - self.0.sp) as usize..];
            &rest[..rest.iter().position(|&b| b == 0).unwrap()]
        }
    }

    #[test]
    fn a_program_can_read_it() {
        let args = strings(&[b"hello", b"--exit 3"]);
        let env = strings(&[b"A=b"]);
        let top = 0x7fff_ffff_f000;
        let image = build(top, 4096, &contents(&args, &env)).unwrap();
        assert_eq!(image.sp % 16, 0);
        assert_eq!(image.sp + image.bytes.len() as u64, top);
        let r = Reader(&image);
        assert_eq!(r.word(image.sp), 2);
        assert_eq!(r.string(r.word(image.sp + 8)), b"hello");
        assert_eq!(r.string(r.word(image.sp + 16)), b"--exit 3");
        assert_eq!(r.word(image.sp + 24), 0);
        assert_eq!(r.string(r.word(image.sp + 32)), b"A=b");
        assert_eq!(r.word(image.sp + 40), 0);
        let mut aux = vec![];
        let mut at = image.sp + 48;
        loop {
            let pair = (r.word(at), r.word(at + 8));
            aux.push(pair);
            at += 16;
            if pair.0 == super::at::NULL {
                break;
            }
        }
        let get = |key| aux.iter().find(|p| p.0 == key).unwrap().1;
        assert_eq!(get(super::at::PAGESZ), 4096);
        assert_eq!(r.string(get(super::at::EXECFN)), b"/bin/hello");
        assert_eq!(r.string(get(super::at::PLATFORM)), b"x86_64");
        let random = (get(super::at::RANDOM) - image.sp) as usize;
        assert_eq!(&image.bytes[random..random + 16], b"0123456789abcdef");
        assert_eq!(&image.bytes[image.bytes.len() - 8..], &[0; 8]);
    }

    #[test]
    fn alignment_holds_for_every_count_and_length() {
        for n in 0..20 {
            let arg = vec![b'x'; n];
            let args = strings(&vec![&arg[..]; n]);
            let image = build(1 << 40, 65536, &contents(&args, &Strings::new())).unwrap();
            assert_eq!(image.sp % 16, 0);
            assert_eq!(image.sp + image.bytes.len() as u64, 1 << 40);
        }
    }

    #[test]
    fn too_much_is_refused() {
        let long = vec![b'x'; 5000];
        let none = Strings::new();
        assert_eq!(build(1 << 40, 4096, &contents(&strings(&[&long]), &none)), Err(TooLong));
        assert_eq!(build(16, 4096, &contents(&none, &none)), Err(TooLong));
    }
}
