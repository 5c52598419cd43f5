//! The app's memory, as system calls read and write it.
//!
//! Every access may fault: then pages are brought in, or the call fails with
//! [`Error::Fault`]. Nothing is checked beforehand, for another thread may change it between
//! check and use. No lock that the page-fault path needs may be held (`mm::aspace`, inodes);
//! spin locks never.

use alloc::vec::Vec;
use driver_api::{Error, Result};

#[cfg(target_os = "none")]
use crate::arch::uaccess;

/// On the host there is no app.
#[cfg(not(target_os = "none"))]
mod uaccess {
    pub struct Fault;

    pub fn copy_from_user(_dst: &mut [u8], _src: usize) -> Result<(), Fault> {
        Err(Fault)
    }

    pub fn copy_to_user(_dst: usize, _src: &[u8]) -> Result<(), Fault> {
        Err(Fault)
    }

    pub fn zero_user(_dst: usize, _len: usize) -> Result<(), Fault> {
        Err(Fault)
    }
}

/// Copies `to.len()` bytes from the app's `from`.
///
/// # Errors
/// `Fault`; part of it may have been copied.
pub fn read(from: usize, to: &mut [u8]) -> Result<()> {
    uaccess::copy_from_user(to, from).map_err(|_| Error::Fault)
}

/// Copies `from` to the app's `to`.
///
/// # Errors
/// `Fault`; part of it may have been copied.
pub fn write(to: usize, from: &[u8]) -> Result<()> {
    uaccess::copy_to_user(to, from).map_err(|_| Error::Fault)
}

/// Fills `len` bytes of the app's with zeroes.
///
/// # Errors
/// `Fault`; part of it may have been filled.
pub fn zero(to: usize, len: usize) -> Result<()> {
    uaccess::zero_user(to, len).map_err(|_| Error::Fault)
}

/// Reads `N` bytes.
///
/// # Errors
/// `Fault`.
pub fn read_array<const N: usize>(from: usize) -> Result<[u8; N]> {
    let mut raw = [0; N];
    read(from, &mut raw)?;
    Ok(raw)
}

/// Reads a 32-bit number.
///
/// # Errors
/// `Fault`.
pub fn read_u32(from: usize) -> Result<u32> {
    read_array(from).map(u32::from_le_bytes)
}

/// Reads a 64-bit number.
///
/// # Errors
/// `Fault`.
pub fn read_u64(from: usize) -> Result<u64> {
    let mut raw = [0; 8];
    read(from, &mut raw)?;
    Ok(u64::from_le_bytes(raw))
}

/// Writes a 32-bit number.
///
/// # Errors
/// `Fault`.
pub fn write_u32(to: usize, value: u32) -> Result<()> {
    write(to, &value.to_le_bytes())
}

/// Writes a 64-bit number.
///
/// # Errors
/// `Fault`.
pub fn write_u64(to: usize, value: u64) -> Result<()> {
    write(to, &value.to_le_bytes())
}

/// Reads a string that ends with a NUL, which is not returned, and has at most `max` bytes
/// with it.
///
/// # Errors
/// `Fault`; `NameTooLong` without a NUL in `max` bytes.
pub fn read_string(from: usize, max: usize) -> Result<Vec<u8>> {
    /// How much is read at once: never over a page's end, so that a string that ends before
    /// an unmapped page is not a fault.
    const STEP: usize = 256;
    let mut out = Vec::new();
    let mut chunk = [0; STEP];
    while out.len() < max {
        let at = from.checked_add(out.len()).ok_or(Error::Fault)?;
        let n = (STEP - at % STEP).min(max - out.len());
        let part = chunk.get_mut(..n).ok_or(Error::Fault)?;
        read(at, part)?;
        let end = part.iter().position(|&b| b == 0);
        out.extend_from_slice(part.get(..end.unwrap_or(n)).unwrap_or(&[]));
        if end.is_some() {
            return Ok(out);
        }
    }
    Err(Error::NameTooLong)
}
