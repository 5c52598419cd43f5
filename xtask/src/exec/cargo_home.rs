//! The cargo home that a build sees: the user's own, or, where the user's configuration would
//! change what is compiled, a folder of links to its caches beside a configuration cut to what
//! passes. (Cargo has no flag to leave a configuration file out, and most keys in one cannot
//! be overridden by another.) Calls run from `/`, so that none is found above the sources.

use super::fsx;
use crate::config::cargo_user;
use crate::error::Refusal;
use crate::model::Layout;
use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

/// Folders and files that cargo makes in its home and that all homes must share: the crates
/// themselves, and the locks that guard them.
const SHARED_FOLDERS: [&str; 2] = ["registry", "git"];
const SHARED_FILES: [&str; 5] =
    [".package-cache", ".package-cache-mutate", ".global-cache", "credentials.toml", "credentials"];

/// The home for this build, and the keys of the user's configuration that it leaves out.
///
/// # Errors
/// When the user's configuration cannot be read, or the folder cannot be made.
pub fn prepare(user: &Utf8Path, layout: &Layout) -> Result<(Utf8PathBuf, Vec<String>)> {
    // Cargo reads `config` before `config.toml` when both are there.
    let file = ["config", "config.toml"].map(|name| user.join(name));
    let Some(file) = file.into_iter().find(|f| f.is_file()) else {
        return Ok((user.to_owned(), Vec::new()));
    };
    let cut = cargo_user::cut(&fsx::read_text(&file)?)
        .map_err(|e| Refusal::new(format!("{file} is no cargo configuration: {e}")))?;
    if cut.dropped.is_empty() {
        return Ok((user.to_owned(), Vec::new()));
    }
    let home = layout.cache().join("cargo-home");
    for folder in SHARED_FOLDERS {
        let shared = user.join(folder);
        fsx::create_dir_all(&shared)
            .with_context(|| format!("{file} needs a cargo home of our own"))?;
        fsx::symlink(&shared, &home.join(folder))?;
    }
    for name in SHARED_FILES {
        fsx::symlink(&user.join(name), &home.join(name))?;
    }
    fsx::write_if_changed(&home.join("config.toml"), cut.kept.as_bytes())?;
    Ok((home, cut.dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Utf8PathBuf, Layout) {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_path_buf()).unwrap();
        (keep, dir.join("home"), Layout::new(dir.join("build")))
    }

    #[test]
    fn a_home_without_configuration_is_used_as_it_is() {
        let (_keep, user, layout) = scratch();
        assert_eq!(prepare(&user, &layout).unwrap(), (user, Vec::new()));
    }

    #[test]
    fn a_hostile_configuration_is_cut_and_the_caches_shared() {
        let (_keep, user, layout) = scratch();
        let text = "[build]\nrustflags = [\"-Cevil\"]\n[net]\nretry = 7\n";
        fsx::write(&user.join("config.toml"), text.as_bytes()).unwrap();
        let (home, dropped) = prepare(&user, &layout).unwrap();
        assert_eq!(dropped, ["build.rustflags"]);
        assert_eq!(fsx::read_text(&home.join("config.toml")).unwrap().trim(), "[net]\nretry = 7");
        fsx::write(&home.join("registry/index"), b"x").unwrap();
        assert!(user.join("registry/index").is_file());
        // Once more over what is there.
        assert_eq!(prepare(&user, &layout).unwrap().0, home);
    }
}
