//! Stamps on disk: one file a step, written last.

use super::fsx;
use crate::model::Layout;
use crate::plan::{Stamp, StepId, stamp};
use anyhow::Result;
use camino::Utf8PathBuf;

/// The stamps of one build directory.
#[derive(Clone, Debug)]
pub struct Stamps {
    folder: Utf8PathBuf,
}

impl Stamps {
    /// Those of `layout`.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { folder: layout.stamps() }
    }

    /// Where the stamp of `step` lies.
    #[must_use]
    pub fn path(&self, step: &StepId) -> Utf8PathBuf {
        // Step ids are made of names, `@`, `+`, `~`, spaces and slashes: this keeps them apart.
        let name = step.0.replace('/', "__").replace(' ', "_");
        self.folder.join(format!("{name}.json"))
    }

    /// The stamp of `step`. None when there is none, or a damaged one: then the step runs.
    #[must_use]
    pub fn load(&self, step: &StepId) -> Option<Stamp> {
        let bytes = std::fs::read(self.path(step)).ok()?;
        let found: Stamp = serde_json::from_slice(&bytes).ok()?;
        (found.format == stamp::FORMAT && found.step == step.0).then_some(found)
    }

    /// Keeps `stamp`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, stamp: &Stamp) -> Result<()> {
        fsx::write(&self.path(&StepId(stamp.step.clone())), &serde_json::to_vec(stamp)?)
    }

    /// Every stamp, by step name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self) -> Result<Vec<Stamp>> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        for entry in self.folder.read_dir_utf8()? {
            let bytes = fsx::read(entry?.path())?;
            out.extend(serde_json::from_slice::<Stamp>(&bytes).ok());
        }
        out.sort_by(|a, b| a.step.cmp(&b.step));
        Ok(out)
    }
}
