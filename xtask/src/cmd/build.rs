//! `cargo xtask build`: gather → plan → exec → report.

use crate::cli::{BuildFlags, Selectors};
use crate::config::{self, LoadRequest, resolved::Workspace};
use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::engine::{Done, Engine, Options};
use crate::exec::{self, host::Tools, memo::Memo, stamps::Stamps};
use crate::model::{Arch, Name};
use crate::plan::{self, BuildPlan, Made, Selected, Selection, StepId};
use crate::report::{self, Event, Observer, Outcome, Row};
use crate::setup::Need;
use crate::solve::{self, Asker, Reason, Solution};
use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Instant;

/// Builds images
#[derive(clap::Args, Debug)]
pub struct Build {
    #[command(flatten)]
    pub selectors: Selectors,
    #[command(flatten)]
    pub flags: BuildFlags,
}

impl Build {
    /// Runs the command.
    ///
    /// # Errors
    /// A wrong request or configuration; a failed step.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let built = build(cx, &self.selectors, &self.flags)?;
        if !cx.json {
            eprint!("{}", report::table(&rows(cx, &built)));
        }
        Ok(Status::OK)
    }
}

/// The artifacts of all images, in the order in which `build.json` lists them.
fn rows(cx: &Context, built: &Built) -> Vec<Row> {
    let near = |path: &Utf8PathBuf| path.strip_prefix(&cx.cwd).unwrap_or(path).to_string();
    let all = built.images.iter().flat_map(|image| {
        image.artifacts.iter().map(|(path, made)| Row {
            path: near(path),
            size: made.size,
            rebuilt: built.rebuilt.contains(path),
        })
    });
    all.collect()
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    pub workspace: Workspace,
    pub images: Vec<BuiltImage>,
    /// Artifacts whose bytes this build changed.
    pub rebuilt: BTreeSet<Utf8PathBuf>,
}

/// One image's artifacts, by absolute path.
#[derive(Debug)]
pub struct BuiltImage {
    pub selected: Selected,
    /// `<build-dir>/<arch>-<mode>-<profile>/<image>`.
    pub folder: Utf8PathBuf,
    pub loader_elf: Utf8PathBuf,
    pub loader_img: Utf8PathBuf,
    pub cmdline: Utf8PathBuf,
    /// The apps in it: path in the image → ELF file with symbols.
    pub apps: BTreeMap<String, Utf8PathBuf>,
    /// Everything in the folder, `build.json` last.
    pub artifacts: Vec<(Utf8PathBuf, Made)>,
}

/// The configuration of everything that `cx` can see.
///
/// # Errors
/// A [`Refusal`] with all mistakes of all files.
pub fn workspace(cx: &Context) -> Result<Workspace> {
    let request = LoadRequest {
        osier: cx.root.clone(),
        cwd: cx.cwd.clone(),
        repos: cx.repos.clone(),
        build_dir: Some(cx.layout.root().to_owned()),
    };
    // https://no-color.org
    let plain = cx.env.get("NO_COLOR").is_some_and(|v| !v.is_empty());
    let color = !plain && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let refuse = |d: config::Diagnostics| {
        if cx.json {
            println!("{}", serde_json::json!({ "format": 1, "diagnostics": d.records() }));
        }
        Refusal::rendered(d.render(color))
    };
    Ok(config::load(&request).map_err(refuse)?)
}

/// The plan of what `selectors` select.
///
/// # Errors
/// A [`Refusal`] about the request.
pub fn plan(cx: &Context, workspace: &Workspace, selectors: &Selectors) -> Result<BuildPlan> {
    let selections = plan::selections(selectors, &cx.env, workspace)?;
    let epoch = plan::epoch(&cx.env)?;
    let solve = |s: &Selection| {
        let (arch, image) = (s.arch.value, Some(&s.image.value));
        let solved = solve::for_selection(workspace, arch, &s.profile.value, image);
        let solved = solved.map_err(|e| Refusal::new(e.to_string()))?;
        Ok(solved.names().map(|name| (name.clone(), chain(&solved, name))).collect())
    };
    Ok(plan::plan(workspace, &selections, &epoch, &solve)?)
}

