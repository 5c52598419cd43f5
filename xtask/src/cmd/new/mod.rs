//! `cargo xtask new`: a project of one's own, or one more thing in it.

mod template;

use super::build::workspace;
use crate::context::Context;
use crate::error::{Refusal, Status};
use crate::exec::fsx;
use crate::model::{Arch, Name};
use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use template::{File, Made};

/// Makes a project, or a driver, app, component or image in the one that you stand in
#[derive(clap::Args, Debug)]
pub struct New {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// A folder that adds to Osier without editing it: an app, an image and a scenario
    Project {
        /// The folder; its last part is the project's name
        dir: Utf8PathBuf,
    },
    /// A driver, in drivers/
    Driver {
        /// Its name
        name: String,
        /// The archs that it is for (default: all)
        #[arg(long, value_name = "ARCH", value_delimiter = ',')]
        arch: Vec<String>,
        /// Roles that it fills
        #[arg(long, value_name = "ROLE", value_delimiter = ',')]
        provides: Vec<String>,
        /// Drivers or roles that it needs
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        requires: Vec<String>,
    },
    /// A program, in apps/
    App {
        /// Its name
        name: String,
    },
    /// A list of files, in manifests/components/
    Component {
        /// Its name
        name: String,
    },
    /// An image, in manifests/images/
    Image {
        /// Its name
        name: String,
        /// The app that it runs (default: an app of its own name, else hello)
        #[arg(long)]
        app: Option<String>,
    },
}

impl New {
    /// Runs the command.
    ///
    /// # Errors
    /// A bad or taken name; a file that cannot be written.
    pub fn run(&self, cx: &Context) -> anyhow::Result<Status> {
        match &self.what {
            What::Project { dir } => project(cx, dir),
            What::Driver { name, arch, provides, requires } => {
                let name = free(cx, name, "driver")?;
                let arch = arch.iter().map(|a| a.parse().map_err(Refusal::new));
                let arch = arch.collect::<Result<Vec<Arch>, _>>()?;
                let names = |list: &[String]| list.iter().map(|n| self::name(n)).collect();
                let (provides, requires): (Result<Vec<Name>, _>, Result<Vec<Name>, _>) =
                    (names(provides), names(requires));
                let (provides, requires) = (provides?, requires?);
                known(cx, &requires)?;
                add(cx, template::driver(&name, &arch, &provides, &requires, in_osier(cx)))
            }
            What::App { name } => add(cx, template::app(&free(cx, name, "app")?)),
            What::Component { name } => add(cx, template::component(&free(cx, name, "component")?)),
            What::Image { name, app } => {
                let name = free(cx, name, "image")?;
                let apps = workspace(cx)?.apps;
                let app = match app {
                    Some(app) => self::name(app)?,
                    None if apps.contains_key(&name) => name.clone(),
                    None => self::name("hello")?,
                };
                if !apps.contains_key(&app) {
                    let known = apps.keys().map(Name::as_str);
                    let help = crate::config::suggest::help(app.as_str(), known, "");
                    let refusal = Refusal::new(format!("unknown app `{app}`")).help(help);
                    return Err(refusal.help(format!("make it: cargo xtask new app {app}")).into());
                }
                add(cx, template::image(&name, &app))
            }
        }
    }
}

fn name(text: &str) -> Result<Name, Refusal> {
    Name::new(text).map_err(|e| Refusal::new(e.to_string()))
}

/// Refuses drivers or roles that nothing fills, before anything is written.
fn known(cx: &Context, roles: &[Name]) -> anyhow::Result<()> {
    let drivers = workspace(cx)?.drivers;
    if let Some(role) = roles.iter().find(|r| !drivers.values().any(|d| d.fills(r))) {
        let known: std::collections::BTreeSet<&str> = drivers
            .values()
            .flat_map(|d| std::iter::once(&d.name).chain(&d.provides))
            .map(Name::as_str)
            .collect();
        let help = crate::config::suggest::help(role.as_str(), known, "");
        let refusal = Refusal::new(format!("unknown driver or role `{role}`")).help(help);
        return Err(refusal.help("make first what it requires").into());
    }
    Ok(())
}

/// Whether what is made belongs to Osier itself.
fn in_osier(cx: &Context) -> bool {
    cx.project == cx.root
}

