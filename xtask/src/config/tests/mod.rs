//! Loading as a whole: the files of this source tree, and trees in memory.

mod bad_inputs;
mod layers;
mod schemas;

use super::tree::Memory;
use super::*;
use crate::model::{Arch, Name};
use camino::Utf8Path;

fn name(s: &str) -> Name {
    Name::new(s).expect(s)
}

/// The root of this source tree.
fn this_tree() -> LoadRequest {
    let xtask = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
    let osier = xtask.parent().expect("xtask lies in the workspace").to_owned();
    LoadRequest { cwd: osier.clone(), osier, repos: Vec::new(), build_dir: None }
}

/// A tree in memory: Osier in `/osier`, a project in `/project`, a build directory `/b`.
const GOOD: &[(&str, &str)] = &[
    ("/osier/kernel-config/arch/x64.toml", X64),
    ("/osier/kernel-config/arch/aarch64.toml", AARCH64),
    ("/osier/kernel-config/targets/x64.json", "{}"),
    ("/osier/kernel-config/targets/aarch64.json", "{}"),
    ("/osier/kernel-config/link/x64.ld", ""),
    ("/osier/kernel-config/link/aarch64.ld", ""),
    ("/osier/kernel-config/profiles/x64/base.toml", PROFILE_X64),
    ("/osier/kernel-config/profiles/x64/all.toml", PROFILE_X64),
    ("/osier/kernel-config/profiles/aarch64/all.toml", PROFILE_AARCH64),
    (
        "/osier/kernel-config/machines/q35.toml",
        "format = 1\narch = \"x64\"\ntype = \"q35\"\ndevices = [\"disk:virtio-blk\"]\n",
    ),
    (
        "/osier/kernel-config/machines/virt.toml",
        "format = 1\narch = \"aarch64\"\ntype = \"virt\"\n",
    ),
    ("/osier/manifests/images/hello.toml", IMAGE),
    ("/osier/manifests/components/base.toml", COMPONENT),
    ("/osier/manifests/files/profile", "PATH=/bin\n"),
    ("/osier/scenarios/hello.toml", "format = 1\ndescription = \"Greets\"\nimage = \"hello\"\n"),
    ("/osier/drivers/api/Cargo.toml", "[package]\nname = \"driver-api\"\n"),
    ("/osier/drivers/ns16550/Cargo.toml", NS16550),
    ("/osier/drivers/pl011/Cargo.toml", PL011),
    ("/osier/drivers/ramfs/Cargo.toml", RAMFS),
    ("/osier/drivers/devfs/Cargo.toml", DEVFS),
    ("/osier/apps/hello/Cargo.toml", "[package]\nname = \"hello\"\n"),
    ("/osier/loader/Cargo.toml", LOADER),
    ("/project/osier.toml", "format = 1\nname = \"mine\"\n"),
    ("/b/etc/build.toml", "format = 1\n"),
];

const X64: &str = r#"format = 1
elf-machine = "EM_X86_64"
kernel-base = "0x200000"
high-half = "0xffffffff80000000"
target = "kernel-config/targets/x64.json"
link-script = "kernel-config/link/x64.ld"
app-target = "x86_64-unknown-linux-musl"
qemu = "qemu-system-x86_64"
default-image = "hello"
[mode.release]
opt-level = "3"
[mode.debug]
opt-level = "1"
"#;
const AARCH64: &str = r#"format = 1
elf-machine = "EM_AARCH64"
kernel-base = "0x40080000"
high-half = "0xffffff8000000000"
target = "kernel-config/targets/aarch64.json"
link-script = "kernel-config/link/aarch64.ld"
app-target = "aarch64-unknown-linux-musl"
qemu = "qemu-system-aarch64"
default-image = "hello"
[mode.release]
opt-level = "3"
[mode.debug]
opt-level = "1"
"#;
const PROFILE_X64: &str =
    "format = 1\ndescription = \"d\"\ndrivers = [\"ns16550\"]\nmachine = \"q35\"\n";
