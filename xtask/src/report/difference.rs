//! Where two files that should be the same begin to differ, inside the container that holds
//! the byte: a section of an ELF file, a file of a packed root, a line of a text.

use bootfs::{Bootfs, Kind, Node};
use object::{Object as _, ObjectSection as _};

/// The first difference between `a` and `b`, in words; none when they are equal.
#[must_use]
pub fn first_difference(a: &[u8], b: &[u8]) -> Option<String> {
    let at = match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(at) => at,
        None if a.len() == b.len() => return None,
        None => a.len().min(b.len()),
    };
    if let Some(told) = packed(a, b, at) {
        return Some(told);
    }
    let lengths = match a.len() == b.len() {
        true => String::new(),
        false => format!("; {} and {} bytes", a.len(), b.len()),
    };
    let place = section(a, at).or_else(|| line(a, b, at));
    let place = place.map(|p| format!(", {p}")).unwrap_or_default();
    Some(format!("at byte {at:#x}{place}: {} and {}{lengths}", around(a, at), around(b, at)))
}

/// A bootfs begins on a page of the image that holds it.
const PAGE: usize = 4096;

/// The first entry that is different in the root file systems that both hold. A root's own header
/// tells nothing: its checksum is over everything behind it.
fn packed(a: &[u8], b: &[u8], at: usize) -> Option<String> {
    let (start, in_a) = bootfs_in(a)?;
    let (other, in_b) = bootfs_in(b)?;
    if start != other || at < start {
        return None;
    }
    let mut open = vec![("/".to_owned(), in_a.root(), in_b.root())];
    while let Some((path, a, b)) = open.pop() {
        let of = |n: Node<'_, '_>| (n.raw_mode(), n.uid(), n.gid());
        if of(a) != of(b) {
            return Some(format!("{path}: mode or owner"));
        }
        match (a.kind(), b.kind()) {
            (Kind::File(a), Kind::File(b)) => {
                if let Some(told) = first_difference(a, b) {
                    return Some(format!("{path}: {told}"));
                }
            }
            (Kind::Link(a), Kind::Link(b)) if a != b => {
                return Some(format!("{path}: a link to {a} and one to {b}"));
            }
            _ => {}
        }
        let below = |name: &str| format!("{}/{name}", path.trim_end_matches('/'));
        if let Some(added) = b.children().find(|c| a.child(c.name()).is_none()) {
            return Some(format!("{}: only in the second", below(added.name())));
        }
        // The last comes first off the list: in the end the first by name.
        for child in a.children().collect::<Vec<_>>().into_iter().rev() {
            let path = below(child.name());
            match b.child(child.name()) {
                Some(other) => open.push((path, child, other)),
                None => return Some(format!("{path}: only in the first")),
            }
        }
    }
    None
}

/// The bootfs inside an image, and where it begins.
fn bootfs_in(bytes: &[u8]) -> Option<(usize, Bootfs<'_>)> {
    let pages = (0..bytes.len()).step_by(PAGE);
    pages.into_iter().find_map(|at| {
        let found = bytes.get(at..).filter(|rest| rest.starts_with(&bootfs::MAGIC))?;
        Some((at, Bootfs::new(found).ok()?))
    })
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
    use bootfs::write::{Content, Entry};

    fn image(entries: &[(&str, Content<'_>)]) -> Vec<u8> {
        let entries: Vec<Entry<'_>> = entries
            .iter()
            .map(|(path, content)| Entry {
                path,
                permissions: 0o755,
                uid: 0,
                gid: 0,
                content: *content,
            })
            .collect();
        // Behind a kernel, before a command line.
        [vec![7; 2 * PAGE], bootfs::write::write(&entries, 0).unwrap(), b"init".to_vec()].concat()
    }

    #[test]
    fn a_packed_file_is_told_by_its_path_and_what_it_holds() {
        let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(&*elf).unwrap();
        let (start, _) = file.section_by_name(".text").unwrap().file_range().unwrap();
        let mut other = elf.clone();
        other[start as usize + 5] ^= 1;
        let program = |elf| image(&[("/bin/app", Content::File(elf)), ("/a", Content::Link("b"))]);
        let told = first_difference(&program(&elf), &program(&other)).unwrap();
        assert!(told.starts_with("/bin/app: at byte "), "{told}");
        assert!(told.contains("section .text + 0x5"), "{told}");
        assert_eq!(first_difference(&program(&elf), &program(&elf)), None);

        let told = |a: &[(&str, Content<'_>)], b: &[(&str, Content<'_>)]| {
            first_difference(&image(a), &image(b)).unwrap()
        };
        let (a, b) = (("/a", Content::Link("b")), ("/b", Content::File(b"x")));
        assert_eq!(told(&[a], &[("/a", Content::Link("c"))]), "/a: a link to b and one to c");
        assert_eq!(told(&[a, b], &[a]), "/b: only in the first");
        assert_eq!(told(&[b], &[a, b]), "/a: only in the second");
        assert_eq!(told(&[("/a", Content::Dir)], &[a]), "/a: mode or owner");
        // What lies before the root is told as it is.
        let mut kernel = image(&[a]);
        kernel[3] = 8;
        assert!(first_difference(&image(&[a]), &kernel).unwrap().starts_with("at byte 0x3: "));
    }

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
