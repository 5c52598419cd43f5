//! Which machines each scenario boots on.

use crate::config::resolved::{Machine, MemorySize, Scenario, Workspace};
use crate::model::{Arch, Name};

/// One boot: a scenario on one arch and one machine.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub scenario: &'a Scenario,
    pub arch: Arch,
    pub machine: &'a Machine,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// All archs when empty.
    pub arches: Vec<Arch>,
    /// A part of the scenario's name; all when absent.
    pub name: Option<String>,
}

/// A scenario names something that is not there. The configuration loader refuses such
/// files, so this is seen only when a profile has no machine for an arch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchMachine {
    pub scenario: Name,
    pub arch: Arch,
    pub what: String,
}

impl std::fmt::Display for NoSuchMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "scenario {} on {}: {} does not exist", self.scenario, self.arch, self.what)
    }
}

impl std::error::Error for NoSuchMachine {}

/// Every case that `filter` lets through, by scenario, arch and machine.
///
/// # Errors
/// When a profile or machine does not exist.
pub fn cases<'a>(w: &'a Workspace, filter: &Filter) -> Result<Vec<Case<'a>>, NoSuchMachine> {
    let mut out = Vec::new();
    for scenario in w.scenarios.values() {
        if filter.name.as_ref().is_some_and(|part| !scenario.name.as_str().contains(part)) {
            continue;
        }
        for &arch in &scenario.arch {
            if !filter.arches.is_empty() && !filter.arches.contains(&arch) {
                continue;
            }
            for machine in machines(w, scenario, arch)? {
                out.push(Case { scenario, arch, machine });
            }
        }
    }
    Ok(out)
}

fn machines<'a>(
    w: &'a Workspace,
    scenario: &Scenario,
    arch: Arch,
) -> Result<Vec<&'a Machine>, NoSuchMachine> {
    let missing = |what: String| NoSuchMachine { scenario: scenario.name.clone(), arch, what };
    let named = scenario.machines.get(&arch).map(Vec::as_slice).unwrap_or_default();
    if !named.is_empty() {
        let find = |n: &Name| w.machines.get(n).ok_or_else(|| missing(format!("machine `{n}`")));
        return named.iter().map(find).collect();
    }
    let profile = scenario.profile.split(['+', '~']).next().unwrap_or_default();
    let profile = Name::new(profile)
        .ok()
        .and_then(|n| w.profiles.get(&(arch, n)))
        .ok_or_else(|| missing(format!("profile `{profile}`")))?;
    let machine = w.machines.get(&profile.machine);
    Ok(vec![machine.ok_or_else(|| missing(format!("machine `{}`", profile.machine)))?])
}

impl Case<'_> {
    /// The memory of its machine.
    #[must_use]
    pub fn memory(&self) -> MemorySize {
        self.scenario.memory.get(&self.arch).copied().unwrap_or(self.machine.memory)
    }

    /// The CPUs of its machine.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.scenario.cpus.unwrap_or(self.machine.cpus)
    }
}
