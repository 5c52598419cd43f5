//! `manifest`: what is in an image, one line an entry.
//!
//! Tab-separated `type path mode owner group size sha256 target`, sorted by path bytes.
//! `type` is `file`, `dir` or `link`; `mode` is octal; `size` is in bytes. Bytes outside
//! 0x21–0x7e and `%` stand as `%XX`; what an entry does not have is `-`.

use super::{PackContent, PackEntry};
use std::fmt::Write as _;

/// The manifest of `entries`, which may be in any order.
#[must_use]
pub fn manifest(entries: &[PackEntry<'_>]) -> String {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|e| e.path.as_bytes());
    let mut out = String::new();
    for entry in sorted {
        let none = || "-".to_owned();
        let (kind, size, hash, target) = match &entry.content {
            PackContent::File(data, digest) => {
                ("file", data.len().to_string(), digest.to_string(), none())
            }
            PackContent::Dir => ("dir", none(), none(), none()),
            PackContent::Link(to) => ("link", none(), none(), escape(to)),
        };
        let (path, mode) = (escape(&entry.path), entry.mode);
        let (owner, group) = (escape(&entry.owner), escape(&entry.group));
        let _ =
            writeln!(out, "{kind}\t{path}\t{mode:04o}\t{owner}\t{group}\t{size}\t{hash}\t{target}");
    }
    out
}

/// A field, so that it holds neither tab nor newline and reads back exactly; one that is
/// just `-`, which would read as "none", is escaped too.
fn escape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    for byte in field.bytes() {
        if (0x21..=0x7e).contains(&byte) && byte != b'%' && field != "-" {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn entry<'a>(path: &str, mode: u32, content: PackContent<'a>) -> PackEntry<'a> {
        PackEntry {
            path: path.into(),
            mode,
            uid: 0,
            gid: 0,
            owner: "root".into(),
            group: "wheel group".into(),
            content,
        }
    }

    #[test]
    fn the_lines() {
        let entries = [
            entry("/etc/motd", 0o644, PackContent::File(b"abc", Digest::of(b"abc"))),
            entry("/etc-x", 0o755, PackContent::Dir),
            entry("/etc", 0o1777, PackContent::Dir),
            entry("/a %\u{e4}", 0o777, PackContent::Link("-".into())),
        ];
        // The hash is FIPS 180-4's example for "abc".
        assert_eq!(
            manifest(&entries),
            "link\t/a%20%25%C3%A4\t0777\troot\twheel%20group\t-\t-\t%2D\n\
             dir\t/etc\t1777\troot\twheel%20group\t-\t-\t-\n\
             dir\t/etc-x\t0755\troot\twheel%20group\t-\t-\t-\n\
             file\t/etc/motd\t0644\troot\twheel%20group\t3\t\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\t-\n"
        );
    }
}
