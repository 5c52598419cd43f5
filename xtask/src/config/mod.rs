//! Files to typed values: every error at once, each with file, line and a suggestion.
//!
//! [`load`] reads every file that users write, of all repositories, and makes one
//! [`Workspace`] of them. Nothing else in xtask parses TOML.

pub mod cargo_user;
pub mod decode;
pub mod diag;
mod inherited;
pub mod kinds;
mod loader;
pub mod raw;
pub mod reference;
pub mod repositories;
mod resolve;
pub mod resolved;
pub mod schema;
pub mod selector;
pub mod shape;
pub mod suggest;
pub mod table;
#[cfg(test)]
mod tests;
pub mod tree;

use camino::Utf8PathBuf;
pub use diag::Diagnostics;
pub use inherited::workspace_tables;
use loader::Loader;
use resolved::Workspace;
use tree::Tree;

/// The file that makes a folder a repository.
pub const PROJECT_FILE: &str = "osier.toml";

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// Osier's own root, absolute.
    pub osier: Utf8PathBuf,
    /// Where the user stands, absolute: a project is looked for from here upwards.
    pub cwd: Utf8PathBuf,
    /// The folders of `--repo`, absolute or relative to `cwd`.
    pub repos: Vec<Utf8PathBuf>,
    /// The build directory, absolute; its `etc/build.toml` need not exist.
    pub build_dir: Option<Utf8PathBuf>,
}

/// Loads everything from the disk.
///
/// # Errors
/// With all mistakes of all files.
pub fn load(request: &LoadRequest) -> Result<Workspace, Diagnostics> {
    load_from(&tree::Disk, request)
}

/// As [`load`], from any tree of files.
///
/// # Errors
/// With all mistakes of all files.
pub fn load_from(tree: &dyn Tree, request: &LoadRequest) -> Result<Workspace, Diagnostics> {
    let mut loader = Loader::new(tree, &request.cwd);
    let configured = repositories::find(&mut loader, request);
    let workspace = resolve::workspace(&mut loader, configured);
    if loader.out.is_empty() {
        Ok(workspace)
    } else {
        Err(Diagnostics::new(loader.files, loader.out))
    }
}
