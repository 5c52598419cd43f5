//! Carries out a plan: in parallel over its graph, only what its inputs ask for.
//!
//! A step runs when a fact that it was made from has changed, or an output is not as it was
//! left. Its stamp is written last: a build killed at any moment leaves steps that run again.
//! Cargo steps run always, because cargo alone decides what to recompile; equal bytes that
//! come out stop the chain there.

use super::actions;
use super::host::Tools;
use super::io::{self, StepIo};
use super::memo::Memo;
use super::stamps::Stamps;
use crate::config::resolved::Workspace;
use crate::context::Env;
use crate::model::{Digest, Layout};
use crate::plan::{BuildPlan, Change, Facts, Input, Outputs, Stamp, Step, StepId, Tool, stamp};
use crate::report::{Event, Observer, Outcome};
use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::Instant;

/// Flags that change no byte of an artifact.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps at a time, and tokens that cargo may take.
    pub jobs: usize,
    pub offline: bool,
    pub keep_going: bool,
    /// Steps run whether or not they must, and programs are traced.
    pub audit: bool,
    /// Ready steps start in an order that this number decides, not in the plan's.
    pub shuffle: Option<u64>,
}

/// All that a run works with.
pub struct Engine<'a> {
    pub layout: &'a Layout,
    pub workspace: &'a Workspace,
    pub tools: &'a Tools,
    /// Sanitised.
    pub env: &'a Env,
    pub options: Options,
    pub observer: &'a dyn Observer,
    pub memo: &'a Memo,
    pub stamps: &'a Stamps,
    pub jobserver: &'a jobserver::Client,
    /// The build directory's lock, for programs that outlive this process for a moment.
    pub lock: Option<&'a std::fs::File>,
    /// The run's id.
    pub run: String,
    /// The program that carries out in-process steps: its own digest.
    pub xtask: String,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Done {
    pub outcomes: BTreeMap<StepId, Outcome>,
    pub outputs: Outputs,
    /// Outputs whose bytes are other than before.
    pub rebuilt: BTreeSet<Utf8PathBuf>,
    /// In the order in which they happened.
    pub failures: Vec<(StepId, anyhow::Error)>,
}

impl Done {
    /// How many steps ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.values().filter(|o| **o == outcome).count()
    }
}

/// What one step did.
struct StepDone {
    outcome: Outcome,
    outputs: Outputs,
    /// Those of the outputs whose bytes are other than before.
    changed: BTreeSet<Utf8PathBuf>,
    bytes: u64,
    rebuilt: Vec<super::cargo::Rebuilt>,
}

