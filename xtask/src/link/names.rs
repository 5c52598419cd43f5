//! What mangled symbol names say.

use addr2line::{demangle, gimli};

/// The crate that a mangled Rust symbol belongs to, spelled as in symbols (`_` for `-`):
/// that of its path, and for an `impl` block that of the type. `None` for other names.
#[must_use]
pub fn crate_of(mangled: &str) -> Option<String> {
    let name = demangle(mangled, gimli::DW_LANG_Rust)?;
    // `ns16550[5635…]::DRIVER` (v0), `core::fmt::write` (legacy), and behind `<`, `&`, `[`,
    // `*mut `, `dyn `, … in impl blocks and shims: the first word that a path goes on from.
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = name.as_str();
    while let Some(start) = rest.find(word) {
        let tail = rest.get(start..)?;
        let end = tail.find(|c| !word(c)).unwrap_or(tail.len());
        let (found, after) = tail.split_at(end);
        let disambiguator = after.starts_with('[') && after.contains("]::");
        if after.starts_with("::") || disambiguator {
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
            ("_ZN10virtio_blk6DRIVER17h0123456789abcdefE", Some("virtio_blk")),
            // <alloc::vec::Vec<dyn core::ops::drop::Drop> as core::ops::drop::Drop>::drop
            (
                "_RNvXso_NtCs3DIwn6vuFpv_5alloc3vecINtB5_3VechENtNtNtCs9g9nmpSVCNv_4core3ops4drop4Drop4dropB7_",
                Some("alloc"),
            ),
            // <&T as core::fmt::Debug>::fmt
            (
                "_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE",
                Some("core"),
            ),
            ("memcpy", None),
            ("_start", None),
        ] {
            assert_eq!(crate_of(mangled).as_deref(), name, "{mangled}");
        }
    }
}
