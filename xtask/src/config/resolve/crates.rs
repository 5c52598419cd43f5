//! Drivers and apps: cargo packages, known by their own `Cargo.toml`.

use super::{Definitions, kernel_config::check_role};
use crate::config::decode::{Cx, Table, Val};
use crate::config::diag::{Diagnostic, Place};
use crate::config::loader::{Def, Defs, Loader};
use crate::config::raw::kernel_config::RawDriver;
use crate::config::resolved::{App, Driver, OSIER, Repository, SourcePath};
use crate::model::{Arch, Name};
use camino::Utf8Path;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A cargo package with what Osier reads of it.
#[derive(Clone, Debug)]
pub struct Crate<T> {
    description: String,
    /// What its metadata say.
    pub raw: T,
}

/// Reads `drivers/*/Cargo.toml`; packages without `[package.metadata.driver]` are none.
pub fn drivers(loader: &mut Loader<'_>, repositories: &[Repository]) -> Defs<Crate<RawDriver>> {
    packages(loader, repositories, "drivers", "driver ", |package, cx| {
        let metadata = table(package.get("metadata")?)?.get("driver")?;
        let Some(driver) = table(metadata) else {
            cx.wrong_type::<()>(metadata, &<RawDriver as crate::config::decode::Decode>::shape());
            return None;
        };
        Some(RawDriver::decode_table(driver, &metadata.span(), cx))
    })
}

/// Reads `apps/*/Cargo.toml`.
pub fn apps(loader: &mut Loader<'_>, repositories: &[Repository]) -> Defs<Crate<()>> {
    packages(loader, repositories, "apps", "app ", |_, _| Some(()))
}

fn packages<T>(
    loader: &mut Loader<'_>,
    repositories: &[Repository],
    dir: &str,
    what: &str,
    read: impl Fn(&DeTable<'_>, &mut Cx<'_>) -> Option<T>,
) -> Defs<Crate<T>> {
    let mut defs = Defs::new();
    for repository in repositories {
        for entry in loader.list(&repository.root.join(dir)) {
            let folder = Utf8Path::new(dir).join(&entry.name);
            let manifest = folder.join("Cargo.toml");
            if !entry.is_dir || !loader.tree.is_file(&repository.root.join(&manifest)) {
                continue;
            }
            let parsed = loader.parse(&repository.name, &repository.root, &manifest, |doc, cx| {
                package(doc, cx, &read)
            });
            let Some((file, Some((name, krate)))) = parsed else { continue };
            let source = SourcePath { repo: repository.name.clone(), path: folder };
            let twice = defs.get(&name).filter(|d: &&Def<_>| d.source.repo == source.repo);
            if let Some(other) = twice {
                let message = format!("two packages are called `{name}`");
                let place = Place { file, span: 0..0 };
                let help = format!("the other one is in {}", other.source.path);
                loader.out.push(Diagnostic::at(place, message).help(help));
            } else if !loader.shadows(&defs, &name, what, &source) {
                defs.insert(name, Def { source, file, raw: Some(krate) });
            }
        }
    }
    defs
}

fn package<T>(
    document: &DeTable<'_>,
    cx: &mut Cx<'_>,
    read: impl Fn(&DeTable<'_>, &mut Cx<'_>) -> Option<T>,
) -> Option<(Name, Crate<T>)> {
    let package = document.get("package")?;
    let table = table(package)?;
    let raw = read(table, cx)?;
    let name: Val<Name> = cx.required(table, &package.span(), "name", "the package");
    let description = table.get("description").and_then(|d| d.get_ref().as_str());
    let description = description.unwrap_or_default().to_owned();
    (!name.bad).then_some((name.value, Crate { description, raw }))
}

fn table<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Option<&'a DeTable<'i>> {
    match value.get_ref() {
        DeValue::Table(t) => Some(t),
        _ => None,
    }
}

