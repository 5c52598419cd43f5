//! Components and images.

use super::kernel_config::existing;
use super::{Definitions, names};
use crate::config::decode::{Leaf, Table, Val};
use crate::config::diag::{Diagnostic, FileId, Place};
use crate::config::loader::{Def, Loader};
use crate::config::raw::List;
use crate::config::raw::leaf::{ImagePath, ImageRole, Root};
use crate::config::raw::manifest::{RawDir, RawFile, RawImage, RawImageOn, RawLink};
use crate::config::resolved::{
    Component, Content, Entry, Image, ImageOn, Libc, Origin, Repository, SourcePath, Sourced,
};
use crate::config::suggest;
use crate::model::{Arch, Name};
use std::collections::{BTreeMap, BTreeSet};

/// Permission bits of an app's file and of any other, when `mode` is absent.
const APP_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// Permission bits that Linux gives every symbolic link.
const LINK_MODE: u32 = 0o777;
/// What every image's kernel has unless the image does without it: programs expect `/dev/null`.
const DEFAULT_ROLES: [&str; 1] = ["devfs"];
/// How many symbolic links a path may go through, as in Linux.
const MAX_LINKS: usize = 40;

/// An entry and where it is declared.
type Placed = (Entry, Place);

/// Resolves components and images.
pub fn resolve(
    loader: &mut Loader<'_>,
    defs: &Definitions,
    repositories: &[Repository],
) -> (BTreeMap<Name, Component>, BTreeMap<Name, Image>) {
    let mut resolver = Resolver { loader, defs, repositories, placed: BTreeMap::new() };
    let components = resolver.components();
    resolver.refuse_cycles(&components);
    let images = defs.images.iter().filter_map(|(name, def)| resolver.image(name, def));
    let images = images.collect::<Vec<_>>();
    let images = images.into_iter().map(|i| (i.name.clone(), i)).collect();
    (components, images)
}

struct Resolver<'a, 't> {
    loader: &'a mut Loader<'t>,
    defs: &'a Definitions,
    repositories: &'a [Repository],
    /// The entries of each component, with their places.
    placed: BTreeMap<Name, Vec<Placed>>,
}

/// The lists of entries that images, their archs and components share.
struct RawEntries<'a> {
    file: &'a List<RawFile>,
    dir: &'a List<RawDir>,
    link: &'a List<RawLink>,
}

impl Resolver<'_, '_> {
    fn components(&mut self) -> BTreeMap<Name, Component> {
        let mut components = BTreeMap::new();
        for (name, def) in &self.defs.components {
            let Some(raw) = &def.raw else { continue };
            self.check_components(def.file, &raw.requires);
            let raw_entries = RawEntries { file: &raw.file, dir: &raw.dir, link: &raw.link };
            let placed = self.entries(&def.source, def.file, &raw_entries);
            let component = Component {
                name: name.clone(),
                source: def.source.clone(),
                description: raw.description.value.clone(),
                requires: raw.requires.iter().map(|n| n.value.clone()).collect(),
                entries: placed.iter().map(|(e, _)| e.clone()).collect(),
            };
            self.placed.insert(name.clone(), placed);
            components.insert(name.clone(), component);
        }
        components
    }

    fn check_components(&mut self, file: FileId, list: &[Val<Name>]) {
        for name in list.iter().filter(|n| !self.defs.components.contains_key(&n.value)) {
            self.loader.unknown(file, name, "component", names(&self.defs.components));
        }
    }

    /// Reports each cycle of requirements once, at a component that is part of it.
    fn refuse_cycles(&mut self, components: &BTreeMap<Name, Component>) {
        let mut done = BTreeSet::new();
        for start in components.keys() {
            let mut path: Vec<&Name> = Vec::new();
            if let Some(cycle) = cycle(components, start, &mut path, &mut done) {
                let first = cycle.first().copied().unwrap_or(start);
                let Some(def) = self.defs.components.get(first) else { continue };
                let cycle: Vec<String> = cycle.iter().map(|n| format!("`{n}`")).collect();
                let span = def.raw.as_ref().and_then(|r| r.requires.span.clone());
                let place = Place { file: def.file, span: span.unwrap_or(0..0) };
                let message = format!("components require each other: {}", cycle.join(" → "));
                let d = Diagnostic::at(place, message);
                self.loader.out.push(d.help("take one `requires` out of the circle"));
            }
        }
    }

