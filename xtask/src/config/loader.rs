//! Reads files, decodes them, and keeps what went wrong: the state of one load.

use super::decode::{Cx, Table, Val};
use super::diag::{Diagnostic, FileId, Files, Place, SourceFile, Span};
use super::resolved::{Origin, Repository, Shadowed, SourcePath, Sourced};
use super::suggest;
use super::tree::Tree;
use crate::model::Name;
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;
use toml::de::DeTable;

/// A named thing as its file states it.
#[derive(Clone, Debug)]
pub struct Def<T> {
    /// The file, or for a driver or app its folder.
    pub source: SourcePath,
    /// The file.
    pub file: FileId,
    /// What it states; `None` when it is no TOML at all, which has been reported.
    pub raw: Option<T>,
}

/// Everything of one kind, by name.
pub type Defs<T> = BTreeMap<Name, Def<T>>;

/// One load: what may be read, what was read, and every mistake found so far.
pub struct Loader<'t> {
    /// Where files come from.
    pub tree: &'t dyn Tree,
    /// Where the user stands; messages show paths from here.
    pub cwd: Utf8PathBuf,
    /// What was read.
    pub files: Files,
    /// What is wrong.
    pub out: Vec<Diagnostic>,
    /// Definitions that were found and not taken.
    pub shadowed: Vec<Shadowed>,
}

impl<'t> Loader<'t> {
    /// A load that has read nothing yet.
    pub fn new(tree: &'t dyn Tree, cwd: &Utf8Path) -> Self {
        Self {
            tree,
            cwd: cwd.to_owned(),
            files: Files::default(),
            out: Vec::new(),
            shadowed: Vec::new(),
        }
    }

    /// `path` as messages show it.
    #[must_use]
    pub fn shown(&self, path: &Utf8Path) -> Utf8PathBuf {
        match path.strip_prefix(&self.cwd) {
            Ok(below) if below.as_str().is_empty() => ".".into(),
            Ok(below) => below.to_owned(),
            Err(_) => path.to_owned(),
        }
    }

    /// Lists a folder, reporting what cannot be read.
    pub fn list(&mut self, dir: &Utf8Path) -> Vec<super::tree::DirEntry> {
        self.tree.list(dir).unwrap_or_else(|e| {
            let shown = self.shown(dir);
            self.out.push(Diagnostic::nowhere(format!("cannot list the folder {shown}: {e}")));
            Vec::new()
        })
    }

    /// Reads and parses the file `path` of the repository `repo`, which lies at `root`,
    /// and hands the document to `read`. `None` when parsing failed and was reported.
    pub fn parse<R>(
        &mut self,
        repo: &str,
        root: &Utf8Path,
        path: &Utf8Path,
        read: impl FnOnce(&DeTable<'_>, &mut Cx<'_>) -> R,
    ) -> Option<(FileId, R)> {
        let shown = self.shown(&root.join(path));
        let bytes = match self.tree.read(&root.join(path)) {
            Ok(bytes) => bytes,
            Err(e) => {
                self.out.push(Diagnostic::nowhere(format!("cannot read {shown}: {e}")));
                return None;
            }
        };
        let (text, broken) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                let line = e.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
                (String::new(), Some(format!("{shown}:{line} is not UTF-8 (byte {at})")))
            }
        };
        if let Some(message) = broken {
            self.out.push(Diagnostic::nowhere(message).help("save the file as UTF-8"));
            return None;
        }
        let file = self.files.add(SourceFile {
            repo: repo.to_owned(),
            path: path.to_owned(),
            shown,
            text: text.clone(),
        });
        let (document, errors) = DeTable::parse_recoverable(&text);
        if errors.is_empty() {
            let mut cx = Cx { file, out: &mut self.out };
            return Some((file, read(document.get_ref(), &mut cx)));
        }
        for error in errors {
            let place = Place { file, span: error.span().unwrap_or(0..0) };
            self.out.push(Diagnostic::at(place, format!("not TOML: {}", error.message())));
        }
        None
    }

    /// Reads, parses and decodes a file; `None` for what is no TOML.
    pub fn decode<T: Table>(
        &mut self,
        repo: &str,
        root: &Utf8Path,
        path: &Utf8Path,
    ) -> Option<(FileId, T)> {
        // A missing key is shown at the file's first line, not under all of it.
        self.parse(repo, root, path, |table, cx| T::decode_table(table, &(0..0), cx))
    }

    /// Decodes `dir/*.toml` of every repository, each taken from the first that has it.
    pub fn definitions<T: Table>(
        &mut self,
        repositories: &[Repository],
        dir: &str,
        what: &str,
    ) -> Defs<T> {
        let mut defs = Defs::new();
        for repository in repositories {
            for entry in self.list(&repository.root.join(dir)) {
                let Some(stem) = entry.name.strip_suffix(".toml").filter(|_| !entry.is_dir) else {
                    continue;
                };
                let path = Utf8Path::new(dir).join(&entry.name);
                let source = SourcePath { repo: repository.name.clone(), path: path.clone() };
                let Some(name) = self.file_name(&repository.root.join(&path), stem) else {
                    continue;
                };
                if self.shadows(&defs, &name, what, &source) {
                    continue;
                }
                let decoded = self.decode::<T>(&repository.name, &repository.root, &path);
                let (file, raw) = decoded.map_or((FileId::default(), None), |(f, t)| (f, Some(t)));
                defs.insert(name, Def { source, file, raw });
            }
        }
        defs
    }

    /// The name that a file's or folder's own name gives to what it defines.
    pub fn file_name(&mut self, path: &Utf8Path, stem: &str) -> Option<Name> {
        match Name::new(stem) {
            Ok(name) => Some(name),
            Err(e) => {
                let shown = self.shown(path);
                self.out.push(Diagnostic::nowhere(format!("{shown}: {e}")).help("rename it"));
                None
            }
        }
    }

    /// Whether `name` has been taken from an earlier repository, which is then noted.
    pub fn shadows<T>(
        &mut self,
        defs: &Defs<T>,
        name: &Name,
        what: &str,
        source: &SourcePath,
    ) -> bool {
        let Some(taken) = defs.get(name) else { return false };
        self.shadowed.push(Shadowed {
            what: format!("{what}{name}"),
            taken: taken.source.clone(),
            hidden: source.clone(),
        });
        true
    }

    /// Reports a mistake at `val` of `file`; `None` when the value is a placeholder, whose
    /// mistake is reported already.
    pub fn report<T>(
        &mut self,
        file: FileId,
        val: &Val<T>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        let place = Place { file, span: val.span.clone().unwrap_or(0..0) };
        let at = self.out.len();
        self.out.push(Diagnostic::at(place, message));
        &mut self.out[at]
    }

    /// Reports an unknown name at `val` of `file`.
    pub fn unknown<'a>(
        &mut self,
        file: FileId,
        val: &Val<Name>,
        what: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) {
        let help = suggest::help(val.as_str(), known, "");
        let message = format!("unknown {what} `{}`", val.value);
        self.report(file, val, message).helps.push(help);
    }

    /// `val` with its origin.
    pub fn sourced<T: Clone>(&self, file: FileId, val: &Val<T>) -> Sourced<T> {
        Sourced::new(val.value.clone(), self.origin(file, &val.span))
    }

    /// Where a value stands, the default when nowhere.
    #[must_use]
    pub fn origin(&self, file: FileId, span: &Option<Span>) -> Origin {
        match span {
            Some(span) => self.files.origin(&Place { file, span: span.clone() }),
            None => Origin::Default,
        }
    }
}
