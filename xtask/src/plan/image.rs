//! What goes into an image: its components' closure, every entry once, the command line.

use super::step::{PackContent, PackEntry};
use crate::config::resolved::{Content, Entry, ImageOn, Libc, Origin, Workspace};
use crate::error::Refusal;
use crate::model::Name;
use camino::Utf8Path;
use std::collections::{BTreeMap, BTreeSet};

/// The entries of an image and of every component that it needs, by path, with the folders
/// that they lie in.
///
/// # Errors
/// An unknown component; two entries at one path that are not the same.
pub fn entries(image: &ImageOn, workspace: &Workspace) -> Result<BTreeMap<String, Entry>, Refusal> {
    let mut out: BTreeMap<String, Entry> = BTreeMap::new();
    let mut add = |entry: &Entry| match out.get(&entry.path) {
        Some(there) if !same(there, entry) => Err(Refusal::new(format!(
            "two different entries at {}: one from {}, one from {}",
            entry.path, there.origin, entry.origin
        ))),
        _ => {
            out.entry(entry.path.clone()).or_insert_with(|| entry.clone());
            Ok(())
        }
    };
    image.entries.iter().try_for_each(&mut add)?;
    let mut open: Vec<(Name, Option<Origin>)> =
        image.components.iter().map(|c| (c.value.clone(), Some(c.origin.clone()))).collect();
    let mut done = BTreeSet::new();
    while let Some((name, origin)) = open.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        let Some(component) = workspace.components.get(&name) else {
            let place = origin.map(|o| format!(" ({o})")).unwrap_or_default();
            return Err(Refusal::new(format!("unknown component `{name}`{place}")));
        };
        component.entries.iter().try_for_each(&mut add)?;
        open.extend(component.requires.iter().map(|r| (r.clone(), None)));
    }
    for path in implied_folders(&out) {
        let folder = Entry {
            path: path.clone(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            owner: "root".to_owned(),
            group: "root".to_owned(),
            content: Content::Dir,
            origin: Origin::Default,
        };
        out.insert(path, folder);
    }
    Ok(out)
}

/// The folders that the entries need and nobody lists.
fn implied_folders(entries: &BTreeMap<String, Entry>) -> BTreeSet<String> {
    let parents = entries.keys().flat_map(|path| Utf8Path::new(path).ancestors().skip(1));
    parents.map(ToString::to_string).filter(|p| p != "/" && !entries.contains_key(p)).collect()
}

/// Whether two entries pack to the same bytes. Folders are shared by many components.
fn same(a: &Entry, b: &Entry) -> bool {
    (a.mode, a.uid, a.gid, &a.owner, &a.group, &a.content)
        == (b.mode, b.uid, b.gid, &b.owner, &b.group, &b.content)
}

/// The entries as the packer takes them, sorted by path bytes. `app` gives an app's ELF file.
pub fn pack_entries(
    entries: &BTreeMap<String, Entry>,
    app: impl Fn(&Name, Libc) -> camino::Utf8PathBuf,
) -> Vec<PackEntry> {
    let content = |content: &Content| match content {
        Content::Source(path) => PackContent::Source(path.clone()),
        Content::App { app: name, libc } => PackContent::App(app(name, *libc)),
        Content::Text(text) => PackContent::Text(text.clone()),
        Content::Dir => PackContent::Dir,
        Content::Link(target) => PackContent::Link(target.clone()),
    };
    let pack = |e: &Entry| PackEntry {
        path: e.path.clone(),
        mode: format!("{:04o}", e.mode),
        owner: e.owner.clone(),
        group: e.group.clone(),
        uid: e.uid,
        gid: e.gid,
        content: content(&e.content),
    };
    entries.values().map(pack).collect()
}

/// The image's command line: its root, the environment, the program and its arguments.
#[must_use]
pub fn command_line(image: &ImageOn) -> String {
    let mut words = vec![format!("osier.root={}", image.root.value)];
    words.extend(image.env.iter().map(|(k, v)| word(&format!("env.{k}={v}"))));
    words.push(word(&image.program.value));
    words.extend(image.args.iter().map(|a| word(a)));
    words.join(" ")
}

/// One word of a kernel command line, in quotes where it must be.
fn word(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"');
    if plain { text.to_owned() } else { format!("\"{text}\"") }
}
