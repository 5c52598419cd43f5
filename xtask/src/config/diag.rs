//! Diagnostics: what is wrong, in which file, line and column, and what to type next.
//!
//! A [`Diagnostics`] holds every mistake of every file of one load together with the
//! texts, so that it can show the lines. Rendering is `annotate-snippets`, as in rustc.

use super::resolved::Origin;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use camino::Utf8PathBuf;
use serde::Serialize;
use std::ops::Range;

/// Byte offsets into a file's text.
pub type Span = Range<usize>;

/// A file of [`Files`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(usize);

/// A file that was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The repository's name.
    pub repo: String,
    /// The path below the repository's root (for `build.toml`: below the build directory).
    pub path: Utf8PathBuf,
    /// The path as messages show it: what the user can open from where they stand.
    pub shown: Utf8PathBuf,
    /// The whole text.
    pub text: String,
}

/// All files of a load.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<SourceFile>);

impl Files {
    /// Adds a file.
    pub fn add(&mut self, file: SourceFile) -> FileId {
        self.0.push(file);
        FileId(self.0.len() - 1)
    }

    /// The file `id`, which this collection handed out.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.0.get(id.0)
    }

    /// As [`Files::get`], for changing.
    pub fn get_mut(&mut self, id: FileId) -> Option<&mut SourceFile> {
        self.0.get_mut(id.0)
    }

    /// Where a value stands, as an [`Origin`].
    #[must_use]
    pub fn origin(&self, place: &Place) -> Origin {
        let Some(file) = self.get(place.file) else { return Origin::Default };
        let (line, column) = line_column(&file.text, place.span.start);
        Origin::File { repo: file.repo.clone(), path: file.path.clone(), line, column }
    }
}

/// Line and column, both from 1, of the byte `offset` of `text`; columns count characters.
#[must_use]
pub fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count();
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let column = before.get(start..).unwrap_or("").chars().count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX - 1) + 1;
    (count(line), count(column))
}

/// A stretch of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// The stretch.
    pub span: Span,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where, unless it concerns no file that exists.
    pub place: Option<Place>,
    /// What is wrong, in one line.
    pub message: String,
    /// What stands beside the caret.
    pub label: String,
    /// What to type next.
    pub helps: Vec<String>,
    /// Other places that take part.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    /// A mistake at `place`.
    pub fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), ..Self::nowhere(message) }
    }

    /// A mistake that no line of an existing file shows.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self {
            place: None,
            message: message.into(),
            label: String::new(),
            helps: Vec::new(),
            related: Vec::new(),
        }
    }

    /// Adds the words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds what to type next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.helps.push(help.into());
        self
    }

    /// Adds another place that takes part.
    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related.push((place, label.into()));
        self
    }
}

/// Every mistake of a load, with the texts that they stand in.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    files: Files,
    list: Vec<Diagnostic>,
}

/// A mistake for machines: what `--json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiagnosticRecord {
    /// The file, absent when no file shows the mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to type next.
    pub help: Vec<String>,
}

impl Diagnostics {
    /// The mistakes `list` in `files`, sorted by place.
    #[must_use]
    pub fn new(files: Files, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|d| {
            let place = d.place.as_ref();
            let shown = place.and_then(|p| files.get(p.file)).map(|f| f.shown.clone());
            (shown, place.map(|p| p.span.start), d.message.clone())
        });
        list.dedup();
        Self { files, list }
    }

    /// The mistakes for machines.
    #[must_use]
    pub fn records(&self) -> Vec<DiagnosticRecord> {
        let record = |d: &Diagnostic| {
            let file = d.place.as_ref().and_then(|p| Some((self.files.get(p.file)?, p)));
            let at = file.map(|(f, p)| line_column(&f.text, p.span.start));
            DiagnosticRecord {
                file: file.map(|(f, _)| f.shown.to_string()),
                line: at.map(|a| a.0),
                column: at.map(|a| a.1),
                message: d.message.clone(),
                help: d.helps.clone(),
            }
        };
        self.list.iter().map(record).collect()
    }

    /// The mistakes for people, each with its line and a caret; `color` for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for d in &self.list {
            out.push_str(&renderer.render(&self.report(d)));
            out.push_str("\n\n");
        }
        let n = self.list.len();
        let plural = if n == 1 { "" } else { "s" };
        out.push_str(&format!("{n} mistake{plural} in the configuration; nothing was done\n"));
        out
    }

    fn report<'a>(&'a self, d: &'a Diagnostic) -> Vec<Group<'a>> {
        let mut group = Group::with_title(Level::ERROR.primary_title(&d.message));
        let mut places: Vec<(&Place, AnnotationKind, &str)> = Vec::new();
        places.extend(d.place.iter().map(|p| (p, AnnotationKind::Primary, d.label.as_str())));
        places.extend(d.related.iter().map(|(p, l)| (p, AnnotationKind::Context, l.as_str())));
        // One snippet a file, in the order in which the files are first named.
        let mut order: Vec<FileId> = Vec::new();
        for (p, ..) in &places {
            if !order.contains(&p.file) {
                order.push(p.file);
            }
        }
        for id in order {
            let Some(file) = self.files.get(id) else { continue };
            let here = places.iter().filter(|(p, ..)| p.file == id).map(|(p, kind, label)| {
                let end = file.text.len();
                let span = p.span.start.min(end)..p.span.end.min(end);
                let label = (!label.is_empty()).then_some(*label);
                (*kind).span(first_line(&file.text, span)).label(label)
            });
            let snippet = Snippet::source(&file.text).path(file.shown.as_str());
            group = group.element(snippet.annotations(here));
        }
        for help in &d.helps {
            group = group.element(Level::HELP.message(help));
        }
        vec![group]
    }
}

/// `span` cut at the end of its first line: a caret under a whole table says nothing.
fn first_line(text: &str, span: Span) -> Span {
    let stretch = text.get(span.clone()).unwrap_or("");
    match stretch.find('\n') {
        Some(n) => span.start..span.start + n,
        None => span,
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_by_characters() {
        let text = "a = 1\nä = 2\n";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, 6), (2, 1));
        assert_eq!(line_column(text, 9), (2, 3));
        assert_eq!(line_column(text, 999), (3, 1));
    }
}
