//! Which drivers a kernel holds: the least set that has what the profile, the image and
//! the command line ask for, and what its own members require.
//!
//! A requirement names a driver or a role (or, as any-of, several). It is met when some
//! chosen driver fills it. One that is not met pulls in its sole candidate: the only
//! driver that could fill it on this arch and was not taken away by `~`. Since whether a
//! driver is pulled in depends on nothing but the requirement, the chosen set grows
//! towards one least fixed point, whatever the order. What is still unmet there has no
//! candidate, or several, and is an error; so are two chosen drivers that conflict.

mod problem;
mod select;
#[cfg(test)]
mod tests;

pub use problem::{Problem, SolveError, link};
pub use select::{SelectError, for_selection};

use crate::config::resolved::{Driver, Origin};
use crate::model::{Arch, Name};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Who asked for a driver or role by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asker {
    /// A profile's `drivers`.
    Profile(Name),
    /// An image's `roles`.
    Image(Name),
    /// An image's root file system.
    Root(Name),
    /// `+driver` in the selector.
    Selector,
}

/// A driver or role that is asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ask {
    /// The driver or role.
    pub name: Name,
    /// Who asks.
    pub by: Asker,
    /// Where.
    pub origin: Origin,
}

/// What is to be solved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolveRequest {
    /// The arch of the kernel.
    pub arch: Arch,
    /// Everything asked for by name.
    pub asks: Vec<Ask>,
    /// Drivers (or roles: then every driver that fills one) that must not be chosen.
    pub minus: BTreeSet<Name>,
}

/// Drivers or roles of which one is needed; a plain requirement has one.
pub type AnyOf = Vec<Name>;

/// One step of the chain from a request to a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It was asked for by its name or by a role that it alone fills.
    Asked(Ask),
    /// A chosen driver requires it.
    Required {
        /// The driver that requires.
        by: Name,
        /// What it requires.
        any_of: AnyOf,
    },
}

/// The drivers of a kernel, each with the reason why it is there. The reasons are those
/// of the shortest chains, the first by name among equals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Solution {
    /// The arch.
    pub arch: Arch,
    /// The drivers.
    pub drivers: BTreeMap<Name, Reason>,
}

impl Solution {
    /// The chain that brings in `driver`: the first link is asked for, each later one is
    /// required by the one before, the last is `driver`. Empty when it is not chosen.
    #[must_use]
    pub fn chain(&self, driver: &Name) -> Vec<(Name, Reason)> {
        chain(&self.drivers, driver)
    }

    /// The names of the drivers, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.drivers.keys()
    }
}

fn chain(chosen: &BTreeMap<Name, Reason>, driver: &Name) -> Vec<(Name, Reason)> {
    let mut links = Vec::new();
    let mut at = driver;
    while let Some((name, reason)) = chosen.get_key_value(at) {
        links.push((name.clone(), reason.clone()));
        match reason {
            // A reason's driver was chosen in an earlier round: the walk ends.
            Reason::Required { by, .. } => at = by,
            Reason::Asked(_) => break,
        }
    }
    links.reverse();
    links
}

/// Solves `request` over `drivers`.
///
/// # Errors
/// With everything that is unknown, unmet, ambiguous or in conflict, each with the chain
/// that leads to it.
pub fn solve(
    drivers: &BTreeMap<Name, Driver>,
    request: &SolveRequest,
) -> Result<Solution, SolveError> {
    let unknown = unknown_names(drivers, request);
    if !unknown.is_empty() {
        return Err(SolveError { arch: request.arch, problems: unknown });
    }
    let graph = Graph { drivers, request };
    let mut chosen: BTreeMap<Name, Reason> = BTreeMap::new();
    let mut open: Vec<(AnyOf, Reason)> = request
        .asks
        .iter()
        .map(|ask| (vec![ask.name.clone()], Reason::Asked(ask.clone())))
        .collect();
    // Each round follows the requirements of the drivers that the last one chose, in the
    // order of their names, so that chains are shortest and the same every time.
    let mut left: Vec<(AnyOf, Reason)> = Vec::new();
    while !open.is_empty() {
        let mut fresh: BTreeMap<Name, Reason> = BTreeMap::new();
        for (any_of, reason) in std::mem::take(&mut open) {
            match graph.candidates(&any_of).as_slice() {
                [sole] => {
                    if !chosen.contains_key(*sole) {
                        fresh.entry((*sole).clone()).or_insert(reason);
                    }
                }
                // None or several: perhaps another requirement brings one of them.
                _ => left.push((any_of, reason)),
            }
        }
        for name in fresh.keys() {
            let Some(driver) = drivers.get(name) else { continue };
            for any_of in requirements(driver) {
                open.push((any_of.clone(), Reason::Required { by: name.clone(), any_of }));
            }
        }
        chosen.extend(fresh);
    }
    let mut problems: Vec<Problem> = left
        .into_iter()
        .filter(|(any_of, _)| !chosen.keys().any(|n| graph.fills_any(n, any_of)))
        .map(|(any_of, reason)| graph.unmet(&chosen, any_of, reason))
        .collect();
    problems.extend(graph.conflicts(&chosen));
    if problems.is_empty() {
        Ok(Solution { arch: request.arch, drivers: chosen })
    } else {
        Err(SolveError { arch: request.arch, problems })
    }
}

