//! Which repositories there are, in the order in which they are searched:
//! those of `<build-dir>/etc/build.toml`, the project that the user stands in and those
//! that its `osier.toml` names, those of `--repo`, and Osier itself last. A repository's
//! own `repositories` come right after it.

use super::decode::{Int, OneOrMany, Val};
use super::diag::{Diagnostic, FileId};
use super::loader::Loader;
use super::raw::project::{RawBuild, RawRepository, RawSelect};
use super::resolved::{BUILD_DIR, OSIER, Repository, Settings, Sourced};
use super::{LoadRequest, PROJECT_FILE};
use camino::{Utf8Path, Utf8PathBuf};

/// The file with the settings of a build directory, below it.
pub const BUILD_FILE: &str = "etc/build.toml";

/// What `osier.toml` and `etc/build.toml` say.
pub struct Configured {
    /// In search order; Osier itself is last.
    pub repositories: Vec<Repository>,
    /// Layered.
    pub settings: Settings,
    /// Each `[select]` with its file, whose names are yet to be checked.
    pub selects: Vec<(FileId, RawSelect)>,
}

/// The repositories in search order, and the settings of the files that name them.
pub fn find(loader: &mut Loader<'_>, request: &LoadRequest) -> Configured {
    let mut found =
        Found { loader, list: Vec::new(), settings: Settings::default(), selects: Vec::new() };
    let osier = found.loader.tree.canonical(&request.osier);
    if let Some(build_dir) = &request.build_dir {
        found.build_file(build_dir, &osier);
    }
    if let Some(project) = project_root(found.loader.tree, &request.cwd, &osier) {
        found.add(&project, &osier, true);
    }
    for dir in &request.repos {
        let dir = request.cwd.join(dir);
        if found.is_repository(&dir, &osier) {
            found.add(&dir, &osier, false);
        } else {
            let shown = found.loader.shown(&dir);
            found.loader.out.push(
                Diagnostic::nowhere(format!("--repo {shown}: no {PROJECT_FILE} there"))
                    .help("name a folder that holds one; `cargo xtask new project DIR` makes one"),
            );
        }
    }
    let Found { mut list, settings, selects, .. } = found;
    list.push(Repository {
        name: OSIER.to_owned(),
        description: "Osier itself".to_owned(),
        root: osier,
    });
    Configured { repositories: list, settings, selects }
}

/// The nearest folder from `cwd` upwards with an `osier.toml`, Osier itself excepted.
pub fn project_root(
    tree: &dyn super::tree::Tree,
    cwd: &Utf8Path,
    osier: &Utf8Path,
) -> Option<Utf8PathBuf> {
    let cwd = tree.canonical(cwd);
    let found = cwd.ancestors().find(|dir| tree.is_file(&dir.join(PROJECT_FILE)))?;
    (found != osier).then(|| found.to_owned())
}

struct Found<'a, 't> {
    loader: &'a mut Loader<'t>,
    list: Vec<Repository>,
    settings: Settings,
    selects: Vec<(FileId, RawSelect)>,
}

impl Found<'_, '_> {
    fn is_repository(&self, dir: &Utf8Path, osier: &Utf8Path) -> bool {
        let dir = self.loader.tree.canonical(dir);
        dir == osier || self.loader.tree.is_file(&dir.join(PROJECT_FILE))
    }

    /// Reads `etc/build.toml`, when there is one.
    fn build_file(&mut self, build_dir: &Utf8Path, osier: &Utf8Path) {
        if !self.loader.tree.is_file(&build_dir.join(BUILD_FILE)) {
            return;
        }
        let path = Utf8Path::new(BUILD_FILE);
        let Some((file, raw)) = self.loader.decode::<RawBuild>(BUILD_DIR, build_dir, path) else {
            return;
        };
        self.select(file, raw.select.as_ref());
        let count = |v: &Val<Int<1, 4096>>| Val {
            value: u32::try_from(v.value.0).unwrap_or(u32::MAX),
            span: v.span.clone(),
            bad: v.bad,
        };
        let loader = &self.loader;
        self.settings.jobs = raw.jobs.as_ref().map(|v| loader.sourced(file, &count(v)));
        self.settings.offline = raw.offline.as_ref().map(|v| loader.sourced(file, v));
        self.follow(file, build_dir, &raw.repositories, osier);
    }

    /// Adds the repository at `dir` and those that it names.
    fn add(&mut self, dir: &Utf8Path, osier: &Utf8Path, project: bool) {
        let root = self.loader.tree.canonical(dir);
        if root == osier || self.list.iter().any(|r| r.root == root) {
            return;
        }
        let path = Utf8Path::new(PROJECT_FILE);
        // Not known yet; the file itself says it.
        let Some((file, raw)) = self.loader.decode::<RawRepository>("", &root, path) else {
            return;
        };
        let name = raw.name.value.to_string();
        if let Some(f) = self.loader.files.get_mut(file) {
            f.repo.clone_from(&name);
        }
        let other = self.list.iter().find(|r| r.name == name).map(|r| r.root.clone());
        if name == OSIER {
            self.loader
                .report(file, &raw.name, "`osier` is the name of Osier's own repository")
                .helps
                .push("give this one another name".to_owned());
            return;
        } else if let Some(other) = other.filter(|_| !raw.name.bad) {
            let other = self.loader.shown(&other);
            self.loader
                .report(file, &raw.name, format!("two repositories are called `{name}`"))
                .helps
                .push(format!("the other one is {other}; give one of them another name"));
        }
        let description = raw.description.value.clone();
        self.list.push(Repository { name, description, root: root.clone() });
        if project {
            self.select(file, raw.select.as_ref());
        }
        self.follow(file, &root, &raw.repositories, osier);
    }

    /// Adds the repositories that the list `dirs` of `file` names, relative to `base`.
    fn follow(
        &mut self,
        file: FileId,
        base: &Utf8Path,
        dirs: &Val<Vec<Val<String>>>,
        osier: &Utf8Path,
    ) {
        for dir in dirs.iter() {
            let root = base.join(&dir.value);
            if self.is_repository(&root, osier) {
                self.add(&root, osier, false);
                continue;
            }
            let shown = self.loader.shown(&self.loader.tree.canonical(&root));
            self.loader.report(file, dir, format!("`{}` is no repository", dir.value)).helps.push(
                format!("{shown} has no {PROJECT_FILE}; `cargo xtask new project` makes one"),
            );
        }
    }

    /// Takes what is not set yet from a `[select]` table.
    fn select(&mut self, file: FileId, select: Option<&Val<RawSelect>>) {
        let Some(select) = select else { return };
        self.selects.push((file, select.value.clone()));
        let loader = &self.loader;
        let s = &mut self.settings;
        s.arch = s.arch.take().or_else(|| many(loader, file, select.arch.as_ref()?));
        s.mode = s.mode.take().or_else(|| many(loader, file, select.mode.as_ref()?));
        s.profile = s.profile.take().or_else(|| many(loader, file, select.profile.as_ref()?));
        s.image = s.image.take().or_else(|| many(loader, file, select.image.as_ref()?));
        let machine = || select.machine.as_ref().map(|v| loader.sourced(file, v));
        s.machine = s.machine.take().or_else(machine);
    }
}

/// A list of values with the origin of the first.
fn many<T: Clone>(
    loader: &Loader<'_>,
    file: FileId,
    values: &OneOrMany<T>,
) -> Option<Sourced<Vec<T>>> {
    let first = values.0.first()?;
    let list = values.0.iter().map(|v| v.value.clone()).collect();
    Some(Sourced::new(list, loader.origin(file, &first.span)))
}
