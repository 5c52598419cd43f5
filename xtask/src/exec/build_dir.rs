//! The build directory itself: its mark, and the launcher `x`.

use super::fsx;
use crate::context::Context;
use crate::error::Refusal;
use crate::model::Layout;
use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

/// The file that marks a folder as a build directory.
pub const MARK: &str = ".osier";
/// What the mark says to who opens it.
const MARK_TEXT: &[u8] = b"A build directory of Osier. `cargo xtask clean --all` empties it.\n";

/// Makes `layout`'s folder a build directory, unless it is one.
///
/// # Errors
/// A [`Refusal`] when the folder holds other things: nothing is written among them.
pub fn prepare(layout: &Layout, osier: &Utf8Path) -> Result<()> {
    let root = layout.root();
    let mark = root.join(MARK);
    if mark.is_file() {
        return Ok(());
    }
    // `etc/` may have been written by hand before the first build.
    let ours = ["etc", "lock", "x", "xtask"];
    // Killed before it was marked.
    let begun = layout.stamps().is_dir();
    if root.exists() && !begun {
        let entries = root.read_dir_utf8().with_context(|| format!("cannot read {root}"))?;
        let foreign = entries.flatten().find(|e| !ours.contains(&e.file_name()));
        if let Some(foreign) = foreign {
            return Err(Refusal::new(format!(
                "{root} holds {} and is no build directory of Osier",
                foreign.file_name()
            ))
            .help("name an empty or new folder with --build-dir")
            .into());
        }
    }
    launcher(layout, osier)?;
    fsx::write(&mark, MARK_TEXT)
}

/// The folder for what lives as long as one run, in a build directory that is marked as one:
/// whoever comes first, a test or a VM, must not leave an unmarked folder to the next build.
///
/// # Errors
/// As [`prepare`].
pub fn run_folder(cx: &Context) -> Result<Utf8PathBuf> {
    prepare(&cx.layout, &cx.root)?;
    let folder = cx.layout.run();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {folder}"))?;
    Ok(folder)
}

/// Writes `x`: `cargo xtask --build-dir <here>`, from any folder.
fn launcher(layout: &Layout, osier: &Utf8Path) -> Result<()> {
    let quote = |path: &Utf8Path| format!("'{}'", path.as_str().replace('\'', "'\\''"));
    // The target folder of the xtask that runs now, so that it is not compiled twice.
    let me = std::env::current_exe().ok();
    let target = me.as_deref().and_then(|p| Utf8Path::from_path(p.parent()?.parent()?));
    let target = target.map_or_else(|| layout.root().join("xtask"), Utf8Path::to_path_buf);
    let text = format!(
        "#!/bin/sh\n# Made by xtask: `cargo xtask --build-dir` for this build directory.\n\
         CARGO_TARGET_DIR={} exec cargo run --quiet --manifest-path {} --package xtask -- \\\n  \
         --build-dir {} \"$@\"\n",
        quote(&target),
        quote(&osier.join("Cargo.toml")),
        quote(layout.root()),
    );
    let path = layout.root().join("x");
    fsx::write(&path, text.as_bytes())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).with_context(|| format!("cannot make {path} a program"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_becomes_one_and_a_foreign_one_does_not() {
        let keep = tempfile::tempdir().unwrap();
        let dir = camino::Utf8PathBuf::from_path_buf(keep.path().to_path_buf()).unwrap();
        let layout = Layout::new(dir.join("b"));
        prepare(&layout, Utf8Path::new("/osier")).unwrap();
        prepare(&layout, Utf8Path::new("/osier")).unwrap();
        assert!(fsx::read_text(&dir.join("b/x")).unwrap().contains("'/osier/Cargo.toml'"));
        fsx::write(&dir.join("c/thesis.tex"), b"").unwrap();
        let refused = prepare(&Layout::new(dir.join("c")), Utf8Path::new("/osier")).unwrap_err();
        assert!(refused.is::<Refusal>() && refused.to_string().contains("thesis.tex"));
        assert_eq!(std::fs::read_dir(dir.join("c")).unwrap().count(), 1);
    }
}
