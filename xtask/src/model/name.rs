//! Names of profiles, drivers, images and the like, and the build mode.

use serde::{Deserialize, Serialize};

/// A name that matches `[a-z0-9][a-z0-9-]*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a string is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(pub String);

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` is not a name: names begin with a-z or 0-9 and go on with a-z, 0-9 and `-`",
            self.0
        )
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// Checks `s` and makes a name of it.
    ///
    /// # Errors
    /// When `s` does not match `[a-z0-9][a-z0-9-]*`.
    pub fn new(s: &str) -> Result<Self, NameError> {
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = s.starts_with(ok) && s.chars().all(|c| ok(c) || c == '-');
        if good { Ok(Self(s.to_owned())) } else { Err(NameError(s.to_owned())) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::new(s)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = String::deserialize(d)?;
        Self::new(&s).map_err(serde::de::Error::custom)
    }
}

/// How the kernel and the apps are optimised. Both coexist in one build directory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Optimised, without debug assertions.
    #[default]
    Release,
    /// Unoptimised or lightly so, with debug assertions and debug-only command-line switches.
    Debug,
}

impl Mode {
    /// Both modes, in the order in which listings name them.
    pub const ALL: [Mode; 2] = [Mode::Release, Mode::Debug];

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Release => "release",
            Mode::Debug => "debug",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|m| m.name() == s)
            .ok_or_else(|| format!("unknown mode `{s}`; the modes are release and debug"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "q35", "virtio-blk", "0", "9p"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a b", "ä", "a/b", "."] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
