//! What every command starts from: where Osier and the build directory lie, the global
//! flags, and one snapshot of the environment. Made once in `main`, passed by reference.

use crate::cli::Global;
use crate::error::Refusal;
use crate::model::Layout;
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;

/// The environment as it was when xtask started. Values that are not UTF-8 are left out:
/// no variable that Osier reads can be one of them.
pub type Env = BTreeMap<String, String>;

/// Where a command runs.
#[derive(Clone, Debug)]
pub struct Context {
    /// Osier's own tree: absolute.
    pub root: Utf8PathBuf,
    /// The folder that the user stands in: absolute.
    pub cwd: Utf8PathBuf,
    /// The folder of the user's project (nearest `osier.toml` upwards from `cwd`), or `root`.
    pub project: Utf8PathBuf,
    /// The build directory.
    pub layout: Layout,
    /// Repositories given with `--repo`, absolute, in order.
    pub repos: Vec<Utf8PathBuf>,
    /// How often `-v` was given.
    pub verbose: u8,
    /// `--json`.
    pub json: bool,
    pub env: Env,
}

impl Context {
    /// Gathers it from the process.
    ///
    /// # Errors
    /// A [`Refusal`] when Osier's tree is not found or a path is not UTF-8.
    pub fn gather(global: &Global) -> anyhow::Result<Self> {
        let cwd = std::env::current_dir()?;
        let cwd = Utf8PathBuf::from_path_buf(cwd).map_err(|p| {
            Refusal::new(format!("the current folder's path is not UTF-8: {}", p.display()))
        })?;
        let env: Env = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let root = find_root(&cwd, &env, |p| p.exists())?;
        let project = cwd
            .ancestors()
            .find(|d| d.join("osier.toml").exists())
            .map_or_else(|| root.clone(), Utf8Path::to_path_buf);
        let build_dir = match &global.build_dir {
            Some(dir) => absolute(&cwd, dir),
            None => project.join("build"),
        };
        Ok(Self {
            repos: global.repo.iter().map(|r| absolute(&cwd, r)).collect(),
            root,
            project,
            layout: Layout::new(build_dir),
            verbose: global.verbose,
            json: global.json,
            cwd,
            env,
        })
    }
}

/// `path` as seen from `cwd`, with `.` and `..` taken out where that needs no look at the
/// file system.
fn absolute(cwd: &Utf8Path, path: &Utf8Path) -> Utf8PathBuf {
    let mut out = Utf8PathBuf::new();
    for part in cwd.join(path).components() {
        match part {
            camino::Utf8Component::CurDir => {}
            // Above the root is the root: there pop does nothing.
            camino::Utf8Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Osier's tree: `OSIER_ROOT`, else the workspace of the package that cargo runs, else the
/// nearest folder upwards that holds one.
fn find_root(
    cwd: &Utf8Path,
    env: &Env,
    exists: impl Fn(&Utf8Path) -> bool,
) -> Result<Utf8PathBuf, Refusal> {
    let is_root = |d: &Utf8Path| exists(&d.join("kernel-config/arch"));
    if let Some(dir) = env.get("OSIER_ROOT") {
        let dir = absolute(cwd, Utf8Path::new(dir));
        return if is_root(&dir) {
            Ok(dir)
        } else {
            Err(Refusal::new(format!(
                "OSIER_ROOT is {dir}, which holds no `kernel-config/arch`: it is not Osier's tree"
            ))
            .help("unset OSIER_ROOT, or set it to the folder of Osier's Cargo.toml"))
        };
    }
    let of_cargo = env.get("CARGO_MANIFEST_DIR").and_then(|d| Utf8Path::new(d).parent());
    of_cargo
        .into_iter()
        .chain(cwd.ancestors())
        .find(|d| is_root(d))
        .map(Utf8Path::to_path_buf)
        .ok_or_else(|| {
            Refusal::new(format!("no Osier workspace at {cwd} or above it"))
                .help("run it inside Osier's tree or a project made by `cargo xtask new project`")
                .help("or set OSIER_ROOT to Osier's tree")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Env {
        vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn paths_become_absolute_without_dots() {
        let cwd = Utf8Path::new("/a/b");
        assert_eq!(absolute(cwd, Utf8Path::new("./c/../d")), "/a/b/d");
        assert_eq!(absolute(cwd, Utf8Path::new("../../../x")), "/x");
        assert_eq!(absolute(cwd, Utf8Path::new("/y/")), "/y");
    }

    #[test]
    fn the_root_is_named_then_cargos_then_above() {
        let at = |p: &Utf8Path| p.starts_with("/osier/kernel-config");
        let cwd = Utf8Path::new("/osier/apps/hello");
        assert_eq!(find_root(cwd, &env(&[]), at).as_deref(), Ok(Utf8Path::new("/osier")));
        let elsewhere = Utf8Path::new("/home/me");
        let cargo = env(&[("CARGO_MANIFEST_DIR", "/osier/xtask")]);
        assert_eq!(find_root(elsewhere, &cargo, at).as_deref(), Ok(Utf8Path::new("/osier")));
        let none = find_root(elsewhere, &env(&[]), at).unwrap_err();
        assert!(none.message.contains("/home/me") && none.help.len() == 2);
        let wrong = find_root(cwd, &env(&[("OSIER_ROOT", "/tmp")]), at).unwrap_err();
        assert!(wrong.message.contains("OSIER_ROOT is /tmp"), "{}", wrong.message);
    }
}
