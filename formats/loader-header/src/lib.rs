//! The loader header: 64 bytes inside the kernel image by which the packer tells the
//! kernel what was packed with it.
//!
//! The kernel reserves the header as the static `OSIER_LOADER_HEADER` in its read-only
//! data; the link step finds it by that symbol, and the pack step fills it in when it
//! writes `loader.img`. In `loader.elf` and `loader-stripped.elf`, which hold no bootfs,
//! the payload fields are zero.
//!
//! All offsets count from the *kernel base*: the first byte of the kernel's first LOAD
//! segment, wherever it was loaded. All integers are little-endian.
//!
//! ```text
//! 0x00  8  magic            "OSIERLDR"
//! 0x08  4  version          1
//! 0x0c  4  incompatible     flags; an unknown one is refused
//! 0x10  8  bootfs offset    0: no bootfs
//! 0x18  8  bootfs length    bytes
//! 0x20  8  cmdline offset   0: no default command line
//! 0x28  8  cmdline length   bytes of UTF-8, no terminator
//! 0x30  8  planned base     physical address that the image was relocated for
//! 0x38  8  image size       bytes from kernel base to the end of everything loaded,
//!                           bss and payload included
//! ```
#![no_std]
#![forbid(unsafe_code)]

/// First bytes of a header.
pub const MAGIC: [u8; 8] = *b"OSIERLDR";
/// The one version there is.
pub const VERSION: u32 = 1;
/// Length of a header in bytes.
pub const LEN: usize = 64;
/// Name of the kernel's symbol at which the header lies.
pub const SYMBOL: &str = "OSIER_LOADER_HEADER";

/// A decoded header. See the crate's documentation for the byte layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderHeader {
    /// Offset of the bootfs from the kernel base in bytes; 0 when there is none.
    pub bootfs_offset: u64,
    /// Length of the bootfs in bytes.
    pub bootfs_len: u64,
    /// Offset of the image's default command line from the kernel base; 0 when none.
    pub cmdline_offset: u64,
    /// Length of the default command line in bytes.
    pub cmdline_len: u64,
    /// Physical address that the kernel was relocated for.
    pub planned_base: u64,
    /// Bytes from the kernel base to the end of everything loaded.
    pub image_size: u64,
}

/// Why bytes are not a header that this code can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer than [`LEN`] bytes.
    Truncated,
    /// The magic is another.
    BadMagic,
    /// A version that this code does not know.
    UnknownVersion(u32),
    /// An incompatible flag that this code does not know.
    UnknownFlags(u32),
}

impl LoaderHeader {
    /// The header as bytes.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        put(&mut out, 0x10, &self.bootfs_offset.to_le_bytes());
        put(&mut out, 0x18, &self.bootfs_len.to_le_bytes());
        put(&mut out, 0x20, &self.cmdline_offset.to_le_bytes());
        put(&mut out, 0x28, &self.cmdline_len.to_le_bytes());
        put(&mut out, 0x30, &self.planned_base.to_le_bytes());
        put(&mut out, 0x38, &self.image_size.to_le_bytes());
        out
    }

    /// Decodes the header at the start of `bytes`.
    ///
    /// # Errors
    /// When the bytes are too few, or magic, version or flags are unknown.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; LEN] = bytes.first_chunk().ok_or(HeaderError::Truncated)?;
        if bytes[..8] != MAGIC {
            return Err(HeaderError::BadMagic);
        }
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(w)
        };
        let version = word(8) as u32;
        if version != VERSION {
            return Err(HeaderError::UnknownVersion(version));
        }
        let flags = (word(8) >> 32) as u32;
        if flags != 0 {
            return Err(HeaderError::UnknownFlags(flags));
        }
        Ok(Self {
            bootfs_offset: word(0x10),
            bootfs_len: word(0x18),
            cmdline_offset: word(0x20),
            cmdline_len: word(0x28),
            planned_base: word(0x30),
            image_size: word(0x38),
        })
    }
}

/// `copy_from_slice` for a `const fn`.
const fn put(out: &mut [u8; LEN], at: usize, bytes: &[u8]) {
    let mut i = 0;
    while i < bytes.len() {
        out[at + i] = bytes[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: LoaderHeader = LoaderHeader {
        bootfs_offset: 0x30000,
        bootfs_len: 0x1234,
        cmdline_offset: 0x31234,
        cmdline_len: 17,
        planned_base: 0x20_0000,
        image_size: 0x40000,
    };

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(LoaderHeader::from_bytes(&SAMPLE.to_bytes()), Ok(SAMPLE));
    }

    #[test]
    fn every_truncation_is_refused() {
        for n in 0..LEN {
            assert_eq!(
                LoaderHeader::from_bytes(&SAMPLE.to_bytes()[..n]),
                Err(HeaderError::Truncated)
            );
        }
    }

    #[test]
    fn foreign_bytes_are_refused_by_what_is_wrong() {
        let mut b = SAMPLE.to_bytes();
        b[0] ^= 1;
        assert_eq!(LoaderHeader::from_bytes(&b), Err(HeaderError::BadMagic));
        let mut b = SAMPLE.to_bytes();
        b[8] = 2;
        assert_eq!(LoaderHeader::from_bytes(&b), Err(HeaderError::UnknownVersion(2)));
        let mut b = SAMPLE.to_bytes();
        b[0xc] = 4;
        assert_eq!(LoaderHeader::from_bytes(&b), Err(HeaderError::UnknownFlags(4)));
    }
}
