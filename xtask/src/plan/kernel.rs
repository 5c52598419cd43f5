//! A kernel as a value: everything that decides the bytes of its static library, and the
//! key that is their hash. Where it will be relocated to is not among them, nor what is
//! packed with it: images share it.

use crate::config::resolved::{ModeConfig, SourcePath};
use crate::model::{Arch, Digest, Mode, Name};
use serde::Serialize;
use std::collections::BTreeSet;

/// One driver of a kernel: a crate and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DriverCrate {
    pub name: Name,
    /// The crate's folder.
    pub source: SourcePath,
}

/// What is compiled into a kernel, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelSpec {
    pub arch: Arch,
    pub mode: Mode,
    pub settings: ModeConfig,
    /// The rustc target JSON.
    pub target: SourcePath,
    /// The solved set, sorted by name.
    pub drivers: Vec<DriverCrate>,
}

impl KernelSpec {
    /// The kernel's key: `<arch>-<mode>-<hash>`, the hash over everything in the value.
    #[must_use]
    pub fn key(&self) -> String {
        // A struct of strings and numbers always serialises.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        format!("{}-{}-{}", self.arch, self.mode, Digest::of(&bytes).short())
    }

    /// The key of this kernel linked with the system calls `calls` alone (all that it has when
    /// `None`), and with crash records if `crash_dump`. These are no part of the static library:
    /// kernels that differ in them only share its compilation.
    #[must_use]
    pub fn linked_key(&self, calls: Option<&BTreeSet<&'static str>>, crash_dump: bool) -> String {
        let mut key = self.key();
        if let Some(calls) = calls {
            let list = calls.iter().copied().collect::<Vec<_>>().join(" ");
            key = format!("{key}-calls-{}", Digest::of(list.as_bytes()).short());
        }
        if crash_dump { key + "-dump" } else { key }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn spec() -> KernelSpec {
        let osier = |p: &str| SourcePath { repo: "osier".into(), path: p.into() };
        KernelSpec {
            arch: Arch::X64,
            mode: Mode::Release,
            settings: ModeConfig {
                opt_level: "s".into(),
                lto: "fat".into(),
                codegen_units: 1,
                debug_assertions: false,
                panic_locations: true,
                debug: "line-tables-only".into(),
            },
            target: osier("kernel-config/targets/x64.json"),
            drivers: vec![
                DriverCrate {
                    name: Name::new("ns16550").unwrap(),
                    source: osier("drivers/ns16550"),
                },
                DriverCrate {
                    name: Name::new("my-blk").unwrap(),
                    source: SourcePath { repo: "mine".into(), path: "drivers/my-blk".into() },
                },
            ],
        }
    }

    #[test]
    fn the_key_tells_kernels_apart() {
        let a = spec();
        assert_eq!(a.key(), a.clone().key());
        assert!(a.key().starts_with("x64-release-"));
        let mut b = spec();
        b.drivers.pop();
        let mut c = spec();
        c.settings.lto = "off".into();
        assert!(a.key() != b.key() && a.key() != c.key() && b.key() != c.key());
        let (few, fewer) = (["read", "write"].into(), ["write"].into());
        let linked = [None, Some(&few), Some(&fewer)].map(|calls| a.linked_key(calls, false));
        assert_eq!(linked[0], a.key());
        assert!(linked[0] != linked[1] && linked[0] != linked[2] && linked[1] != linked[2]);
        assert!(!linked.contains(&a.linked_key(None, true)));
        assert!(a.linked_key(None, true) != a.linked_key(Some(&few), true));
    }
}