    fn image(&mut self, name: &Name, def: &Def<RawImage>) -> Option<Image> {
        let raw = def.raw.as_ref()?;
        let raw_entries = RawEntries { file: &raw.file, dir: &raw.dir, link: &raw.link };
        let own = self.entries(&def.source, def.file, &raw_entries);
        self.check_components(def.file, &raw.components);
        self.check_root(def.file, &raw.root);
        self.check_roles(def.file, &raw.roles);
        let mut per_arch = BTreeMap::new();
        for arch in Arch::ALL {
            let part = raw.arch.0.get(&arch);
            let mut entries = own.clone();
            if let Some(part) = part {
                let raw_entries = RawEntries { file: &part.file, dir: &part.dir, link: &part.link };
                entries.extend(self.entries(&def.source, def.file, &raw_entries));
                self.check_components(def.file, &part.components);
                part.root.iter().for_each(|root| self.check_root(def.file, root));
                self.check_roles(def.file, &part.roles);
            }
            if let Some(on) = self.image_on(def.file, raw, part.map(|p| &p.value), entries) {
                per_arch.insert(arch, on);
            }
        }
        if per_arch.is_empty() {
            let place = Place { file: def.file, span: 0..0 };
            self.loader.out.push(
                Diagnostic::at(place, format!("the image `{name}` has no program to run"))
                    .help("add `[run]` with `program = \"/…\"`"),
            );
        }
        let description = raw.description.value.clone();
        Some(Image { name: name.clone(), source: def.source.clone(), description, per_arch })
    }

    /// The image on one arch; `None` when it has no program there.
    fn image_on(
        &mut self,
        file: FileId,
        raw: &RawImage,
        part: Option<&RawImageOn>,
        entries: Vec<Placed>,
    ) -> Option<ImageOn> {
        let runs = [part.and_then(|p| p.run.as_ref()), raw.run.as_ref()];
        let runs = || runs.into_iter().flatten();
        let program = runs().find_map(|r| r.program.as_ref())?;
        let (roles, without) = self.roles(file, &raw.roles, part.map(|p| &*p.roles));
        let args = runs().find_map(|r| r.args.as_ref());
        let env = runs().rev().flat_map(|r| &r.env.0);
        let calls = runs().find_map(|r| r.system_calls.as_ref());
        let both = |base: &List<Name>, more: Option<&List<Name>>| -> Vec<Sourced<Name>> {
            let more = more.map_or(&[][..], |m| m);
            base.iter().chain(more).map(|n| self.loader.sourced(file, n)).collect()
        };
        let root = part.and_then(|p| p.root.as_ref()).unwrap_or(&raw.root);
        let on = ImageOn {
            root: Sourced::new(role_of(root), self.loader.origin(file, &root.span)),
            components: both(&raw.components, part.map(|p| &p.components.value)),
            roles,
            without,
            size: part.and_then(|p| p.size.as_ref()).or(raw.size.as_ref()).map(|s| s.value.0),
            entries: entries.iter().map(|(e, _)| e.clone()).collect(),
            program: Sourced::new(program.value.0.clone(), self.loader.origin(file, &program.span)),
            args: args.map(|a| a.iter().map(|a| a.value.clone()).collect()).unwrap_or_default(),
            env: env.map(|(k, v)| (k.0.clone(), v.value.clone())).collect(),
            // A name that is none was reported, and stands as a placeholder.
            system_calls: calls
                .map(|list| list.iter().filter(|c| !c.bad).map(|c| c.value.0).collect()),
        };
        let all = self.all_entries(&on, entries);
        self.check_tree(&all);
        self.check_program(file, program, &all);
        Some(on)
    }

