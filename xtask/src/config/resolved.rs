//! Configuration after loading: total types in which no option is left open.
//!
//! The loader (`config::load`) makes them from the raw TOML types; nothing else parses
//! TOML, and nothing downstream asks whether a key was given. A value that a message may
//! have to name carries its [`Origin`].

use crate::model::{Arch, Mode, Name, Pattern};
use camino::Utf8PathBuf;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A flag of the command line.
    CommandLine(String),
    /// An environment variable.
    Environment(String),
    /// A place in a TOML file: path relative to its repository, line and column from 1.
    File { repo: String, path: Utf8PathBuf, line: u32, column: u32 },
    /// The default that the documentation states.
    Default,
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// `value`, which came from `origin`.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::CommandLine(flag) => write!(f, "{flag} on the command line"),
            Origin::Environment(name) => write!(f, "{name} in the environment"),
            Origin::File { repo, path, line, column } if repo == OSIER => {
                write!(f, "{path}:{line}:{column}")
            }
            Origin::File { repo, path, line, column } if repo == BUILD_DIR => {
                write!(f, "{repo}/{path}:{line}:{column}")
            }
            Origin::File { repo, path, line, column } => {
                write!(f, "{path}:{line}:{column} in `{repo}`")
            }
            Origin::Default => f.write_str("the default"),
        }
    }
}

/// What stands for the repository's name where a value comes from the build directory.
pub const BUILD_DIR: &str = "<build-dir>";
/// The name of Osier's own repository.
pub const OSIER: &str = "osier";

/// A file of a repository. Plans hold these instead of absolute paths, so that the same
/// sources in another folder give the same plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SourcePath {
    /// The repository's name; Osier's own is `osier`.
    pub repo: String,
    /// The path below the repository's root.
    pub path: Utf8PathBuf,
}

/// A folder with an `osier.toml`, or Osier itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repository {
    pub name: String,
    pub description: String,
    /// Absolute.
    pub root: Utf8PathBuf,
}

/// Everything that can be built: the layered result of all files of all repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workspace {
    /// In search order; Osier itself is last.
    pub repositories: Vec<Repository>,
    pub arches: BTreeMap<Arch, ArchConfig>,
    pub profiles: BTreeMap<(Arch, Name), Profile>,
    pub machines: BTreeMap<Name, Machine>,
    pub drivers: BTreeMap<Name, Driver>,
    pub apps: BTreeMap<Name, App>,
    pub components: BTreeMap<Name, Component>,
    pub images: BTreeMap<Name, Image>,
    pub scenarios: BTreeMap<Name, Scenario>,
    /// Definitions that an earlier repository's definition of the same name hides.
    pub shadowed: Vec<Shadowed>,
    /// What the files say to build when the command line and the environment do not.
    pub settings: Settings,
}

impl Workspace {
    /// The repository called `name`.
    #[must_use]
    pub fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.iter().find(|r| r.name == name)
    }

    /// Where `source` lies on this machine.
    #[must_use]
    pub fn absolute(&self, source: &SourcePath) -> Option<Utf8PathBuf> {
        self.repository(&source.repo).map(|r| r.root.join(&source.path))
    }
}

/// The layers of configuration below the command line and the environment:
/// `<build-dir>/etc/build.toml` before `osier.toml` of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    pub arch: Option<Sourced<Vec<Arch>>>,
    pub mode: Option<Sourced<Vec<Mode>>>,
    /// Profiles as a user writes them, with `+driver` and `~driver`.
    pub profile: Option<Sourced<Vec<String>>>,
    pub image: Option<Sourced<Vec<Name>>>,
    pub machine: Option<Sourced<Name>>,
    pub jobs: Option<Sourced<u32>>,
    pub offline: Option<Sourced<bool>>,
}

/// A definition that was found and not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    /// `profile x64/all`, `driver pl011`, …
    pub what: String,
    pub taken: SourcePath,
    pub hidden: SourcePath,
}

impl std::fmt::Display for Shadowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, taken, hidden } = self;
        write!(
            f,
            "{what} is taken from {} of {}, not from {} of {}",
            taken.path, taken.repo, hidden.path, hidden.repo
        )
    }
}

