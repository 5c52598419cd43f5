//! What Osier needs of a machine, how to see whether it is there, and the command that gets
//! it. One table serves `doctor`, and `build` and `run-qemu` before they start.
//!
//! Pure: the machine is asked through [`Host`]. Seeing costs a few file look-ups, because
//! it happens before every build.

mod toolchain;

pub use toolchain::{Toolchain, find_program};

use crate::context::Env;
use crate::model::Arch;
use camino::Utf8Path;

/// The machine, as far as this module looks at it.
pub struct Host<'a> {
    pub env: &'a Env,
    /// Whether a path exists.
    pub exists: &'a dyn Fn(&Utf8Path) -> bool,
}

/// One thing that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// rustc and cargo.
    Rust,
    /// The sources of the standard library, from which `core` is built for the kernel.
    RustSrc,
    /// The compiled standard library of apps.
    AppStd(Arch),
    /// The compiled standard library of apps with glibc.
    GnuStd(Arch),
    /// A C linker with glibc's static library for an arch.
    GnuCc(Arch),
    /// rust-lld, or LLVM's lld by another name.
    Linker,
    /// A C linker with libc's headers, for host programs.
    HostCc,
    /// QEMU for an arch.
    Qemu(Arch),
    Rustfmt,
    Clippy,
    /// The language server, for editors.
    RustAnalyzer,
    /// A debugger that knows both archs, for `--gdb` and `--dump`.
    Gdb,
}

/// How to get what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// A command of rustup: run without asking, since rust-toolchain.toml asked for it.
    Rustup(Vec<String>),
    /// A package of the system, by its names under each package manager.
    Package(&'static Package),
    /// Something that the user has to do.
    Advice(String),
}

/// A system package's names.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    pub apt: &'static str,
    pub dnf: &'static str,
    pub pacman: &'static str,
    pub apk: &'static str,
    pub zypper: &'static str,
}

const QEMU_X64: Package = Package {
    apt: "qemu-system-x86",
    dnf: "qemu-system-x86-core",
    pacman: "qemu-system-x86",
    apk: "qemu-system-x86_64",
    zypper: "qemu-x86",
};
const QEMU_AARCH64: Package = Package {
    apt: "qemu-system-arm",
    dnf: "qemu-system-aarch64-core",
    pacman: "qemu-system-aarch64",
    apk: "qemu-system-aarch64",
    zypper: "qemu-arm",
};
const CC: Package = Package {
    apt: "gcc libc6-dev",
    dnf: "gcc glibc-devel",
    pacman: "gcc",
    apk: "gcc musl-dev",
    zypper: "gcc glibc-devel",
};
/// glibc and its linker for x64, where the host is another arch.
const CC_X64: Package = Package {
    apt: "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
    dnf: "gcc-x86_64-linux-gnu",
    pacman: "x86_64-linux-gnu-gcc",
    apk: "gcc",
    zypper: "cross-x86_64-gcc12",
};
const GDB: Package = Package {
    apt: "gdb-multiarch",
    dnf: "gdb",
    pacman: "gdb",
    apk: "gdb-multiarch",
    zypper: "gdb",
};

/// What was found out about one need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub need: Need,
    /// Where it is, when it is there.
    pub found: Option<String>,
    /// How to get it, when it is not.
    pub mend: Option<Mend>,
}

impl Need {
    /// Everything that any command needs, in the order in which `doctor` lists it.
    pub const ALL: [Need; 14] = [
        Need::Rust,
        Need::RustSrc,
        Need::AppStd(Arch::X64),
        Need::AppStd(Arch::Aarch64),
        Need::GnuStd(Arch::X64),
        Need::GnuCc(Arch::X64),
        Need::Linker,
        Need::HostCc,
        Need::Qemu(Arch::X64),
        Need::Qemu(Arch::Aarch64),
        Need::Rustfmt,
        Need::Clippy,
        Need::RustAnalyzer,
        Need::Gdb,
    ];

