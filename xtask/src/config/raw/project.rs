//! `osier.toml` of a repository and `etc/build.toml` of a build directory.

use super::{Format, List, Many};
use crate::config::decode::Int;
use crate::config::table::table;
use crate::model::{Arch, Mode, Name};

table! {
    /// A repository: a folder that adds to Osier.
    pub struct RawRepository, "a repository" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// What plans and messages call it.
        name: "name", Name, required;
        /// What it is for, in one line.
        description: "description", String, default "\"\"";
        /// Folders of other repositories, relative to this file; searched after this one.
        repositories: "repositories", List<String>, default "[]";
        /// What is built when the command line and the environment do not say.
        select: "select", RawSelect, optional;
    }
}

table! {
    /// The settings of a build directory.
    pub struct RawBuild, "a build directory's settings" {
        /// The version of the file's format.
        _format: "format", Format, required;
        /// Folders of repositories, relative to the build directory; searched first.
        repositories: "repositories", List<String>, default "[]";
        /// What is built when the command line and the environment do not say.
        select: "select", RawSelect, optional;
        /// How many jobs run at once.
        jobs: "jobs", Int<1, 4096>, optional;
        /// Whether nothing is fetched.
        offline: "offline", bool, optional;
    }
}

table! {
    /// What is built when the command line and the environment do not say.
    pub struct RawSelect, "a selection" {
        /// One arch or several.
        arch: "arch", Many<Arch>, optional;
        /// One mode or both.
        mode: "mode", Many<Mode>, optional;
        /// One profile or several, with `+driver` and `~driver`.
        profile: "profile", Many<String>, optional;
        /// One image or several.
        image: "image", Many<Name>, optional;
        /// The machine that `run-qemu` starts.
        machine: "machine", Name, optional;
    }
}
