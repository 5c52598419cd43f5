//! Scenarios.

use super::{Definitions, disks, names, select};
use crate::config::decode::Val;
use crate::config::diag::{Diagnostic, FileId, Place, Span};
use crate::config::loader::Loader;
use crate::config::raw::PerArch;
use crate::config::raw::scenario::{RawScenario, RawStep};
use crate::config::resolved::{Image, Machine, Profile, Scenario, ScenarioStep};
use crate::config::selector::ProfileSelector;
use crate::model::{Arch, Name};
use crate::scenario::PEERS;
use std::collections::{BTreeMap, BTreeSet};

/// An image can be loaded at any multiple of 2 MiB from where it was planned (design §5).
const LOAD_ALIGN: u64 = 2 << 20;

/// Resolves `scenarios/`.
pub fn scenarios(
    loader: &mut Loader<'_>,
    defs: &Definitions,
    profiles: &BTreeMap<(Arch, Name), Profile>,
    machines: &BTreeMap<Name, Machine>,
    images: &BTreeMap<Name, Image>,
) -> BTreeMap<Name, Scenario> {
    let mut scenarios = BTreeMap::new();
    for (name, def) in &defs.scenarios {
        let Some(raw) = &def.raw else { continue };
        let mut one = One { loader, defs, profiles, machines, images, file: def.file };
        let arch = one.arches(raw);
        let scenario = Scenario {
            name: name.clone(),
            source: def.source.clone(),
            description: raw.description.value.clone(),
            image: raw.image.value.clone(),
            profile: raw.profile.value.clone(),
            mode: raw.mode.value,
            machines: one.machines(raw, &arch),
            cpus: raw.cpus.as_ref().and_then(|c| u32::try_from(c.0).ok()),
            memory: one.per_arch(raw.memory.as_ref(), &arch, |m| *m),
            cmdline: raw.cmdline.as_ref().map(|c| c.value.clone()),
            kernel_base: one.per_arch(raw.kernel_base.as_ref(), &arch, |a| a.0),
            load_offset: raw.load_offset.as_ref().map(|o| o.value.0),
            timeout_s: u32::try_from(raw.timeout_s.0).unwrap_or(u32::MAX),
            exit: raw.exit.0.clone(),
            steps: raw.step.iter().filter_map(|s| one.step(s)).collect(),
            disks: disks::disks(one.loader, one.file, raw),
            after: disks::checks(one.loader, one.file, raw),
            arch,
        };
        one.needs_of_machines(raw, &scenario);
        if let Some(offset) = raw.load_offset.as_ref().filter(|o| !o.bad && o.0 % LOAD_ALIGN != 0) {
            let message = format!("{} is no multiple of 2 MiB", offset.value);
            loader.report(def.file, offset, message);
        }
        scenarios.insert(name.clone(), scenario);
    }
    scenarios
}

/// One scenario being resolved.
struct One<'a, 't> {
    loader: &'a mut Loader<'t>,
    defs: &'a Definitions,
    profiles: &'a BTreeMap<(Arch, Name), Profile>,
    machines: &'a BTreeMap<Name, Machine>,
    images: &'a BTreeMap<Name, Image>,
    file: FileId,
}

impl One<'_, '_> {
    /// The archs that the scenario runs on: the key's; else those of its machines; else
    /// every one that has the image and the profile.
    fn arches(&mut self, raw: &RawScenario) -> Vec<Arch> {
        let image = self.images.get(&raw.image.value);
        if image.is_none() && !raw.image.bad && !self.defs.images.contains_key(&raw.image.value) {
            self.loader.unknown(self.file, &raw.image, "image", names(&self.defs.images));
        }
        let selector = select::profile(self.loader, self.defs, self.file, &raw.profile);
        let has_profile = |arch: Arch| {
            let name = selector.as_ref().map(|s| s.profile.clone());
            name.is_none_or(|name| self.profiles.contains_key(&(arch, name)))
        };
        let has_image = |arch: Arch| image.is_none_or(|i| i.per_arch.contains_key(&arch));
        let Some(given) = raw.arch.as_ref().filter(|a| !a.bad) else {
            let listed: BTreeSet<Arch> = raw
                .machine
                .iter()
                .flat_map(|m| m.0.iter())
                .filter_map(|m| self.machines.get(&m.value).map(|m| m.arch))
                .collect();
            let possible = Arch::ALL.into_iter().filter(|a| has_image(*a) && has_profile(*a));
            let found: Vec<Arch> =
                possible.filter(|a| listed.is_empty() || listed.contains(a)).collect();
            if found.is_empty() {
                let message = "there is no arch that this scenario could run on";
                let place = Place { file: self.file, span: 0..0 };
                self.loader.out.push(
                    Diagnostic::at(place, message)
                        .help("its image, its profile and its machines have no arch in common"),
                );
            }
            return found;
        };
        let missing: Vec<(usize, String)> = given
            .iter()
            .enumerate()
            .filter_map(|(i, arch)| {
                let image =
                    (!has_image(arch.value)).then(|| format!("image `{}`", raw.image.value));
                let profile = || {
                    let selector = selector.as_ref().filter(|_| !has_profile(arch.value))?;
                    Some(format!("profile `{}`", selector.profile))
                };
                Some((i, image.or_else(profile)?))
            })
            .collect();
        for (i, what) in missing {
            let Some(arch) = given.get(i) else { continue };
            let message = format!("there is no {what} on {}", arch.value);
            self.loader.report(self.file, arch, message);
        }
        if given.is_empty() {
            self.loader
                .report(self.file, given, "a scenario for no arch proves nothing")
                .helps
                .push("remove the key, or name archs".to_owned());
        }
        let set: BTreeSet<Arch> = given.iter().map(|a| a.value).collect();
        set.into_iter().collect()
    }