/// `text` as a name that nothing of the kind `what` has in the project; what another
/// repository calls so will be hidden, which is said.
fn free(cx: &Context, text: &str, what: &str) -> anyhow::Result<Name> {
    let name = name(text)?;
    let ws = workspace(cx)?;
    let taken = match what {
        "driver" => ws.drivers.get(&name).map(|d| &d.source),
        "app" => ws.apps.get(&name).map(|a| &a.source),
        "component" => ws.components.get(&name).map(|c| &c.source),
        _ => ws.images.get(&name).map(|i| &i.source),
    };
    let Some(taken) = taken else { return Ok(name) };
    if ws.repository(&taken.repo).is_some_and(|r| r.root == cx.project) {
        let refusal = Refusal::new(format!("the {what} `{name}` exists already: {}", taken.path));
        return Err(refusal.help("choose another name, or edit it").into());
    }
    eprintln!("note: the {what} `{name}` of the repository `{}` is hidden by yours", taken.repo);
    Ok(name)
}

fn project(cx: &Context, dir: &Utf8Path) -> anyhow::Result<Status> {
    let dir = cx.cwd.join(dir);
    let last = dir.file_name().unwrap_or_default();
    let name = name(last).map_err(|r| {
        r.help("the folder's last part is the project's name").help("choose another folder")
    })?;
    if name.as_str() == crate::config::resolved::OSIER {
        return Err(Refusal::new("`osier` is the name of Osier's own repository").into());
    }
    if dir.join(crate::config::PROJECT_FILE).exists() {
        let refusal = Refusal::new(format!("{dir} is a project already"));
        return Err(refusal.help("`cargo xtask new app NAME` in it adds an app").into());
    }
    let toolchain = std::fs::read_to_string(cx.root.join("rust-toolchain.toml"))
        .context("cannot read Osier's rust-toolchain.toml")?;
    let made = template::project(&name, &cx.root, &toolchain);
    write(&dir, &made)?;
    lock(&dir);
    let inside = Context { project: dir.clone(), cwd: dir.clone(), ..cx.clone() };
    workspace(&inside)?;
    eprintln!("made the project {dir}; next:\n  cd {dir}\n  cargo xtask run-qemu");
    Ok(Status::OK)
}

/// Writes into the project that the user stands in, and loads the result.
fn add(cx: &Context, made: Made) -> anyhow::Result<Status> {
    write(&cx.project, &made)?;
    if made.files.iter().any(|f| f.path.file_name() == Some("Cargo.toml")) {
        lock(&cx.project);
    }
    workspace(cx)?;
    for line in &made.next {
        eprintln!("{line}");
    }
    Ok(Status::OK)
}

/// Writes files, none of which may exist, and makes edits.
fn write(root: &Utf8Path, made: &Made) -> anyhow::Result<()> {
    let kept = |f: &File| f.optional && root.join(&f.path).exists();
    for file in made.files.iter().filter(|f| !kept(f)) {
        if root.join(&file.path).exists() {
            let refusal = Refusal::new(format!("{} exists already", root.join(&file.path)));
            return Err(refusal.help("choose another name, or remove it").into());
        }
    }
    for file in &made.files {
        let path = root.join(&file.path);
        if kept(file) {
            eprintln!("kept {path}");
            continue;
        }
        fsx::write(&path, file.text.as_bytes()).with_context(|| format!("cannot write {path}"))?;
        eprintln!("wrote {path}");
    }
    for edit in &made.edits {
        let path = root.join(&edit.path);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some(new) = edit.apply(&text) {
            fsx::write(&path, new.as_bytes()).with_context(|| format!("cannot write {path}"))?;
            eprintln!("edited {path}");
        }
    }
    Ok(())
}

/// Brings the lock file of the workspace at `root` up to date with the new package, from
/// what cargo has at hand. Where that does not suffice cargo itself will say so.
fn lock(root: &Utf8Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let call = |offline: &[&str]| {
        let mut command = std::process::Command::new(&cargo);
        command.args(["metadata", "--quiet", "--format-version=1"]).args(offline);
        command.current_dir(root).stderr(std::process::Stdio::null());
        command.output().is_ok_and(|out| out.status.success())
    };
    if !call(&["--offline"]) && !call(&[]) {
        eprintln!("note: run `cargo check` in {root} to bring its Cargo.lock up to date");
    }
}
