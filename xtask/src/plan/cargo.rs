//! Cargo's command lines, as values.
//!
//! Whatever decides bytes is said here in full, because a user's own cargo configuration
//! applies to every key that is merely left out: every key of the profile, the rustflags
//! (an empty list overrides; an unset variable does not), the wrappers. Calls run from `/`,
//! hence every path is absolute: cargo looks for configuration from its folder upwards.

use super::KernelSpec;
use super::final_crate::place;
use crate::config::resolved::ModeConfig;
use crate::model::Mode;
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;

/// One call of cargo: arguments, and environment on top of the sanitised one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CargoCall {
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
}

/// The key under which cargo knows a mode.
#[must_use]
pub const fn cargo_profile(mode: Mode) -> &'static str {
    match mode {
        Mode::Release => "release",
        Mode::Debug => "dev",
    }
}

/// The call that compiles a kernel's static library in its final crate at `folder`.
///
/// `crates` is the real path of the folder of unpacked crates. Cargo trims the path by which it
/// knows them; rustc asks the system for its working folder, which sees through links.
#[must_use]
pub fn kernel_call(
    spec: &KernelSpec,
    folder: &Utf8Path,
    target_dir: &Utf8Path,
    crates: &Utf8Path,
) -> CargoCall {
    let mut args = vec![
        "build".to_owned(),
        // Without arch-independent std: the JSON target has no prebuilt libraries.
        "-Zbuild-std=core,alloc,compiler_builtins".to_owned(),
        "-Zbuild-std-features=compiler-builtins-mem,optimize_for_size".to_owned(),
        "-Zjson-target-spec".to_owned(),
        "-Ztrim-paths".to_owned(),
        format!("--target={}", folder.join(place(&spec.target.repo, &spec.target.path))),
        format!("--manifest-path={}", folder.join("Cargo.toml")),
    ];
    let profile = cargo_profile(spec.mode);
    // ThinLTO is the linker's (`link::lld_args`): rustc leaves bitcode in the static library.
    let thin = spec.settings.lto == "thin";
    let mut settings = spec.settings.clone();
    if thin {
        settings.lto = "off".to_owned();
    }
    args.extend(profile_args(profile, &settings));
    args.push(format!("--config=profile.{profile}.trim-paths=\"all\""));
    if settings.opt_level == "z" {
        // memcpy and the like are called everywhere: a few bytes more for them pay.
        args.push(format!("--config=profile.{profile}.package.compiler_builtins.opt-level=\"s\""));
    }
    args.extend(common_args(profile, target_dir));
    let remap = format!("--remap-path-prefix={crates}/=");
    let flags = [
        Some(remap.as_str()),
        thin.then_some("-Clinker-plugin-lto"),
        (!spec.settings.panic_locations).then_some("-Zlocation-detail=none"),
        // Level `z` sees to what is inlined and unrolled; that it also makes of each small
        // constant a push and a pop, and of each copied structure a `rep movs`, is not wanted:
        // under emulation the boot takes a twentieth longer.
        (spec.settings.opt_level == "z").then_some("-Cllvm-args=-force-remove-attribute=minsize"),
    ];
    let mut env = common_env(&encoded(flags.into_iter().flatten()));
    // The pinned toolchain is a stable one; only the kernel uses unstable features of it.
    env.insert("RUSTC_BOOTSTRAP".to_owned(), "1".to_owned());
    CargoCall { args, env }
}

/// The call that makes the seeded lock of the final crate at `folder` fit its manifest: it adds
/// the generated package and drops what no dependency needs, and resolves nothing anew.
#[must_use]
pub fn lock_call(folder: &Utf8Path) -> CargoCall {
    let manifest = format!("--manifest-path={}", folder.join("Cargo.toml"));
    let args = vec!["metadata".to_owned(), "--format-version=1".to_owned(), manifest];
    CargoCall { args, env: common_env("") }
}

