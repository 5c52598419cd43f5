//! From a guest's RAM to an ELF core file (`run-qemu --dump`): the crash record says what
//! there was (`formats/crash-record`), the guest's page tables say where it lies.
//!
//! Pure: the RAM comes as [`Memory`], and what goes out is a description of the file, whose
//! pieces of RAM somebody else copies. The RAM is what a guest left, so nothing in it is
//! believed: what cannot be is an error.

mod file;
mod notes;
mod pages;
mod ram;
#[cfg(test)]
mod tests;

pub use file::Piece;
pub use ram::RamLayout;

use crash_record::{BadRecord, Memory, Record};
use pages::BadTables;
use std::fmt;

/// Why no core can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreError {
    /// The machine's RAM is not where the guest says.
    Ram {
        file: u64,
        end: u64,
    },
    Record(BadRecord),
    Tables(BadTables),
    /// A mapping is not of whole pages of the app's, or overlaps the one before it.
    Mapping {
        start: u64,
        end: u64,
    },
    /// A thread's registers have the wrong length.
    Registers(u32),
    /// The thread that crashed is not in the record.
    NoCrashedThread(u32),
    /// The file would be longer than any can be.
    TooLong,
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram { file, end } => write!(
                f,
                "the guest says that its RAM ends at {end:#x}, which {file} bytes cannot be"
            ),
            Self::Record(e) => write!(f, "the crash record is damaged: {e}"),
            Self::Tables(e) => write!(f, "the guest's page tables are damaged: {e}"),
            Self::Mapping { start, end } => {
                write!(f, "the crash record is damaged: no mapping can be at {start:#x}-{end:#x}")
            }
            Self::Registers(tid) => {
                write!(f, "the crash record is damaged: registers of thread {tid}")
            }
            Self::NoCrashedThread(tid) => {
                write!(f, "the crash record lacks thread {tid}, which crashed")
            }
            Self::TooLong => f.write_str("the core file would be too long"),
        }
    }
}

impl std::error::Error for CoreError {}

/// A core file: what it begins with, and where the rest of it lies in RAM. What neither says
/// is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its first bytes: ELF and program headers, notes.
    pub head: Vec<u8>,
    /// Ascending, apart from each other.
    pub pieces: Vec<Piece>,
    /// Length in bytes. Much of it may be a hole.
    pub len: u64,
    /// The program's path in the image.
    pub program: String,
    /// How many threads it has.
    pub threads: usize,
    /// How many it lacks, because they did not come to rest in time.
    pub missing: u64,
}

/// The core of the crash whose record begins at the physical address `first`.
///
/// # Errors
/// See [`CoreError`].
pub fn core(memory: &impl Memory, ram: &RamLayout, first: u64) -> Result<Core, CoreError> {
    let record = Record::read(memory, first).map_err(CoreError::Record)?;
    let pages = pages::runs(memory, ram, record.crash.arch, record.crash.root)
        .map_err(CoreError::Tables)?;
    let notes = notes::notes(memory, &record, &pages)?;
    let segments = file::segments(&record.mappings, &pages)?;
    let (head, pieces, len) = file::lay_out(record.crash.arch, &segments, &notes, ram)?;
    let threads = record.threads.len();
    Ok(Core {
        head,
        pieces,
        len,
        program: String::from_utf8_lossy(&record.crash.program).into_owned(),
        threads,
        missing: record.crash.threads.saturating_sub(threads as u64),
    })
}