    /// What a build for `arch` needs.
    #[must_use]
    pub fn of_build(arch: Arch) -> [Need; 4] {
        [Need::Rust, Need::RustSrc, Need::AppStd(arch), Need::Linker]
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Need::Rust => "Rust toolchain".into(),
            Need::RustSrc => "rust-src".into(),
            Need::AppStd(arch) => format!("std for {}", app_target(arch)),
            Need::GnuStd(arch) => format!("std for {}", gnu_target(arch)),
            Need::GnuCc(arch) => format!("glibc for {arch}"),
            Need::Linker => "rust-lld".into(),
            Need::HostCc => "C linker".into(),
            Need::Qemu(arch) => qemu_binary(arch).into(),
            Need::Rustfmt => "rustfmt".into(),
            Need::Clippy => "clippy".into(),
            Need::RustAnalyzer => "rust-analyzer".into(),
            Need::Gdb => "gdb".into(),
        }
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Need::Rust => "compiles everything",
            Need::RustSrc => "the kernel's own build of core and alloc",
            Need::AppStd(_) => "apps",
            Need::GnuStd(_) | Need::GnuCc(_) => "apps with glibc",
            Need::Linker => "links kernels and apps",
            Need::HostCc => "links host programs",
            Need::Qemu(_) => "run-qemu, test",
            Need::Rustfmt | Need::Clippy => "check",
            Need::RustAnalyzer => "editors (optional)",
            Need::Gdb => "run-qemu --gdb and --dump, and their tests (optional)",
        }
    }

    /// Whether Osier does all but one command or option without it.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Need::Gdb | Need::RustAnalyzer | Need::GnuStd(_) | Need::GnuCc(_))
    }

    /// Looks for it.
    #[must_use]
    pub fn look(self, host: &Host, toolchain: Option<&Toolchain>) -> Finding {
        let (found, mend) = match self {
            Need::Rust => (
                toolchain.map(|t| t.rustc.to_string()),
                Mend::Advice("install rustup: https://rustup.rs".into()),
            ),
            Need::RustSrc => (
                in_sysroot(host, toolchain, &["lib/rustlib/src/rust/library/Cargo.lock"]),
                component(toolchain, "component", "rust-src"),
            ),
            Need::AppStd(arch) | Need::GnuStd(arch) => {
                let gnu = matches!(self, Need::GnuStd(_));
                let target = if gnu { gnu_target(arch) } else { app_target(arch) };
                let lib = format!("lib/rustlib/{target}/lib");
                (
                    in_sysroot(host, toolchain, &[lib.as_str()]),
                    component(toolchain, "target", target),
                )
            }
            Need::Linker => {
                let arch = std::env::consts::ARCH;
                let gnu = format!("lib/rustlib/{arch}-unknown-linux-gnu/bin/rust-lld");
                let musl = format!("lib/rustlib/{arch}-unknown-linux-musl/bin/rust-lld");
                let own = in_sysroot(host, toolchain, &[gnu.as_str(), musl.as_str()]);
                let found =
                    own.or_else(|| ["ld.lld", "ld.lld-22"].iter().find_map(|n| program(host, n)));
                (found, component(toolchain, "component", "rustc"))
            }
            Need::HostCc => (program(host, "cc"), Mend::Package(&CC)),
            Need::GnuCc(arch) => (
                program(host, gnu_cc(arch)),
                Mend::Package(if gnu_cc(arch) == "cc" { &CC } else { &CC_X64 }),
            ),
            Need::Qemu(arch) => (
                program(host, qemu_binary(arch)),
                Mend::Package(match arch {
                    Arch::X64 => &QEMU_X64,
                    Arch::Aarch64 => &QEMU_AARCH64,
                }),
            ),
            Need::Rustfmt => (
                in_sysroot(host, toolchain, &["bin/rustfmt"]),
                component(toolchain, "component", "rustfmt"),
            ),
            Need::Clippy => (
                in_sysroot(host, toolchain, &["bin/cargo-clippy"]),
                component(toolchain, "component", "clippy"),
            ),
            // One on the path is another version's, or rustup's proxy for this very file.
            Need::RustAnalyzer => (
                in_sysroot(host, toolchain, &["bin/rust-analyzer"]).or_else(|| {
                    toolchain.filter(|t| t.rustup_name.is_none())?;
                    program(host, "rust-analyzer")
                }),
                component(toolchain, "component", "rust-analyzer"),
            ),
            Need::Gdb => {
                // Where packages are split by arch, plain `gdb` knows the host's alone.
                let split = ["apt-get", "apk"].iter().any(|m| program(host, m).is_some());
                let plain = || program(host, "gdb").filter(|_| !split);
                (program(host, "gdb-multiarch").or_else(plain), Mend::Package(&GDB))
            }
        };
        let mend = found.is_none().then_some(mend);
        Finding { need: self, found, mend }
    }
}

