//! What mangled symbol names say.

use addr2line::{demangle, gimli};

/// The crate that a mangled Rust symbol's code was written in, spelled as in symbols (`_`
/// for `-`). `None` for other names.
#[must_use]
pub fn crate_of(mangled: &str) -> Option<String> {
    match mangled.strip_prefix("_R") {
        Some(v0) => first_crate(v0).map(str::to_owned),
        None => crate_of_legacy(mangled),
    }
}

/// The first crate root of a v0 name: that of the path, or of the `impl` block, which the
/// demangled name does not show for built-in types (`<str>::split_once`).
///
/// The grammar is RFC 2603's. Up to the first crate root a name consists of tags, of
/// disambiguators and lifetimes (`s…_`, `L…_`) and of built-in types.
fn first_crate(v0: &str) -> Option<&str> {
    let mut rest = v0.trim_start_matches(|c: char| c.is_ascii_digit());
    loop {
        let mut chars = rest.chars();
        let tag = chars.next()?;
        let after = chars.as_str();
        rest = match tag {
            'C' => return identifier(base62(after, 's')),
            // A namespace, itself a letter, then a path.
            'N' => after.get(1..)?,
            // An impl block, maybe with a disambiguator, then its path.
            'M' | 'X' => base62(after, 's'),
            // A reference, maybe with a lifetime.
            'R' | 'Q' => base62(after, 'L'),
            // A back-reference before any crate, or an identifier outside of one.
            'B' => return None,
            c if c.is_ascii_digit() => return None,
            _ => after,
        };
    }
}

/// `text` after a base-62 number that `tag` begins and `_` ends, if one is there.
fn base62(text: &str, tag: char) -> &str {
    text.strip_prefix(tag).and_then(|t| t.split_once('_')).map_or(text, |(_, rest)| rest)
}

/// An identifier: its length in bytes, maybe `_`, its bytes.
fn identifier(text: &str) -> Option<&str> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (length, rest) = text.split_at(digits);
    rest.strip_prefix('_').unwrap_or(rest).get(..length.parse().ok()?)
}

/// The first word of the demangled name that a path goes on from, behind `<`, `&`, `[`,
/// `*mut `, `dyn ` and the like.
fn crate_of_legacy(mangled: &str) -> Option<String> {
    let name = demangle(mangled, gimli::DW_LANG_Rust)?;
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = name.as_str();
    while let Some(start) = rest.find(word) {
        let tail = rest.get(start..)?;
        let end = tail.find(|c| !word(c)).unwrap_or(tail.len());
        let (found, after) = tail.split_at(end);
        if after.starts_with("::") {
            return Some(found.to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_of_a_symbol() {
        for (mangled, name) in [
            ("_RNvCs7oSTxnknZZm_6kernel2DA", Some("kernel")),
            ("_RNvC6kernel2DA", Some("kernel")),
            ("_ZN10virtio_blk6DRIVER17h0123456789abcdefE", Some("virtio_blk")),
            // <alloc::vec::Vec<dyn core::ops::drop::Drop> as core::ops::drop::Drop>::drop
            (
                "_RNvXso_NtCs3DIwn6vuFpv_5alloc3vecINtB5_3VechENtNtNtCs9g9nmpSVCNv_4core3ops4drop4Drop4dropB7_",
                Some("alloc"),
            ),
            // <str>::split_once, <[u8]>::to_vec: whose impl it is shows in v0 only.
            ("_RNvMNtCs9g9nmpSVCNv_4core3stre10split_once", Some("core")),
            ("_RNvMs_NtCs3DIwn6vuFpv_5alloc5sliceSh6to_vec", Some("alloc")),
            // <&T as core::fmt::Debug>::fmt, in both manglings.
            (
                "_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE",
                Some("core"),
            ),
            ("_RNvYRL_eNtCs9g9nmpSVCNv_4core3fmt3fmt", Some("core")),
            ("memcpy", None),
            ("_start", None),
            ("_R", None),
            ("_RNv", None),
            ("_RC99999999999999999999x", None),
            ("_RNvC9short", None),
            ("_RNäCs", None),
        ] {
            assert_eq!(crate_of(mangled).as_deref(), name, "{mangled}");
        }
    }
}
