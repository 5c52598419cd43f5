//! Selections + workspace → steps. What two selections share is one step.

use super::image;
use super::kernel::{DriverCrate, KernelSpec};
use super::request::Selection;
use super::step::{
    Action, BuildHeader, BuildPlan, FORMAT, Input, PackContent, Relocate, Selected, Step, StepId,
    Tool,
};
use crate::config::resolved::{
    ArchConfig, Compilation, Content, ImageOn, Libc, Origin, SourcePath, Sourced, Workspace,
};
use crate::error::Refusal;
use crate::model::{Digest, Layout, Name};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::{BTreeMap, BTreeSet};

/// The drivers of a selection: each with the chain that brought it in.
pub type Solved = BTreeMap<Name, String>;

/// The plan of `selections`. `epoch` dates what is packed, in seconds since 1970; `solve`
/// gives the drivers of a selection.
///
/// # Errors
/// A [`Refusal`] about what the selections ask for; what `solve` refuses.
pub fn plan(
    workspace: &Workspace,
    selections: &[Selection],
    epoch: &Sourced<i64>,
    solve: &dyn Fn(&Selection) -> Result<Solved, Refusal>,
) -> Result<BuildPlan, Refusal> {
    let mut maker = Maker { workspace, epoch, steps: BTreeMap::new(), order: Vec::new() };
    maker.apps(selections)?;
    let selected =
        selections.iter().map(|s| maker.selection(s, solve)).collect::<Result<Vec<_>, _>>()?;
    let mut steps = maker.steps;
    let steps: Vec<Step> = maker.order.iter().filter_map(|id| steps.remove(id)).collect();
    let digests: Vec<Digest> = steps.iter().map(Step::digest).collect();
    let hash = Digest::of(&serde_json::to_vec(&(FORMAT, digests)).unwrap_or_default());
    Ok(BuildPlan {
        format: FORMAT,
        hash,
        selections: selected,
        shadowed: workspace.shadowed.clone(),
        steps,
    })
}

struct Maker<'a> {
    workspace: &'a Workspace,
    epoch: &'a Sourced<i64>,
    steps: BTreeMap<StepId, Step>,
    /// Producers before consumers.
    order: Vec<StepId>,
}

/// Paths of artifacts are given relative to the build directory.
fn layout() -> Layout {
    Layout::new("")
}

fn osier(path: &str) -> SourcePath {
    SourcePath { repo: crate::config::resolved::OSIER.to_owned(), path: path.into() }
}