/// rustc's triple of an arch's apps.
#[must_use]
pub const fn app_target(arch: Arch) -> &'static str {
    match arch {
        Arch::X64 => "x86_64-unknown-linux-musl",
        Arch::Aarch64 => "aarch64-unknown-linux-musl",
    }
}

/// rustc's triple of an arch's apps with glibc.
const fn gnu_target(arch: Arch) -> &'static str {
    match arch {
        Arch::X64 => "x86_64-unknown-linux-gnu",
        Arch::Aarch64 => "aarch64-unknown-linux-gnu",
    }
}

/// The C compiler that links apps with an arch's glibc on this host.
#[must_use]
pub fn gnu_cc(arch: Arch) -> &'static str {
    match arch {
        _ if Arch::host() == Some(arch) => "cc",
        Arch::X64 => "x86_64-linux-gnu-gcc",
        Arch::Aarch64 => "aarch64-linux-gnu-gcc",
    }
}

/// The name of an arch's QEMU.
#[must_use]
pub const fn qemu_binary(arch: Arch) -> &'static str {
    match arch {
        Arch::X64 => "qemu-system-x86_64",
        Arch::Aarch64 => "qemu-system-aarch64",
    }
}

fn program(host: &Host, name: &str) -> Option<String> {
    find_program(host, name).map(String::from)
}

fn in_sysroot(host: &Host, toolchain: Option<&Toolchain>, paths: &[&str]) -> Option<String> {
    let sysroot = &toolchain?.sysroot;
    paths.iter().map(|p| sysroot.join(p)).find(|p| (host.exists)(p)).map(String::from)
}

fn component(toolchain: Option<&Toolchain>, kind: &str, name: &str) -> Mend {
    match toolchain.and_then(|t| t.rustup_name.as_deref()) {
        Some(toolchain) => Mend::Rustup(
            ["rustup", kind, "add", "--toolchain", toolchain, name].map(str::to_owned).to_vec(),
        ),
        None if name == "rust-src" => Mend::Advice(
            "this toolchain is not rustup's: install its sources (Debian: rust-web-src)".into(),
        ),
        None => Mend::Advice(format!(
            "this toolchain is not rustup's and has no {name}: use rustup's instead"
        )),
    }
}