/// Why a driver is in, as one line: `profile all → virtio-blk → virtio-pci`.
fn chain(solved: &Solution, driver: &Name) -> String {
    let links = solved.chain(driver);
    let asker = links.first().map(|(_, reason)| match reason {
        Reason::Asked(ask) => match &ask.by {
            Asker::Profile(name) => format!("profile {name}"),
            Asker::Image(name) => format!("image {name}"),
            Asker::Root(name) => format!("root of image {name}"),
            Asker::Selector => format!("+{}", ask.name),
        },
        Reason::Required { by, .. } => by.to_string(),
    });
    let names = links.iter().map(|(name, _)| name.to_string());
    asker.into_iter().chain(names).collect::<Vec<_>>().join(" → ")
}

/// Builds what `selectors` select and tells where it lies. The lock of the build directory
/// is released when this returns.
///
/// # Errors
/// A wrong request or configuration; a failed step.
pub fn build(cx: &Context, selectors: &Selectors, flags: &BuildFlags) -> Result<Built> {
    let workspace = workspace(cx)?;
    let plan = plan(cx, &workspace, selectors)?;
    let done = carry_out(cx, &workspace, &plan, flags)?;
    report_failures(&done, cx.layout.root())?;
    let images = plan.selections.iter().map(|s| image(cx, s, &done)).collect();
    let root = cx.layout.root();
    let rebuilt = done.rebuilt.iter().map(|path| root.join(path)).collect();
    Ok(Built { workspace, images, rebuilt })
}

fn image(cx: &Context, selected: &Selected, done: &Done) -> BuiltImage {
    let folder = cx.layout.root().join(&selected.folder);
    let apps = selected.apps.iter();
    let made = done.outputs.iter().filter(|(path, _)| path.parent() == Some(&selected.folder));
    let mut artifacts: Vec<_> = made.map(|(p, m)| (cx.layout.root().join(p), *m)).collect();
    artifacts.sort_by_key(|(path, _)| path.file_name() == Some("build.json"));
    BuiltImage {
        loader_elf: folder.join("loader.elf"),
        loader_img: folder.join("loader.img"),
        cmdline: folder.join("cmdline"),
        apps: apps.map(|(path, elf)| (path.clone(), cx.layout.root().join(elf))).collect(),
        artifacts,
        folder,
        selected: selected.clone(),
    }
}

/// The command line of this process, as others see it in the lock and in the log.
fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}

/// Takes the lock of the build directory, which it makes if there is none.
///
/// # Errors
/// A [`Refusal`] when the folder holds other things than a build.
pub fn lock(cx: &Context) -> Result<exec::lock::BuildLock> {
    exec::build_dir::prepare(&cx.layout, &cx.root)?;
    exec::lock::acquire(&cx.layout.lock(), &command_line(), |holder| {
        eprintln!("waiting for the build directory {}, held by {holder}", cx.layout.root());
    })
}

/// Carries out `plan` under the build directory's lock.
fn carry_out(
    cx: &Context,
    workspace: &Workspace,
    plan: &BuildPlan,
    flags: &BuildFlags,
) -> Result<Done> {
    let begun = Instant::now();
    let arches: BTreeSet<Arch> = plan.selections.iter().map(|s| s.arch).collect();
    let mut needs: BTreeSet<Need> = arches.into_iter().flat_map(Need::of_build).collect();
    needs.extend(plan.glibc().flat_map(|arch| [Need::GnuStd(arch), Need::GnuCc(arch)]));
    exec::setup::ensure(cx, &needs.into_iter().collect::<Vec<_>>())?;
    let lock = lock(cx)?;
    let mut tools = Tools::find(&cx.env)?;
    let (home, overridden) = exec::cargo_home::prepare(&tools.user_cargo_home, &cx.layout)?;
    tools.cargo_home = home;
    let (env, stripped) = exec::env::sanitise(&cx.env);
    let options = Options {
        jobs: jobs(cx, workspace, flags)?.get(),
        offline: flags.offline || workspace.settings.offline.as_ref().is_some_and(|o| o.value),
        keep_going: flags.keep_going,
        audit: flags.audit,
        shuffle: shuffle(cx)?,
    };
    let memo = Memo::open(&cx.layout.cache().join("memo.json"), flags.rehash);
    let stamps = Stamps::new(&cx.layout);
    let jobserver = jobserver::Client::new(options.jobs).context("cannot make a jobserver")?;
    let log = exec::log::RunLog::begin(&cx.layout)?;
    let run = log.run.clone();
    let mut observers: Vec<Box<dyn Observer>> = vec![Box::new(log), report::for_people(cx.verbose)];
    if cx.json {
        observers.push(Box::new(report::Json));
    }
    let observer = report::Fan(observers);
    // By this link, because a path may name another file by now: `cargo xtask test` runs
    // `cargo test`, which puts its own xtask where this one was.
    let me = Utf8PathBuf::from("/proc/self/exe");
    observer.hear(&Event::RunStarted {
        format: report::FORMAT,
        run: run.clone(),
        command: command_line(),
        plan: plan.hash.to_string(),
        steps: plan.steps.len(),
        stripped,
        overridden,
    });
    let engine = Engine {
        layout: &cx.layout,
        workspace,
        tools: &tools,
        env: &env,
        options,
        observer: &observer,
        memo: &memo,
        stamps: &stamps,
        jobserver: &jobserver,
        lock: Some(lock.file()),
        run,
        xtask: memo.digest(&me)?.0.to_string(),
    };
    let done = engine.run(plan);
    let saved = memo.save();
    let done = done?;
    // On a full disk it is the steps that say what has failed.
    if done.failures.is_empty() {
        saved?;
    }
    observer.hear(&Event::RunFinished {
        ok: done.failures.is_empty(),
        ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        ran: done.count(Outcome::Rebuilt) + done.count(Outcome::Unchanged),
        fresh: done.count(Outcome::Fresh),
        failed: done.count(Outcome::Failed),
        skipped: done.count(Outcome::Skipped),
    });
    Ok(done)
}

