//! Every path inside a build directory, derived in one place and without I/O.
//!
//! ```text
//! <build-dir>/
//!   .osier                  marks the folder as ours
//!   lock                    held while a build runs; says who holds it
//!   etc/build.toml          the user's settings for this build directory
//!   x                       launcher: `cargo xtask --build-dir <this>`
//!   target/                 cargo's, for kernels and apps
//!   gen/<key>/              the generated final crate of a kernel
//!   kernel/<key>/           a kernel's artifacts, shared by the images that need it
//!   app/<arch>-<mode>/      the apps' ELF files; with `-gnu` those with glibc
//!   stamps/                 the inputs that each artifact was made from
//!   log/                    a log per run
//!   cache/                  answers worth keeping (does KVM work here?)
//!   run/<pid>-<n>/          private links to what a running VM opens
//!   <arch>-<mode>-<profile>/<image>/   the artifacts of an image; with `@<base>` after its
//!                           name for one at another base than the arch's
//! ```

use super::{Arch, Mode, Name};
use camino::{Utf8Path, Utf8PathBuf};

/// The paths of one build directory. Every path that it returns is inside [`Layout::root`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: Utf8PathBuf,
}

impl Layout {
    /// The layout of the build directory `root` (absolute).
    #[must_use]
    pub fn new(root: impl Into<Utf8PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The build directory itself.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// Cargo's target folder for kernels and apps.
    #[must_use]
    pub fn target(&self) -> Utf8PathBuf {
        self.root.join("target")
    }

    /// The folder of the generated final crate of the kernel with `key`.
    #[must_use]
    pub fn gen_crate(&self, key: &str) -> Utf8PathBuf {
        self.root.join("gen").join(key)
    }

    /// The folder of the artifacts of the kernel with `key`.
    #[must_use]
    pub fn kernel(&self, key: &str) -> Utf8PathBuf {
        self.root.join("kernel").join(key)
    }

    /// The folder of the apps' ELF files: `libc` is what comes after its usual name.
    #[must_use]
    pub fn apps(&self, arch: Arch, mode: Mode, libc: &str) -> Utf8PathBuf {
        self.root.join("app").join(format!("{arch}-{mode}{libc}"))
    }

    /// The folder of the artifacts of an image. `profile` is the profile as the user
    /// selected it, with `+driver` and `~driver`.
    #[must_use]
    pub fn image(&self, arch: Arch, mode: Mode, profile: &str, image: &Name) -> Utf8PathBuf {
        self.root.join(format!("{arch}-{mode}-{profile}")).join(image.as_str())
    }

    /// The folder of the stamps.
    #[must_use]
    pub fn stamps(&self) -> Utf8PathBuf {
        self.root.join("stamps")
    }

    /// The folder of the logs.
    #[must_use]
    pub fn log(&self) -> Utf8PathBuf {
        self.root.join("log")
    }

    /// The folder of cached answers.
    #[must_use]
    pub fn cache(&self) -> Utf8PathBuf {
        self.root.join("cache")
    }

    /// The folders of running virtual machines, one each.
    #[must_use]
    pub fn run(&self) -> Utf8PathBuf {
        self.root.join("run")
    }

    /// The file whose lock serialises builds in this directory.
    #[must_use]
    pub fn lock(&self) -> Utf8PathBuf {
        self.root.join("lock")
    }
}
