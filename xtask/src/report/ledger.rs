//! Where a run's time went, out of its logged events.

use super::lines::seconds;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What of an event this reads; other keys and events pass by.
#[derive(Deserialize)]
struct Logged {
    event: String,
    #[serde(default)]
    run: String,
    #[serde(default)]
    command: String,
    #[serde(default)]
    step: String,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    ms: u64,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    rebuilt: Vec<crate::exec::cargo::Rebuilt>,
}

/// One run as a table: the steps that ran, the longest first, what cargo compiled in each, and
/// how many were up to date. `events` are JSON, one a line; a damaged line is passed over.
#[must_use]
pub fn ledger(events: &str) -> String {
    let events: Vec<Logged> =
        events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut out = String::new();
    let started = events.iter().find(|e| e.event == "run-started");
    let ended = events.iter().find(|e| e.event == "run-finished");
    if let Some(start) = started {
        let end = match ended {
            Some(end) if end.ok => format!("ok {}", seconds(end.ms)),
            Some(end) => format!("FAILED {}", seconds(end.ms)),
            None => "did not end".to_owned(),
        };
        let _ = writeln!(out, "run {}: {}  {end}", start.run, start.command);
    }
    let causes: BTreeMap<&str, &str> = events
        .iter()
        .filter(|e| e.event == "step-started")
        .map(|e| (e.step.as_str(), e.cause.as_str()))
        .collect();
    let steps = || events.iter().filter(|e| e.event == "step-finished");
    // Cargo's calls always run: one that compiled nothing was up to date, and took its time.
    let mut ran: Vec<&Logged> =
        steps().filter(|e| e.outcome != "fresh" || causes.contains_key(e.step.as_str())).collect();
    ran.sort_by_key(|e| std::cmp::Reverse(e.ms));
    for step in &ran {
        let cause = causes.get(step.step.as_str()).copied().unwrap_or_default();
        let _ =
            writeln!(out, "{:>9}  {:<9} {}  ({cause})", seconds(step.ms), step.outcome, step.step);
        for package in &step.rebuilt {
            let reason = package.reason.as_deref().unwrap_or("never compiled here");
            let _ = writeln!(out, "             {}: {reason}", package.package);
        }
    }
    let _ =
        writeln!(out, "{} steps ran, {} were up to date", ran.len(), steps().count() - ran.len());
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Outcome};
    use super::*;

    #[test]
    fn the_longest_step_comes_first() {
        let finished = |step: &str, outcome, ms| Event::StepFinished {
            step: step.into(),
            outcome,
            ms,
            bytes: 0,
            rebuilt: Vec::new(),
            error: None,
        };
        let started = |step: &str| Event::StepStarted { step: step.into(), cause: "file a".into() };
        let events = [
            started("link k"),
            finished("link k", Outcome::Rebuilt, 30),
            finished("strip k", Outcome::Fresh, 0),
            started("compile k"),
            finished("compile k", Outcome::Rebuilt, 1500),
            Event::RunFinished { ok: true, ms: 1600, ran: 2, fresh: 1, failed: 0, skipped: 0 },
        ];
        let text: Vec<String> = events.iter().map(|e| serde_json::to_string(e).unwrap()).collect();
        let shown = ledger(&format!("{}\n{{half", text.join("\n")));
        let expected = "    1.50s  rebuilt   compile k  (file a)\n    0.03s  rebuilt   link k  (file a)\n\
            2 steps ran, 1 were up to date\n";
        assert_eq!(shown, expected);
    }
}
