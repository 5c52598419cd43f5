//! Where two files that should be the same begin to differ, inside the container that holds
//! the byte: a section of an ELF file, a line of a text.

use object::{Object as _, ObjectSection as _};

/// The first difference between `a` and `b`, in words; none when they are equal.
#[must_use]
pub fn first_difference(a: &[u8], b: &[u8]) -> Option<String> {
    let at = match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(at) => at,
        None if a.len() == b.len() => return None,
        None => a.len().min(b.len()),
    };
    let lengths = match a.len() == b.len() {
        true => String::new(),
        false => format!("; {} and {} bytes", a.len(), b.len()),
    };
    let place = section(a, at).or_else(|| line(a, b, at));
    let place = place.map(|p| format!(", {p}")).unwrap_or_default();
    Some(format!("at byte {at:#x}{place}: {} and {}{lengths}", around(a, at), around(b, at)))
}

/// The ELF section that holds the byte, and where in it.
fn section(bytes: &[u8], at: usize) -> Option<String> {
    let file = object::File::parse(bytes).ok()?;
    let at = u64::try_from(at).ok()?;
    let found = file.sections().find_map(|s| {
        let (start, size) = s.file_range()?;
        let inside = at.checked_sub(start).filter(|o| *o < size)?;
        Some(format!("section {} + {inside:#x}", s.name().ok()?))
    });
    found.or_else(|| Some("outside every section".to_owned()))
}

/// The line that holds the byte, where both files are text.
fn line(a: &[u8], b: &[u8], at: usize) -> Option<String> {
    let (text, _) = (std::str::from_utf8(a).ok()?, std::str::from_utf8(b).ok()?);
    let before = text.as_bytes().get(..at)?;
    Some(format!("line {}", before.iter().filter(|c| **c == b'\n').count() + 1))
}

/// Some bytes from `at` on, as text where they are text.
fn around(bytes: &[u8], at: usize) -> String {
    const SHOWN: usize = 16;
    let rest = bytes.get(at..).unwrap_or_default();
    let some = rest.get(..SHOWN).unwrap_or(rest);
    match some {
        [] => "its end".to_owned(),
        _ => format!("\"{}\"", some.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_by_line_and_elf_by_section() {
        assert_eq!(first_difference(b"a\nb", b"a\nb"), None);
        let told = first_difference(b"a\nbc\n", b"a\nbd\n").unwrap();
        assert_eq!(told, "at byte 0x3, line 2: \"c\\n\" and \"d\\n\"");
        let told = first_difference(b"\xff\x00", b"\xff").unwrap();
        assert_eq!(told, "at byte 0x1: \"\\x00\" and its end; 2 and 1 bytes");

        let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(&*elf).unwrap();
        let (start, _) = file.section_by_name(".text").unwrap().file_range().unwrap();
        let mut other = elf.clone();
        other[start as usize + 5] ^= 1;
        let told = first_difference(&elf, &other).unwrap();
        assert!(told.contains("section .text + 0x5"), "{told}");
    }
}
