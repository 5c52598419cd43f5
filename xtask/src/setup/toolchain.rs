//! Which Rust toolchain is used, found without starting a program.

use super::Host;
use camino::{Utf8Path, Utf8PathBuf};

/// The toolchain that rust-toolchain.toml pins.
pub const PINNED: &str = "1.95.0";

/// A Rust toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    pub cargo: Utf8PathBuf,
    pub rustc: Utf8PathBuf,
    /// What `rustc --print sysroot` says: the folder above `bin`.
    pub sysroot: Utf8PathBuf,
    /// Its name in rustup; `None` for a distribution's own.
    pub rustup_name: Option<String>,
}

impl Toolchain {
    /// The toolchain of `RUSTC` and `CARGO`, where the environment names them; cargo itself
    /// sets `CARGO` to its real path when it runs xtask. Else the first `rustc` on the path,
    /// or, when that is rustup's proxy, the pinned toolchain in rustup's home.
    #[must_use]
    pub fn find(host: &Host) -> Option<Self> {
        let named = |key: &str| {
            let value = host.env.get(key).filter(|v| !v.is_empty())?;
            if value.contains('/') {
                Some(Utf8PathBuf::from(value)).filter(|p| (host.exists)(p))
            } else {
                find_program(host, value)
            }
        };
        let cargo = named("CARGO");
        let beside =
            |p: &Utf8Path, name: &str| Some(p.with_file_name(name)).filter(|p| (host.exists)(p));
        let rustc = named("RUSTC")
            .or_else(|| beside(cargo.as_deref()?, "rustc"))
            .or_else(|| find_program(host, "rustc").filter(|p| !is_proxy(host, p)))
            .or_else(|| in_rustup_home(host))?;
        let cargo =
            cargo.or_else(|| beside(&rustc, "cargo")).or_else(|| find_program(host, "cargo"))?;
        let sysroot = rustc.parent()?.parent()?.to_owned();
        let rustup_name = sysroot
            .parent()
            .filter(|p| p.file_name() == Some("toolchains"))
            .and_then(|_| sysroot.file_name())
            .map(str::to_owned);
        Some(Self { cargo, rustc, sysroot, rustup_name })
    }
}

fn in_rustup_home(host: &Host) -> Option<Utf8PathBuf> {
    let home = match host.env.get("RUSTUP_HOME") {
        Some(dir) => Utf8PathBuf::from(dir),
        None => Utf8Path::new(host.env.get("HOME")?).join(".rustup"),
    };
    let arch = std::env::consts::ARCH;
    let pinned = ["gnu", "musl"].map(|libc| format!("{PINNED}-{arch}-unknown-linux-{libc}"));
    let named = host.env.get("RUSTUP_TOOLCHAIN").cloned();
    named
        .into_iter()
        .chain(pinned)
        .map(|name| home.join("toolchains").join(name).join("bin/rustc"))
        .find(|p| (host.exists)(p))
}

/// rustup's proxies lie beside rustup itself.
fn is_proxy(host: &Host, rustc: &Utf8Path) -> bool {
    (host.exists)(&rustc.with_file_name("rustup"))
}

/// The first file named `name` in the folders of `PATH`.
#[must_use]
pub fn find_program(host: &Host, name: &str) -> Option<Utf8PathBuf> {
    if name.contains('/') {
        return Some(Utf8PathBuf::from(name)).filter(|p| (host.exists)(p));
    }
    let path = host.env.get("PATH")?;
    path.split(':')
        .filter(|d| !d.is_empty())
        .map(|d| Utf8Path::new(d).join(name))
        .find(|p| (host.exists)(p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Env;

    fn find(env: &[(&str, &str)], files: &[&str]) -> Option<Toolchain> {
        let env: Env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Toolchain::find(&Host { env: &env, exists: &|p| files.contains(&p.as_str()) })
    }

    #[test]
    fn cargo_says_where_it_is() {
        let bin = "/r/toolchains/1.95.0-x86_64-unknown-linux-gnu/bin";
        let (cargo, rustc) = (format!("{bin}/cargo"), format!("{bin}/rustc"));
        let t = find(&[("CARGO", &cargo)], &[&cargo, &rustc]).unwrap();
        assert_eq!((t.rustc.as_str(), t.cargo.as_str()), (rustc.as_str(), cargo.as_str()));
        assert_eq!(t.rustup_name.as_deref(), Some("1.95.0-x86_64-unknown-linux-gnu"));
    }

    #[test]
    fn a_distributions_toolchain_will_do() {
        let files = ["/usr/bin/rustc", "/usr/bin/cargo"];
        let t = find(&[("PATH", "/none:/usr/bin")], &files).unwrap();
        assert_eq!((t.sysroot.as_str(), t.rustup_name), ("/usr", None));
        let t = find(&[("PATH", "/usr/bin"), ("RUSTC", "rustc"), ("CARGO", "cargo")], &files);
        assert_eq!(t.unwrap().rustc, "/usr/bin/rustc");
    }

    #[test]
    fn the_pinned_toolchain_is_the_one_of_the_workspace() {
        let pin = include_str!("../../../rust-toolchain.toml");
        assert!(pin.contains(&format!("channel = \"{PINNED}\"")), "{pin}");
    }

    #[test]
    fn a_proxy_is_not_a_toolchain() {
        let files = ["/h/.cargo/bin/rustc", "/h/.cargo/bin/cargo", "/h/.cargo/bin/rustup"];
        assert_eq!(find(&[("PATH", "/h/.cargo/bin")], &files), None);
        let arch = std::env::consts::ARCH;
        let bin = format!("/h/.rustup/toolchains/{PINNED}-{arch}-unknown-linux-gnu/bin");
        let (rustc, cargo) = (format!("{bin}/rustc"), format!("{bin}/cargo"));
        let files = [&files[..], &[rustc.as_str(), cargo.as_str()]].concat();
        let t = find(&[("PATH", "/h/.cargo/bin"), ("HOME", "/h")], &files).unwrap();
        assert_eq!((t.rustc.as_str(), t.cargo.as_str()), (rustc.as_str(), cargo.as_str()));
        assert_eq!(find(&[], &[]), None);
    }
}
