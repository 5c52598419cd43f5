//! From a selection, as users type it, to a request for the solver.

use super::{Ask, Asker, Solution, SolveError, SolveRequest, solve};
use crate::config::resolved::{Image, Origin, Profile, Workspace};
use crate::config::selector::ProfileSelector;
use crate::config::suggest;
use crate::model::{Arch, Name};
use std::collections::BTreeSet;

/// A profile or image that is not there, or a request that has no solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// A name that is not there: message and help.
    Unknown(String, String),
    /// No solution.
    Unsolvable(String, SolveError),
}

impl std::fmt::Display for SelectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SelectError::Unknown(message, help) => write!(f, "{message}\n  help: {help}"),
            SelectError::Unsolvable(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for SelectError {}

/// Solves the kernel for `selector` and, when one is named, `image`.
///
/// # Errors
/// When a name is unknown or there is no solution.
pub fn for_selection(
    workspace: &Workspace,
    arch: Arch,
    selector: &ProfileSelector,
    image: Option<&Name>,
) -> Result<Solution, SelectError> {
    let profile = profile(workspace, arch, &selector.profile)?;
    let image = image.map(|name| self::image(workspace, arch, name)).transpose()?;
    let request = request(workspace, arch, profile, selector, image);
    solve(&workspace.drivers, &request).map_err(|e| {
        let what = format!("profile `{selector}` on {arch}");
        let what = match image {
            Some(image) => format!("{what} with image `{}`", image.name),
            None => what,
        };
        SelectError::Unsolvable(what, e)
    })
}

/// The profile `name` of `arch`.
///
/// # Errors
/// When there is none; with the nearest name, or the arch that has it.
pub fn profile<'a>(
    workspace: &'a Workspace,
    arch: Arch,
    name: &Name,
) -> Result<&'a Profile, SelectError> {
    if let Some(profile) = workspace.profiles.get(&(arch, name.clone())) {
        return Ok(profile);
    }
    let here: BTreeSet<&str> = of_arch(workspace, arch).collect();
    let elsewhere = workspace.profiles.keys().find(|(_, n)| n == name).map(|(a, _)| *a);
    let help = match elsewhere {
        Some(other) => format!("`{name}` is a profile of {other}: `--arch {other}`"),
        None => suggest::help(name.as_str(), here, "; `cargo xtask profile list` shows them"),
    };
    Err(SelectError::Unknown(format!("unknown profile `{name}` of {arch}"), help))
}

fn of_arch(workspace: &Workspace, arch: Arch) -> impl Iterator<Item = &str> {
    workspace.profiles.keys().filter(move |(a, _)| *a == arch).map(|(_, n)| n.as_str())
}

/// The image `name`, which `arch` must have.
///
/// # Errors
/// When there is none; with the nearest name, or the archs that have it.
pub fn image<'a>(
    workspace: &'a Workspace,
    arch: Arch,
    name: &Name,
) -> Result<&'a Image, SelectError> {
    let Some(image) = workspace.images.get(name) else {
        let known: BTreeSet<&str> = workspace.images.keys().map(Name::as_str).collect();
        let help = suggest::help(name.as_str(), known, "; see manifests/images/");
        return Err(SelectError::Unknown(format!("unknown image `{name}`"), help));
    };
    if image.per_arch.contains_key(&arch) {
        return Ok(image);
    }
    let arches: Vec<String> = image.per_arch.keys().map(|a| format!("`--arch {a}`")).collect();
    let message = format!("the image `{name}` has no program on {arch}");
    Err(SelectError::Unknown(message, format!("use {}", suggest::list(&arches, "or"))))
}

/// Everything that a selection asks for by name.
fn request(
    workspace: &Workspace,
    arch: Arch,
    profile: &Profile,
    selector: &ProfileSelector,
    image: Option<&Image>,
) -> SolveRequest {
    let mut asks = Vec::new();
    for driver in &profile.drivers {
        asks.push(Ask {
            name: driver.value.clone(),
            by: Asker::Profile(profile.name.clone()),
            origin: driver.origin.clone(),
        });
    }
    let mut minus = selector.minus.clone();
    if let Some((image, on)) = image.and_then(|i| Some((i, i.per_arch.get(&arch)?))) {
        // Who types `+driver` has the last word.
        minus.extend(on.without.difference(&selector.plus).cloned());
        let root = Ask {
            name: on.root.value.clone(),
            by: Asker::Root(image.name.clone()),
            origin: on.root.origin.clone(),
        };
        asks.push(root);
        for role in &on.roles {
            asks.push(Ask {
                name: role.value.clone(),
                by: Asker::Image(image.name.clone()),
                origin: role.origin.clone(),
            });
        }
    }
    for driver in &selector.plus {
        asks.push(Ask {
            name: driver.clone(),
            by: Asker::Selector,
            origin: Origin::CommandLine("--profile".to_owned()),
        });
    }
    // `~` applies to what the profile asks for first. What else needs it the solver sees to.
    let taken_away = |name: &Name| match workspace.drivers.get(name) {
        Some(driver) => minus.iter().any(|m| driver.fills(m)),
        None => minus.contains(name),
    };
    asks.retain(|a| !matches!(a.by, Asker::Profile(_)) || !taken_away(&a.name));
    SolveRequest { arch, asks, minus }
}
