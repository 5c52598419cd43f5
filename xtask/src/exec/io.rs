//! The one layer through which a step touches files. It may read what its plan names as
//! input and write what its plan names as output; anything else is an error of the plan,
//! found at once and not by a stale build later.

use super::{fsx, memo::Memo};
use crate::config::resolved::{SourcePath, Workspace};
use crate::model::{Digest, Hasher, Layout};
use crate::plan::{Input, Made, Outputs, Step, Tool};
use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;

/// A part of an output.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    Bytes(&'a [u8]),
    /// All of the file at this (absolute) path, which is not read into memory.
    File(&'a Utf8Path),
}

/// The digest of parts that follow each other, and their length.
fn digest_of(parts: &[Part<'_>]) -> std::io::Result<Made> {
    let mut hasher = Hasher::default();
    for part in parts {
        match part {
            Part::Bytes(bytes) => hasher.update(bytes),
            Part::File(from) => hasher.read(&mut File::open(from)?)?,
        }
    }
    let (digest, size) = hasher.finish();
    Ok(Made { digest, size })
}

/// A step's view of the file system.
pub struct StepIo<'a> {
    pub step: &'a Step,
    layout: &'a Layout,
    workspace: &'a Workspace,
    memo: &'a Memo,
    outputs: RefCell<Outputs>,
    written: RefCell<u64>,
}

impl<'a> StepIo<'a> {
    pub fn new(
        step: &'a Step,
        layout: &'a Layout,
        workspace: &'a Workspace,
        memo: &'a Memo,
    ) -> Self {
        let (outputs, written) = (RefCell::default(), RefCell::new(0));
        Self { step, layout, workspace, memo, outputs, written }
    }

    /// Where a file of a repository lies. It must be one of the step's inputs.
    pub fn source_path(&self, path: &SourcePath) -> Result<Utf8PathBuf> {
        if !self.step.inputs.contains(&Input::File(path.clone())) {
            bail!("the step `{}` reads {}, which is not among its inputs", self.step.id, path.path);
        }
        source(self.workspace, path)
    }

    /// A file of a repository.
    pub fn source(&self, path: &SourcePath) -> Result<Vec<u8>> {
        fsx::read(&self.source_path(path)?)
    }

    /// The digest of a file of a repository, read (if at all) before [`StepIo::source`].
    pub fn digest_of_source(&self, path: &SourcePath) -> Result<Digest> {
        Ok(self.memo.digest_of_source(&self.source_path(path)?)?.0)
    }

    /// Where a file that another step made lies. It must be one of the step's inputs.
    pub fn made_path(&self, path: &Utf8Path) -> Result<Utf8PathBuf> {
        let named = |i: &Input| matches!(i, Input::Output { path: p, .. } if p == path);
        if !self.step.inputs.iter().any(named) {
            bail!("the step `{}` reads {path}, which is not among its inputs", self.step.id);
        }
        Ok(self.layout.root().join(path))
    }

    /// A file that another step made.
    pub fn made(&self, path: &Utf8Path) -> Result<Vec<u8>> {
        fsx::read(&self.made_path(path)?)
    }

