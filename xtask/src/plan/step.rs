//! The plan as a value: steps that name their inputs, their outputs and what they do.

use super::KernelSpec;
use crate::config::resolved::{Libc, ModeConfig, Origin, Shadowed, SourcePath};
use crate::model::{Arch, Digest, Mode, Name};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The format of the plan's JSON.
pub const FORMAT: u32 = 1;

/// A step's name, unique in a plan: what it does, then what to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub String);

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The resolved build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildPlan {
    pub format: u32,
    /// Over all steps and selections; no path of this machine, no origin of a value and no
    /// content of a file is in it.
    pub hash: Digest,
    pub selections: Vec<Selected>,
    /// Definitions that an earlier repository's hide.
    pub shadowed: Vec<Shadowed>,
    /// Each after those whose outputs it reads.
    pub steps: Vec<Step>,
}

impl BuildPlan {
    /// The archs for which it compiles apps with glibc.
    pub fn glibc(&self) -> impl Iterator<Item = Arch> {
        self.steps.iter().filter_map(|s| match s.action {
            Action::CompileApps { arch, libc: Libc::Gnu, .. } => Some(arch),
            _ => None,
        })
    }
}

/// One image for one arch, mode and profile, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selected {
    pub arch: Arch,
    pub mode: Mode,
    /// With `+driver` and `~driver`, in one spelling.
    pub profile: String,
    pub image: Name,
    /// Where each of the four, and the base, came from.
    pub origins: BTreeMap<String, Origin>,
    #[serde(with = "hex")]
    pub kernel_base: u64,
    /// The kernel's key.
    pub kernel: String,
    /// The solved drivers, each with the chain that brought it in.
    pub drivers: BTreeMap<Name, String>,
    /// The folder of its artifacts, in the build directory.
    pub folder: Utf8PathBuf,
    /// The apps in the image: path in the image → ELF file in the build directory.
    pub apps: BTreeMap<String, Utf8PathBuf>,
    /// Over the steps that this selection needs: `build.json` holds it.
    pub hash: Digest,
}

/// A unit of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub id: StepId,
    pub inputs: Vec<Input>,
    /// Files that it makes, in the build directory.
    pub outputs: Vec<Utf8PathBuf>,
    /// What it does, with every value that it depends on.
    pub action: Action,
    /// Where values of the action came from, by their path in it (`base`, `settings.lto`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, Origin>,
}

/// Something that a step reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A file of a repository, by content.
    File(SourcePath),
    /// A cargo package's folder; cargo alone decides whether it changed.
    Package(SourcePath),
    /// A program of the toolchain, by content.
    Tool(Tool),
    /// A file that another step makes, in the build directory, by content.
    Output { step: StepId, path: Utf8PathBuf },
}

/// A program that a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    Cargo,
    RustLld,
}

impl Tool {
    /// The name as users know it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Tool::Cargo => "cargo",
            Tool::RustLld => "rust-lld",
        }
    }
}

/// What a step does. Everything that decides the output's bytes is in here or in a file that
/// the step names as input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Cargo compiles the final crate of a kernel to a static library.
    CompileKernel { kernel: KernelSpec },
    /// Cargo compiles apps of one repository.
    CompileApps {
        repository: String,
        arch: Arch,
        mode: Mode,
        settings: ModeConfig,
        target: String,
        libc: Libc,
        apps: Vec<Name>,
    },
    /// The object file with the system calls that the static library defines, or those of
    /// them that `only` lists.
    SyscallTable {
        arch: Arch,
        #[serde(skip_serializing_if = "Option::is_none")]
        only: Option<BTreeSet<&'static str>>,
        /// The kernel leaves crash records.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        crash_dump: bool,
        /// Parts that the kernel's drivers need.
        #[serde(skip_serializing_if = "BTreeSet::is_empty")]
        keeps: BTreeSet<&'static str>,
    },
    /// rust-lld links a PIE. With `lto` the static library holds LLVM bitcode, which the
    /// linker optimises (at that level: `0` … `3`, `s` or `z`) and compiles.
    Link { arch: Arch, lto: Option<String> },
    /// Relocations are applied, and the result is checked.
    Relocate(Relocate),
    /// Symbols and debug information are left out.
    Strip,
    /// An app without symbols and debug information, as images hold it.
    StripProgram,
    /// The root file system that travels with the kernel, and its manifest.
    PackBootfs {
        /// Seconds since 1970 that every entry is dated.
        mtime: i64,
        entries: Vec<PackEntry>,
    },
    /// The command line of the image.
    CommandLine { words: String },
    /// Kernel + bootfs + command line, bootable.
    LoaderImage { arch: Arch },
    /// What lies elsewhere is copied to the image's folder, and `build.json` lists it all.
    Assemble {
        copies: BTreeMap<Utf8PathBuf, Utf8PathBuf>,
        listed: Vec<Utf8PathBuf>,
        header: BuildHeader,
    },
}

/// Parameters of the relocate step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relocate {
    pub arch: Arch,
    /// Physical address.
    #[serde(with = "hex")]
    pub base: u64,
    /// Virtual minus physical address.
    #[serde(with = "hex")]
    pub high_half: u64,
    pub elf_machine: u16,
    /// The crates that must have registered a driver, and no others.
    pub drivers: Vec<Name>,
}

/// An entry of the root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackEntry {
    pub path: String,
    /// Octal digits.
    pub mode: String,
    pub owner: String,
    pub group: String,
    pub uid: u32,
    pub gid: u32,
    pub content: PackContent,
}

/// Where an entry's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackContent {
    Source(SourcePath),
    /// An app's ELF file in the build directory.
    App(Utf8PathBuf),
    Text(String),
    Dir,
    Link(String),
}

/// What `build.json` says besides the artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildHeader {
    pub arch: Arch,
    pub mode: Mode,
    pub profile: String,
    pub image: Name,
    pub kernel: String,
    #[serde(with = "hex")]
    pub kernel_base: u64,
    pub drivers: Vec<Name>,
    pub plan: Digest,
}

/// Addresses in hexadecimal: JSON readers keep 53 bits of a number.
mod hex {
    pub fn serialize<S: serde::Serializer>(value: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{value:#x}"))
    }
}

impl Step {
    /// The digest of what the step says: not of its inputs' content, nor of where its values
    /// came from.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Structs of strings and numbers always serialise.
        let bytes = serde_json::to_vec(&(&self.id, &self.inputs, &self.outputs, &self.action));
        Digest::of(&bytes.unwrap_or_default())
    }

    /// The steps whose outputs it reads.
    pub fn needs(&self) -> impl Iterator<Item = &StepId> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Output { step, .. } => Some(step),
            _ => None,
        })
    }

    /// Cargo decides what it does: it runs in every build.
    #[must_use]
    pub const fn is_cargo(&self) -> bool {
        matches!(self.action, Action::CompileKernel { .. } | Action::CompileApps { .. })
    }
}