/// `--jobs`, `MAX_JOBS`, the settings, or the CPUs that this process may use: the standard
/// library takes cgroup quotas and affinity into account.
fn jobs(cx: &Context, workspace: &Workspace, flags: &BuildFlags) -> Result<NonZeroUsize> {
    if let Some(jobs) = flags.jobs {
        return Ok(jobs);
    }
    if let Some(text) = cx.env.get("MAX_JOBS").filter(|t| !t.is_empty()) {
        let refuse = |_| Refusal::new(format!("MAX_JOBS={text} is not a number above 0"));
        return Ok(text.parse().map_err(refuse)?);
    }
    let set = workspace.settings.jobs.as_ref().and_then(|j| NonZeroUsize::new(j.value as usize));
    Ok(set.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN))
}

/// `OSIER_SHUFFLE`: a number that decides the order in which ready steps start. It is for tests,
/// which show that no byte depends on that order.
fn shuffle(cx: &Context) -> Result<Option<u64>> {
    let Some(text) = cx.env.get("OSIER_SHUFFLE").filter(|t| !t.is_empty()) else { return Ok(None) };
    let refuse = |_| Refusal::new(format!("OSIER_SHUFFLE={text} is not a number"));
    Ok(Some(text.parse().map_err(refuse)?))
}

/// What the C library says for ENOSPC.
const DISK_FULL: &str = "No space left on device";
/// With less room than this (1 MiB) a failure is taken for one of a full disk, whatever it says:
/// linkers write by `mmap`, and end with a bus error there.
const ROOM: u64 = 1 << 20;

/// All failures together, as one error; a full disk as that.
fn report_failures(done: &Done, root: &Utf8Path) -> Result<()> {
    if done.failures.is_empty() {
        return Ok(());
    }
    let disk_full = done.failures.iter().any(|(_, e)| format!("{e:#}").contains(DISK_FULL));
    let here = exec::fsx::free_bytes(root).is_some_and(|free| free < ROOM);
    if disk_full || here {
        let disk = if here { format!("the disk that holds {root}") } else { "a disk".to_owned() };
        let first = |(id, e): &(StepId, anyhow::Error)| {
            let text = format!("{e:#}");
            let line = text.lines().find(|l| l.contains(DISK_FULL)).or(text.lines().next());
            format!("the step `{id}` failed: {}", line.unwrap_or_default().trim())
        };
        let steps: Vec<String> = done.failures.iter().map(first).collect();
        return Err(anyhow::anyhow!("{}", steps.join("\n")).context(format!(
            "{disk} is full; make room, or name a folder elsewhere with --build-dir"
        )));
    }
    if let Some((id, error)) = done.failures.iter().find(|(_, e)| crate::error::status(e) == 2) {
        let refusal = error.chain().find_map(|e| e.downcast_ref::<Refusal>());
        return Err(anyhow::Error::new(
            refusal.cloned().unwrap_or_else(|| Refusal::new(format!("{error:#}"))),
        )
        .context(format!("the step `{id}` failed")));
    }
    let text: Vec<String> =
        done.failures.iter().map(|(id, e)| format!("the step `{id}` failed: {e:#}")).collect();
    anyhow::bail!("{}", text.join("\n"))
}
