//! What each action does: bytes in through [`StepIo`], a pure function, bytes out.

use super::audit;
use super::cargo::{self, Rebuilt};
use super::engine::Engine;
use super::fsx;
use super::io::{Part, StepIo};
use super::keeper;
use crate::config;
use crate::config::resolved::Libc;
use crate::link;
use crate::model::{Arch, Digest};
use crate::pack;
use crate::plan::{
    Action, BuildHeader, Input, KernelSpec, PackContent, PackEntry, Places, Relocate, app_call,
    app_remaps, final_crate, kernel_call, lock_call,
};
use crate::report::Event;
use anyhow::{Context as _, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Carries out the step of `io`. Gives what cargo compiled, for the steps that call it.
pub fn act(engine: &Engine<'_>, io: &StepIo<'_>) -> Result<Vec<Rebuilt>> {
    match &io.step.action {
        Action::CompileKernel { kernel } => return compile_kernel(engine, io, kernel),
        Action::CompileApps { .. } => return compile_apps(engine, io),
        Action::SyscallTable { arch, only, crash_dump, keeps } => {
            syscall_table(io, *arch, only.as_ref(), (keeps, *crash_dump))?;
        }
        Action::Link { arch, lto } => link_kernel(engine, io, (*arch, lto.as_deref()))?,
        Action::Relocate(plan) => relocate(io, plan)?,
        Action::Strip => {
            let stripped = link::strip(&io.made(io.input_named("loader.elf")?)?)?;
            io.put(io.output_named("loader-stripped.elf")?, &stripped)?;
        }
        Action::StripProgram => strip_program(io)?,
        Action::PackBootfs { mtime, entries } => pack_bootfs(engine, io, *mtime, entries)?,
        Action::CommandLine { words } => io.put(io.output_named("cmdline")?, words.as_bytes())?,
        Action::LoaderImage { .. } => loader_image(io)?,
        Action::Assemble { copies, listed, header } => assemble(io, copies, listed, header)?,
    }
    Ok(Vec::new())
}

/// Calls cargo, with the jobserver and the sanitised environment.
fn call_cargo(
    engine: &Engine<'_>,
    io: &StepIo<'_>,
    call: &crate::plan::CargoCall,
) -> Result<cargo::Outcome> {
    let step = &io.step.id.0;
    engine.observer.hear(&Event::Command { step: step.clone(), line: cargo::shown(call) });
    let command = cargo::command(call, engine.tools, engine.env, engine.options.offline);
    let mut command = keeper::kept(&command, engine.lock)?;
    engine.jobserver.configure(&mut command);
    let outcome = cargo::compile(command, |package| {
        engine.observer.hear(&Event::Progress { step: step.clone(), text: package.to_owned() });
    })?;
    if !outcome.diagnostics.trim().is_empty() {
        let text = outcome.diagnostics.clone();
        engine.observer.hear(&Event::Diagnostics { step: step.clone(), text });
    }
    Ok(outcome)
}

fn compile_kernel(engine: &Engine<'_>, io: &StepIo<'_>, spec: &KernelSpec) -> Result<Vec<Rebuilt>> {
    let package = lay_out_final_crate(engine, io, spec)?;
    let folder = engine.layout.gen_crate(&spec.key());
    let target = engine.layout.target().join(format!("kernel-{}", spec.arch));
    let outcome =
        call_cargo(engine, io, &kernel_call(spec, &folder, &target, &real_crates(engine)))?;
    let name = package.replace('-', "_");
    let archive = outcome
        .artifacts
        .iter()
        .filter(|a| a.target == name)
        .flat_map(|a| &a.files)
        .find(|f| f.extension() == Some("a"))
        .with_context(|| format!("cargo made no static library of {package}"))?;
    io.put_copy(io.output_named("libkernel.a")?, archive)?;
    Ok(outcome.rebuilt)
}

/// The real path of the folder into which cargo unpacks crates.
fn real_crates(engine: &Engine<'_>) -> Utf8PathBuf {
    let registry = engine.tools.cargo_home.join("registry");
    registry.canonicalize_utf8().unwrap_or(registry).join("src")
}

/// Makes the folder of a kernel's final crate what it must be; gives the package's name.
fn lay_out_final_crate(engine: &Engine<'_>, io: &StepIo<'_>, spec: &KernelSpec) -> Result<String> {
    let folder = engine.layout.gen_crate(&spec.key());
    let osier = |path: &str| {
        let found = io.step.inputs.iter().find_map(|i| match i {
            Input::File(f) if f.repo == crate::config::resolved::OSIER && f.path == path => Some(f),
            _ => None,
        });
        io.source_path(found.with_context(|| format!("{path} is not an input"))?)
    };
    let manifest = osier("Cargo.toml")?;
    let tables = config::workspace_tables(&fsx::read_text(&manifest)?)
        .with_context(|| format!("{manifest} is no TOML document"))?;
    let made = final_crate(spec, &tables);
    for (link, (repo, path)) in &made.links {
        let repository = engine.workspace.repository(repo);
        let root = &repository.with_context(|| format!("there is no repository `{repo}`"))?.root;
        fsx::symlink(&root.join(path), &folder.join(link))?;
    }
    let mut seed = fsx::read(&osier("Cargo.lock")?)?;
    for (path, text) in &made.files {
        fsx::write_if_changed(&folder.join(path), text.as_bytes())?;
    }
    // The lock is ours, amended once for this crate: `--locked` holds from then on. What it
    // was amended from is kept beside it.
    seed.extend(made.files.values().flat_map(|text| text.bytes()));
    let (lock, from) = (folder.join("Cargo.lock"), folder.join("seed"));
    let seed = crate::model::Digest::of(&seed).to_string();
    if !lock.exists() || std::fs::read_to_string(&from).ok().as_deref() != Some(seed.as_str()) {
        fsx::copy(&osier("Cargo.lock")?, &lock)?;
        amend_lock(engine, &folder)?;
        fsx::write(&from, seed.as_bytes())?;
    }
    Ok(made.package)
}

/// Lets cargo fit the seeded lock to the generated manifest. Offline first, for then it can
/// only drop and add what is known; with the network when crates are still to be fetched.
fn amend_lock(engine: &Engine<'_>, folder: &Utf8Path) -> Result<()> {
    let mut last = String::new();
    for offline in [true, false] {
        if !offline && engine.options.offline {
            break;
        }
        let command = cargo::command(&lock_call(folder), engine.tools, engine.env, offline);
        let out = keeper::kept(&command, engine.lock)?.output().context("cannot start cargo")?;
        if out.status.success() {
            return Ok(());
        }
        last = String::from_utf8_lossy(&out.stderr).into_owned();
    }
    bail!("cargo cannot make the kernel's lock file\n{}", last.trim_end())
}

fn compile_apps(engine: &Engine<'_>, io: &StepIo<'_>) -> Result<Vec<Rebuilt>> {
    let Action::CompileApps { repository, arch, mode, settings, target, libc, apps } =
        &io.step.action
    else {
        bail!("not an app step");
    };
    let repo = engine.workspace.repository(repository);
    let root = &repo.with_context(|| format!("there is no repository `{repository}`"))?.root;
    let folder = engine.layout.target().join(format!("app-{arch}"));
    let names: Vec<&str> = apps.iter().map(|a| a.as_str()).collect();
    // rustc asks the system for its working folder, which sees through links.
    let both = |path: &Utf8Path| {
        let real = path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
        let same = real == path;
        std::iter::once(path.to_owned()).chain((!same).then_some(real)).collect::<Vec<_>>()
    };
    let remap = app_remaps(&Places {
        sources: &both(root),
        build_dir: &both(engine.layout.root()),
        cargo_home: &engine.tools.cargo_home,
        crates: &real_crates(engine),
        sysroot: &engine.tools.toolchain.sysroot,
    });
    let gnu_cc = (*libc == Libc::Gnu).then_some(crate::setup::gnu_cc(*arch));
    let call = app_call((*mode, settings), (target, gnu_cc), &names, root, &folder, &remap);
    let outcome = call_cargo(engine, io, &call)?;
    for app in &names {
        let made = outcome.artifacts.iter().find(|a| a.target == *app && a.executable.is_some());
        let made = made.and_then(|a| a.executable.as_deref());
        let made = made.with_context(|| format!("cargo made no program `{app}`"))?;
        io.put_copy(io.output_named(app)?, made)?;
    }
    Ok(outcome.rebuilt)
}

fn syscall_table(
    io: &StepIo<'_>,
    arch: Arch,
    only: Option<&BTreeSet<&'static str>>,
    (keeps, crash_dump): (&BTreeSet<&'static str>, bool),
) -> Result<()> {
    let archive = io.made(io.input_named("libkernel.a")?)?;
    let defined = link::syscalls_defined(&archive)?;
    let kept = link::syscalls_kept(arch, defined, only)?;
    let object = link::syscall_object(arch, &kept, keeps, crash_dump)?;
    io.put(io.output_named("syscalls.o")?, &object)
}

fn link_kernel(
    engine: &Engine<'_>,
    io: &StepIo<'_>,
    (arch, lto): (Arch, Option<&str>),
) -> Result<()> {
    let script = io.step.inputs.iter().find_map(|i| match i {
        Input::File(path) => Some(path),
        _ => None,
    });
    let output = io.output_named("kernel.pie")?;
    let part = fsx::part_name(&engine.layout.root().join(output));
    let archive = io.made_path(io.input_named("libkernel.a")?)?;
    let table = io.made_path(io.input_named("syscalls.o")?)?;
    let script = io.source_path(script.context("the link step has no script")?)?;
    let cache = engine.layout.cache().join("lto");
    let args = link::lld_args(&link::LinkInputs {
        arch,
        archive: &archive,
        syscalls: &table,
        script: &script,
        lto,
        // An audit wants to see the linker at work, and only its inputs opened.
        cache: (lto.is_some() && !engine.options.audit).then_some(&cache),
        output: &part,
        jobs: engine.options.jobs,
    });
    let step = io.step.id.0.clone();
    let line = format!("{} {}", engine.tools.rust_lld, args.join(" "));
    engine.observer.hear(&Event::Command { step, line });
    remove_leftovers(&part)?;
    let lld = &engine.tools.rust_lld;
    let out = if engine.options.audit {
        let words: Vec<&str> =
            [lld.as_str()].into_iter().chain(args.iter().map(String::as_str)).collect();
        let declared = [lld.clone(), archive.clone(), table.clone(), script.clone()];
        audit::run(&words, &declared.into(), &part, &part.with_extension("trace"))?
    } else {
        let mut command = std::process::Command::new(lld);
        command.args(&args).env_clear();
        let out = keeper::kept(&command, engine.lock)?.output();
        out.with_context(|| format!("cannot start {lld}"))?
    };
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        bail!("rust-lld failed ({})\n{}", out.status, text.trim_end());
    }
    io.put_part(output)
}

/// Removes what a killed linker left: lld writes under a name of its own beside the one that it
/// is given.
fn remove_leftovers(part: &Utf8Path) -> Result<()> {
    let (Some(folder), Some(name)) = (part.parent(), part.file_name()) else { return Ok(()) };
    for entry in folder.read_dir_utf8().with_context(|| format!("cannot read {folder}"))? {
        let entry = entry?;
        if entry.file_name().starts_with(name) {
            fsx::remove(entry.path())?;
        }
    }
    Ok(())
}

fn relocate(io: &StepIo<'_>, plan: &Relocate) -> Result<()> {
    let pie = io.made(io.input_named("kernel.pie")?)?;
    let planned = link::RelocatePlan {
        base: plan.base,
        high_half: plan.high_half,
        machine: plan.elf_machine,
    };
    let moved = link::relocate(&pie, &planned)?;
    // Before anything is written: a kernel that fails the check never gets its name.
    let drivers: Vec<&str> = plan.drivers.iter().map(|d| d.as_str()).collect();
    link::check(&pie, &moved, &link::CheckPlan { relocate: planned, drivers: &drivers })?;
    io.put(io.output_named("loader.elf")?, &moved.elf)?;
    io.put(io.output_named("loader.relocs")?, &moved.relocs)
}

fn strip_program(io: &StepIo<'_>) -> Result<()> {
    let (Some(output), Some(Input::Output { path, .. })) =
        (io.step.outputs.first(), io.step.inputs.first())
    else {
        bail!("the step `{}` has no app", io.step.id);
    };
    let stripped = link::strip_program(&io.made(path)?).with_context(|| path.to_string())?;
    io.put(output, &stripped)
}

fn pack_bootfs(
    engine: &Engine<'_>,
    io: &StepIo<'_>,
    mtime: i64,
    entries: &[PackEntry],
) -> Result<()> {
    let read = |entry: &PackEntry| match &entry.content {
        PackContent::Source(path) => Ok(Some((io.source(path)?, io.digest_of_source(path)?))),
        PackContent::App(path) => Ok(Some((io.made(path)?, io.digest_of_made(path)?.digest))),
        PackContent::Text(text) => {
            Ok(Some((text.clone().into_bytes(), Digest::of(text.as_bytes()))))
        }
        PackContent::Dir | PackContent::Link(_) => anyhow::Ok(None),
    };
    let bytes = entries.iter().map(read).collect::<Result<Vec<_>>>()?;
    let packed = entries.iter().zip(&bytes).map(|(entry, bytes)| {
        let mode = u32::from_str_radix(&entry.mode, 8);
        Ok(pack::PackEntry {
            path: entry.path.clone(),
            mode: mode.with_context(|| format!("{}: mode {}", entry.path, entry.mode))?,
            uid: entry.uid,
            gid: entry.gid,
            owner: entry.owner.clone(),
            group: entry.group.clone(),
            content: match (&entry.content, bytes) {
                (PackContent::Link(target), _) => pack::PackContent::Link(target.clone()),
                (_, Some((bytes, digest))) => pack::PackContent::File(bytes, *digest),
                (_, None) => pack::PackContent::Dir,
            },
        })
    });
    let packed = pack::complete(packed.collect::<Result<Vec<_>>>()?);
    let parts = pack::bootfs(&packed, mtime)?;
    let parts: Vec<Part<'_>> = parts.iter().map(|bytes| Part::Bytes(bytes)).collect();
    io.put_parts(io.output_named("bootfs")?, &parts)?;
    io.put(io.output_named("manifest")?, pack::manifest(&packed).as_bytes())?;
    for entry in entries {
        let step = io.step.id.0.clone();
        engine.observer.hear(&Event::Packed { step, line: packed_line(entry) });
    }
    Ok(())
}

/// One line of the log for a packed entry.
fn packed_line(entry: &PackEntry) -> String {
    let (kind, from) = match &entry.content {
        PackContent::Source(path) => ("FILE", format!("{} of {}", path.path, path.repo)),
        PackContent::App(path) => ("FILE", path.to_string()),
        PackContent::Text(_) => ("FILE", "text".to_owned()),
        PackContent::Dir => ("DIR", String::new()),
        PackContent::Link(target) => ("LINK", format!("to {target}")),
    };
    let PackEntry { path, mode, owner, group, uid, gid, .. } = entry;
    format!("{kind}: [{path}][{mode}][{owner}/{uid}][{group}/{gid}]: OK ({from})")
}

fn loader_image(io: &StepIo<'_>) -> Result<()> {
    let loader = io.made(io.input_named("loader.elf")?)?;
    let bootfs = io.input_named("bootfs")?;
    let length = io.digest_of_made(bootfs)?.size;
    let words = String::from_utf8(io.made(io.input_named("cmdline")?)?)?;
    let around = pack::loader_img(&loader, length, &words)?;
    let bootfs = io.made_path(bootfs)?;
    let parts = [Part::Bytes(&around.before), Part::File(&bootfs), Part::Bytes(&around.after)];
    io.put_parts(io.output_named("loader.img")?, &parts)
}

/// `build.json`.
#[derive(Serialize)]
struct BuildJson<'a> {
    format: u32,
    #[serde(flatten)]
    header: &'a BuildHeader,
    artifacts: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    size: u64,
    sha256: String,
}

fn assemble(
    io: &StepIo<'_>,
    copies: &BTreeMap<Utf8PathBuf, Utf8PathBuf>,
    listed: &[Utf8PathBuf],
    header: &BuildHeader,
) -> Result<()> {
    for (to, from) in copies {
        io.put_copy(to, &io.made_path(from)?)?;
    }
    let artifacts = listed.iter().map(|path| {
        let made = io.digest_of_made(copies.get(path).unwrap_or(path))?;
        let name = path.file_name().unwrap_or_default();
        Ok(Listed { name, size: made.size, sha256: made.digest.to_string() })
    });
    let artifacts = artifacts.collect::<Result<Vec<_>>>()?;
    let mut text = serde_json::to_string_pretty(&BuildJson { format: 1, header, artifacts })?;
    text.push('\n');
    io.put(io.output_named("build.json")?, text.as_bytes())
}