    /// The path of the input whose file name is `name`: `libkernel.a`, `syscalls.o`.
    pub fn input_named(&self, name: &str) -> Result<&'a Utf8Path> {
        let paths = self.step.inputs.iter().filter_map(|i| match i {
            Input::Output { path, .. } => Some(path.as_path()),
            _ => None,
        });
        paths
            .into_iter()
            .find(|p| p.file_name() == Some(name))
            .with_context(|| format!("the step `{}` has no input `{name}`", self.step.id))
    }

    /// The path of the output whose file name is `name`.
    pub fn output_named(&self, name: &str) -> Result<&'a Utf8Path> {
        let mut outputs = self.step.outputs.iter();
        outputs
            .find(|p| p.file_name() == Some(name))
            .map(Utf8PathBuf::as_path)
            .with_context(|| format!("the step `{}` has no output `{name}`", self.step.id))
    }

    /// The digest and size of a file that another step made.
    pub fn digest_of_made(&self, path: &Utf8Path) -> Result<Made> {
        let (digest, size) = self.memo.digest(&self.made_path(path)?)?;
        Ok(Made { digest, size })
    }

    /// Writes an output. Equal bytes are left as they lie.
    pub fn put(&self, path: &Utf8Path, bytes: &[u8]) -> Result<()> {
        let made = Made { digest: Digest::of(bytes), size: bytes.len() as u64 };
        self.keep(path, made, |full| fsx::write(full, bytes))
    }

    /// Writes an output that consists of `parts`. It is hashed while it is written.
    ///
    /// # Errors
    /// The file system's, with the path; nothing is left behind.
    pub fn put_parts(&self, path: &Utf8Path, parts: &[Part<'_>]) -> Result<()> {
        let full = self.layout.root().join(path);
        let made = std::thread::scope(|scope| {
            let digest = scope.spawn(|| digest_of(parts));
            let written = fsx::write_beside(&full, |file| {
                parts.iter().try_for_each(|part| match part {
                    Part::Bytes(bytes) => file.write_all(bytes),
                    Part::File(from) => std::io::copy(&mut File::open(from)?, file).map(|_| ()),
                })
            });
            let digest = digest.join().map_err(|_| anyhow::anyhow!("cannot hash {full}"))?;
            written.and(digest.with_context(|| format!("cannot read what {full} is made of")))
        });
        self.keep_part(path, made)
    }

    /// Gives the file that was written under [`fsx::part_name`] its own name, unless the same
    /// bytes stand there. It is gone afterwards, whatever happens.
    fn keep_part(&self, path: &Utf8Path, made: Result<Made>) -> Result<()> {
        let full = self.layout.root().join(path);
        let part = fsx::part_name(&full);
        // Giving back the pages of what is replaced takes its time; others need not wait.
        let replaced = File::open(&full);
        let kept = made.and_then(|made| {
            self.keep(path, made, |full| {
                std::fs::rename(&part, full).with_context(|| format!("cannot write {full}"))
            })
        });
        std::thread::spawn(|| drop(replaced));
        let removed = fsx::remove(&part);
        kept.and(removed.map(|_| ()))
    }

    /// Makes an output a copy of the file at `from` (absolute).
    pub fn put_copy(&self, path: &Utf8Path, from: &Utf8Path) -> Result<()> {
        let (digest, size) = self.memo.digest(from)?;
        self.keep(path, Made { digest, size }, |full| fsx::copy(from, full))
    }

    /// Makes an output of a file that a program wrote under [`fsx::part_name`].
    pub fn put_part(&self, path: &Utf8Path) -> Result<()> {
        let part = fsx::part_name(&self.layout.root().join(path));
        let made = digest_of(&[Part::File(&part)]);
        self.keep_part(path, made.with_context(|| format!("cannot read {part}")))
    }

    fn keep(
        &self,
        path: &Utf8Path,
        made: Made,
        write: impl FnOnce(&Utf8Path) -> Result<()>,
    ) -> Result<()> {
        if !self.step.outputs.iter().any(|o| o == path) {
            bail!("the step `{}` writes {path}, which is not among its outputs", self.step.id);
        }
        let full = self.layout.root().join(path);
        let there = full.is_file() && self.memo.digest(&full).is_ok_and(|(d, _)| d == made.digest);
        if !there {
            write(&full)?;
            self.memo.wrote(&full, made.digest)?;
            *self.written.borrow_mut() += made.size;
        }
        self.outputs.borrow_mut().insert(path.to_owned(), made);
        Ok(())
    }

    /// What the step made, once it is done: every output that its plan names.
    pub fn finish(self) -> Result<(Outputs, u64)> {
        let outputs = self.outputs.into_inner();
        if let Some(missing) = self.step.outputs.iter().find(|o| !outputs.contains_key(*o)) {
            bail!("the step `{}` did not make {missing}", self.step.id);
        }
        Ok((outputs, self.written.into_inner()))
    }
}

/// Where a file of a repository lies.
pub fn source(workspace: &Workspace, path: &SourcePath) -> Result<Utf8PathBuf> {
    workspace.absolute(path).with_context(|| format!("there is no repository `{}`", path.repo))
}

/// The fact's name for an input, as stamps keep it and `why` shows it.
pub fn fact_name(input: &Input) -> Option<String> {
    match input {
        Input::File(path) if path.repo == crate::config::resolved::OSIER => {
            Some(format!("file {}", path.path))
        }
        Input::File(path) => Some(format!("file {} of {}", path.path, path.repo)),
        // Cargo looks after the content.
        Input::Package(_) => None,
        Input::Tool(Tool::Cargo) => Some("toolchain".to_owned()),
        Input::Tool(tool) => Some(format!("tool {}", tool.name())),
        Input::Output { path, .. } => Some(format!("output {path}")),
    }
}
