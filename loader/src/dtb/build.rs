//! Makes device trees for tests.

use std::vec::Vec;

use super::{BEGIN_NODE, END, END_NODE, HEADER_LEN, MAGIC, PROP};

/// Writes a tree as `dtc` would.
#[derive(Default)]
pub(crate) struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    /// A word of the structure block, whatever it means.
    pub(crate) fn word(&mut self, value: u32) {
        self.structure.extend(value.to_be_bytes());
    }

    fn pad(&mut self) {
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
    }

    /// A node with what `content` adds.
    pub(crate) fn node(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.word(BEGIN_NODE);
        self.structure.extend(name.bytes().chain([0]));
        self.pad();
        content(self);
        self.word(END_NODE);
    }

    /// A property.
    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) {
        self.word(PROP);
        self.word(value.len() as u32);
        self.word(self.strings.len() as u32);
        self.strings.extend(name.bytes().chain([0]));
        self.structure.extend(value);
        self.pad();
    }

    /// A property of cells.
    pub(crate) fn cells(&mut self, name: &str, value: &[u32]) {
        let bytes: Vec<u8> = value.iter().flat_map(|c| c.to_be_bytes()).collect();
        self.bytes(name, &bytes);
    }

    /// The whole tree, with memory reservations.
    pub(crate) fn finish(mut self, reservations: &[(u64, u64)]) -> Vec<u8> {
        self.word(END);
        let structure = HEADER_LEN + 16 * (reservations.len() + 1);
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let header = [
            MAGIC,
            total as u32,
            structure as u32,
            strings as u32,
            HEADER_LEN as u32,
            17,
            16,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut out: Vec<u8> = header.iter().flat_map(|w| w.to_be_bytes()).collect();
        for (start, len) in reservations.iter().chain(&[(0, 0)]) {
            out.extend(start.to_be_bytes());
            out.extend(len.to_be_bytes());
        }
        out.extend(self.structure);
        out.extend(self.strings);
        out
    }
}