/// `kernel-config/arch/<arch>.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchConfig {
    pub arch: Arch,
    pub source: SourcePath,
    /// ELF `e_machine`.
    pub elf_machine: u16,
    /// Physical address that the kernel is relocated for.
    pub kernel_base: Sourced<u64>,
    /// Virtual address minus physical address of the kernel image.
    pub high_half: u64,
    /// The rustc target JSON.
    pub target: SourcePath,
    pub link_script: SourcePath,
    /// rustc's triple for apps.
    pub app_target: String,
    /// The same for apps with glibc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_target_gnu: Option<String>,
    /// The QEMU binary.
    pub qemu: String,
    /// The image that is built when none is named.
    pub default_image: Name,
    pub modes: BTreeMap<Mode, Compilation>,
}

/// How a mode compiles, and where each setting (by its field's name) is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compilation {
    pub kernels: ModeConfig,
    pub kernel_origins: BTreeMap<String, Origin>,
    pub apps: ModeConfig,
    pub app_origins: BTreeMap<String, Origin>,
}

/// The keys of a cargo profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModeConfig {
    /// `0` … `3`, `s` or `z`.
    pub opt_level: String,
    /// `off`, `thin` or `fat`. Of a kernel, `thin` is done by the linker.
    pub lto: String,
    pub codegen_units: u32,
    pub debug_assertions: bool,
    /// Whether a kernel holds the file and line of each place that can panic.
    pub panic_locations: bool,
    /// Cargo's `debug`: `none`, `line-tables-only`, `limited` or `full`.
    pub debug: String,
}

/// `kernel-config/profiles/<arch>/<name>.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    pub name: Name,
    pub arch: Arch,
    pub source: SourcePath,
    pub description: String,
    pub status: ProfileStatus,
    /// What a `partial` profile still lacks.
    pub missing: Vec<String>,
    /// The drivers (or roles) that it names, before the closure.
    pub drivers: Vec<Sourced<Name>>,
    /// The machine to boot it on.
    pub machine: Name,
    /// Upper bound for `loader-stripped.elf` in KiB.
    pub budget_kib: Option<u32>,
}

/// Whether a profile has all that its hypervisor offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileStatus {
    Complete,
    Partial,
}

/// `kernel-config/machines/<name>.toml`: how a VM is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub name: Name,
    pub source: SourcePath,
    pub description: String,
    pub arch: Arch,
    /// `qemu`; others later.
    pub vmm: String,
    /// The VMM's machine type with its options: `q35`, `virt,gic-version=3`.
    pub machine_type: String,
    /// The VMM's CPU model: `max`.
    pub cpu: String,
    pub memory: MemorySize,
    pub cpus: u32,
    /// `kind:model`, as in `disk:virtio-blk`.
    pub devices: Vec<String>,
}

impl Machine {
    /// The models of its devices of one kind, in order.
    pub fn devices_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.devices.iter().filter_map(|d| d.split_once(':'));
        pairs.filter(move |(k, _)| *k == kind).map(|(_, model)| model)
    }
}

/// An amount of memory in bytes; written `6M`, `64M`, `1G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MemorySize(pub u64);

impl std::str::FromStr for MemorySize {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let shift = |unit| match unit {
            b'K' => Some(10),
            b'M' => Some(20),
            b'G' => Some(30),
            b'T' => Some(40),
            _ => None,
        };
        let size = s.as_bytes().split_last().and_then(|(unit, _)| {
            let digits = s.get(..s.len() - 1).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
            let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift(*unit)?)?;
            (bytes > 0).then_some(Self(bytes))
        });
        size.ok_or_else(|| format!("`{s}` is no size: write a number and K, M, G or T, as in 64M"))
    }
}

impl std::fmt::Display for MemorySize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
        match units.iter().find(|(s, _)| self.0 > 0 && self.0.trailing_zeros() >= *s) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A driver crate and its `[package.metadata.driver]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Driver {
    pub name: Name,
    /// Its folder.
    pub source: SourcePath,
    pub description: String,
    /// Roles that it fills, besides its own name.
    pub provides: Vec<Name>,
    pub requires: Vec<Name>,
    pub requires_any: Vec<Vec<Name>>,
    pub conflicts: Vec<Name>,
    /// Where it can be built; all archs when the key is absent.
    pub arch: Vec<Arch>,
    /// Parts of the kernel that it needs and that the link step may leave out.
    pub keeps: BTreeSet<&'static str>,
}

impl Driver {
    /// Whether it satisfies a requirement of `role`: it fills the role, or is called so.
    #[must_use]
    pub fn fills(&self, role: &Name) -> bool {
        self.name == *role || self.provides.contains(role)
    }
}

/// An ordinary Linux program: a cargo package below `apps/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct App {
    pub name: Name,
    /// Its folder.
    pub source: SourcePath,
    pub description: String,
}

