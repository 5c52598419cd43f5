//! Removing what builds made, and nothing else.

use super::build_dir::MARK;
use super::fsx::{self, remove};
use super::stamps::Stamps;
use crate::model::Layout;
use crate::plan::{Action, Step};
use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeSet;
use std::fs;

/// Folders in which everything is generated, whoever looks.
const WHOLLY_OURS: [&str; 9] =
    ["target", "gen", "stamps", "log", "cache", "run", "check", "repro", "bench"];
/// Files of ours beside them, removed last.
const LAST: [&str; 3] = ["x", "lock", MARK];

/// Removes the outputs and stamps of `steps`. Gives how many files that were, and the files
/// beside them that no step made.
///
/// # Errors
/// When one cannot be removed or listed.
pub fn steps(layout: &Layout, steps: &[Step]) -> Result<(usize, Vec<Utf8PathBuf>)> {
    let stamps = Stamps::new(layout);
    let mut removed = 0;
    for step in steps {
        for output in &step.outputs {
            let path = layout.root().join(output);
            removed += usize::from(remove(&path)?);
            remove(&fsx::part_name(&path))?;
        }
        remove(&stamps.path(&step.id))?;
        if let Action::CompileKernel { kernel } = &step.action {
            remove_folder(&layout.gen_crate(&kernel.key()))?;
        }
    }
    let folders = steps.iter().flat_map(|s| &s.outputs).filter_map(|o| o.parent());
    let folders: BTreeSet<_> = folders.collect();
    let others: BTreeSet<Utf8PathBuf> =
        stamps.all()?.into_iter().flat_map(|s| s.outputs.into_keys()).collect();
    let mut left = Vec::new();
    for folder in &folders {
        for entry in layout.root().join(folder).read_dir_utf8().into_iter().flatten() {
            let entry = entry.with_context(|| format!("cannot list {folder}"))?;
            let known = others.contains(&folder.join(entry.file_name()));
            if !known && !entry.file_type()?.is_dir() {
                left.push(entry.into_path());
            }
        }
        remove_empty(layout.root(), folder);
    }
    left.sort();
    Ok((removed, left))
}

/// Removes everything generated but the lock and the mark. Gives what is left.
///
/// # Errors
/// When something cannot be removed or read.
pub fn all(layout: &Layout) -> Result<Vec<Utf8PathBuf>> {
    let outputs = Stamps::new(layout).all()?.into_iter().flat_map(|s| s.outputs.into_keys());
    let outputs: BTreeSet<Utf8PathBuf> = outputs.collect();
    for output in &outputs {
        let path = layout.root().join(output);
        remove(&path)?;
        remove(&fsx::part_name(&path))?;
    }
    for folder in outputs.iter().filter_map(|o| o.parent()).collect::<BTreeSet<_>>() {
        remove_empty(layout.root(), folder);
    }
    for folder in WHOLLY_OURS {
        remove_folder(&layout.root().join(folder))?;
    }
    // xtask's own target folder, where sources cannot be written to (docs/building.md).
    let xtask = layout.root().join("xtask");
    if xtask.join("CACHEDIR.TAG").is_file() {
        remove_folder(&xtask)?;
    }
    let mut left = Vec::new();
    list(layout.root(), &mut left)?;
    left.retain(|path| !LAST.iter().any(|ours| *path == layout.root().join(ours)));
    Ok(left)
}

/// Removes the last files, and the folder itself when `whole`.
///
/// # Errors
/// When one cannot be removed.
pub fn last(layout: &Layout, whole: bool) -> Result<()> {
    for file in LAST {
        // The mark stays while other things do: the folder is still a build directory.
        if whole || file != MARK {
            remove(&layout.root().join(file))?;
        }
    }
    if whole {
        remove_empty(layout.root(), Utf8Path::new(""));
    }
    Ok(())
}

fn remove_folder(path: &Utf8Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {path}"))
        }
        _ => Ok(()),
    }
}

/// Removes `folder` below `root` and those above it, as far as they are empty.
fn remove_empty(root: &Utf8Path, folder: &Utf8Path) {
    for folder in folder.ancestors() {
        // One that holds something refuses, and so end the ones above it.
        if fs::remove_dir(root.join(folder)).is_err() {
            break;
        }
    }
}

/// Every file below `folder`.
fn list(folder: &Utf8Path, out: &mut Vec<Utf8PathBuf>) -> Result<()> {
    for entry in folder.read_dir_utf8().with_context(|| format!("cannot read {folder}"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(entry.path(), out)?;
        } else {
            out.push(entry.path().to_owned());
        }
    }
    out.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StepId;
    use crate::plan::stamp::{FORMAT, Facts, Made, Stamp};

    #[test]
    fn beside_what_a_selection_made_the_rest_is_told() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().join("b")).unwrap();
        let layout = Layout::new(&root);
        let step = |name: &str| Step {
            id: StepId(name.to_owned()),
            inputs: vec![],
            outputs: vec![format!("app/x64-release/{name}").into()],
            action: Action::StripProgram,
            origins: std::collections::BTreeMap::new(),
        };
        let (mine, other) = (step("mine"), step("other"));
        for step in [&mine, &other] {
            fsx::write(&root.join(&step.outputs[0]), b"").unwrap();
            let made = Made { digest: crate::model::Digest::of(b""), size: 0 };
            let outputs = [(step.outputs[0].clone(), made)].into();
            let name = step.id.0.clone();
            let facts = Facts::new();
            let stamp = Stamp { format: FORMAT, step: name, facts, outputs, history: vec![] };
            Stamps::new(&layout).save(&stamp).unwrap();
        }
        let foreign = root.join("app/x64-release/notes.txt");
        fsx::write(&foreign, b"").unwrap();
        assert_eq!(steps(&layout, &[mine]).unwrap(), (1, vec![foreign]));
        assert!(root.join(&other.outputs[0]).is_file());
    }

    #[test]
    fn what_osier_did_not_make_is_left_and_listed() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().join("b")).unwrap();
        let layout = Layout::new(&root);
        let ours = [
            "x64-release-all/hello/loader.img",
            "target/a/b",
            "log/1.log",
            "xtask/CACHEDIR.TAG",
            "xtask/debug/xtask",
            "x",
            "lock",
            MARK,
        ];
        let foreign = ["etc/build.toml", "x64-release-all/hello/notes.txt"];
        for path in ours.into_iter().chain(foreign) {
            fsx::write(&root.join(path), b"").unwrap();
        }
        let made = Made { digest: crate::model::Digest::of(b""), size: 0 };
        let outputs = [(ours[0].into(), made)].into();
        let step = "image".to_owned();
        let stamp = Stamp { format: FORMAT, step, facts: Facts::new(), outputs, history: vec![] };
        Stamps::new(&layout).save(&stamp).unwrap();

        assert_eq!(all(&layout).unwrap(), foreign.map(|f| root.join(f)));
        last(&layout, false).unwrap();
        let mut left = Vec::new();
        list(&root, &mut left).unwrap();
        assert_eq!(left, [MARK, foreign[0], foreign[1]].map(|f| root.join(f)));

        foreign.iter().for_each(|f| fs::remove_file(root.join(f)).unwrap());
        assert_eq!(all(&layout).unwrap(), Vec::<Utf8PathBuf>::new());
    }
}
