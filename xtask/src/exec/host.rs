//! The programs that build, found without starting any of them.

use crate::context::Env;
use crate::error::Refusal;
use crate::setup::{Host, Need, Toolchain};
use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

/// The toolchain of kernels and apps, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    pub toolchain: Toolchain,
    pub rust_lld: Utf8PathBuf,
    /// The user's cargo home.
    pub user_cargo_home: Utf8PathBuf,
    /// The cargo home that the build sees: the user's, or a cut of it (`exec::cargo_home`).
    pub cargo_home: Utf8PathBuf,
}

impl Tools {
    /// Finds them.
    ///
    /// # Errors
    /// A [`Refusal`] that names what is missing. (`setup::ensure` gets it.)
    pub fn find(env: &Env) -> Result<Self> {
        let host = Host { env, exists: &|p: &Utf8Path| p.exists() };
        let missing = |what: &str| {
            Refusal::new(format!("{what} is missing")).help("cargo xtask doctor --fix")
        };
        let found = Toolchain::find(&host).ok_or_else(|| missing("the Rust toolchain"))?;
        // rustc tells paths in it without links: those are the ones to be kept out of artifacts.
        let sysroot = found.sysroot.canonicalize_utf8().unwrap_or(found.sysroot);
        let toolchain = Toolchain { sysroot, ..found };
        let lld = Need::Linker.look(&host, Some(&toolchain)).found;
        let home = env.get("HOME").map_or("/", String::as_str);
        let cargo_home = env.get("CARGO_HOME").map(Utf8PathBuf::from);
        let cargo_home = cargo_home.unwrap_or_else(|| Utf8Path::new(home).join(".cargo"));
        Ok(Self {
            rust_lld: lld.ok_or_else(|| missing("rust-lld"))?.into(),
            user_cargo_home: cargo_home.clone(),
            cargo_home,
            toolchain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_of_the_running_cargo_are_found() {
        let env: Env = std::env::vars().collect();
        let found = Tools::find(&env).unwrap();
        assert!(found.toolchain.rustc.is_file() && found.rust_lld.is_file());
    }

    #[test]
    fn without_a_toolchain_it_is_a_refusal() {
        let env: Env = [("PATH".to_owned(), "/nonexistent".to_owned())].into();
        assert!(Tools::find(&env).unwrap_err().is::<Refusal>());
    }
}