    /// The program must be a file of the image, and executable.
    fn check_program(&mut self, file: FileId, program: &Val<ImagePath>, all: &[Placed]) {
        if program.bad {
            return;
        }
        let path = program.value.0.as_str();
        let Some(entry) = resolves(all, path) else {
            let paths = all.iter().map(|(e, _)| e.path.as_str());
            let help = suggest::nearest(path, paths).map_or_else(
                || "add a `[[file]]` with that path".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("the image holds no file `{path}` to run");
            self.loader.report(file, program, message).helps.push(help);
            return;
        };
        if entry.mode & 0o111 == 0 {
            let message = format!("`{path}` is not executable: its mode is {:04o}", entry.mode);
            let help = "give its `[[file]]` the line `mode = \"0755\"`".to_owned();
            self.loader.report(file, program, message).helps.push(help);
        }
    }

    fn check_roles(&mut self, file: FileId, roles: &[Val<ImageRole>]) {
        for role in roles.iter().filter(|r| !r.bad) {
            self.check_role(file, role, &role.name);
        }
    }

    fn check_root(&mut self, file: FileId, root: &Val<Root>) {
        if !root.bad {
            self.check_role(file, root, &role_of(root));
        }
    }

    /// Reports a driver or role, written as `written`, that does not exist.
    fn check_role<T>(&mut self, file: FileId, written: &Val<T>, name: &Name) {
        if !self.defs.roles.contains(name) {
            let role = Val { value: name.clone(), span: written.span.clone(), bad: false };
            let known = self.defs.roles.iter().map(Name::as_str);
            self.loader.unknown(file, &role, "driver or role", known);
        }
    }

    /// What the kernel must have and what it must not have, from the image's list and its arch's.
    fn roles(
        &mut self,
        file: FileId,
        base: &[Val<ImageRole>],
        more: Option<&List<ImageRole>>,
    ) -> (Vec<Sourced<Name>>, BTreeSet<Name>) {
        let all = || base.iter().chain(more.into_iter().flat_map(|m| m.iter())).filter(|r| !r.bad);
        let without: BTreeSet<Name> = all().filter(|r| r.without).map(|r| r.name.clone()).collect();
        let mut roles = Vec::new();
        for default in DEFAULT_ROLES {
            let known = self.defs.roles.iter().find(|known| known.as_str() == default);
            let wanted = known.filter(|name| !without.contains(*name));
            roles.extend(wanted.map(|name| Sourced::new(name.clone(), Origin::Default)));
        }
        for role in all().filter(|r| !r.without) {
            if without.contains(&role.name) {
                let message = format!("the image both needs `{0}` and does without it", role.name);
                let help = format!("remove `{0}` or `~{0}`", role.name);
                self.loader.report(file, role, message).helps.push(help);
            }
            let origin = self.loader.origin(file, &role.span);
            roles.push(Sourced::new(role.name.clone(), origin));
        }
        (roles, without)
    }

    /// The image's own entries and those of its components and what they require.
    fn all_entries(&self, on: &ImageOn, own: Vec<Placed>) -> Vec<Placed> {
        let mut all = own;
        let mut queue: Vec<&Name> = on.components.iter().map(|c| &c.value).collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = queue.pop() {
            if !seen.insert(name) {
                continue;
            }
            all.extend(self.placed.get(name).into_iter().flatten().cloned());
            let requires = self.defs.components.get(name).and_then(|d| d.raw.as_ref());
            queue.extend(requires.iter().flat_map(|r| r.requires.iter().map(|n| &n.value)));
        }
        all.sort_by(|(a, _), (b, _)| a.path.as_bytes().cmp(b.path.as_bytes()));
        all
    }

    /// Reports two entries of one path, and entries below what is no folder.
    fn check_tree(&mut self, all: &[Placed]) {
        let mut by_path: BTreeMap<&str, &Placed> = BTreeMap::new();
        for placed in all {
            let (entry, place) = placed;
            let Some((first, first_place)) = by_path.get(entry.path.as_str()) else {
                by_path.insert(&entry.path, placed);
                continue;
            };
            let same_dir = matches!((&first.content, &entry.content), (Content::Dir, Content::Dir))
                && (first.mode, first.uid, first.gid) == (entry.mode, entry.uid, entry.gid);
            if !same_dir {
                self.loader.out.push(
                    Diagnostic::at(place.clone(), format!("two entries for `{}`", entry.path))
                        .label("the second one")
                        .related(first_place.clone(), "the first one")
                        .help("remove one of them, or give it another path"),
                );
            }
        }
        for (entry, place) in all {
            let mut path = entry.path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/').filter(|(p, _)| !p.is_empty()) {
                path = parent;
                let Some((above, at)) = by_path.get(parent) else { continue };
                if matches!(above.content, Content::Dir) {
                    continue;
                }
                self.loader.out.push(
                    Diagnostic::at(
                        place.clone(),
                        format!("`{}` lies below `{parent}`, which is no folder", entry.path),
                    )
                    .related(at.clone(), "no folder")
                    .help("give one of them another path"),
                );
            }
        }
    }

    fn entries(&mut self, source: &SourcePath, id: FileId, raw: &RawEntries<'_>) -> Vec<Placed> {
        let mut out = Vec::new();
        for file in raw.file {
            let content = self.content(source, id, file);
            let default = if matches!(content, Content::App { .. }) { APP_MODE } else { FILE_MODE };
            let mode = file.mode.as_ref().map_or(default, |m| m.value.0);
            let owners = (&file.owner, &file.group);
            out.extend(self.entry(id, file, &file.path.value.0, mode, owners, content));
        }
        for dir in raw.dir {
            let owners = (&dir.owner, &dir.group);
            let mode = dir.mode.value.0;
            out.extend(self.entry(id, dir, &dir.path.value.0, mode, owners, Content::Dir));
        }
        for link in raw.link {
            if link.target.is_empty() && !link.target.bad {
                self.loader.report(id, &link.target, "a symbolic link must point somewhere");
            }
            let content = Content::Link(link.target.value.clone());
            let owners = (&link.owner, &link.group);
            out.extend(self.entry(id, link, &link.path.value.0, LINK_MODE, owners, content));
        }
        out
    }