/// What a driver requires: its `requires`, then its `requires-any`.
fn requirements(driver: &Driver) -> impl Iterator<Item = AnyOf> {
    let plain = driver.requires.iter().map(|n| vec![n.clone()]);
    plain.chain(driver.requires_any.iter().cloned())
}

/// Names in the request that no driver has or fills.
fn unknown_names(drivers: &BTreeMap<Name, Driver>, request: &SolveRequest) -> Vec<Problem> {
    let known: BTreeSet<&str> = drivers
        .values()
        .flat_map(|d| std::iter::once(&d.name).chain(&d.provides))
        .map(Name::as_str)
        .collect();
    let named = request.asks.iter().map(|a| &a.name).chain(&request.minus);
    let unknown: BTreeSet<&Name> = named.filter(|n| !known.contains(n.as_str())).collect();
    let problem = |name: &Name| Problem::Unknown {
        name: name.clone(),
        help: crate::config::suggest::help(
            name.as_str(),
            known.iter().copied(),
            "; `cargo xtask profile list --drivers` shows them",
        ),
    };
    unknown.into_iter().map(problem).collect()
}

struct Graph<'a> {
    drivers: &'a BTreeMap<Name, Driver>,
    request: &'a SolveRequest,
}

impl<'a> Graph<'a> {
    fn fills_any(&self, driver: &Name, any_of: &[Name]) -> bool {
        self.drivers.get(driver).is_some_and(|d| any_of.iter().any(|role| d.fills(role)))
    }

    fn is_removed(&self, driver: &Driver) -> bool {
        self.request.minus.iter().any(|m| driver.fills(m))
    }

    /// The drivers that fill `any_of`, wherever they can be built, removed or not.
    fn fillers(&self, any_of: &[Name]) -> impl Iterator<Item = &'a Driver> {
        self.drivers.values().filter(move |d| any_of.iter().any(|role| d.fills(role)))
    }

    /// The drivers that may be chosen to fill `any_of`, sorted by name.
    fn candidates(&self, any_of: &[Name]) -> Vec<&'a Name> {
        let available = |d: &&Driver| d.arch.contains(&self.request.arch) && !self.is_removed(d);
        self.fillers(any_of).filter(available).map(|d| &d.name).collect()
    }

    fn unmet(&self, chosen: &BTreeMap<Name, Reason>, any_of: AnyOf, reason: Reason) -> Problem {
        let chain = match &reason {
            Reason::Required { by, .. } => chain(chosen, by),
            Reason::Asked(_) => Vec::new(),
        };
        let names = |list: Vec<&Name>| list.into_iter().cloned().collect::<Vec<_>>();
        let candidates = names(self.candidates(&any_of));
        if !candidates.is_empty() {
            return Problem::Ambiguous { chain, reason, any_of, candidates };
        }
        let here = |d: &&Driver| d.arch.contains(&self.request.arch);
        let removed = names(self.fillers(&any_of).filter(here).map(|d| &d.name).collect());
        if !removed.is_empty() {
            return Problem::Removed { chain, reason, any_of, removed };
        }
        let elsewhere = self.fillers(&any_of).map(|d| (d.name.clone(), d.arch.clone()));
        Problem::Unmet { elsewhere: elsewhere.collect(), chain, reason, any_of }
    }

    /// Every pair of chosen drivers that conflict, once.
    fn conflicts(&self, chosen: &BTreeMap<Name, Reason>) -> Vec<Problem> {
        let mut found = BTreeMap::new();
        for driver in chosen.keys().filter_map(|n| self.drivers.get(n)) {
            for over in &driver.conflicts {
                for other in chosen.keys().filter(|o| **o != driver.name) {
                    if !self.fills_any(other, std::slice::from_ref(over)) {
                        continue;
                    }
                    let pair = BTreeSet::from([&driver.name, other]);
                    found.entry(pair).or_insert_with(|| Problem::Conflict {
                        driver: driver.name.clone(),
                        over: over.clone(),
                        other: other.clone(),
                        chain: chain(chosen, &driver.name),
                        other_chain: chain(chosen, other),
                    });
                }
            }
        }
        found.into_values().collect()
    }
}
