//! The kinds of file that users write: what the reference and the schemas are made for.

use super::decode::Table;
use super::raw::{kernel_config, manifest, project, scenario};
use super::shape::TableDoc;

/// A kind of file.
#[derive(Debug)]
pub struct FileKind {
    /// Its name, and its schema's: `machine`.
    pub name: &'static str,
    /// Where such files lie below a repository's root (for `build`: in a build directory).
    pub files: &'static str,
    /// Where in the file the table stands; empty for the whole file.
    pub table: &'static str,
    /// Its keys.
    pub doc: &'static TableDoc,
}

impl FileKind {
    /// The kind called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static FileKind> {
        KINDS.iter().find(|k| k.name == name)
    }
}

/// Every kind, in the order of the reference.
pub const KINDS: &[FileKind] = &[
    FileKind {
        name: "image",
        files: "manifests/images/*.toml",
        table: "",
        doc: &manifest::RawImage::DOC,
    },
    FileKind {
        name: "component",
        files: "manifests/components/*.toml",
        table: "",
        doc: &manifest::RawComponent::DOC,
    },
    FileKind {
        name: "profile",
        files: "kernel-config/profiles/*/*.toml",
        table: "",
        doc: &kernel_config::RawProfile::DOC,
    },
    FileKind {
        name: "machine",
        files: "kernel-config/machines/*.toml",
        table: "",
        doc: &kernel_config::RawMachine::DOC,
    },
    FileKind {
        name: "scenario",
        files: "scenarios/*.toml",
        table: "",
        doc: &scenario::RawScenario::DOC,
    },
    FileKind {
        name: "driver",
        files: "drivers/*/Cargo.toml",
        table: "package.metadata.driver",
        doc: &kernel_config::RawDriver::DOC,
    },
    FileKind {
        name: "repository",
        files: "osier.toml",
        table: "",
        doc: &project::RawRepository::DOC,
    },
    FileKind { name: "build", files: "etc/build.toml", table: "", doc: &project::RawBuild::DOC },
    FileKind {
        name: "arch",
        files: "kernel-config/arch/*.toml",
        table: "",
        doc: &kernel_config::RawArch::DOC,
    },
];