    /// One entry; `None` when its path is a placeholder.
    fn entry<T: Table>(
        &mut self,
        id: FileId,
        table: &Val<T>,
        path: &str,
        mode: u32,
        (owner, group): (
            &Val<crate::config::raw::leaf::Owner>,
            &Val<crate::config::raw::leaf::Owner>,
        ),
        content: Content,
    ) -> Option<Placed> {
        if path.is_empty() {
            return None;
        }
        let entry = Entry {
            path: path.to_owned(),
            mode,
            uid: owner.id,
            gid: group.id,
            owner: owner.written.clone(),
            group: group.written.clone(),
            content,
            origin: self.loader.origin(id, &table.span),
        };
        Some((entry, Place { file: id, span: table.span.clone().unwrap_or(0..0) }))
    }

    /// The content of a file: one of its three keys.
    fn content(&mut self, source: &SourcePath, id: FileId, file: &Val<RawFile>) -> Content {
        let given = [
            file.source.as_ref().map(|_| "source"),
            file.app.as_ref().map(|_| "app"),
            file.text.as_ref().map(|_| "text"),
        ];
        let given: Vec<String> = given.into_iter().flatten().map(|k| format!("`{k}`")).collect();
        if given.len() != 1 {
            let message = match given.len() {
                0 => "the file has no content".to_owned(),
                _ => format!("the file has both {}", suggest::list(&given, "and")),
            };
            let d = self.loader.report(id, file, message);
            d.helps.push("give it one of `source`, `app` and `text`".to_owned());
        }
        if let Some(libc) = file.libc.as_ref().filter(|_| file.app.is_none()) {
            let d = self.loader.report(id, libc, "`libc` is for apps only");
            d.helps.push("remove it, or give the file an `app`".to_owned());
        }
        if let Some(app) = &file.app {
            if !app.bad && !self.defs.apps.contains_key(&app.value) {
                self.loader.unknown(id, app, "app", names(&self.defs.apps));
            }
            let libc = file.libc.as_ref().map_or(Libc::Musl, |l| l.value);
            return Content::App { app: app.value.clone(), libc };
        }
        match (&file.source, &file.text) {
            (Some(path), _) => {
                let found = existing(self.loader, self.repositories, source, id, path);
                Content::Source(found)
            }
            (None, Some(text)) => Content::Text(text.value.clone()),
            (None, None) => Content::Text(String::new()),
        }
    }
}

/// The driver that a root file system names.
fn role_of(root: &Root) -> Name {
    Name::new(root.0).unwrap_or_else(|_| Name::placeholder())
}

/// A cycle that `start` leads into, when it was not found from elsewhere before.
fn cycle<'a>(
    components: &'a BTreeMap<Name, Component>,
    start: &'a Name,
    path: &mut Vec<&'a Name>,
    done: &mut BTreeSet<&'a Name>,
) -> Option<Vec<&'a Name>> {
    if let Some(at) = path.iter().position(|n| *n == start) {
        let mut cycle = path.get(at..)?.to_vec();
        cycle.push(start);
        return Some(cycle);
    }
    if !done.insert(start) {
        return None;
    }
    path.push(start);
    let found = components
        .get(start)
        .and_then(|c| c.requires.iter().find_map(|next| cycle(components, next, path, done)));
    path.pop();
    found
}

/// The file that `path` leads to, through symbolic links where need be.
fn resolves<'a>(all: &'a [Placed], path: &str) -> Option<&'a Entry> {
    // Backwards, so that of two entries with one path (a mistake of its own) the first counts.
    let by_path: BTreeMap<&str, &Entry> =
        all.iter().rev().map(|(e, _)| (e.path.as_str(), e)).collect();
    let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut at = String::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            name => at = format!("{at}/{name}"),
        }
        if let Some(Content::Link(target)) = by_path.get(at.as_str()).map(|e| &e.content) {
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            let up = if target.starts_with('/') { 0 } else { at.rfind('/').unwrap_or(0) };
            at.truncate(up);
            rest.extend(target.split('/').rev().map(str::to_owned));
        }
    }
    let entry = by_path.get(at.as_str()).copied()?;
    matches!(entry.content, Content::App { .. } | Content::Source(_) | Content::Text(_))
        .then_some(entry)
}
