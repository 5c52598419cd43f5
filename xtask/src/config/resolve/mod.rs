//! Raw definitions to resolved ones: names looked up, defaults filled in, rules that span
//! files checked. Mistakes are reported and resolution goes on; a workspace made from a
//! load with mistakes is never handed out.

mod crates;
mod disks;
mod kernel_config;
mod manifest;
mod scenario;
mod select;
mod stray;

use super::loader::{Defs, Loader};
use super::raw::kernel_config::{RawArch, RawDriver, RawMachine, RawProfile};
use super::raw::manifest::{RawComponent, RawImage};
use super::raw::scenario::RawScenario;
use super::repositories::Configured;
use super::resolved::{OSIER, Repository, Workspace};
use crate::model::{Arch, Name};
use crates::Crate;
use std::collections::{BTreeMap, BTreeSet};

/// Every definition as its file states it.
pub struct Definitions {
    arches: Defs<RawArch>,
    profiles: BTreeMap<Arch, Defs<RawProfile>>,
    machines: Defs<RawMachine>,
    drivers: Defs<Crate<RawDriver>>,
    apps: Defs<Crate<()>>,
    components: Defs<RawComponent>,
    images: Defs<RawImage>,
    scenarios: Defs<RawScenario>,
    /// Every driver's name and every role that some driver fills.
    roles: BTreeSet<Name>,
}

impl Definitions {
    fn read(loader: &mut Loader<'_>, repositories: &[Repository]) -> Self {
        let osier: Vec<Repository> =
            repositories.iter().filter(|r| r.name == OSIER).cloned().collect();
        let profiles = Arch::ALL.map(|arch| {
            let dir = format!("kernel-config/profiles/{arch}");
            let what = format!("profile {arch}/");
            (arch, loader.definitions(repositories, &dir, &what))
        });
        kernel_config::refuse_unknown_arches(loader, repositories);
        stray::refuse(loader, repositories);
        let drivers = crates::drivers(loader, repositories);
        let provided = drivers.values().filter_map(|d| d.raw.as_ref());
        let provided = provided.flat_map(|d| d.raw.provides.iter().map(|n| n.value.clone()));
        let roles = drivers.keys().cloned().chain(provided).collect();
        Self {
            arches: loader.definitions(&osier, "kernel-config/arch", "arch "),
            profiles: profiles.into_iter().collect(),
            machines: loader.definitions(repositories, "kernel-config/machines", "machine "),
            drivers,
            apps: crates::apps(loader, repositories),
            components: loader.definitions(repositories, "manifests/components", "component "),
            images: loader.definitions(repositories, "manifests/images", "image "),
            scenarios: loader.definitions(repositories, "scenarios", "scenario "),
            roles,
        }
    }
}

/// Reads and resolves everything.
pub fn workspace(loader: &mut Loader<'_>, configured: Configured) -> Workspace {
    let Configured { repositories, settings, selects } = configured;
    let defs = Definitions::read(loader, &repositories);
    let arches = kernel_config::arches(loader, &defs, &repositories);
    let drivers = crates::resolve_drivers(loader, &defs, &repositories);
    let machines = kernel_config::machines(&defs);
    let profiles = kernel_config::profiles(loader, &defs, &drivers);
    let (components, images) = manifest::resolve(loader, &defs, &repositories);
    let scenarios = scenario::scenarios(loader, &defs, &profiles, &machines, &images);
    for (file, select) in &selects {
        select::check(loader, &defs, *file, select);
    }
    Workspace {
        arches,
        profiles,
        machines,
        drivers,
        apps: crates::resolve_apps(&defs),
        components,
        images,
        scenarios,
        shadowed: std::mem::take(&mut loader.shadowed),
        settings,
        repositories,
    }
}

/// The keys of a table of definitions as text, for did-you-mean.
fn names<T>(defs: &Defs<T>) -> impl Iterator<Item = &str> + Clone {
    defs.keys().map(Name::as_str)
}
