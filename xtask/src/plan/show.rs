//! A plan as a graph: steps in boxes, the files between them on the arrows.

use super::step::{BuildPlan, Input, Step};
use std::fmt::Write as _;

/// What one arrow carries: (producer, consumer, file name).
fn arrows(plan: &BuildPlan) -> impl Iterator<Item = (usize, usize, &str)> {
    let index = |id: &super::StepId| plan.steps.iter().position(|s| s.id == *id);
    plan.steps.iter().enumerate().flat_map(move |(to, step)| {
        step.inputs.iter().filter_map(move |input| match input {
            Input::Output { step, path } => Some((index(step)?, to, path.file_name()?)),
            _ => None,
        })
    })
}

/// The sources that a step reads, one a line.
fn sources(step: &Step) -> Vec<String> {
    let named = step.inputs.iter().filter_map(|input| match input {
        Input::File(path) => Some(path.path.to_string()),
        Input::Package(path) => Some(format!("{}/", path.path)),
        Input::Tool(tool) => Some(tool.name().to_owned()),
        Input::Output { .. } => None,
    });
    named.collect()
}

/// In Graphviz's language.
#[must_use]
pub fn dot(plan: &BuildPlan) -> String {
    let escape = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box];\n");
    for (i, step) in plan.steps.iter().enumerate() {
        let mut label = escape(&step.id.0);
        sources(step).iter().for_each(|s| label.push_str(&format!("\\n{}", escape(s))));
        let _ = writeln!(out, "  s{i} [label=\"{label}\"];");
    }
    for (from, to, file) in arrows(plan) {
        let _ = writeln!(out, "  s{from} -> s{to} [label=\"{}\"];", escape(file));
    }
    out.push_str("}\n");
    out
}

/// As a Mermaid flowchart.
#[must_use]
pub fn mermaid(plan: &BuildPlan) -> String {
    let escape = |s: &str| s.replace('"', "#quot;");
    let mut out = String::from("flowchart LR\n");
    for (i, step) in plan.steps.iter().enumerate() {
        let mut lines = vec![escape(&step.id.0)];
        lines.extend(sources(step).iter().map(|s| escape(s)));
        let _ = writeln!(out, "  s{i}[\"{}\"]", lines.join("<br>"));
    }
    for (from, to, file) in arrows(plan) {
        let _ = writeln!(out, "  s{from} -->|\"{}\"| s{to}", escape(file));
    }
    out
}