impl Maker<'_> {
    fn add(&mut self, step: Step) -> StepId {
        let id = step.id.clone();
        if self.steps.insert(id.clone(), step).is_none() {
            self.order.push(id.clone());
        }
        id
    }

    fn arch(&self, s: &Selection) -> Result<(&ArchConfig, &Compilation), Refusal> {
        let (arch, mode) = (s.arch.value, s.mode.value);
        let config = self.workspace.arches.get(&arch);
        let missing =
            || Refusal::new(format!("kernel-config/arch/{arch}.toml says nothing about {mode}"));
        config.and_then(|c| Some((c, c.modes.get(&mode)?))).ok_or_else(missing)
    }

    fn image(&self, s: &Selection) -> Result<&ImageOn, Refusal> {
        let found = self.workspace.images.get(&s.image.value);
        found.and_then(|i| i.per_arch.get(&s.arch.value)).ok_or_else(|| {
            Refusal::new(format!("there is no image `{}` for {}", s.image.value, s.arch.value))
        })
    }

    /// One cargo call per arch, mode, C library and repository, with the apps of all selected
    /// images.
    fn apps(&mut self, selections: &[Selection]) -> Result<(), Refusal> {
        let mut calls: BTreeMap<_, (Compilation, String, BTreeSet<Name>)> = BTreeMap::new();
        for s in selections {
            let (config, mode) = self.arch(s)?;
            for entry in image::entries(self.image(s)?, self.workspace)?.into_values() {
                let Content::App { app: name, libc } = &entry.content else { continue };
                let app = self.workspace.apps.get(name).ok_or_else(|| {
                    Refusal::new(format!("unknown app `{name}` ({})", entry.origin))
                })?;
                let target = match libc {
                    Libc::Musl => &config.app_target,
                    Libc::Gnu => config.app_target_gnu.as_ref().ok_or_else(|| {
                        let arch = s.arch.value;
                        Refusal::new(format!(
                            "`{name}` is to be linked with glibc ({}), which is not done for {arch}",
                            entry.origin
                        ))
                        .help(format!(
                            "list it in `[[arch.A.file]]` of archs that have glibc; \
                             kernel-config/arch/{arch}.toml has no `app-target-gnu`"
                        ))
                    })?,
                };
                let key = (s.arch.value, s.mode.value, *libc, app.source.repo.clone());
                let call = calls
                    .entry(key)
                    .or_insert_with(|| (mode.clone(), target.clone(), BTreeSet::new()));
                call.2.insert(name.clone());
            }
        }
        for ((arch, mode, libc, repository), (compilation, target, apps)) in calls {
            let sources = apps.iter().filter_map(|a| self.workspace.apps.get(a));
            let mut inputs: Vec<Input> =
                sources.map(|a| Input::Package(a.source.clone())).collect();
            for file in ["Cargo.toml", "Cargo.lock"] {
                inputs
                    .push(Input::File(SourcePath { repo: repository.clone(), path: file.into() }));
            }
            inputs.push(Input::Tool(Tool::Cargo));
            let folder = layout().apps(arch, mode, infix(libc));
            let infix = infix(libc);
            let names: Vec<Name> = apps.iter().cloned().collect();
            let compile = self.add(Step {
                id: StepId(format!("apps {arch}-{mode}{infix} {repository}")),
                inputs,
                outputs: apps.iter().map(|a| folder.join(a.as_str())).collect(),
                action: Action::CompileApps {
                    repository,
                    arch,
                    mode,
                    settings: compilation.apps,
                    target,
                    libc,
                    apps: apps.into_iter().collect(),
                },
                origins: below("settings", compilation.app_origins).collect(),
            });
            for app in names {
                let whole =
                    Input::Output { step: compile.clone(), path: folder.join(app.as_str()) };
                self.step(
                    format!("strip {arch}-{mode}{infix} {app}"),
                    vec![whole],
                    stripped_app(&folder, &app),
                    Action::StripProgram,
                );
            }
        }
        Ok(())
    }

    fn selection(
        &mut self,
        s: &Selection,
        solve: &dyn Fn(&Selection) -> Result<Solved, Refusal>,
    ) -> Result<Selected, Refusal> {
        let on = self.image(s)?.clone();
        let solved = solve(s)?;
        let spec = self.kernel_spec(s, &solved)?;
        let linked_key = spec.linked_key(on.system_calls.as_ref(), s.crash_dump);
        let linked = self.kernel(s, &spec, on.system_calls.as_ref())?;
        let relocated = self.relocate(s, &spec, &linked_key, &linked)?;
        let (root, apps) = self.root(s, &on)?;
        let (folder, last) = self.assemble(s, &on, &spec, (&relocated, &root), &solved);
        let origins = [
            ("arch", &s.arch.origin),
            ("mode", &s.mode.origin),
            ("profile", &s.profile.origin),
            ("image", &s.image.origin),
            ("kernel-base", &s.kernel_base.origin),
        ];
        Ok(Selected {
            arch: s.arch.value,
            mode: s.mode.value,
            profile: s.profile.value.to_string(),
            image: s.image.value.clone(),
            origins: origins.map(|(k, o)| (k.to_owned(), o.clone())).into(),
            kernel_base: s.kernel_base.value,
            kernel: linked_key,
            drivers: solved,
            folder,
            apps,
            hash: self.closure_hash(&last),
        })
    }

    fn kernel_spec(&self, s: &Selection, solved: &Solved) -> Result<KernelSpec, Refusal> {
        let (config, compilation) = self.arch(s)?;
        let drivers = solved.keys().map(|name| match self.workspace.drivers.get(name) {
            Some(d) => Ok(DriverCrate { name: name.clone(), source: d.source.clone() }),
            None => Err(Refusal::new(format!("unknown driver `{name}`"))),
        });
        Ok(KernelSpec {
            arch: s.arch.value,
            mode: s.mode.value,
            settings: compilation.kernels.clone(),
            target: config.target.clone(),
            drivers: drivers.collect::<Result<_, _>>()?,
        })
    }

    /// Where a kernel's settings and drivers are written.
    fn kernel_origins(&self, s: &Selection) -> Result<BTreeMap<String, Origin>, Refusal> {
        let settings = below("kernel.settings", self.arch(s)?.1.kernel_origins.clone());
        let profile = (s.arch.value, s.profile.value.profile.clone());
        let profile = self.workspace.profiles.get(&profile);
        let drivers = profile.into_iter().flat_map(|p| &p.drivers);
        let drivers = drivers.map(|d| (format!("kernel.drivers.{}", d.value), d.origin.clone()));
        Ok(settings.chain(drivers).collect())
    }

    /// What the drivers of a kernel need of it that others may lack.
    fn keeps(&self, spec: &KernelSpec) -> BTreeSet<&'static str> {
        let drivers = spec.drivers.iter().filter_map(|d| self.workspace.drivers.get(&d.name));
        drivers.flat_map(|d| &d.keeps).copied().collect()
    }

    /// Compile → system-call table → link. Gives the linked PIE as an input.
    fn kernel(
        &mut self,
        s: &Selection,
        spec: &KernelSpec,
        calls: Option<&BTreeSet<&'static str>>,
    ) -> Result<Input, Refusal> {
        let key = spec.key();
        let folder = layout().kernel(&key);
        let arch = spec.arch;
        let script = self.arch(s)?.0.link_script.clone();
        let mut inputs: Vec<Input> =
            spec.drivers.iter().map(|d| Input::Package(d.source.clone())).collect();
        inputs.push(Input::Package(osier("loader")));
        inputs.push(Input::File(osier("Cargo.toml")));
        inputs.push(Input::File(osier("Cargo.lock")));
        inputs.push(Input::File(spec.target.clone()));
        inputs.push(Input::Tool(Tool::Cargo));
        let archive = folder.join("libkernel.a");
        let compile = self.add(Step {
            id: StepId(format!("compile {key}")),
            inputs,
            outputs: vec![archive.clone()],
            action: Action::CompileKernel { kernel: spec.clone() },
            origins: self.kernel_origins(s)?,
        });
        let archive = Input::Output { step: compile, path: archive };
        let key = spec.linked_key(calls, s.crash_dump);
        let folder = layout().kernel(&key);
        let table = self.step(
            format!("syscalls {key}"),
            vec![archive.clone()],
            folder.join("syscalls.o"),
            Action::SyscallTable {
                arch,
                only: calls.cloned(),
                crash_dump: s.crash_dump,
                keeps: self.keeps(spec),
            },
        );
        let inputs = vec![archive, table, Input::File(script), Input::Tool(Tool::RustLld)];
        Ok(self.step(
            format!("link {key}"),
            inputs,
            folder.join("kernel.pie"),
            Action::Link {
                arch,
                lto: (spec.settings.lto == "thin").then(|| spec.settings.opt_level.clone()),
            },
        ))
    }

    /// Relocate → strip. Gives `loader.elf` and `loader-stripped.elf`.
    fn relocate(
        &mut self,
        s: &Selection,
        spec: &KernelSpec,
        key: &str,
        linked: &Input,
    ) -> Result<[Input; 2], Refusal> {
        let config = self.arch(s)?.0;
        let at = format!("{key}@{:#x}", s.kernel_base.value);
        let folder = layout().kernel(key).join(format!("{:#x}", s.kernel_base.value));
        let loader = folder.join("loader.elf");
        let action = Action::Relocate(Relocate {
            arch: spec.arch,
            base: s.kernel_base.value,
            high_half: config.high_half,
            elf_machine: config.elf_machine,
            drivers: spec.drivers.iter().map(|d| d.name.clone()).collect(),
        });
        let relocate = StepId(format!("relocate {at}"));
        self.add(Step {
            id: relocate.clone(),
            inputs: vec![linked.clone()],
            outputs: vec![loader.clone(), folder.join("loader.relocs")],
            action,
            origins: [("base".to_owned(), s.kernel_base.origin.clone())].into(),
        });
        let loader = Input::Output { step: relocate, path: loader };
        let stripped = self.step(
            format!("strip {at}"),
            vec![loader.clone()],
            folder.join("loader-stripped.elf"),
            Action::Strip,
        );
        Ok([loader, stripped])
    }

    /// The root file system: bootfs and manifest, and the apps in it.
    fn root(
        &mut self,
        s: &Selection,
        on: &ImageOn,
    ) -> Result<([Input; 2], BTreeMap<String, Utf8PathBuf>), Refusal> {
        let (arch, mode, image) = (s.arch.value, s.mode.value, &s.image.value);
        let folder = Utf8Path::new("root").join(format!("{arch}-{mode}")).join(image.as_str());
        let folder_of = |libc| layout().apps(arch, mode, infix(libc));
        let entries = image::entries(on, self.workspace)?;
        let origins =
            entries.values().map(|e| (format!("entries.{}", e.path), e.origin.clone())).collect();
        let entries =
            image::pack_entries(&entries, |app, libc| stripped_app(&folder_of(libc), app));
        let mut inputs = BTreeSet::new();
        let mut apps = BTreeMap::new();
        for entry in &entries {
            match &entry.content {
                PackContent::Source(path) => {
                    inputs.insert(Input::File(path.clone()));
                }
                PackContent::App(path) => {
                    // The one with symbols: `stripped_app` the other way.
                    let folder = path.parent().and_then(Utf8Path::parent);
                    if let (Some(folder), Some(name)) = (folder, path.file_name()) {
                        apps.insert(entry.path.clone(), folder.join(name));
                    }
                    let made = self.steps.values().find(|step| step.outputs.contains(path));
                    inputs.extend(
                        made.map(|m| Input::Output { step: m.id.clone(), path: path.clone() }),
                    );
                }
                _ => {}
            }
        }
        let id = StepId(format!("pack {arch}-{mode} {image}"));
        let made = |name: &str| Input::Output { step: id.clone(), path: folder.join(name) };
        let out = [made("bootfs"), made("manifest")];
        self.add(Step {
            id: id.clone(),
            inputs: inputs.into_iter().collect(),
            outputs: vec![folder.join("bootfs"), folder.join("manifest")],
            action: Action::PackBootfs { mtime: self.epoch.value, entries },
            origins,
        });
        Ok((out, apps))
    }

    /// `loader.img`, `cmdline`, and all else in one folder.
    fn assemble(
        &mut self,
        s: &Selection,
        on: &ImageOn,
        spec: &KernelSpec,
        ([loader, stripped], [bootfs, manifest]): (&[Input; 2], &[Input; 2]),
        solved: &Solved,
    ) -> (Utf8PathBuf, StepId) {
        let profile = s.profile.value.to_string();
        let mut folder = layout().image(spec.arch, spec.mode, &profile, &s.image.value);
        // Beside the image at the usual base and without crash records, not in its place.
        let mut name = s.image.value.to_string();
        let usual = self.workspace.arches.get(&spec.arch).map(|a| a.kernel_base.value);
        if usual != Some(s.kernel_base.value) {
            name = format!("{name}@{:#x}", s.kernel_base.value);
        }
        if s.crash_dump {
            name.push_str("+dump");
        }
        folder.set_file_name(name);
        let place = |name: &str| folder.join(name);
        let cmdline = self.step(
            format!("cmdline {folder}"),
            vec![],
            place("cmdline"),
            Action::CommandLine { words: image::command_line(on) },
        );
        let img = self.step(
            format!("image {folder}"),
            vec![loader.clone(), bootfs.clone(), cmdline.clone()],
            place("loader.img"),
            Action::LoaderImage { arch: spec.arch },
        );
        let copied =
            [("loader.elf", loader), ("loader-stripped.elf", stripped), ("manifest", manifest)];
        let copies: BTreeMap<_, _> = copied
            .iter()
            .filter_map(|(name, from)| match from {
                Input::Output { path, .. } => Some((place(name), path.clone())),
                _ => None,
            })
            .collect();
        let mut outputs: Vec<Utf8PathBuf> = copies.keys().cloned().collect();
        outputs.push(place("build.json"));
        let mut inputs: Vec<Input> = copied.iter().map(|(_, from)| (*from).clone()).collect();
        inputs.extend([img.clone(), cmdline.clone()]);
        // The hash covers the steps that this one reads from; its own would hold itself.
        let mut digests = BTreeSet::new();
        self.collect(&inputs, &mut digests);
        let header = BuildHeader {
            arch: spec.arch,
            mode: spec.mode,
            profile,
            image: s.image.value.clone(),
            kernel: spec.linked_key(on.system_calls.as_ref(), s.crash_dump),
            kernel_base: s.kernel_base.value,
            drivers: solved.keys().cloned().collect(),
            plan: over(&digests),
        };
        let listed = ["loader.elf", "loader-stripped.elf", "loader.img", "manifest", "cmdline"];
        let id = self.add(Step {
            id: StepId(format!("assemble {folder}")),
            inputs,
            outputs,
            action: Action::Assemble { copies, listed: listed.map(place).to_vec(), header },
            origins: BTreeMap::new(),
        });
        (folder, id)
    }

    /// A step with one output, given as the input of others.
    fn step(
        &mut self,
        id: String,
        inputs: Vec<Input>,
        output: Utf8PathBuf,
        action: Action,
    ) -> Input {
        let outputs = vec![output.clone()];
        let origins: BTreeMap<String, Origin> = BTreeMap::new();
        let step = self.add(Step { id: StepId(id), inputs, outputs, action, origins });
        Input::Output { step, path: output }
    }

    /// Digests of the steps behind `inputs`, by name.
    fn collect(&self, inputs: &[Input], out: &mut BTreeSet<(StepId, Digest)>) {
        for input in inputs {
            let Input::Output { step, .. } = input else { continue };
            let Some(step) = self.steps.get(step) else { continue };
            if out.insert((step.id.clone(), step.digest())) {
                self.collect(&step.inputs, out);
            }
        }
    }

    fn closure_hash(&self, last: &StepId) -> Digest {
        let mut digests = BTreeSet::new();
        if let Some(step) = self.steps.get(last) {
            self.collect(&step.inputs, &mut digests);
        }
        over(&digests)
    }
}

fn over(digests: &BTreeSet<(StepId, Digest)>) -> Digest {
    Digest::of(&serde_json::to_vec(digests).unwrap_or_default())
}

/// Origins of the parts of `whole`, by their paths in an action.
fn below(whole: &str, origins: BTreeMap<String, Origin>) -> impl Iterator<Item = (String, Origin)> {
    origins.into_iter().map(move |(part, origin)| (format!("{whole}.{part}"), origin))
}

/// What names of folders and steps of apps have after arch and mode.
const fn infix(libc: Libc) -> &'static str {
    match libc {
        Libc::Musl => "",
        Libc::Gnu => "-gnu",
    }
}

/// Where the app that images hold lies; the one with symbols is in `folder` itself.
fn stripped_app(folder: &Utf8Path, app: &Name) -> Utf8PathBuf {
    folder.join("stripped").join(app.as_str())
}