const PROFILE_AARCH64: &str =
    "format = 1\ndescription = \"d\"\ndrivers = [\"pl011\"]\nmachine = \"virt\"\n";
const IMAGE: &str = r#"format = 1
description = "Greets"
components = ["base"]
[run]
program = "/bin/hello"
[[file]]
path = "/bin/hello"
app = "hello"
"#;
const COMPONENT: &str = r#"format = 1
[[file]]
path = "/etc/profile"
source = "manifests/files/profile"
"#;
const NS16550: &str = r#"[package]
name = "ns16550"
[package.metadata.driver]
provides = ["console"]
arch = ["x64"]
"#;
const PL011: &str = r#"[package]
name = "pl011"
[package.metadata.driver]
provides = ["console"]
arch = ["aarch64"]
"#;
const RAMFS: &str = "[package]\nname = \"ramfs\"\n[package.metadata.driver]\n";
const DEVFS: &str =
    "[package]\nname = \"devfs\"\n[package.metadata.driver]\nrequires = [\"ramfs\"]\n";
const LOADER: &str = r#"[package]
name = "loader"
[dependencies]
ns16550 = { path = "../drivers/ns16550", optional = true }
pl011 = { path = "../drivers/pl011", optional = true }
ramfs = { path = "../drivers/ramfs", optional = true }
devfs = { path = "../drivers/devfs", optional = true }
x = { path = "../drivers/x", optional = true }
"#;

/// The good tree with some files replaced or added.
fn tree(changes: &[(&str, &str)]) -> Memory {
    let files = GOOD.iter().chain(changes);
    Memory(files.map(|(p, t)| (Utf8PathBuf::from(*p), t.as_bytes().to_vec())).collect())
}

/// A request from inside the project, with the build directory.
fn request() -> LoadRequest {
    LoadRequest {
        osier: "/osier".into(),
        cwd: "/project".into(),
        repos: Vec::new(),
        build_dir: Some("/b".into()),
    }
}

#[test]
fn the_files_of_this_tree_load() {
    let ws = load(&this_tree()).unwrap_or_else(|d| panic!("{d}"));
    assert_eq!(ws.arches[&Arch::X64].kernel_base.value, 0x20_0000);
    assert_eq!(ws.arches[&Arch::Aarch64].high_half, 0xffff_ff80_0000_0000);
    for (arch, machine) in [(Arch::X64, "microvm"), (Arch::Aarch64, "virt")] {
        assert_eq!(ws.profiles[&(arch, name("base"))].machine, name(machine));
        assert!(ws.images[&name("hello")].per_arch.contains_key(&arch));
    }
    assert!(ws.shadowed.is_empty());
}

/// Every profile with every image that its arch has, and every scenario's selection.
#[test]
fn everything_in_this_tree_can_be_solved() {
    let ws = load(&this_tree()).unwrap_or_else(|d| panic!("{d}"));
    for (arch, profile) in ws.profiles.keys() {
        for image in ws.images.values().filter(|i| i.per_arch.contains_key(arch)) {
            let selector = profile.as_str().parse().expect("a profile's name");
            let solved = crate::solve::for_selection(&ws, *arch, &selector, Some(&image.name));
            assert!(solved.is_ok(), "{}", solved.err().map(|e| e.to_string()).unwrap_or_default());
        }
    }
    for scenario in ws.scenarios.values() {
        for arch in &scenario.arch {
            let selector = scenario.profile.parse().expect("checked by the loader");
            let solved = crate::solve::for_selection(&ws, *arch, &selector, Some(&scenario.image));
            assert!(solved.is_ok(), "{}: {:?}", scenario.name, solved.err().map(|e| e.to_string()));
        }
    }
}

#[test]
fn the_good_tree_is_good() {
    let ws = load_from(&tree(&[]), &request()).unwrap_or_else(|d| panic!("{d}"));
    let repositories: Vec<&str> = ws.repositories.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(repositories, ["mine", "osier"]);
    let hello = &ws.scenarios[&name("hello")];
    assert_eq!(hello.arch, Arch::ALL);
    assert_eq!(hello.machines[&Arch::Aarch64], [name("virt")]);
}
