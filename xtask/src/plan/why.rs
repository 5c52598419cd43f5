//! Why an artifact was made anew: from it back to what changed at the root, out of the stamps.

use super::stamp::{Change, Rebuild, Stamp, changes};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use std::collections::BTreeMap;

/// Something that happened, and what it happened because of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Reason>,
}

impl Reason {
    fn root(text: impl Into<String>) -> Self {
        Self { text: text.into(), because: Vec::new() }
    }
}

/// The stamps of a build directory, by step.
pub type Stamps = BTreeMap<String, Stamp>;

/// A chain is as long as a plan is deep; this ends the walk should stamps be nonsense.
const DEEPEST: usize = 32;

/// The steps that `name` can mean: a step's name, an artifact's path in the build directory, or
/// the last parts of one.
#[must_use]
pub fn find<'a>(stamps: &'a Stamps, name: &str) -> Vec<(&'a Stamp, Option<&'a Utf8Path>)> {
    if let Some(step) = stamps.get(name) {
        return vec![(step, None)];
    }
    let outputs = stamps.values().flat_map(|s| s.outputs.keys().map(move |o| (s, o.as_path())));
    let ends = outputs.filter(|(_, path)| path.ends_with(name)).collect::<Vec<_>>();
    match ends.iter().find(|(_, path)| *path == name) {
        Some((step, path)) => vec![(*step, Some(*path))],
        None => ends.into_iter().map(|(s, p)| (s, Some(p))).collect(),
    }
}

/// Why `step` (or its output `path`) was made the last time that its bytes changed.
#[must_use]
pub fn why(stamps: &Stamps, step: &Stamp, path: Option<&Utf8Path>) -> Reason {
    let name = path.map_or(step.step.as_str(), Utf8Path::as_str);
    let digest = path.and_then(|p| step.outputs.get(p)).map(|m| m.digest.to_string());
    let event = match &digest {
        Some(digest) => maker(step, path, digest),
        None => step.history.first(),
    };
    let Some(event) = event else {
        return Reason::root(format!("{name}: its rebuilds are no longer remembered"));
    };
    let text = format!("{name} was made by `{}` in run {}", step.step, event.run);
    Reason { text, because: explain(stamps, &event.changes, 0) }
}

/// The rebuild that first made `digest` of `path`: later ones may have left it as it was.
fn maker<'a>(step: &'a Stamp, path: Option<&Utf8Path>, digest: &str) -> Option<&'a Rebuild> {
    let made = |event: &Rebuild| {
        path.and_then(|p| event.outputs.get(p)).is_some_and(|m| m.digest.to_string() == digest)
    };
    step.history.iter().skip_while(|e| !made(e)).take_while(|e| made(e)).last()
}

/// Each change with what it came from.
fn explain(stamps: &Stamps, all: &[Change], depth: usize) -> Vec<Reason> {
    if depth > DEEPEST {
        return Vec::new();
    }
    let renamed = renamed(all);
    let mut out = Vec::new();
    for change in all {
        let Some(path) = change.what.strip_prefix("output ").map(Utf8Path::new) else {
            out.push(Reason::root(change.to_string()));
            continue;
        };
        if renamed.iter().any(|(old, _)| *old == path) {
            continue;
        }
        let before = renamed.iter().find(|(_, new)| *new == path).map(|(old, _)| *old);
        let because = match (producer(stamps, path), before) {
            (Some(step), Some(old)) => instead(stamps, step, old, depth),
            (Some(step), None) => behind(stamps, step, path, change, depth),
            (None, _) => Vec::new(),
        };
        let text = match before {
            Some(old) => format!("{path} instead of {old}"),
            None => change.to_string(),
        };
        out.push(Reason { text, because });
    }
    // Packages that cargo rebuilt only because of another one come after that other.
    let follows = |r: &Reason| {
        r.text.starts_with("package ") && r.text.contains("dependency") && r.because.is_empty()
    };
    out.sort_by_key(follows);
    out
}

