//! What `cargo xtask new` writes, as values.

use crate::model::{Arch, Name};
use camino::{Utf8Path, Utf8PathBuf};

/// Files and edits below the project's root.
#[derive(Debug)]
pub struct Made {
    /// Files to write.
    pub files: Vec<File>,
    /// Lines to put into files that exist.
    pub edits: Vec<Edit>,
    /// What the user does next, a line each.
    pub next: Vec<String>,
}

/// A file to write.
#[derive(Debug)]
pub struct File {
    /// Below the project's root.
    pub path: Utf8PathBuf,
    /// Its whole text.
    pub text: String,
    /// Whether one that exists is left as it is instead of being refused.
    pub optional: bool,
}

/// A line to put into a file.
#[derive(Debug)]
pub struct Edit {
    /// Below the project's root.
    pub path: Utf8PathBuf,
    /// The line.
    pub line: String,
    /// The line goes after the last one that ends with this.
    pub after: &'static str,
}

impl Edit {
    /// `text` with the line, put at the end when nothing marks its place; `None` when it has
    /// the line already.
    #[must_use]
    pub fn apply(&self, text: &str) -> Option<String> {
        let lines: Vec<&str> = text.lines().collect();
        if lines.iter().any(|l| l.trim() == self.line.trim()) {
            return None;
        }
        let at = lines.iter().rposition(|l| l.trim_end().ends_with(self.after));
        let at = at.map_or(lines.len(), |i| i + 1);
        let (head, tail) = lines.split_at_checked(at).unwrap_or((&lines, &[]));
        let all = head.iter().copied().chain([self.line.as_str()]).chain(tail.iter().copied());
        Some(all.flat_map(|l| [l, "\n"]).collect())
    }
}

fn file(path: impl Into<Utf8PathBuf>, text: impl Into<String>) -> File {
    File { path: path.into(), text: text.into(), optional: false }
}

fn optional(path: &str, text: impl Into<String>) -> File {
    File { path: path.into(), text: text.into(), optional: true }
}

/// A project `name`, for the Osier at `osier`, with its toolchain file.
#[must_use]
pub fn project(name: &Name, osier: &Utf8Path, toolchain: &str) -> Made {
    let mut files = vec![
        file(
            crate::config::PROJECT_FILE,
            format!(
                "format = 1\nname = \"{name}\"\n\n# Other repositories, searched after this one.\n\
                 repositories = []\n\n# What is built when the command line does not say.\n\
                 [select]\nimage = \"{name}\"\n"
            ),
        ),
        optional("Cargo.toml", cargo_workspace(osier)),
        file(
            ".cargo/config.toml",
            format!(
                "# Where Osier lies. The other place is Cargo.toml.\n[alias]\n\
                 xtask = \"run --quiet --manifest-path {osier}/Cargo.toml --package xtask --\"\n"
            ),
        ),
        optional("rust-toolchain.toml", toolchain),
        optional(".gitignore", "/build\n/target\n"),
        optional(".taplo.toml", taplo(osier)),
        optional(
            "README.md",
            format!(
                "# {name}\n\nAn Osier project: `cargo xtask run-qemu` builds the image `{name}` and boots \
                 it,\n`cargo xtask test {name}` proves that it boots.\n\n| folder | what |\n|---|---|\n\
                 | `apps/` | programs; `cargo xtask new app NAME` |\n\
                 | `drivers/` | drivers; `cargo xtask new driver NAME` |\n\
                 | `manifests/` | images and components; `cargo xtask new image NAME` |\n\
                 | `scenarios/` | tests that boot |\n\n\
                 Osier is found through `.cargo/config.toml` and `Cargo.toml`: when it moves, change \
                 its path there.\n"
            ),
        ),
        file(
            format!("scenarios/{name}.toml"),
            format!(
                "format = 1\ndescription = \"{name} greets\"\nimage = \"{name}\"\n\n\
                 [[step]]\nexpect = 'Hello from {name}'\n"
            ),
        ),
    ];
    files.extend(app(name).files);
    files.extend(image(name, name).files);
    Made { files, edits: Vec::new(), next: Vec::new() }
}

fn cargo_workspace(osier: &Utf8Path) -> String {
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\n    \"apps/*\",\n]\n\n\
         [workspace.package]\nedition = \"2024\"\n\n\
         # In a kernel these are Osier's own: a driver takes them by `.workspace = true`.\n\
         [workspace.dependencies]\ndriver-api = {{ path = \"{osier}/drivers/api\" }}\n\
         pci = {{ path = \"{osier}/drivers/pci\" }}\nvirtio = {{ path = \"{osier}/drivers/virtio\" }}\n"
    )
}

fn taplo(osier: &Utf8Path) -> String {
    let rule = |kind: &crate::config::kinds::FileKind| {
        format!(
            "\n[[rule]]\ninclude = [\"**/{}\"]\nschema = {{ path = \"{osier}/docs/schemas/{}.json\", \
             enabled = true }}\n",
            kind.files, kind.name
        )
    };
    let rules: String = crate::config::kinds::KINDS.iter().map(rule).collect();
    format!("# Schemas for the editor: taplo reads this.\n{rules}")
}

/// A program.
#[must_use]
pub fn app(name: &Name) -> Made {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\
         description = \"Greets\"\n\n[dependencies]\n"
    );
    let main = format!("//! Greets.\n\nfn main() {{\n    println!(\"Hello from {name}\");\n}}\n");
    Made {
        files: vec![
            file(format!("apps/{name}/Cargo.toml"), manifest),
            file(format!("apps/{name}/src/main.rs"), main),
        ],
        edits: Vec::new(),
        next: vec![format!("put it into an image: cargo xtask new image {name} --app {name}")],
    }
}

