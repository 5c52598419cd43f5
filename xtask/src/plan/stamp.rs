//! What a step was made from, kept so that the next build knows whether it still holds and
//! `why` can tell what changed. Pure: `exec::stamps` reads and writes them.

use super::step::Step;
use crate::config::resolved::Origin;
use crate::model::Digest;
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of stamps; one in another format counts as none.
pub const FORMAT: u32 = 1;
/// How many rebuilds of a step are remembered.
const HISTORY: usize = 16;

/// Everything that decided a step's outputs, by name: `base`, `file osier kernel-config/…`,
/// `output kernel/…`, `tool rust-lld`, `xtask`. Values as text, content as a digest.
pub type Facts = BTreeMap<String, String>;

/// One output as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub digest: Digest,
    pub size: u64,
}

/// Outputs by their path in the build directory.
pub type Outputs = BTreeMap<Utf8PathBuf, Made>;

/// The record of the inputs that a step's outputs were made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub format: u32,
    pub step: String,
    pub facts: Facts,
    pub outputs: Outputs,
    /// The newest first.
    pub history: Vec<Rebuild>,
}

/// One time that a step ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// The run's id, as `cargo xtask log` shows it.
    pub run: String,
    pub changes: Vec<Change>,
    pub outputs: Outputs,
}

/// Something that was different from the time before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The fact's name, or the package that cargo compiled.
    pub what: String,
    /// Nothing when it is new.
    pub old: Option<String>,
    /// Nothing when it is gone. For a package, cargo's reason.
    pub new: Option<String>,
    /// Where the new value stands, when it is one that a user wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl Change {
    /// Something that happened, without an old and a new value.
    #[must_use]
    pub fn event(what: impl Into<String>) -> Self {
        Self { what: what.into(), old: None, new: None, place: None }
    }
}

impl Stamp {
    /// The stamp after a run that made `outputs` because of `changes`. A rebuild that
    /// changed no output is remembered too: it explains why the chain stopped there.
    #[must_use]
    pub fn after(
        old: Option<Stamp>,
        step: &Step,
        facts: Facts,
        outputs: Outputs,
        (run, changes): (&str, Vec<Change>),
    ) -> Self {
        let mut history = vec![Rebuild { run: run.to_owned(), changes, outputs: outputs.clone() }];
        history.extend(old.map(|o| o.history).unwrap_or_default());
        history.truncate(HISTORY);
        Self { format: FORMAT, step: step.id.0.clone(), facts, outputs, history }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Digests are cut: twelve digits tell them apart. Long texts are cut too.
        fn short(text: &str) -> String {
            let text = text.lines().next().unwrap_or("");
            let digest = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
            let most = if digest { 12 } else { 80 };
            match text.char_indices().nth(most) {
                Some((at, _)) if digest => text.get(..at).unwrap_or(text).to_owned(),
                Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(text)),
                None => text.to_owned(),
            }
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}: {} → {}", self.what, short(old), short(new)),
            (None, Some(new)) => write!(f, "{}: {}", self.what, short(new)),
            (Some(old), None) => write!(f, "{}: {} → gone", self.what, short(old)),
            (None, None) => f.write_str(&self.what),
        }?;
        self.place.iter().try_for_each(|place| write!(f, " ({place})"))
    }
}

/// The values of a step as facts: every leaf of its action, by its path in it.
#[must_use]
pub fn action_facts(step: &Step) -> Facts {
    let mut out = Facts::new();
    let action = serde_json::to_value(&step.action).unwrap_or_default();
    flatten("", &action, &mut out);
    out
}

fn flatten(at: &str, value: &serde_json::Value, out: &mut Facts) {
    use serde_json::Value;
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(k, v)| flatten(&below(k), v, out)),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                // Entries are known by their path or name, so that an inserted one does not
                // make all that follow it look changed.
                let name = ["path", "name"].iter().find_map(|key| item.get(key)?.as_str());
                match (name, item) {
                    (Some(name), _) => flatten(&below(name), item, out),
                    (None, Value::String(s)) => {
                        out.insert(below(s), "listed".to_owned());
                    }
                    _ => flatten(&below(&i.to_string()), item, out),
                }
            }
        }
        Value::String(s) => {
            out.insert(at.to_owned(), s.clone());
        }
        other => {
            out.insert(at.to_owned(), other.to_string());
        }
    }
}

/// Notes at each change where its new value stands: `origins` are by path of the value, or of
/// what it is a part of.
pub fn place(changes: &mut [Change], origins: &BTreeMap<String, Origin>) {
    for change in changes {
        let part_of = |name: &str| {
            let rest = change.what.strip_prefix(name);
            rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
        };
        let best = origins.iter().filter(|(name, _)| part_of(name)).max_by_key(|(n, _)| n.len());
        change.place = best.filter(|(_, o)| **o != Origin::Default).map(|(_, o)| o.to_string());
    }
}

/// What is different between a stamp's facts and the facts of now.
#[must_use]
pub fn changes(old: &Facts, new: &Facts) -> Vec<Change> {
    let gone = old.iter().filter(|(k, _)| !new.contains_key(*k));
    let gone =
        gone.map(|(k, v)| Change { what: k.clone(), old: Some(v.clone()), new: None, place: None });
    let differs = new.iter().filter(|(k, v)| old.get(*k) != Some(v));
    let differs = differs.map(|(k, v)| Change {
        what: k.clone(),
        old: old.get(k).cloned(),
        new: Some(v.clone()),
        place: None,
    });
    differs.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn values_are_named_by_their_path_and_entries_by_theirs() {
        let action = json!({
            "do": "pack", "entries": [{"path": "/a", "mode": "0644", "content": {"text": "x"}}],
            "drivers": ["pl011"], "n": 3
        });
        let mut out = Facts::new();
        flatten("", &action, &mut out);
        let expected = facts(&[
            ("do", "pack"),
            ("drivers.pl011", "listed"),
            ("entries./a.content.text", "x"),
            ("entries./a.mode", "0644"),
            ("entries./a.path", "/a"),
            ("n", "3"),
        ]);
        assert_eq!(out, expected);
    }

    #[test]
    fn old_and_new_stand_beside_each_other() {
        let change = |what: &str, old: Option<&str>, new: Option<&str>| Change {
            what: what.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            place: None,
        };
        let old = facts(&[("base", "0x200000"), ("file a", "1"), ("same", "s")]);
        let new = facts(&[("base", "0x400000"), ("file b", "2"), ("same", "s")]);
        assert_eq!(
            changes(&old, &new),
            [
                change("base", Some("0x200000"), Some("0x400000")),
                change("file b", None, Some("2")),
                change("file a", Some("1"), None),
            ]
        );
        assert_eq!(changes(&new, &new), []);
    }
}
