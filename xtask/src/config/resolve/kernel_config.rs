//! Archs, profiles and machines.

use super::{Definitions, names};
use crate::config::decode::{Leaf, Val};
use crate::config::diag::{Diagnostic, FileId};
use crate::config::loader::Loader;
use crate::config::raw::kernel_config::{RawMachine, RawMode};
use crate::config::raw::leaf::{Lto, OptLevel, RepoPath};
use crate::config::resolved::{
    ArchConfig, Compilation, Driver, Machine, ModeConfig, Profile, ProfileStatus, Repository,
    SourcePath,
};
use crate::config::suggest;
use crate::model::{Arch, Mode, Name};
use std::collections::BTreeMap;

/// Granularity of kernel bases: a page, to which the link script aligns segments.
const BASE_ALIGN: u64 = 4 << 10;
/// Granularity of the high-half offset: virtual and physical base agree modulo 2 MiB, the
/// size of the pages that map the kernel early (design §4).
const HIGH_HALF_ALIGN: u64 = 2 << 20;

/// Reports folders of `kernel-config/profiles` that are no arch, and archs outside Osier.
pub fn refuse_unknown_arches(loader: &mut Loader<'_>, repositories: &[Repository]) {
    for repository in repositories {
        let dir = repository.root.join("kernel-config/profiles");
        for entry in loader.list(&dir) {
            if !entry.is_dir || entry.name.parse::<Arch>().is_ok() {
                continue;
            }
            let shown = loader.shown(&dir.join(&entry.name));
            let help = suggest::help(&entry.name, Arch::CHOICES.iter().copied(), "");
            loader.out.push(
                Diagnostic::nowhere(format!("{shown}: unknown arch `{}`", entry.name)).help(help),
            );
        }
        if repository.name == crate::config::resolved::OSIER {
            continue;
        }
        for entry in loader.list(&repository.root.join("kernel-config/arch")) {
            if entry.name.ends_with(".toml") {
                let path = repository.root.join("kernel-config/arch").join(&entry.name);
                let shown = loader.shown(&path);
                loader.out.push(
                    Diagnostic::nowhere(format!("{shown}: archs are Osier's own"))
                        .help("remove the file; an arch needs code in Osier itself"),
                );
            }
        }
    }
}

/// Resolves `kernel-config/arch`.
pub fn arches(
    loader: &mut Loader<'_>,
    defs: &Definitions,
    repositories: &[Repository],
) -> BTreeMap<Arch, ArchConfig> {
    let mut arches = BTreeMap::new();
    for (name, def) in &defs.arches {
        let Ok(arch) = name.as_str().parse::<Arch>() else {
            let help = suggest::help(name.as_str(), Arch::CHOICES.iter().copied(), "");
            let message = format!("{}: unknown arch `{name}`", def.source.path);
            loader.out.push(Diagnostic::nowhere(message).help(help));
            continue;
        };
        let Some(raw) = &def.raw else { continue };
        if !raw.kernel_base.bad && raw.kernel_base.0 % BASE_ALIGN != 0 {
            let message = format!("{:#x} is no multiple of 4 KiB", raw.kernel_base.0);
            loader.report(def.file, &raw.kernel_base, message);
        }
        if !raw.high_half.bad && raw.high_half.0 % HIGH_HALF_ALIGN != 0 {
            let message = format!("{:#x} is no multiple of 2 MiB", raw.high_half.0);
            loader.report(def.file, &raw.high_half, message);
        }
        if !raw.default_image.bad && !defs.images.contains_key(&raw.default_image.value) {
            loader.unknown(def.file, &raw.default_image, "image", names(&defs.images));
        }
        let base = raw.kernel_base.value.0;
        let origin = loader.origin(def.file, &raw.kernel_base.span);
        let config = ArchConfig {
            arch,
            source: def.source.clone(),
            elf_machine: raw.elf_machine.0,
            kernel_base: crate::config::resolved::Sourced::new(base, origin),
            high_half: raw.high_half.value.0,
            target: existing(loader, repositories, &def.source, def.file, &raw.target),
            link_script: existing(loader, repositories, &def.source, def.file, &raw.link_script),
            app_target: raw.app_target.value.clone(),
            app_target_gnu: raw.app_target_gnu.as_ref().map(|t| t.value.clone()),
            qemu: raw.qemu.value.clone(),
            default_image: raw.default_image.value.clone(),
            modes: [(Mode::Release, &raw.mode.release), (Mode::Debug, &raw.mode.debug)]
                .map(|(name, raw)| (name, compilation(loader, def.file, raw)))
                .into(),
        };
        arches.insert(arch, config);
    }
    for arch in Arch::ALL {
        if !defs.arches.contains_key(arch.name()) {
            let message = format!("the arch `{arch}` has no kernel-config/arch/{arch}.toml");
            loader.out.push(
                Diagnostic::nowhere(message)
                    .help("restore the file; `git status` shows what the source tree lacks"),
            );
        }
    }
    arches
}

