//! `cargo xtask schema`: JSON schemas of every file that users write.

use crate::config::kinds::{FileKind, KINDS};
use crate::config::{reference, schema, suggest};
use crate::context::Context;
use crate::error::{Refusal, Status};
use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

/// Where the schemas and the reference lie in Osier's tree.
const SCHEMAS: &str = "docs/schemas";
const REFERENCE: &str = "docs/reference.md";

/// JSON schemas of every file that users write
#[derive(clap::Args, Debug)]
pub struct Schema {
    /// One kind of file: image, component, profile, machine, scenario, driver, repository,
    /// build or arch (default: all)
    kind: Option<String>,
    /// Rewrites docs/reference.md and docs/schemas in Osier's tree instead
    #[arg(long, conflicts_with = "kind")]
    update: bool,
}

impl Schema {
    /// Runs the command.
    ///
    /// # Errors
    /// An unknown kind; with `--update`, a file that cannot be written.
    pub fn run(&self, cx: &Context) -> anyhow::Result<Status> {
        if self.update {
            for (path, text) in generated() {
                let path = cx.root.join(path);
                crate::exec::fsx::write_if_changed(&path, text.as_bytes())
                    .with_context(|| format!("cannot write {path}"))?;
                eprintln!("{path}");
            }
            return Ok(Status::OK);
        }
        let printed = match &self.kind {
            None => {
                let all = KINDS.iter().map(|k| (k.name.to_owned(), schema::of_kind(k)));
                let all: serde_json::Map<_, _> = all.collect();
                serde_json::json!({ "format": 1, "schemas": all })
            }
            Some(name) => {
                let kind = FileKind::named(name).ok_or_else(|| {
                    let names = KINDS.iter().map(|k| k.name);
                    Refusal::new(format!("unknown kind of file `{name}`"))
                        .help(suggest::help(name, names, ""))
                })?;
                schema::of_kind(kind)
            }
        };
        println!("{}", serde_json::to_string_pretty(&printed)?);
        Ok(Status::OK)
    }
}

/// Every generated file, by its path in Osier's tree.
fn generated() -> Vec<(Utf8PathBuf, String)> {
    let schema = |kind: &FileKind| {
        let path = Utf8Path::new(SCHEMAS).join(format!("{}.json", kind.name));
        (path, format!("{:#}\n", schema::of_kind(kind)))
    };
    let reference = (Utf8PathBuf::from(REFERENCE), reference::markdown());
    KINDS.iter().map(schema).chain([reference]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Utf8PathBuf {
        let xtask = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
        xtask.parent().expect("xtask lies in the workspace").to_owned()
    }

    #[test]
    fn the_reference_and_the_schemas_are_up_to_date() {
        let update = "run `cargo xtask schema --update`";
        for (path, text) in generated() {
            let found = std::fs::read_to_string(root().join(&path));
            assert_eq!(found.ok().as_deref(), Some(text.as_str()), "{path} is stale: {update}");
        }
        let files = root().join(SCHEMAS).read_dir_utf8().expect("the schemas").flatten();
        let mut files: Vec<String> = files.map(|f| f.file_name().to_owned()).collect();
        let mut kinds: Vec<String> = KINDS.iter().map(|k| format!("{}.json", k.name)).collect();
        files.sort();
        kinds.sort();
        assert_eq!(files, kinds);
    }

    #[test]
    fn the_editor_is_given_each_schema() {
        let text = std::fs::read_to_string(root().join(".taplo.toml")).expect(".taplo.toml");
        for kind in KINDS {
            let file = kind.files;
            assert!(text.contains(&format!("\"**/{file}\"")), ".taplo.toml has no rule for {file}");
            let schema = format!("{SCHEMAS}/{}.json", kind.name);
            assert!(text.contains(&schema), ".taplo.toml does not name {schema}");
        }
    }
}
