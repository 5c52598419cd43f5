//! Loading as a whole: the files of this source tree, and trees in memory.

use super::*;
use crate::model::{Arch, Name};
use camino::Utf8Path;

/// The root of this source tree.
fn osier() -> Utf8PathBuf {
    let xtask = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace").to_owned()
}

#[test]
fn the_files_of_this_tree_load() {
    let request = LoadRequest { osier: osier(), cwd: osier(), repos: Vec::new(), build_dir: None };
    let ws = load(&request).unwrap_or_else(|d| panic!("{d}"));
    let name = |s: &str| Name::new(s).expect(s);
    assert_eq!(ws.arches[&Arch::X64].kernel_base.value, 0x20_0000);
    assert_eq!(ws.arches[&Arch::Aarch64].high_half, 0xffff_ff80_0000_0000);
    for (arch, machine) in [(Arch::X64, "microvm"), (Arch::Aarch64, "virt")] {
        assert_eq!(ws.profiles[&(arch, name("base"))].machine, name(machine));
        assert!(ws.images[&name("hello")].per_arch.contains_key(&arch));
    }
    assert!(ws.shadowed.is_empty());
}
