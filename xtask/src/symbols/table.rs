//! One ELF file's answers: DWARF where it has some, else its symbol table.

use addr2line::Context;
use gimli::{Dwarf, EndianArcSlice, LittleEndian, SectionId};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use std::fmt;
use std::sync::Arc;

type Slice = EndianArcSlice<LittleEndian>;

/// The symbols and line tables of an ELF file.
pub struct Symbols {
    lines: Option<Context<Slice>>,
    /// `(address, size, mangled name)` of functions, by address.
    functions: Vec<(u64, u64, String)>,
}

/// One function at an address. Where functions were inlined there are several, innermost
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub function: String,
    /// File and line, when the line table knows them.
    pub place: Option<(String, u32)>,
}

/// Bytes are not an ELF file that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolError(String);

impl fmt::Display for SymbolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SymbolError {}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match &self.place {
            Some((file, line)) => write!(f, " at {file}:{line}"),
            None => Ok(()),
        }
    }
}

impl Symbols {
    /// Reads an ELF file. Line tables that cannot be read are as good as none.
    ///
    /// # Errors
    /// When it is not an ELF file.
    pub fn parse(elf: &[u8]) -> Result<Self, SymbolError> {
        let file = object::File::parse(elf).map_err(|e| SymbolError(e.to_string()))?;
        let mut functions: Vec<_> = file
            .symbols()
            .filter(|s| s.kind() == SymbolKind::Text && s.is_definition())
            .filter_map(|s| Some((s.address(), s.size(), s.name().ok()?.to_owned())))
            .collect();
        functions.sort();
        let section = |id: SectionId| -> Result<Slice, SymbolError> {
            let data = file.section_by_name(id.name()).and_then(|s| s.data().ok());
            Ok(Slice::new(Arc::from(data.unwrap_or_default()), LittleEndian))
        };
        let lines = Dwarf::load(section).ok().and_then(|d| Context::from_dwarf(d).ok());
        Ok(Self { lines, functions })
    }

    /// What is at `address`, as the file counts addresses; innermost function first, and
    /// nothing when nothing is known.
    #[must_use]
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let mut out = self.dwarf_frames(address).unwrap_or_default();
        if out.is_empty()
            && let Some(function) = self.function(address)
        {
            out.push(Frame { function, place: None });
        }
        out
    }

    fn dwarf_frames(&self, address: u64) -> Option<Vec<Frame>> {
        let mut out = Vec::new();
        // No split DWARF: the lookup never asks for another file.
        let mut frames = self.lines.as_ref()?.find_frames(address).skip_all_loads().ok()?;
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|f| f.demangle().ok());
            let name = name.map(|n| without_hash(&n)).or_else(|| self.function(address));
            let place = frame.location.and_then(|l| Some((tidy_path(l.file?), l.line?)));
            if name.is_some() || place.is_some() {
                out.push(Frame { function: name.unwrap_or_else(|| "??".to_owned()), place });
            }
        }
        // With line tables only, DWARF holds bare names; the symbol table has whole paths,
        // if only of the function that the others were inlined into.
        if let (Some(outermost), Some(path)) = (out.last_mut(), self.function(address))
            && path.ends_with(&outermost.function)
        {
            outermost.function = path;
        }
        Some(out)
    }

    /// The name of the function that holds `address`. A size of 0 (hand-written assembly)
    /// reaches to the next function.
    fn function(&self, address: u64) -> Option<String> {
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        let (start, size, name) = self.functions.get(after.checked_sub(1)?)?;
        let inside = *size == 0 || address.checked_sub(*start)? < *size;
        inside.then(|| without_hash(&addr2line::demangle_auto(name.as_str().into(), None)))
    }
}

/// Trimmed paths (`-Ztrim-paths`) begin with `./` where the compiler ran.
fn tidy_path(file: &str) -> String {
    file.strip_prefix("./").unwrap_or(file).to_owned()
}

/// Rust's legacy mangling ends a path in `::h` and 16 hexadecimal digits, which say nothing
/// to a reader.
fn without_hash(name: &str) -> String {
    let plain = name
        .rsplit_once("::h")
        .filter(|(_, hash)| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    plain.map_or(name, |(path, _)| path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_to_find(n: u32) -> u32 {
        std::hint::black_box(n) + line!()
    }

    /// The test program itself is an ELF file with symbols and line tables.
    fn own() -> (Symbols, u64) {
        std::hint::black_box(a_function_to_find as fn(u32) -> u32);
        let elf = std::fs::read("/proc/self/exe").unwrap();
        let at = object::File::parse(&*elf).unwrap();
        let name = "a_function_to_find";
        let symbol = at.symbols().find(|s| s.name().is_ok_and(|n| n.contains(name))).unwrap();
        (Symbols::parse(&elf).unwrap(), symbol.address())
    }

    #[test]
    fn an_address_becomes_function_file_and_line() {
        let (symbols, address) = own();
        let frames = symbols.frames(address);
        let frame = frames.first().unwrap();
        assert!(frame.function.ends_with("tests::a_function_to_find"), "{frame}");
        let (file, line) = frame.place.as_ref().unwrap();
        assert!(file.ends_with("symbols/table.rs"), "{file}");
        assert!(a_function_to_find(0).abs_diff(*line) <= 2, "{line}");
    }

    #[test]
    fn without_line_tables_the_symbol_table_answers() {
        let (mut symbols, address) = own();
        symbols.lines = None;
        let frames = symbols.frames(address + 1);
        assert_eq!(frames.len(), 1);
        assert!(frames[0].function.ends_with("a_function_to_find"), "{}", frames[0]);
        assert_eq!(frames[0].place, None);
        assert!(symbols.frames(0).is_empty());
    }

    #[test]
    fn what_is_not_elf_is_an_error() {
        assert!(Symbols::parse(b"").is_err());
        assert!(Symbols::parse(b"\x7fELF").is_err());
    }

    #[test]
    fn hashes_go() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hello"), "a::hello");
    }
}