fn compilation(loader: &Loader<'_>, file: FileId, raw: &Val<RawMode>) -> Compilation {
    let app_opt_level = raw.app_opt_level.as_ref().unwrap_or(&raw.opt_level);
    let settings = |opt_level: &Val<OptLevel>, lto: &Val<Lto>| {
        let mode = ModeConfig {
            opt_level: opt_level.0.to_owned(),
            lto: lto.0.to_owned(),
            codegen_units: u32::try_from(raw.codegen_units.0).unwrap_or(1),
            debug_assertions: raw.debug_assertions.value,
            panic_locations: raw.panic_locations.value,
            debug: raw.debug.0.to_owned(),
        };
        let origins = [
            ("opt_level", &opt_level.span),
            ("lto", &lto.span),
            ("codegen_units", &raw.codegen_units.span),
            ("debug_assertions", &raw.debug_assertions.span),
            ("panic_locations", &raw.panic_locations.span),
            ("debug", &raw.debug.span),
        ];
        let origin = |(key, span): (&str, _)| (key.to_owned(), loader.origin(file, span));
        (mode, origins.map(origin).into())
    };
    let (kernels, kernel_origins) = settings(&raw.opt_level, &raw.lto);
    let (apps, app_origins) = settings(app_opt_level, &raw.app_lto);
    Compilation { kernels, kernel_origins, apps, app_origins }
}

/// The file that `path` names in the repository of `source`, reported when there is none.
pub fn existing(
    loader: &mut Loader<'_>,
    repositories: &[Repository],
    source: &SourcePath,
    file: FileId,
    path: &Val<RepoPath>,
) -> SourcePath {
    let root = repositories.iter().find(|r| r.name == source.repo).map(|r| r.root.clone());
    if let (Some(root), false) = (root, path.bad) {
        let absolute = root.join(&path.value.0);
        if !loader.tree.is_file(&absolute) {
            let folder = path.value.0.parent().map(|p| root.join(p)).unwrap_or(root);
            let siblings = loader.tree.list(&folder).unwrap_or_default();
            let file_name = path.value.0.file_name().unwrap_or_default();
            let near = suggest::nearest(file_name, siblings.iter().map(|e| e.name.as_str()));
            let is_dir = !loader.tree.list(&absolute).unwrap_or_default().is_empty();
            let help = match near {
                _ if is_dir => "it is a folder: name each file".to_owned(),
                Some(near) => {
                    let parent = path.value.0.parent().unwrap_or("".into());
                    format!("did you mean `{}`?", parent.join(near))
                }
                None => "paths are relative to the repository's root".to_owned(),
            };
            let message = format!("no file `{}` in the repository `{}`", path.value.0, source.repo);
            loader.report(file, path, message).helps.push(help);
        }
    }
    SourcePath { repo: source.repo.clone(), path: path.value.0.clone() }
}

/// Resolves `kernel-config/machines`.
pub fn machines(defs: &Definitions) -> BTreeMap<Name, Machine> {
    let resolve = |(name, def): (&Name, &crate::config::loader::Def<_>)| {
        let raw: &RawMachine = def.raw.as_ref()?;
        let machine = Machine {
            name: name.clone(),
            source: def.source.clone(),
            description: raw.description.value.clone(),
            arch: raw.arch.value,
            vmm: raw.vmm.0.to_owned(),
            machine_type: raw.machine_type.value.clone(),
            cpu: raw.cpu.value.clone(),
            memory: raw.memory.value,
            cpus: u32::try_from(raw.cpus.0).unwrap_or(1),
            devices: raw.devices.iter().map(|d| d.0.clone()).collect(),
        };
        Some((name.clone(), machine))
    };
    defs.machines.iter().filter_map(resolve).collect()
}

