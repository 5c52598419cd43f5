//! `cargo xtask why`: why an artifact was made anew, back to the root.

use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::stamps::Stamps;
use crate::plan::why;
use anyhow::Result;

/// Shows why an artifact or step was made anew the last time, back to what changed
#[derive(clap::Args, Debug)]
pub struct Why {
    /// A file of the build directory (or the end of its path), or a step's name
    pub artifact: String,
}

/// More candidates than this are not listed.
const LISTED: usize = 12;

impl Why {
    /// Runs the command.
    ///
    /// # Errors
    /// A name that means nothing or several things.
    pub fn run(self, cx: &Context) -> Result<Status> {
        let stamps = Stamps::new(&cx.layout).all()?;
        let stamps: why::Stamps = stamps.into_iter().map(|s| (s.step.clone(), s)).collect();
        let name = why::in_build_dir(cx.layout.root(), &cx.cwd, &self.artifact);
        let (step, path) = match why::find(&stamps, &name).as_slice() {
            [found] => *found,
            [] => return Err(unknown(cx, &stamps, &name).into()),
            several => {
                let paths = several.iter().take(LISTED).filter_map(|(_, path)| *path);
                let refusal = Refusal::new(format!("`{name}` can be {} files", several.len()));
                let refusal = paths.fold(refusal, |r, p| r.help(format!("cargo xtask why {p}")));
                return Err(refusal.into());
            }
        };
        let reason = why::why(&stamps, step, path);
        // A configuration that no longer loads does not keep the past from being told.
        let shadowed = super::build::workspace(cx).map_or_else(|_| Vec::new(), |w| w.shadowed);
        let text = if cx.json {
            serde_json::json!({ "format": 1, "why": reason, "shadowed": shadowed }).to_string()
        } else {
            shadowed.iter().fold(why::render(&reason), |text, s| text + &format!("note: {s}\n"))
        };
        crate::report::stdout(&text)?;
        Ok(Status::OK)
    }
}

fn unknown(cx: &Context, stamps: &why::Stamps, name: &str) -> Refusal {
    let refusal =
        Refusal::new(format!("nothing called `{name}` was built in {}", cx.layout.root()));
    if stamps.is_empty() {
        return refusal.help("cargo xtask build");
    }
    let steps = stamps.keys().map(String::as_str);
    let outputs = stamps.values().flat_map(|s| s.outputs.keys());
    let names = steps.chain(outputs.filter_map(|o| o.file_name()));
    match crate::config::suggest::nearest(name, names) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None => {
            refusal.help("name an artifact, such as loader.img, or a step of `cargo xtask plan`")
        }
    }
}
