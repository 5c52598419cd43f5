//! The generated final crate of a kernel: a `staticlib` with panic handler, allocator, the
//! `loader`, and one `extern crate` per solved driver (without it rustc drops the driver and
//! `linkme`'s list stays empty, without a word).
//!
//! The `loader` has a cargo feature for each of Osier's own drivers, by which lints and editors
//! see all of them, and is compiled without any: its code names no driver, and it would merely be
//! compiled again whenever one is touched, and for each set of them anew.
//!
//! Every path dependency must lie below the crate's folder, else cargo hashes the absolute
//! path into every symbol. So the folders of the sources are symbolic links in it, and the
//! tables that members inherit from the workspace are repeated.

use super::KernelSpec;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The name of Osier's own repository.
const OSIER: &str = "osier";

/// The generated folder as a value: what is written and linked, by path inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalCrate {
    /// The cargo package's name: one per key, so that kernels share a target folder.
    pub package: String,
    pub files: BTreeMap<Utf8PathBuf, String>,
    /// Link → (repository, path in it).
    pub links: BTreeMap<Utf8PathBuf, (String, Utf8PathBuf)>,
}

/// The final crate of `spec`, in a workspace whose inherited tables are `tables`.
#[must_use]
pub fn final_crate(spec: &KernelSpec, tables: &str) -> FinalCrate {
    let package = format!("kernel-{}", spec.key());
    let mut dependencies = String::new();
    let mut externs = String::new();
    let mut links = BTreeMap::new();
    let osier: BTreeSet<&str> = ["loader", "drivers", "formats", "kernel-config"].into();
    for top in osier {
        links.insert(top.into(), (OSIER.to_owned(), top.into()));
    }
    for driver in &spec.drivers {
        let name = driver.name.as_str();
        let path = place(&driver.source.repo, &driver.source.path);
        if driver.source.repo != OSIER
            && let Some(top) = top(&driver.source.path)
        {
            links.insert(
                place(&driver.source.repo, top),
                (driver.source.repo.clone(), top.to_owned()),
            );
        }
        let _ = writeln!(dependencies, "{name} = {{ path = \"{path}\" }}");
        let _ = writeln!(externs, "extern crate {} as _;", name.replace('-', "_"));
    }
    let manifest = format!(
        "# Made by xtask; every build writes it anew.\n\
         [package]\nname = \"{package}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [lib]\ncrate-type = [\"staticlib\"]\npath = \"lib.rs\"\n\n\
         [dependencies]\n\
         loader = {{ path = \"loader\", default-features = false }}\n{dependencies}\n\
         [workspace]\nresolver = \"3\"\n\n{tables}"
    );
    let library = format!("{LIBRARY}\n{externs}");
    let files = [("Cargo.toml".into(), manifest), ("lib.rs".into(), library)].into();
    FinalCrate { package, files, links }
}

/// What every kernel's final crate holds.
const LIBRARY: &str = "\
//! Made by xtask; every build writes it anew.
#![no_std]

#[global_allocator]
static ALLOCATOR: loader::mm::heap::KernelHeap = loader::mm::heap::KernelHeap::new();

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    loader::panic::panic(info)
}
";

/// Where the file at `path` in `repo` is seen inside the final crate.
#[must_use]
pub fn place(repo: &str, path: &Utf8Path) -> Utf8PathBuf {
    if repo == OSIER { path.to_owned() } else { Utf8Path::new("repo").join(repo).join(path) }
}

/// The first folder of a relative path: a repository's top folders are linked one by one, so
/// that its own workspace manifest stays out of cargo's sight.
fn top(path: &Utf8Path) -> Option<&Utf8Path> {
    match path.components().next()? {
        Utf8Component::Normal(name) => Some(Utf8Path::new(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::spec;
    use super::*;

    #[test]
    fn drivers_of_repositories_are_linked_by_top_folder() {
        let made = final_crate(&spec(), "[workspace.package]\nedition = \"2024\"\n");
        let manifest = &made.files[Utf8Path::new("Cargo.toml")];
        assert!(manifest.contains("loader = { path = \"loader\", default-features = false }\n"));
        assert!(manifest.contains("ns16550 = { path = \"drivers/ns16550\" }"), "{manifest}");
        assert!(
            manifest.contains("my-blk = { path = \"repo/mine/drivers/my-blk\" }"),
            "{manifest}"
        );
        assert!(manifest.ends_with("[workspace.package]\nedition = \"2024\"\n"));
        let library = &made.files[Utf8Path::new("lib.rs")];
        assert!(library.contains("extern crate my_blk as _;\n"), "{library}");
        assert_eq!(
            made.links[Utf8Path::new("repo/mine/drivers")],
            ("mine".to_owned(), "drivers".into())
        );
        assert_eq!(made.links[Utf8Path::new("loader")], ("osier".to_owned(), "loader".into()));
    }
}