/// Resolves drivers.
pub fn resolve_drivers(
    loader: &mut Loader<'_>,
    defs: &Definitions,
    repositories: &[Repository],
) -> BTreeMap<Name, Driver> {
    let mut drivers = BTreeMap::new();
    for (name, def) in &defs.drivers {
        let Some(Crate { description, raw }) = &def.raw else { continue };
        let names = |list: &[Val<Name>]| list.iter().map(|n| n.value.clone()).collect::<Vec<_>>();
        let arch = raw.arch.as_ref().map(|a| a.iter().map(|a| a.value).collect::<Vec<_>>());
        let driver = Driver {
            name: name.clone(),
            source: def.source.clone(),
            description: description.clone(),
            provides: names(&raw.provides),
            requires: names(&raw.requires),
            requires_any: raw.requires_any.iter().map(|any| names(any)).collect(),
            conflicts: names(&raw.conflicts),
            arch: arch.unwrap_or_else(|| Arch::ALL.to_vec()),
            keeps: raw.keeps.iter().filter(|p| !p.bad).map(|p| p.value.0).collect(),
        };
        drivers.insert(name.clone(), driver);
    }
    for (name, def) in &defs.drivers {
        let (Some(Crate { raw, .. }), Some(driver)) = (&def.raw, drivers.get(name)) else {
            continue;
        };
        let arches = driver.arch.clone();
        for role in raw.requires.iter().chain(raw.conflicts.iter()) {
            check_role(loader, defs, &drivers, def.file, role, &arches);
        }
        for any in raw.requires_any.iter() {
            if any.is_empty() {
                let d = loader.report(def.file, any, "an empty choice can never be met");
                d.helps.push("name the drivers or roles of which one is needed".to_owned());
            }
            for role in any.iter() {
                // Others of the same list may serve the driver's archs.
                check_role(loader, defs, &drivers, def.file, role, &Arch::ALL);
            }
        }
        if let Some(none) = raw.arch.as_ref().filter(|a| a.is_empty() && !a.bad) {
            let d = loader.report(def.file, none, "a driver for no arch can never be built");
            d.helps.push("remove the key, or name archs".to_owned());
        }
        // A role may be exclusive (provided and in conflict), a driver not its own enemy.
        for conflict in raw.conflicts.iter().filter(|c| c.value == *name) {
            loader.report(def.file, conflict, format!("`{name}` cannot conflict with itself"));
        }
        for role in raw.provides.iter().filter(|r| defs.drivers.contains_key(&r.value)) {
            let message = match role.value == *name {
                true => format!("`{name}` fills its own name without saying so"),
                false => format!("`{}` is a driver: no other can provide it", role.value),
            };
            let help = "name a role that no driver is called; let others require the role";
            loader.report(def.file, role, message).helps.push(help.to_owned());
        }
    }
    if let Some(osier) = repositories.iter().find(|r| r.name == OSIER) {
        check_loader_features(loader, defs, &osier.root);
    }
    drivers
}

/// Each of Osier's own drivers is an optional dependency of `loader`: it is how the lints and
/// the editor see the kernel with it, and a driver without the line would escape them.
fn check_loader_features(loader: &mut Loader<'_>, defs: &Definitions, root: &Utf8Path) {
    let own = defs.drivers.iter().filter(|(_, d)| d.source.repo == OSIER);
    let manifest = Utf8Path::new("loader/Cargo.toml");
    if !loader.tree.is_file(&root.join(manifest)) {
        return;
    }
    let optional = |document: &DeTable<'_>| -> BTreeSet<String> {
        let dependencies = document.get("dependencies").and_then(table);
        let optional = dependencies.into_iter().flatten().filter(|(_, dependency)| {
            let key = table(dependency).and_then(|t| t.get("optional"));
            key.is_some_and(|o| matches!(o.get_ref(), DeValue::Boolean(true)))
        });
        optional.map(|(name, _)| name.get_ref().to_string()).collect()
    };
    let parsed = loader.parse(OSIER, root, manifest, |document, _| optional(document));
    let Some((_, optional)) = parsed else { return };
    for (name, def) in own {
        if !optional.contains(name.as_str()) {
            let place = Place { file: def.file, span: 0..0 };
            let path = &def.source.path;
            let message = format!("loader/Cargo.toml has no optional dependency on `{name}`");
            loader.out.push(
                Diagnostic::at(place, message).help(format!(
                    "add `{name} = {{ path = \"../{path}\", optional = true }}` there"
                )),
            );
        }
    }
}

/// Resolves apps.
pub fn resolve_apps(defs: &Definitions) -> BTreeMap<Name, App> {
    let resolve = |(name, def): (&Name, &Def<Crate<()>>)| {
        let description = def.raw.as_ref()?.description.clone();
        let app = App { name: name.clone(), source: def.source.clone(), description };
        Some((name.clone(), app))
    };
    defs.apps.iter().filter_map(resolve).collect()
}