/// `manifests/components/<name>.toml`: files, and where each comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    pub name: Name,
    pub source: SourcePath,
    pub description: String,
    pub requires: Vec<Name>,
    pub entries: Vec<Entry>,
}

/// One file, folder or link of a component, at an absolute path in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Absolute, normalised: no `.`, `..`, empty component or trailing `/`.
    pub path: String,
    /// Permission bits, 0 … 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The owner as written: a name or a number.
    pub owner: String,
    /// The group as written: a name or a number.
    pub group: String,
    pub content: Content,
    pub origin: Origin,
}

/// The C library that is linked into an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Libc {
    Musl,
    Gnu,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// A file copied from a repository.
    Source(SourcePath),
    /// The ELF file of an app.
    App {
        app: Name,
        libc: Libc,
    },
    /// The text that stands in the TOML file.
    Text(String),
    Dir,
    /// A symbolic link's target, as written.
    Link(String),
}

/// `manifests/images/<name>.toml`, for one arch (its `[arch.A]` table merged in).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    pub name: Name,
    pub source: SourcePath,
    pub description: String,
    /// The archs that it can be built for, with what it is there.
    pub per_arch: BTreeMap<Arch, ImageOn>,
}

/// An image on one arch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageOn {
    /// The driver that makes the root file system: `ramfs`; `rofs` and `zfs` later.
    pub root: Sourced<Name>,
    pub components: Vec<Sourced<Name>>,
    /// Drivers and roles that the kernel must have, the default ones included.
    pub roles: Vec<Sourced<Name>>,
    /// Drivers and roles that it must not have.
    pub without: BTreeSet<Name>,
    /// Size of the disk in bytes, when fixed.
    pub size: Option<u64>,
    /// Files of the image itself, besides its components'.
    pub entries: Vec<Entry>,
    /// The first program's path in the image.
    pub program: Sourced<String>,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The system calls that the kernel keeps, those of other archs too; `None`: all it has.
    pub system_calls: Option<BTreeSet<&'static str>>,
}

/// `scenarios/<name>.toml`: one test that boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario {
    pub name: Name,
    pub source: SourcePath,
    pub description: String,
    pub image: Name,
    pub profile: String,
    pub arch: Vec<Arch>,
    pub mode: Mode,
    /// Every machine it runs on, per arch; the profile's machine when the key is absent.
    pub machines: BTreeMap<Arch, Vec<Name>>,
    pub cpus: Option<u32>,
    pub memory: BTreeMap<Arch, MemorySize>,
    /// Replaces the program part of the image's command line, or adds words after a `+`.
    pub cmdline: Option<String>,
    pub kernel_base: BTreeMap<Arch, u64>,
    /// Bytes (a multiple of 2 MiB) by which the image is loaded elsewhere than planned.
    pub load_offset: Option<u64>,
    pub timeout_s: u32,
    /// How the VM must end: `exit 0`, `panic`, `signal 11`, `oom`, …
    pub exit: String,
    pub steps: Vec<ScenarioStep>,
    pub disks: Vec<Disk>,
    pub after: Vec<DiskCheck>,
}

/// A disk of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    pub name: Name,
    /// In bytes, a multiple of 512.
    pub size: MemorySize,
    /// What is on it at first.
    pub pattern: Pattern,
}

/// What must be on a disk when the VM has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskCheck {
    pub disk: Name,
    /// The part, in bytes, within the disk.
    pub offset: u64,
    pub length: u64,
    pub content: DiskContent,
}

/// What a part of a disk holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskContent {
    Pattern(Pattern),
    /// As lower-case hexadecimal digits.
    Sha256(String),
}

/// One step of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioStep {
    /// A regular expression over console output not consumed yet.
    Expect(String),
    /// Text typed on the console, as written.
    Send(String),
    /// A QMP command as JSON.
    Qmp(String),
    /// A helper on the host side, by name.
    Peer(String),
    /// The guest resets here and boots again.
    Reboot,
}
