//! Progress on a terminal: a line for every step that runs, how far the plan is, and above
//! them what is done.

use super::{Event, Lines, Observer};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often elapsed times are drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// The live display.
pub struct Screen {
    lines: Lines,
    all: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Option<ProgressBar>,
    steps: BTreeMap<String, ProgressBar>,
}

impl Screen {
    /// See [`Lines::new`].
    #[must_use]
    pub fn new(verbose: u8) -> Self {
        Self { lines: Lines::new(verbose), all: MultiProgress::new(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A style from its template; the default one should the template be wrong.
fn style(template: &str) -> ProgressStyle {
    let plain = ProgressStyle::default_bar();
    plain.clone().template(template).unwrap_or(plain).progress_chars("=> ")
}

impl Observer for Screen {
    fn hear(&self, event: &Event) {
        if let Some(line) = self.lines.of(event) {
            // A terminal that is gone must not fail a build.
            let _ = self.all.println(line);
        }
        let mut state = self.state();
        match event {
            Event::RunStarted { steps, .. } => {
                let bar = self.all.add(ProgressBar::new(*steps as u64));
                bar.set_style(style("{bar:24} {pos}/{len} steps  {elapsed}"));
                bar.enable_steady_tick(TICK);
                state.plan = Some(bar);
            }
            Event::StepStarted { step, .. } => {
                let bar = ProgressBar::new_spinner();
                let bar = match &state.plan {
                    Some(plan) => self.all.insert_before(plan, bar),
                    None => self.all.add(bar),
                };
                bar.set_style(style("{spinner} {prefix}  {wide_msg} {elapsed}"));
                bar.set_prefix(step.clone());
                bar.enable_steady_tick(TICK);
                state.steps.insert(step.clone(), bar);
            }
            Event::Progress { step, text } => {
                if let Some(bar) = state.steps.get(step) {
                    bar.set_message(text.clone());
                }
            }
            Event::StepFinished { step, .. } => {
                if let Some(bar) = state.steps.remove(step) {
                    bar.finish_and_clear();
                }
                if let Some(plan) = &state.plan {
                    plan.set_position(self.lines.count().0 as u64);
                }
            }
            Event::RunFinished { .. } => {
                if let Some(plan) = state.plan.take() {
                    plan.finish_and_clear();
                }
            }
            Event::Command { .. } | Event::Diagnostics { .. } | Event::Packed { .. } => {}
        }
    }
}