/// Outputs that took the place of others: one gone, one new, with the same file name.
fn renamed(all: &[Change]) -> Vec<(&Utf8Path, &Utf8Path)> {
    let outputs = || all.iter().filter_map(|c| Some((c, c.what.strip_prefix("output ")?)));
    let gone = outputs().filter(|(c, _)| c.new.is_none());
    let pair = |(_, old): (&Change, &'_ str)| {
        let file = Utf8Path::new(old).file_name();
        let mut new = outputs().filter(|(c, _)| c.old.is_none());
        let (_, new) = new.find(|(_, path)| Utf8Path::new(path).file_name() == file)?;
        Some(new)
    };
    gone.filter_map(|g| Some((Utf8Path::new(g.1), Utf8Path::new(pair(g)?)))).collect()
}

fn producer<'a>(stamps: &'a Stamps, path: &Utf8Path) -> Option<&'a Stamp> {
    stamps.values().find(|s| s.outputs.contains_key(path))
}

/// What made `path` change from `change.old` to `change.new`: every rebuild between.
fn behind(
    stamps: &Stamps,
    step: &Stamp,
    path: &Utf8Path,
    change: &Change,
    depth: usize,
) -> Vec<Reason> {
    let digest = |event: &Rebuild| event.outputs.get(path).map(|m| m.digest.to_string());
    let since_new = step.history.iter().skip_while(|e| digest(e) != change.new);
    let until_old = since_new.take_while(|e| change.old.is_none() || digest(e) != change.old);
    // Of several rebuilds with the same bytes the first is the one that made them.
    let mut between: Vec<&Rebuild> = until_old.collect();
    between.reverse();
    between.dedup_by_key(|e| digest(e));
    if change.old.is_none() {
        between.truncate(1);
    }
    between.iter().flat_map(|e| explain(stamps, &e.changes, depth + 1)).collect()
}

/// What is different between the step that makes what is taken now and the one that made what
/// was taken before: another kernel, another base.
fn instead(stamps: &Stamps, now: &Stamp, before: &Utf8Path, depth: usize) -> Vec<Reason> {
    match producer(stamps, before) {
        Some(then) => explain(stamps, &changes(&then.facts, &now.facts), depth + 1),
        None => {
            now.history.last().map(|e| explain(stamps, &e.changes, depth + 1)).unwrap_or_default()
        }
    }
}

/// The reasons as an indented list.
#[must_use]
pub fn render(reason: &Reason) -> String {
    let mut out = String::new();
    write(reason, 0, &mut out);
    out
}

fn write(reason: &Reason, depth: usize, out: &mut String) {
    if depth > 0 {
        out.push_str(&"  ".repeat(depth - 1));
        out.push_str("└ ");
    }
    out.push_str(&reason.text);
    out.push('\n');
    reason.because.iter().for_each(|r| write(r, depth + 1, out));
}