/// An image that runs `app`.
#[must_use]
pub fn image(name: &Name, app: &Name) -> Made {
    let text = format!(
        "format = 1\ndescription = \"Runs {app}\"\n\n[run]\nprogram = \"/bin/{app}\"\n\n\
         [[file]]\npath = \"/bin/{app}\"\napp = \"{app}\"\n"
    );
    Made {
        files: vec![file(format!("manifests/images/{name}.toml"), text)],
        edits: Vec::new(),
        next: vec![format!("boot it: cargo xtask run-qemu --image {name}")],
    }
}

/// A component.
#[must_use]
pub fn component(name: &Name) -> Made {
    let text = format!(
        "format = 1\ndescription = \"\"\n\n[[file]]\npath = \"/etc/{name}.conf\"\n\
         text = \"# {name}\\n\"\n"
    );
    Made {
        files: vec![file(format!("manifests/components/{name}.toml"), text)],
        edits: Vec::new(),
        next: vec![format!("put it into an image: `components = [\"{name}\"]`")],
    }
}

/// A driver; `osier` tells whether it becomes one of Osier's own.
#[must_use]
pub fn driver(
    name: &Name,
    arch: &[Arch],
    provides: &[Name],
    requires: &[Name],
    osier: bool,
) -> Made {
    let list = |key: &str, items: Vec<String>| {
        let items: Vec<String> = items.iter().map(|i| format!("\"{i}\"")).collect();
        if items.is_empty() { String::new() } else { format!("{key} = [{}]\n", items.join(", ")) }
    };
    let text = |items: &[Name]| items.iter().map(Name::to_string).collect::<Vec<_>>();
    let metadata = [
        list("provides", text(provides)),
        list("requires", text(requires)),
        list("arch", arch.iter().map(Arch::to_string).collect()),
    ]
    .concat();
    let package = if osier {
        "version.workspace = true\nedition.workspace = true\nlicense.workspace = true\n\
         publish.workspace = true\n"
    } else {
        "version = \"0.1.0\"\nedition = \"2024\"\npublish = false\n"
    };
    let lints = if osier { "[lints]\nworkspace = true\n\n" } else { "" };
    let manifest = format!(
        "[package]\nname = \"{name}\"\n{package}description = \"Driver {name}\"\n\n{lints}\
         [dependencies]\ndriver-api.workspace = true\n\n[package.metadata.driver]\n{metadata}"
    );
    let library = DRIVER.replace("NAME", name.as_str());
    let edits = if osier {
        vec![Edit {
            path: "loader/Cargo.toml".into(),
            line: format!("{name} = {{ path = \"../drivers/{name}\", optional = true }}"),
            after: "optional = true }",
        }]
    } else {
        vec![Edit {
            path: "Cargo.toml".into(),
            line: "    \"drivers/*\",".to_owned(),
            after: "\"apps/*\",",
        }]
    };
    Made {
        files: vec![
            file(format!("drivers/{name}/Cargo.toml"), manifest),
            file(format!("drivers/{name}/src/lib.rs"), library),
        ],
        edits,
        next: vec![format!("build it in: cargo xtask build --profile all+{name}")],
    }
}

/// A driver that finds nothing yet.
const DRIVER: &str = "\
//! The driver NAME.
#![no_std]
#![forbid(unsafe_code)]

use driver_api::{Driver, Error, Kernel, Result};

#[driver_api::linkme::distributed_slice(driver_api::DRIVERS)]
#[linkme(crate = driver_api::linkme)]
static DRIVER: Driver = Driver { name: \"NAME\", early: None, probe };

/// Finds the devices and starts them.
fn probe(_kernel: &'static dyn Kernel) -> Result<()> {
    Err(Error::NoDevice)
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_put_after_its_kind_once() {
        let edit = Edit { path: "x".into(), line: "b = 1 }".into(), after: "1 }" };
        assert_eq!(edit.apply("a = 1 }\n\n[c]\n").as_deref(), Some("a = 1 }\nb = 1 }\n\n[c]\n"));
        assert_eq!(edit.apply("[c]\n").as_deref(), Some("[c]\nb = 1 }\n"));
        assert_eq!(edit.apply("a = 1 }\nb = 1 }\n"), None);
    }

    /// What is written loads: tried in memory beside this tree's own files.
    #[test]
    fn what_is_written_is_what_the_loader_reads() {
        use crate::config::{LoadRequest, load_from, tree::Memory};
        let name = Name::new("mine").expect("a name");
        let driver = driver(&Name::new("x1").expect("a name"), &[Arch::X64], &[], &[], false);
        let made = [project(&name, Utf8Path::new("/osier"), ""), component(&name), driver];
        let mut tree = Memory::default();
        for file in made.iter().flat_map(|m| &m.files) {
            tree.0.insert(Utf8Path::new("/mine").join(&file.path), file.text.clone().into_bytes());
        }
        let request = LoadRequest {
            osier: "/osier".into(),
            cwd: "/mine/apps".into(),
            repos: Vec::new(),
            build_dir: None,
        };
        // Osier's own files are missing here: only what is said about ours counts.
        let said = load_from(&tree, &request).expect_err("there is no Osier");
        let ours: Vec<_> = said.records().into_iter().filter(|r| r.file.is_some()).collect();
        let osiers = ["unknown profile `all`", "unknown driver or role `ramfs`"];
        assert!(ours.iter().all(|r| osiers.contains(&r.message.as_str())), "{ours:?}");
    }
}
