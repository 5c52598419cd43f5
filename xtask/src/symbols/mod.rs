//! Addresses that the guest prints, turned into function, file and line. Pure: ELF bytes
//! and console lines in, text out.

mod annotate;
mod table;

pub use annotate::{Annotator, LineTail, Source};
pub use table::Symbols;