    fn machines(&mut self, raw: &RawScenario, arches: &[Arch]) -> BTreeMap<Arch, Vec<Name>> {
        let mut by_arch: BTreeMap<Arch, Vec<Name>> = BTreeMap::new();
        for machine in raw.machine.iter().flat_map(|m| m.0.iter()) {
            if !self.defs.machines.contains_key(&machine.value) {
                self.loader.unknown(self.file, machine, "machine", names(&self.defs.machines));
                continue;
            }
            let Some(known) = self.machines.get(&machine.value) else { continue };
            if !arches.is_empty() && !arches.contains(&known.arch) {
                let message =
                    format!("the machine `{}` is {}, the scenario is not", known.name, known.arch);
                let help = format!("remove it, or add \"{}\" to `arch`", known.arch);
                self.loader.report(self.file, machine, message).helps.push(help);
                continue;
            }
            let list = by_arch.entry(known.arch).or_default();
            if list.contains(&known.name) {
                let message = format!("the machine `{}` is named twice", known.name);
                self.loader.report(self.file, machine, message);
            } else {
                list.push(known.name.clone());
            }
        }
        let profile = raw.profile.value.parse::<ProfileSelector>().map(|s| s.profile);
        for arch in arches {
            let default = || {
                let profile = self.profiles.get(&(*arch, profile.clone().ok()?))?;
                Some(vec![profile.machine.clone()])
            };
            if !by_arch.contains_key(arch)
                && let Some(default) = default()
            {
                by_arch.insert(*arch, default);
            }
        }
        by_arch
    }

    /// Every machine must have what disks and peers are attached to.
    fn needs_of_machines(&mut self, raw: &RawScenario, scenario: &Scenario) {
        let place =
            |span: &Option<Span>| Place { file: self.file, span: span.clone().unwrap_or(0..0) };
        let first_peer = raw.step.iter().find_map(|s| s.peer.as_ref());
        let wanted = [
            ("disk", raw.disk.first().map(|d| place(&d.span)), "disk:virtio-blk"),
            ("net", first_peer.map(|p| place(&p.span)), "net:virtio-net"),
        ];
        let machines: BTreeSet<&Name> = scenario.machines.values().flatten().collect();
        for (kind, place, device) in wanted {
            let Some(place) = place else { continue };
            for machine in machines.iter().filter_map(|m| self.machines.get(*m)) {
                if machine.devices_of(kind).next().is_none() {
                    let message =
                        format!("the machine `{}` has no `{kind}:` device for it", machine.name);
                    let help = format!(
                        "add \"{device}\" to the machine's `devices`, or name other machines"
                    );
                    self.loader.out.push(Diagnostic::at(place.clone(), message).help(help));
                }
            }
        }
    }

    fn per_arch<T: Clone, U>(
        &self,
        value: Option<&Val<PerArch<T>>>,
        arches: &[Arch],
        map: impl Fn(&T) -> U,
    ) -> BTreeMap<Arch, U> {
        let on = |arch: &Arch| Some((*arch, map(&value?.on(*arch)?.value)));
        arches.iter().filter_map(on).collect()
    }

    /// A step: exactly one of its keys.
    fn step(&mut self, raw: &Val<RawStep>) -> Option<ScenarioStep> {
        let text = |v: &Option<Val<String>>| v.as_ref().map(|v| v.value.clone());
        let reboot = raw.reboot.as_ref().filter(|r| r.bad || r.value).map(|_| ScenarioStep::Reboot);
        let peer = raw.peer.as_ref().map(|p| p.value.to_string());
        if let Some(peer) = raw.peer.as_ref().filter(|p| !p.bad && !PEERS.contains(&p.as_str())) {
            self.loader.unknown(self.file, peer, "peer", PEERS.iter().copied());
        }
        let steps = [
            text(&raw.expect).map(ScenarioStep::Expect),
            text(&raw.send).map(ScenarioStep::Send),
            text(&raw.qmp).map(ScenarioStep::Qmp),
            peer.map(ScenarioStep::Peer),
            reboot,
        ];
        let mut steps = steps.into_iter().flatten();
        let (first, second) = (steps.next(), steps.next());
        if let Some(qmp) = raw.qmp.as_ref().filter(|q| !q.bad)
            && let Err(e) = serde_json::from_str::<serde_json::Value>(&qmp.value)
        {
            self.loader.report(self.file, qmp, format!("the QMP command is no JSON: {e}"));
        }
        if let Some(expect) = raw.expect.as_ref().filter(|e| !e.bad)
            && let Err(e) = regex_lite::Regex::new(&expect.value)
        {
            let d = self.loader.report(self.file, expect, format!("no regular expression: {e}"));
            d.helps.push("escape what is meant as it stands, as in `\\(`".to_owned());
        }
        if first.is_none() || second.is_some() {
            let message =
                if second.is_some() { "the step is several" } else { "the step is empty" };
            let d = self.loader.report(self.file, raw, message);
            d.helps.push(
                "give each `[[step]]` one of `expect`, `send`, `qmp`, `peer` and `reboot = true`"
                    .to_owned(),
            );
            return None;
        }
        first
    }
}
