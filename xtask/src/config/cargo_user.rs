//! The user's own cargo configuration: what of it a build may see.
//!
//! It says where crates come from and how to reach them, and that passes. All else in it
//! (flags, profiles, wrappers, environment, patches) would change what is compiled.

use toml::Table;

/// Top-level tables that pass whole.
const PASS: [&str; 8] =
    ["source", "registries", "registry", "net", "http", "credential-alias", "cache", "term"];

/// A user's cargo configuration, cut to what a build may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CargoUser {
    /// What passes, as TOML.
    pub kept: String,
    /// The keys that do not, sorted: `build.rustflags`, `env.FOO`.
    pub dropped: Vec<String>,
}

/// Cuts the configuration `text`.
///
/// # Errors
/// When it is no TOML; then cargo itself would refuse it too.
pub fn cut(text: &str) -> Result<CargoUser, String> {
    let mut all: Table = toml::from_str(text).map_err(|e| e.to_string())?;
    // Names for commands that the user types: cargo never uses them in a build.
    all.remove("alias");
    let (kept, rest): (Table, Table) =
        all.into_iter().partition(|(key, _)| PASS.contains(&key.as_str()));
    let mut dropped = Vec::new();
    for (key, value) in rest {
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => {
                dropped.extend(inner.keys().map(|k| format!("{key}.{k}")));
            }
            _ => dropped.push(key),
        }
    }
    dropped.sort();
    Ok(CargoUser { kept: kept.to_string(), dropped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_pass_and_flags_do_not() {
        let cut =
            cut("[source.crates-io]\nreplace-with = \"m\"\n[source.m]\nregistry = \"sparse+x\"\n\
            [alias]\nb = \"build\"\n[build]\nrustflags = [\"-Copt-level=0\"]\njobs = 3\n\
            [env]\nFOO = \"1\"\n[target.x86_64-unknown-linux-musl]\nlinker = \"evil\"\n")
            .unwrap();
        assert_eq!(
            cut.dropped,
            ["build.jobs", "build.rustflags", "env.FOO", "target.x86_64-unknown-linux-musl"]
        );
        let kept: Table = toml::from_str(&cut.kept).unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["source"]);
        assert_eq!(kept["source"]["m"]["registry"].as_str(), Some("sparse+x"));
    }

    #[test]
    fn nothing_is_dropped_from_a_harmless_one() {
        assert_eq!(cut("[net]\ngit-fetch-with-cli = true\n").unwrap().dropped, [""; 0]);
        assert!(cut("[net\n").is_err());
    }
}
