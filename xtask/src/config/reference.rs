//! The reference of every key, as Markdown, from the same declarations as the decoder.

use super::kinds::{FileKind, KINDS};
use super::shape::{KeyDoc, Presence, Shape, TableDoc};
use std::fmt::Write as _;

/// What stands at the top.
const HEAD: &str = "\
# Every key that users write

<!-- Generated from xtask/src/config/raw by `cargo xtask schema --update`. Do not edit. -->

Every file begins with `format = 1`. A key that is not listed is an error, as is a value of
another type; `cargo xtask plan` shows where each value came from. Names match
`[a-z0-9][a-z0-9-]*`. Paths of files are relative to the root of the repository whose file
names them. The command line wins over the environment, that over `<build-dir>/etc/build.toml`,
that over the files of the repositories. `cargo xtask schema` prints the same as JSON schemas,
which `.taplo.toml` gives to the editor.

";

/// The whole reference.
#[must_use]
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for kind in KINDS {
        let _ = writeln!(out, "- [{}](#{}): `{}`", title(kind), anchor(&title(kind)), kind.files);
    }
    let mut written = Vec::new();
    for kind in KINDS {
        let _ = writeln!(out, "\n## {}\n", title(kind));
        let place = match kind.table {
            "" => format!("`{}`", kind.files),
            table => format!("`[{table}]` in `{}`", kind.files),
        };
        let _ = writeln!(out, "{place}. {}", text(kind.doc.doc));
        let mut queue = vec![(String::new(), kind.doc)];
        while !queue.is_empty() {
            let (path, doc) = queue.remove(0);
            if !path.is_empty() {
                if written.contains(&doc.what) {
                    continue;
                }
                written.push(doc.what);
                let _ = writeln!(out, "\n### {}\n\n`{path}`. {}", capital(doc.what), text(doc.doc));
            }
            let keys = (doc.keys)();
            keys_table(&mut out, &keys);
            for key in &keys {
                queue.extend(inner(key, &path));
            }
        }
    }
    out
}

fn title(kind: &FileKind) -> String {
    capital(kind.doc.what)
}

fn keys_table(out: &mut String, keys: &[KeyDoc]) {
    out.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys {
        let default = match key.presence {
            Presence::Required => "required".to_owned(),
            Presence::Optional => "–".to_owned(),
            Presence::Default(default) => format!("`{default}`"),
        };
        let meaning = text(key.doc).replace('|', "\\|");
        let value = value(&key.shape).replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {value} | {default} | {meaning} |", key.key);
    }
}

/// What a key accepts, in words.
fn value(shape: &Shape) -> String {
    match shape {
        Shape::Text { what, .. } => (*what).to_owned(),
        Shape::Choice { choices, .. } => {
            let all: Vec<String> = choices.iter().map(|c| format!("`\"{c}\"`")).collect();
            super::suggest::list(&all, "or")
        }
        Shape::Integer { min, max } if min == max => format!("`{min}`"),
        Shape::Integer { min, max } => format!("an integer from {min} to {max}"),
        Shape::Flag => "`true` or `false`".to_owned(),
        Shape::List(item) => format!("an array of: {}", value(item)),
        Shape::Map { key, value: v } => {
            format!("a table; keys: {}; values: {}", value(key), value(v))
        }
        Shape::Table(doc) => format!("[{}](#{})", doc.what, anchor(doc.what)),
        Shape::Either(shapes) => shapes.iter().map(value).collect::<Vec<_>>().join(", or "),
    }
}

/// The tables inside a key, each with how its header is written.
fn inner(key: &KeyDoc, path: &str) -> Option<(String, &'static TableDoc)> {
    let outer = path.trim_matches(|c| c == '[' || c == ']');
    let name = if outer.is_empty() { key.key.to_owned() } else { format!("{outer}.{}", key.key) };
    match &key.shape {
        Shape::Table(doc) => Some((format!("[{name}]"), doc)),
        Shape::List(item) => match item.as_ref() {
            Shape::Table(doc) => Some((format!("[[{name}]]"), doc)),
            _ => None,
        },
        Shape::Map { value, .. } => match value.as_ref() {
            Shape::Table(doc) => Some((format!("[{name}.…]"), doc)),
            _ => None,
        },
        _ => None,
    }
}

/// Documentation as one text.
fn text(doc: &[&str]) -> String {
    doc.iter().map(|l| l.trim()).collect::<Vec<_>>().join(" ")
}

/// `a machine` → `A machine`.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The anchor that Markdown gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