/// The package managers that are known, in the order in which they are looked for: program,
/// command line before the package names, the field of [`Package`].
type Manager = (&'static str, &'static [&'static str], fn(&Package) -> &'static str);
const MANAGERS: [Manager; 5] = [
    ("apt-get", &["apt-get", "install", "--yes", "--no-install-recommends"], |p| p.apt),
    ("dnf", &["dnf", "install", "--assumeyes"], |p| p.dnf),
    ("pacman", &["pacman", "-S", "--noconfirm"], |p| p.pacman),
    ("apk", &["apk", "add"], |p| p.apk),
    ("zypper", &["zypper", "--non-interactive", "install"], |p| p.zypper),
];

/// The command that installs `packages`, all at once; `None` where no known package manager
/// is.
#[must_use]
pub fn install_command(host: &Host, packages: &[&Package]) -> Option<Vec<String>> {
    let (_, command, name) = MANAGERS.iter().find(|(m, _, _)| find_program(host, m).is_some())?;
    let names = packages.iter().flat_map(|p| name(p).split(' '));
    Some(command.iter().copied().chain(names).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(path: &str) -> Env {
        Env::from([("PATH".to_owned(), path.to_owned())])
    }

    fn toolchain(rustup_name: Option<&str>) -> Toolchain {
        Toolchain {
            cargo: "/t/bin/cargo".into(),
            rustc: "/t/bin/rustc".into(),
            sysroot: "/t".into(),
            rustup_name: rustup_name.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_missing_comes_with_its_command() {
        let env = env("/usr/bin:/usr/sbin");
        let exists = |p: &Utf8Path| p == "/usr/bin/apt-get" || p == "/usr/bin/qemu-system-aarch64";
        let host = Host { env: &env, exists: &exists };
        let t = toolchain(Some("1.95.0"));
        let src = Need::RustSrc.look(&host, Some(&t));
        assert_eq!(src.found, None);
        let Some(Mend::Rustup(command)) = src.mend else { panic!("{src:?}") };
        assert_eq!(command.join(" "), "rustup component add --toolchain 1.95.0 rust-src");
        let target = Need::AppStd(Arch::Aarch64).look(&host, Some(&t));
        let Some(Mend::Rustup(command)) = target.mend else { panic!("{target:?}") };
        assert_eq!(
            command.join(" "),
            "rustup target add --toolchain 1.95.0 aarch64-unknown-linux-musl"
        );
        let arm = Need::Qemu(Arch::Aarch64).look(&host, Some(&t));
        assert_eq!((arm.found.as_deref(), arm.mend), (Some("/usr/bin/qemu-system-aarch64"), None));
        let x64 = Need::Qemu(Arch::X64).look(&host, Some(&t));
        let Some(Mend::Package(package)) = x64.mend else { panic!("{x64:?}") };
        assert_eq!(
            install_command(&host, &[package, &CC]).unwrap().join(" "),
            "apt-get install --yes --no-install-recommends qemu-system-x86 gcc libc6-dev"
        );
    }

    #[test]
    fn a_toolchain_that_is_not_rustups_gets_advice() {
        let env = env("");
        let host = Host { env: &env, exists: &|_| false };
        let found = Need::RustSrc.look(&host, Some(&toolchain(None)));
        assert!(
            matches!(&found.mend, Some(Mend::Advice(a)) if a.contains("rust-web-src")),
            "{found:?}"
        );
        let none = Need::Rust.look(&host, None);
        assert!(matches!(&none.mend, Some(Mend::Advice(a)) if a.contains("rustup.rs")), "{none:?}");
        assert_eq!(install_command(&host, &[&GDB]), None);
    }

    #[test]
    fn a_debugger_for_one_arch_is_not_enough() {
        let env = env("/usr/bin");
        for (there, found) in [
            (&["gdb"][..], Some("/usr/bin/gdb")),
            (&["gdb", "apt-get"], None),
            (&["gdb", "gdb-multiarch", "apt-get"], Some("/usr/bin/gdb-multiarch")),
        ] {
            let exists = |p: &Utf8Path| p.file_name().is_some_and(|n| there.contains(&n));
            let host = Host { env: &env, exists: &exists };
            assert_eq!(Need::Gdb.look(&host, None).found.as_deref(), found, "{there:?}");
        }
    }

    #[test]
    fn the_sysroot_is_where_things_are_looked_for() {
        let env = env("/bin");
        let exists = |p: &Utf8Path| p.starts_with("/t/lib/rustlib") || p == "/bin/ld.lld-22";
        let host = Host { env: &env, exists: &exists };
        let t = toolchain(None);
        for need in Need::of_build(Arch::X64) {
            assert!(need.look(&host, Some(&t)).found.is_some(), "{need:?}");
        }
        let elsewhere = Toolchain { sysroot: "/other".into(), ..t };
        assert_eq!(
            Need::Linker.look(&host, Some(&elsewhere)).found.as_deref(),
            Some("/bin/ld.lld-22")
        );
    }
}
