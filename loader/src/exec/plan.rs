//! Where a program's segments go: page-sized mappings from an ELF file's headers.

use super::elf::{Access, Program};
use crate::mm::PAGE_SIZE;
use alloc::vec::Vec;

const PAGE: u64 = PAGE_SIZE as u64;

/// One mapping of whole pages to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address, page-aligned.
    pub start: u64,
    /// Length in bytes, whole pages, not zero.
    pub len: u64,
    /// File offset of the first byte, page-aligned; `None`: zeroes.
    pub offset: Option<u64>,
    /// Permissions.
    pub access: Access,
    /// Bytes from this address to the end of the mapping must read as zeroes though the
    /// file has something else there (the end of `.data`, where `.bss` begins).
    pub zero_from: Option<u64>,
}

/// A program's place in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadPlan {
    /// What to map, in this order.
    pub mappings: Vec<Mapping>,
    /// First instruction.
    pub entry: u64,
    /// Lowest address, page-aligned.
    pub start: u64,
    /// First address after the last segment, page-aligned: where `brk` begins.
    pub end: u64,
    /// What was added to the addresses of the file.
    pub bias: u64,
    /// Address of the program headers (`AT_PHDR`), 0 when they are not loaded.
    pub phdrs: u64,
}

/// Page-aligned span `(lowest, first after highest)` of a program's segments in the file's
/// own addresses.
#[must_use]
pub fn span(program: &Program) -> (u64, u64) {
    let low = program.segments.first().map_or(0, |s| s.vaddr);
    let high = program.segments.last().map_or(0, |s| s.vaddr + s.memsz);
    (low & !(PAGE - 1), high.next_multiple_of(PAGE))
}

/// Plans `program` with its addresses moved up by `bias`, a multiple of the program's
/// alignment that keeps its span below the end of user memory (0 for a fixed program).
#[must_use]
pub fn plan(program: &Program, bias: u64) -> LoadPlan {
    let mut mappings = Vec::with_capacity(program.segments.len() + 1);
    for s in &program.segments {
        let start = bias + (s.vaddr & !(PAGE - 1));
        let file_end = bias + s.vaddr + s.filesz;
        let mem_end = (bias + s.vaddr + s.memsz).next_multiple_of(PAGE);
        let mut zeroes = start;
        if s.filesz > 0 {
            zeroes = file_end.next_multiple_of(PAGE);
            mappings.push(Mapping {
                start,
                len: zeroes - start,
                offset: Some(s.offset & !(PAGE - 1)),
                access: s.access,
                // A read-only segment whose file part ends early keeps what the file has
                // there, as in Linux: nothing can tell, and the page stays shared.
                zero_from: (s.memsz > s.filesz && file_end != zeroes && s.access.write)
                    .then_some(file_end),
            });
        }
        if mem_end > zeroes {
            mappings.push(Mapping {
                start: zeroes,
                len: mem_end - zeroes,
                offset: None,
                access: s.access,
                zero_from: None,
            });
        }
    }
    let (start, end) = span(program);
    LoadPlan {
        mappings,
        entry: bias + program.entry,
        start: bias + start,
        end: bias + end,
        bias,
        phdrs: program.phdrs.map_or(0, |at| bias + at),
    }
}

/// The bias that puts a position-independent program's span at or above `wanted`, rounded to
/// its alignment; 0 for a fixed one. `None` when it does not fit below `limit`.
#[must_use]
pub fn bias(program: &Program, wanted: u64, limit: u64) -> Option<u64> {
    let (start, end) = span(program);
    if !program.position_independent {
        return (end <= limit).then_some(0);
    }
    let at = wanted.checked_next_multiple_of(program.align)?;
    let bias = at.checked_sub(start & !(program.align - 1))?;
    (bias.checked_add(end)? <= limit).then_some(bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::elf::tests::{USER_END, good, parse_x64};

    #[test]
    fn segments_become_page_mappings() {
        let program = parse_x64(&good()).unwrap();
        let bias = bias(&program, 0x5555_0000_0123, USER_END).unwrap();
        assert_eq!(bias, 0x5555_0000_1000);
        let plan = plan(&program, bias);
        assert_eq!(plan.entry, bias + 0x1510);
        assert_eq!(plan.phdrs, bias + 64);
        assert_eq!((plan.start, plan.end), (bias, bias + 0x6000));
        let shape: Vec<_> = plan
            .mappings
            .iter()
            .map(|m| (m.start - bias, m.len, m.offset, m.zero_from.map(|z| z - bias)))
            .collect();
        assert_eq!(
            shape,
            [
                (0, 0x1000, Some(0), None),
                (0x1000, 0x1000, Some(0), None),
                (0x2000, 0x1000, Some(0), Some(0x2900)),
                (0x3000, 0x3000, None, None),
            ]
        );
    }

    #[test]
    fn a_program_that_does_not_fit_has_no_bias() {
        let program = parse_x64(&good()).unwrap();
        assert_eq!(bias(&program, USER_END - 0x5000, USER_END), None);
        assert_eq!(bias(&program, u64::MAX, USER_END), None);
        let mut fixed = program;
        fixed.position_independent = false;
        assert_eq!(bias(&fixed, 0x1234_5000, USER_END), Some(0));
    }
}
