//! The architectures that a kernel can be built for. Adding one is a variant here and
//! then a list of compile errors to fill in.

use serde::{Deserialize, Serialize};

/// A target architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    X64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// Every architecture, in the order in which listings name them.
    pub const ALL: [Arch; 2] = [Arch::X64, Arch::Aarch64];

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Arch::X64 => "x64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The name of the architecture in Rust's and Linux's triples.
    #[must_use]
    pub const fn rust_name(self) -> &'static str {
        match self {
            Arch::X64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The architecture that other systems call `word`.
    #[must_use]
    pub fn meant(word: &str) -> Option<Arch> {
        match word.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" | "x86" | "amd64" => Some(Arch::X64),
            "arm64" | "armv8" | "arm" => Some(Arch::Aarch64),
            _ => None,
        }
    }

    /// The architecture of the machine that xtask was compiled for, when it is one of ours.
    #[must_use]
    pub fn host() -> Option<Arch> {
        Self::ALL.into_iter().find(|a| a.rust_name() == std::env::consts::ARCH)
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Arch {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|a| a.name() == s).ok_or_else(|| match Arch::meant(s) {
            Some(arch) => format!("unknown arch `{s}`; Osier calls it {arch}"),
            None => format!("unknown arch `{s}`; the archs are x64 and aarch64"),
        })
    }
}
