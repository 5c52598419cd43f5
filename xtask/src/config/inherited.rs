//! What members of Osier's cargo workspace inherit from its root manifest.

use toml::{Table, Value};

/// The tables that a member may inherit from.
const INHERITED: [&str; 3] = ["package", "dependencies", "lints"];

/// `[workspace.package]`, `[workspace.dependencies]` and `[workspace.lints]` of a workspace's
/// manifest as a TOML document of their own, keys sorted: comments and layout change nothing
/// that is built.
///
/// # Errors
/// When `manifest` is no TOML document; the text says where.
pub fn workspace_tables(manifest: &str) -> Result<String, toml::de::Error> {
    let mut root: Table = manifest.parse()?;
    let mut workspace = match root.remove("workspace") {
        Some(Value::Table(workspace)) => workspace,
        _ => Table::new(),
    };
    workspace.retain(|key, _| INHERITED.contains(&key));
    Ok(Table::from_iter([("workspace".to_owned(), Value::Table(workspace))]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_tables_are_taken_whole_and_nothing_else() {
        let manifest = "[workspace]\nmembers = [\"a\"]\n# note\n[workspace.package]\nedition = \"2024\"\n\
            [workspace.dependencies] # ours\nx = { path = \"x\",\n  features = [\"y\"] }\n\
            [workspace.dependencies.z]\nversion = \"1\"\n[workspace.lints.rust]\na = \"deny\"\n\
            [profile.release]\nlto = true\n[workspace.metadata]\nb = 1\n";
        let taken: Table = workspace_tables(manifest).unwrap().parse().unwrap();
        let expected = "[workspace.package]\nedition = \"2024\"\n\
            [workspace.dependencies]\nx = { path = \"x\", features = [\"y\"] }\nz.version = \"1\"\n\
            [workspace.lints.rust]\na = \"deny\"\n";
        assert_eq!(taken, expected.parse().unwrap());
        let spaced = manifest.replace('\n', "\n\n# more\n\n").replace(",\n\n# more\n\n", ", ");
        assert_eq!(workspace_tables(&spaced), workspace_tables(manifest));
    }

    #[test]
    fn a_broken_manifest_is_an_error() {
        assert!(workspace_tables("[workspace\n").is_err());
    }
}
