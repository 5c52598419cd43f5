//! The closing table: each artifact, its size, and whether this build made it anew.

use std::fmt::Write as _;

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its path as the user can type it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its bytes are other than before this build.
    pub rebuilt: bool,
}

/// The table as lines, one an artifact.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|r| r.path.chars().count()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut out, row| {
        let word = if row.rebuilt { "rebuilt" } else { "up to date" };
        let _ = writeln!(out, "{:width$}  {:>10}  {word}", row.path, size(row.size));
        out
    })
}

/// Bytes as people read them, in binary units.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >= 1 << shift);
    match unit {
        // One decimal, cut: exact sizes are in build.json.
        Some((shift, unit)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |path: &str, size, rebuilt| Row { path: path.into(), size, rebuilt };
        let shown = table(&[row("a/loader.img", 1_572_864, true), row("a/cmdline", 27, false)]);
        assert_eq!(
            shown,
            "a/loader.img     1.5 MiB  rebuilt\na/cmdline           27 B  up to date\n"
        );
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(u64::MAX), "17179869183.9 GiB");
    }
}