impl Engine<'_> {
    /// Carries out `plan`. Failures are in the result; of a step's dependants none runs.
    ///
    /// # Errors
    /// When the plan is none: a step needs one that is not in it.
    pub fn run(&self, plan: &BuildPlan) -> Result<Done> {
        let mut waiting: BTreeMap<&StepId, BTreeSet<&StepId>> =
            plan.steps.iter().map(|s| (&s.id, s.needs().collect())).collect();
        let steps: BTreeMap<&StepId, &Step> = plan.steps.iter().map(|s| (&s.id, s)).collect();
        let mut done = Done::default();
        let mut running = 0;
        std::thread::scope(|scope| -> Result<()> {
            if self.options.jobs > 1 {
                // While cargo's calls run, most of which find nothing to do.
                scope.spawn(|| self.read_sources(plan));
            }
            let (tell, told) = mpsc::channel();
            loop {
                let stop = !done.failures.is_empty() && !self.options.keep_going;
                // In the plan's order: cargo steps come first, and start first.
                let ready = plan
                    .steps
                    .iter()
                    .filter(|s| waiting.get(&s.id).is_some_and(BTreeSet::is_empty));
                let mut ready: Vec<&Step> = ready.collect();
                if let Some(seed) = self.options.shuffle {
                    ready.sort_by_key(|s| Digest::of(format!("{seed} {}", s.id).as_bytes()));
                }
                let room = if stop { 0 } else { self.options.jobs.saturating_sub(running) };
                for step in ready.into_iter().take(room) {
                    waiting.remove(&step.id);
                    running += 1;
                    let tell = tell.clone();
                    scope.spawn(move || {
                        let result = self.step(step);
                        // The receiver lives as long as this scope.
                        let _ = tell.send((&step.id, result));
                    });
                }
                if running == 0 {
                    break;
                }
                let (id, result) = told.recv().context("a step ended without a word")?;
                running -= 1;
                match result {
                    Ok(d) => {
                        done.outcomes.insert(id.clone(), d.outcome);
                        done.outputs.extend(d.outputs);
                        done.rebuilt.extend(d.changed);
                        waiting.values_mut().for_each(|needs| {
                            needs.remove(id);
                        });
                    }
                    Err(error) => {
                        done.outcomes.insert(id.clone(), Outcome::Failed);
                        done.failures.push((id.clone(), error));
                    }
                }
            }
            Ok(())
        })?;
        for id in waiting.into_keys() {
            let needs = steps.get(id).map(|s| s.needs().collect::<Vec<_>>()).unwrap_or_default();
            if let Some(lost) = needs.iter().find(|n| !steps.contains_key(*n)) {
                anyhow::bail!("the step `{id}` needs `{lost}`, which is not in the plan");
            }
            done.outcomes.insert(id.clone(), Outcome::Skipped);
        }
        Ok(done)
    }

    /// Reads the source files that the plan's steps ask for, so that their digests are known
    /// when the steps begin. What cannot be read is the steps' own error.
    fn read_sources(&self, plan: &BuildPlan) {
        let files = plan.steps.iter().flat_map(|s| &s.inputs).filter_map(|input| match input {
            Input::File(source) => io::source(self.workspace, source).ok(),
            _ => None,
        });
        files.for_each(|path| drop(self.memo.digest_of_source(&path)));
    }

    /// One step, on its own thread, with a token of the jobserver that cargo shares.
    fn step(&self, step: &Step) -> Result<StepDone> {
        let _token = self.jobserver.acquire().context("the jobserver is gone")?;
        let begun = Instant::now();
        let result = self.carry_out(step);
        let (outcome, bytes, rebuilt, error) = match &result {
            Ok(d) => (d.outcome, d.bytes, d.rebuilt.clone(), None),
            Err(e) => (Outcome::Failed, 0, Vec::new(), Some(format!("{e:#}"))),
        };
        self.observer.hear(&Event::StepFinished {
            step: step.id.0.clone(),
            outcome,
            ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes,
            rebuilt,
            error,
        });
        result
    }

    fn carry_out(&self, step: &Step) -> Result<StepDone> {
        let facts = self.facts(step)?;
        let old = self.stamps.load(&step.id);
        let mut changes = match &old {
            Some(old) => stamp::changes(&old.facts, &facts),
            None => vec![Change::event("first build")],
        };
        stamp::place(&mut changes, &step.origins);
        changes.extend(self.disturbed(step, old.as_ref()));
        if self.options.audit && !step.is_cargo() {
            changes.push(Change::event("audit"));
        }
        if changes.is_empty() && !step.is_cargo() {
            let outputs = old.map(|o| o.outputs).unwrap_or_default();
            return Ok(StepDone {
                outcome: Outcome::Fresh,
                outputs,
                changed: BTreeSet::new(),
                bytes: 0,
                rebuilt: Vec::new(),
            });
        }
        self.observer.hear(&Event::StepStarted {
            step: step.id.0.clone(),
            cause: changes.first().map_or_else(|| "cargo decides".to_owned(), Change::to_string),
        });
        let io = StepIo::new(step, self.layout, self.workspace, self.memo);
        let rebuilt = actions::act(self, &io)?;
        let (outputs, bytes) = io.finish()?;
        let before = old.as_ref().map(|o| &o.outputs);
        let changed: BTreeSet<Utf8PathBuf> = outputs
            .iter()
            .filter(|(path, made)| before.and_then(|b| b.get(*path)) != Some(made))
            .map(|(path, _)| path.clone())
            .collect();
        let outcome = match (changed.is_empty(), step.is_cargo() && rebuilt.is_empty()) {
            (true, true) => Outcome::Fresh,
            (true, false) => Outcome::Unchanged,
            (false, _) => Outcome::Rebuilt,
        };
        changes.extend(rebuilt.iter().map(|r| Change {
            what: format!("package {}", r.package),
            old: None,
            new: r.reason.clone(),
            place: None,
        }));
        // A cargo call that did nothing leaves the stamp, and with it the last real reasons.
        if outcome != Outcome::Fresh || !changes.is_empty() {
            let reason = (self.run.as_str(), changes);
            self.stamps.save(&Stamp::after(old, step, facts, outputs.clone(), reason))?;
        }
        Ok(StepDone { outcome, outputs, changed, bytes, rebuilt })
    }

    /// Everything that decides the step's outputs, as of now.
    fn facts(&self, step: &Step) -> Result<Facts> {
        let mut facts = stamp::action_facts(step);
        for input in &step.inputs {
            let Some(name) = io::fact_name(input) else { continue };
            facts.insert(name, self.fact(step, input)?);
        }
        if !step.is_cargo() {
            facts.insert("xtask".to_owned(), self.xtask.clone());
        }
        Ok(facts)
    }

    fn fact(&self, step: &Step, input: &Input) -> Result<String> {
        let path: Utf8PathBuf = match input {
            Input::File(source) | Input::Package(source) => {
                let path = io::source(self.workspace, source)?;
                if !path.is_file() {
                    let origin =
                        step.origins.values().next().map(|o| format!(" ({o})")).unwrap_or_default();
                    return Err(crate::error::Refusal::new(format!(
                        "the step `{}` needs {path}, which is not a file{origin}",
                        step.id
                    ))
                    .into());
                }
                return Ok(self.memo.digest_of_source(&path)?.0.to_string());
            }
            Input::Tool(Tool::RustLld) => self.tools.rust_lld.clone(),
            // rustc's small program names its compiler library, which carries a hash.
            Input::Tool(Tool::Cargo) => {
                let digest = self.memo.digest(&self.tools.toolchain.rustc)?.0.short();
                let name = self.tools.toolchain.sysroot.file_name().unwrap_or("toolchain");
                return Ok(format!("{name} ({digest})"));
            }
            Input::Output { path, .. } => self.layout.root().join(path),
        };
        Ok(self.memo.digest(&path)?.0.to_string())
    }

    /// Outputs that are not as the stamp says: removed or changed by someone else.
    fn disturbed(&self, step: &Step, old: Option<&Stamp>) -> Vec<Change> {
        let Some(old) = old else { return Vec::new() };
        let now = |path: &Utf8PathBuf| self.memo.digest(&self.layout.root().join(path)).ok();
        let changed = old.outputs.iter().filter_map(|(path, made)| {
            let found = now(path).map(|(digest, _)| digest);
            (found != Some(made.digest)).then(|| Change {
                what: format!("artifact {path}"),
                old: Some(made.digest.to_string()),
                new: found.map(|d| d.to_string()),
                place: None,
            })
        });
        let unknown = step.outputs.iter().filter(|o| !old.outputs.contains_key(*o));
        let unknown = unknown.map(|path| Change::event(format!("artifact {path}")));
        changed.chain(unknown).collect()
    }
}