/// The call that compiles the packages `apps` of the workspace at `folder` for the triple
/// `target`. With musl they are linked by rust-lld: no C compiler for either arch. glibc is
/// the host's, and only its C compiler, `gnu_cc`, knows where that lies.
///
/// `remap` are (folder, name) pairs: the folder's path is replaced in what rustc writes.
#[must_use]
pub fn app_call(
    (mode, settings): (Mode, &ModeConfig),
    (target, gnu_cc): (&str, Option<&str>),
    apps: &[&str],
    folder: &Utf8Path,
    target_dir: &Utf8Path,
    remap: &[(Utf8PathBuf, &str)],
) -> CargoCall {
    let profile = cargo_profile(mode);
    let manifest = format!("--manifest-path={}", folder.join("Cargo.toml"));
    let mut args = vec!["build".to_owned(), format!("--target={target}"), manifest];
    args.extend(apps.iter().map(|app| format!("--package={app}")));
    args.extend(profile_args(profile, settings));
    args.extend(common_args(profile, target_dir));
    // The kernel walks frame pointers for the backtrace of a crash.
    let mut flags = vec!["-Cforce-frame-pointers=yes".to_owned()];
    if gnu_cc.is_some() {
        flags.push("-Ctarget-feature=+crt-static".to_owned());
    } else {
        flags.push("-Clinker-flavor=ld.lld".to_owned());
        // musl's start files and libc come from the toolchain, not from the host.
        flags.push("-Clink-self-contained=yes".to_owned());
    }
    flags.extend(remap.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")));
    let mut env = common_env(&encoded(flags.iter().map(String::as_str)));
    let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
    env.insert(linker, gnu_cc.unwrap_or("rust-lld").to_owned());
    CargoCall { args, env }
}

/// rustc's flags as cargo takes them from the environment: separated by the byte 0x1f.
fn encoded<'a>(flags: impl Iterator<Item = &'a str>) -> String {
    flags.collect::<Vec<_>>().join("\x1f")
}

/// Folders whose paths must not be in what rustc writes. Any may be seen through links: then
/// both paths are given.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    pub sources: &'a [Utf8PathBuf],
    pub build_dir: &'a [Utf8PathBuf],
    pub cargo_home: &'a Utf8Path,
    /// Where cargo unpacks crates, without links.
    pub crates: &'a Utf8Path,
    pub sysroot: &'a Utf8Path,
}

/// What takes their places, in rustc's order: the last that matches wins. The build directory
/// may lie in the sources, and a cut cargo home lies in the build directory.
#[must_use]
pub fn app_remaps(places: &Places<'_>) -> Vec<(Utf8PathBuf, &'static str)> {
    let sources = places.sources.iter().map(|path| (path.clone(), "/source"));
    let build_dir = places.build_dir.iter().map(|path| (path.clone(), "/build"));
    let others = [
        (places.cargo_home.to_owned(), "/cargo"),
        (places.crates.to_owned(), "/cargo/registry/src"),
        (places.sysroot.to_owned(), "/toolchain"),
    ];
    sources.chain(build_dir).chain(others).collect()
}

/// What every compiling call says.
fn common_args(profile: &str, target_dir: &Utf8Path) -> Vec<String> {
    vec![
        format!("--profile={profile}"),
        format!("--target-dir={target_dir}"),
        "--locked".to_owned(),
        // Cargo names the reason of each rebuild on stderr when asked for detail.
        "--verbose".to_owned(),
        "--message-format=json-render-diagnostics".to_owned(),
        // The soft-float target makes core report 12,500 future incompatibilities (design §6).
        "--config=future-incompat-report.frequency=\"never\"".to_owned(),
    ]
}

/// What every call says through the environment. `rustflags` is cargo's encoded form.
fn common_env(rustflags: &str) -> BTreeMap<String, String> {
    [
        ("CARGO_ENCODED_RUSTFLAGS", rustflags),
        ("CARGO_TERM_COLOR", "never"),
        ("CARGO_TERM_PROGRESS_WHEN", "never"),
        ("CARGO_INCREMENTAL", "0"),
        ("RUSTC_WRAPPER", ""),
        ("RUSTC_WORKSPACE_WRAPPER", ""),
        ("LC_ALL", "C"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into()
}

/// Every key of a cargo profile.
fn profile_args(profile: &str, settings: &ModeConfig) -> Vec<String> {
    let quoted = |s: &str| format!("\"{s}\"");
    let opt = match settings.opt_level.as_str() {
        level @ ("s" | "z") => quoted(level),
        level => level.to_owned(),
    };
    let lto = match settings.lto.as_str() {
        "off" => quoted("off"),
        kind => quoted(kind),
    };
    [
        ("opt-level", opt),
        ("lto", lto),
        ("codegen-units", settings.codegen_units.to_string()),
        ("debug", quoted(&settings.debug)),
        ("debug-assertions", settings.debug_assertions.to_string()),
        ("overflow-checks", settings.debug_assertions.to_string()),
        ("split-debuginfo", quoted("off")),
        ("strip", quoted("none")),
        ("panic", quoted("unwind")),
        ("incremental", "false".to_owned()),
        ("rpath", "false".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| format!("--config=profile.{profile}.{key}={value}"))
    .collect()
}