/// Resolves `kernel-config/profiles`.
pub fn profiles(
    loader: &mut Loader<'_>,
    defs: &Definitions,
    drivers: &BTreeMap<Name, Driver>,
) -> BTreeMap<(Arch, Name), Profile> {
    let mut profiles = BTreeMap::new();
    for (arch, of_arch) in &defs.profiles {
        for (name, def) in of_arch {
            let Some(raw) = &def.raw else { continue };
            for driver in raw.drivers.iter() {
                check_role(loader, defs, drivers, def.file, driver, &[*arch]);
            }
            check_status(loader, def.file, raw);
            match defs.machines.get(&raw.machine.value) {
                _ if raw.machine.bad => {}
                None => loader.unknown(def.file, &raw.machine, "machine", names(&defs.machines)),
                Some(machine) => {
                    let of = machine.raw.as_ref().filter(|m| !m.arch.bad).map(|m| m.arch.value);
                    if let Some(other) = of.filter(|other| other != arch) {
                        let machine = &raw.machine.value;
                        let message =
                            format!("the machine `{machine}` is {other}, the profile {arch}");
                        let fits = |d: &&crate::config::loader::Def<RawMachine>| {
                            d.raw.as_ref().is_some_and(|m| m.arch.value == *arch)
                        };
                        let of_arch: Vec<String> = defs
                            .machines
                            .iter()
                            .filter(|(_, d)| fits(d))
                            .map(|(n, _)| format!("`{n}`"))
                            .collect();
                        let help = format!("machines for {arch}: {}", of_arch.join(", "));
                        loader.report(def.file, &raw.machine, message).helps.push(help);
                    }
                }
            }
            let profile = Profile {
                name: name.clone(),
                arch: *arch,
                source: def.source.clone(),
                description: raw.description.value.clone(),
                status: raw.status.value,
                missing: raw.missing.iter().map(|m| m.value.clone()).collect(),
                drivers: raw.drivers.iter().map(|d| loader.sourced(def.file, d)).collect(),
                machine: raw.machine.value.clone(),
                budget_kib: raw.budget_kib.as_ref().and_then(|b| u32::try_from(b.0).ok()),
            };
            profiles.insert((*arch, name.clone()), profile);
        }
    }
    profiles
}

/// A partial profile says what it lacks; a complete one lacks nothing.
fn check_status(
    loader: &mut Loader<'_>,
    file: FileId,
    raw: &crate::config::raw::kernel_config::RawProfile,
) {
    match (raw.status.value, raw.missing.first()) {
        _ if raw.status.bad || raw.missing.bad => {}
        (ProfileStatus::Partial, None) => {
            let d = loader.report(file, &raw.status, "a partial profile must say what it lacks");
            d.helps.push("add `missing = [\"…\"]`".to_owned());
        }
        (ProfileStatus::Complete, Some(missing)) => {
            let d = loader.report(file, missing, "a complete profile lacks nothing");
            d.helps.push("write `status = \"partial\"`, or remove `missing`".to_owned());
        }
        _ => {}
    }
}

/// Reports a driver or role that does not exist, or exists on none of `arches`.
pub fn check_role(
    loader: &mut Loader<'_>,
    defs: &Definitions,
    drivers: &BTreeMap<Name, Driver>,
    file: FileId,
    role: &Val<Name>,
    arches: &[Arch],
) {
    if !defs.roles.contains(&role.value) {
        loader.unknown(file, role, "driver or role", defs.roles.iter().map(Name::as_str));
        return;
    }
    let providers = drivers.values().filter(|d| d.fills(&role.value));
    if providers.clone().any(|d| d.arch.iter().any(|a| arches.contains(a))) {
        return;
    }
    let list = |archs: &[Arch]| archs.iter().map(|a| a.to_string()).collect::<Vec<_>>();
    let wanted = suggest::list(&list(arches), "or");
    let by: Vec<String> = providers
        .map(|d| format!("`{}` is for {}", d.name, suggest::list(&list(&d.arch), "and")))
        .collect();
    let message = format!("no driver fills `{}` on {wanted}", role.value);
    loader.report(file, role, message).helps.push(suggest::list(&by, "and"));
}
