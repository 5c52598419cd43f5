//! What rust-analyzer must be told about this workspace. The files that editors read
//! (`.vscode/settings.json`, `.nvim.lua`, `.helix/languages.toml`) say the same, which a
//! test compares; `cargo xtask rust-analyzer` says it to any other editor's server.
//!
//! Kernel code behind `cfg(target_os = "none")` is seen because `target_os="none"` is set in
//! addition to the host's: `std` and the host crates still resolve, and the workspace is
//! loaded once. See docs/decisions.md.

use serde_json::{Value, json};

/// rust-analyzer's settings, as the object that editors send. `target` is the triple to
/// analyse for; the host's when there is none.
#[must_use]
pub fn settings(target: Option<&str>) -> Value {
    let mut settings = json!({
        "cargo": {
            // rust-analyzer's own default, and the kernel's hardware-only code.
            "cfgs": ["debug_assertions", "target_os=none"],
            // Each driver is a feature of `loader`.
            "features": "all",
            // Below target/: never waits for a build, and no build for it.
            "targetDir": true,
        },
        "check": {
            // `cargo xtask check --message-format json`, but what keeps xtask itself from
            // compiling is reported as well, and the folder is the editor's own.
            "overrideCommand": [
                "cargo", "run", "--quiet", "--package", "xtask", "--message-format", "json",
                "--target-dir", "target/rust-analyzer", "--",
                "check", "--message-format", "json",
            ],
        },
    });
    if let (Some(target), Some(cargo)) = (target, settings["cargo"].as_object_mut()) {
        cargo.insert("target".to_owned(), target.into());
    }
    settings
}

/// Lays `ours` over an editor's settings: tables key by key, lists joined where both are
/// lists, but a command is the editor's if it has one.
pub fn overlay(theirs: &mut Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in ours {
                let known = theirs.entry(key.clone()).or_insert(Value::Null);
                if key != "overrideCommand" || known.is_null() {
                    overlay(known, value);
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            let new: Vec<Value> = ours.iter().filter(|v| !theirs.contains(v)).cloned().collect();
            theirs.extend(new);
        }
        (theirs, ours) => *theirs = ours.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editors_settings_keep_what_is_not_ours() {
        let mut theirs = json!({
            "cargo": {"cfgs": ["debug_assertions", "mine"], "target": "wasm32-wasip1", "noDeps": true},
            "check": null,
            "hover": {"links": false},
        });
        overlay(&mut theirs, &settings(Some("aarch64-unknown-linux-musl")));
        let cargo = &theirs["cargo"];
        assert_eq!(cargo["cfgs"], json!(["debug_assertions", "mine", "target_os=none"]));
        assert_eq!(cargo["target"], "aarch64-unknown-linux-musl");
        assert_eq!((&cargo["noDeps"], &theirs["hover"]["links"]), (&true.into(), &false.into()));
        assert_eq!(theirs["check"], settings(None)["check"]);
        assert!(settings(None)["cargo"].get("target").is_none());
    }

    #[test]
    fn an_editors_own_command_stays() {
        let mut theirs = json!({"check": {"overrideCommand": ["make", "check"]}});
        overlay(&mut theirs, &settings(None));
        assert_eq!(theirs["check"]["overrideCommand"], json!(["make", "check"]));
        let mut nothing = Value::Null;
        overlay(&mut nothing, &settings(None));
        assert_eq!(nothing, settings(None));
    }
}
