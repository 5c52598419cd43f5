//! TOML files that no kind of file claims: they would go unread without a word.

use crate::config::diag::Diagnostic;
use crate::config::loader::Loader;
use crate::config::resolved::Repository;
use crate::config::suggest;

/// Folders, and those in them that TOML files are read from.
const FOLDERS: &[(&str, &[&str])] = &[
    ("kernel-config", &["arch", "machines", "profiles"]),
    ("kernel-config/profiles", &["x64", "aarch64"]),
    ("manifests", &["components", "images"]),
];

/// Reports TOML files that lie beside the folders that are read.
pub fn refuse(loader: &mut Loader<'_>, repositories: &[Repository]) {
    for repository in repositories {
        for (folder, read) in FOLDERS {
            for entry in loader.list(&repository.root.join(folder)) {
                let path = repository.root.join(folder).join(&entry.name);
                let is_toml = |name: &str| name.ends_with(".toml");
                // Archs that do not exist are reported as such.
                let claimed = read.contains(&entry.name.as_str()) || folder.ends_with("profiles");
                let stray = match entry.is_dir {
                    false => is_toml(&entry.name),
                    true => {
                        !claimed && loader.list(&path).iter().any(|e| !e.is_dir && is_toml(&e.name))
                    }
                };
                if !stray {
                    continue;
                }
                let near =
                    suggest::nearest(&entry.name, read.iter().copied()).filter(|_| entry.is_dir);
                let help = match near {
                    Some(near) => format!("did you mean `{folder}/{near}`?"),
                    None => {
                        let read: Vec<String> =
                            read.iter().map(|r| format!("{folder}/{r}")).collect();
                        format!("move it to {}", suggest::list(&read, "or"))
                    }
                };
                let what = if entry.is_dir { "the TOML files in it are" } else { "it is" };
                let message = format!("{}: {what} not read here", loader.shown(&path));
                loader.out.push(Diagnostic::nowhere(message).help(help));
            }
        }
    }
}