/// Paths that `why` is asked about may be absolute, or as seen from where the user stands.
#[must_use]
pub fn in_build_dir(root: &Utf8Path, cwd: &Utf8Path, name: &str) -> String {
    let full: Utf8PathBuf = cwd.join(name);
    full.strip_prefix(root).map_or_else(|_| name.to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::plan::stamp::{FORMAT, Facts, Made, Outputs};

    fn made(path: &str, bytes: &str) -> Outputs {
        let digest = Digest::of(bytes.as_bytes());
        [(path.into(), Made { digest, size: bytes.len() as u64 })].into()
    }

    fn change(what: &str, old: Option<&str>, new: Option<&str>) -> Change {
        let own = |s: Option<&str>| s.map(str::to_owned);
        Change { what: what.to_owned(), old: own(old), new: own(new), place: None }
    }

    fn digest(bytes: &str) -> String {
        Digest::of(bytes.as_bytes()).to_string()
    }

    /// A stamp whose rebuilds are (run, changes, bytes), the newest first.
    fn stamp(step: &str, path: &str, events: Vec<(&str, Vec<Change>, &str)>) -> (String, Stamp) {
        let rebuild = |(run, changes, bytes): (&str, Vec<Change>, &str)| Rebuild {
            run: run.to_owned(),
            changes,
            outputs: made(path, bytes),
        };
        let history: Vec<Rebuild> = events.into_iter().map(rebuild).collect();
        let outputs = history[0].outputs.clone();
        let stamp =
            Stamp { format: FORMAT, step: step.to_owned(), facts: Facts::new(), outputs, history };
        (step.to_owned(), stamp)
    }

    fn told(stamps: &Stamps, name: &str) -> String {
        let found = find(stamps, name);
        assert_eq!(found.len(), 1, "{name}");
        render(&why(stamps, found[0].0, found[0].1))
    }

    #[test]
    fn the_chain_ends_at_the_source_file() {
        let touched = change("package ns16550 v0.1.0", None, Some("the file `a.rs` has changed"));
        let followed =
            change("package loader v0.1.0", None, Some("the dependency `ns16550` was rebuilt"));
        let stamps: Stamps = [
            stamp(
                "compile k",
                "k/lib.a",
                vec![
                    ("7", vec![followed, touched], "B"),
                    ("1", vec![change("first build", None, None)], "A"),
                ],
            ),
            stamp(
                "link k",
                "k/pie",
                vec![(
                    "7",
                    vec![change("output k/lib.a", Some(&digest("A")), Some(&digest("B")))],
                    "b",
                )],
            ),
        ]
        .into();
        let (a, b) = (&digest("A")[..12], &digest("B")[..12]);
        assert_eq!(
            told(&stamps, "pie"),
            format!(
                "k/pie was made by `link k` in run 7\n└ output k/lib.a: {a} → {b}\n  \
                 └ package ns16550 v0.1.0: the file `a.rs` has changed\n  \
                 └ package loader v0.1.0: the dependency `ns16550` was rebuilt\n"
            )
        );
    }

    #[test]
    fn rebuilds_that_were_not_linked_in_between_are_all_told() {
        let file = |n: &str| vec![change(&format!("file {n}"), Some("1"), Some("2"))];
        let stamps: Stamps = [
            stamp(
                "compile k",
                "k/lib.a",
                vec![
                    ("9", file("late"), "C"),
                    ("8", file("middle"), "C"),
                    ("7", file("early"), "B"),
                    ("1", file("never"), "A"),
                ],
            ),
            stamp(
                "link k",
                "k/pie",
                vec![(
                    "9",
                    vec![change("output k/lib.a", Some(&digest("A")), Some(&digest("C")))],
                    "b",
                )],
            ),
        ]
        .into();
        let text = told(&stamps, "link k");
        // `late` changed no byte of what `middle` made.
        assert!(text.contains("file early") && text.contains("file middle"), "{text}");
        assert!(!text.contains("never") && !text.contains("late"), "{text}");
    }

    #[test]
    fn another_kernel_is_told_by_what_is_different_in_it() {
        let mut stamps: Stamps = [
            stamp("compile k1", "k1/lib.a", vec![("1", vec![], "A")]),
            stamp(
                "compile k2",
                "k2/lib.a",
                vec![("2", vec![change("first build", None, None)], "B")],
            ),
            stamp(
                "image i",
                "i/img",
                vec![(
                    "2",
                    vec![
                        change("output k2/lib.a", None, Some(&digest("B"))),
                        change("output k1/lib.a", Some(&digest("A")), None),
                    ],
                    "x",
                )],
            ),
        ]
        .into();
        let driver = ("kernel.drivers.pl011.name".to_owned(), "pl011".to_owned());
        stamps.get_mut("compile k2").unwrap().facts = [driver].into();
        assert_eq!(
            told(&stamps, "img"),
            "i/img was made by `image i` in run 2\n└ k2/lib.a instead of k1/lib.a\n  \
             └ kernel.drivers.pl011.name: pl011\n"
        );
    }

    #[test]
    fn names_are_steps_paths_or_their_ends() {
        let stamps: Stamps = [
            stamp("image a", "x64-release-all/a/loader.img", vec![("1", vec![], "A")]),
            stamp("image b", "x64-release-all/b/loader.img", vec![("1", vec![], "A")]),
        ]
        .into();
        assert_eq!(find(&stamps, "loader.img").len(), 2);
        assert_eq!(find(&stamps, "b/loader.img").len(), 1);
        assert_eq!(find(&stamps, "image a").len(), 1);
        assert_eq!(find(&stamps, "oader.img").len(), 0);
        let root = Utf8Path::new("/w/build");
        let near = in_build_dir(root, Utf8Path::new("/w"), "build/x64-release-all/a/loader.img");
        assert_eq!(near, "x64-release-all/a/loader.img");
    }
}
