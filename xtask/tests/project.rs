//! A project from nothing: `new`, and what `profile`, `schema` and the loader say in it.
// Helpers of tests are not seen as tests by the lint's own exemption.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn xtask(cwd: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .current_dir(cwd)
        .env("OSIER_ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("ARCH", "x64")
        .env_remove("OSIER_BUILD_DIR")
        .output()
        .unwrap()
}

/// Runs a command that must succeed, and gives what it printed.
#[track_caller]
fn prints(cwd: &Path, args: &[&str]) -> String {
    let out = xtask(cwd, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs a command that must be refused, and gives what it said.
#[track_caller]
fn refused(cwd: &Path, args: &[&str]) -> String {
    let out = xtask(cwd, args);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    said
}

#[track_caller]
fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A project with drivers that need each other and a profile `lab`.
fn lab() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    prints(folder.path(), &["new", "project", "lab"]);
    let lab = folder.path().join("lab");
    for args in [
        &["new", "driver", "mains", "--provides", "power"][..],
        &["new", "driver", "lamp", "--provides", "light", "--requires", "power"],
        &["new", "driver", "torch", "--provides", "light", "--arch", "aarch64"],
        &["new", "component", "wiring"],
        &["new", "app", "switch"],
        &["new", "image", "switch"],
    ] {
        prints(&lab, args);
    }
    let profile = "format = 1\ndescription = \"A lab\"\ndrivers = [\"light\"]\nmachine = \"q35\"\n";
    write(&lab.join("kernel-config/profiles/x64/lab.toml"), profile);
    (folder, lab)
}

#[test]
fn what_new_makes_is_there_and_is_made_once() {
    let (folder, lab) = lab();
    for file in [
        "osier.toml",
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        "rust-toolchain.toml",
        "apps/lab/src/main.rs",
        "manifests/images/lab.toml",
        "scenarios/lab.toml",
        "drivers/lamp/src/lib.rs",
        "manifests/components/wiring.toml",
        "manifests/images/switch.toml",
    ] {
        assert!(lab.join(file).is_file(), "{file}");
    }
    let workspace = std::fs::read_to_string(lab.join("Cargo.toml")).unwrap();
    assert_eq!(workspace.matches("\"drivers/*\"").count(), 1, "{workspace}");
    for (args, said) in [
        (&["new", "project", "lab"][..], "is a project already"),
        (&["new", "project", "Lab"], "`Lab` is not a name"),
        (&["new", "project", "osier"], "`osier` is the name of Osier's own repository"),
    ] {
        let answer = refused(folder.path(), args);
        assert!(answer.contains(said), "{answer}");
    }
    for (args, said) in [
        (&["new", "driver", "lamp"][..], "the driver `lamp` exists already: drivers/lamp"),
        (&["new", "image", "x", "--app", "swich"], "did you mean `switch`?"),
        (&["new", "driver", "x", "--arch", "arm64"], "Osier calls it aarch64"),
        (&["new", "driver", "x", "--requires", "powr"], "did you mean `power`?"),
        (&["new", "component", "a_b"], "`a_b` is not a name"),
    ] {
        let answer = refused(&lab, args);
        assert!(answer.contains(said), "{answer}");
    }
    assert!(!lab.join("manifests/images/x.toml").exists() && !lab.join("drivers/x").exists());
}

#[test]
fn profiles_are_listed_shown_explained_and_compared() {
    let (_folder, lab) = lab();
    let list = prints(&lab, &["profile", "list"]);
    // How wide the columns are depends on Osier's own profiles.
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(list.lines().any(|l| words(l) == "x64 lab q35 - complete A lab"), "{list}");
    let drivers = prints(&lab, &["profile", "list", "--drivers", "--arch", "x64"]);
    assert!(drivers.contains("lamp") && !drivers.contains("torch"), "{drivers}");
    assert_eq!(
        prints(&lab, &["profile", "show", "lab"]),
        "lab on x64: 2 drivers\n\
         DRIVER  BECAUSE\n\
         lamp    `lamp` alone fills `light`, asked for by the profile `lab` \
         (kernel-config/profiles/x64/lab.toml:3:12 in `lab`)\n\
         mains   `lamp` requires `power`, which `mains` alone fills\n"
    );
    assert_eq!(
        prints(&lab, &["profile", "explain", "lab", "mains"]),
        "`lamp` alone fills `light`, asked for by the profile `lab` \
         (kernel-config/profiles/x64/lab.toml:3:12 in `lab`)\n\
         `lamp` requires `power`, which `mains` alone fills\n"
    );
    assert_eq!(
        prints(&lab, &["profile", "explain", "base", "mains"]),
        "`mains` is not in base on x64\nit would serve `lamp`; `base+mains` adds it\n"
    );
    assert_eq!(
        prints(&lab, &["profile", "explain", "lab", "torch"]),
        "`torch` is not in lab on x64\nit is for aarch64 only\n"
    );
    let diff = prints(&lab, &["profile", "diff", "lab", "lab+ns16550", "--json"]);
    let diff: serde_json::Value = serde_json::from_str(&diff).unwrap();
    assert_eq!(diff["format"], 1);
    assert_eq!(diff["shared"], 2);
    assert_eq!(diff["only_in_profile"], serde_json::json!([]));
    assert_eq!(diff["only_in_other"], serde_json::json!(["ns16550"]));
    for (args, said) in [
        (&["profile", "show", "lb"][..], "did you mean `lab`?"),
        (&["profile", "show", "lab", "--arch", "aarch64"], "`lab` is a profile of x64"),
        (&["profile", "show", "lab~mains"], "`mains` was taken away by `~`"),
        (&["profile", "show", "lab+torch"], "no driver for x64 fills `torch`"),
        (&["profile", "show", "lab", "--image", "labb"], "did you mean `lab`?"),
        (&["profile", "explain", "lab", "lmap"], "did you mean `lamp`?"),
    ] {
        let answer = refused(&lab, args);
        assert!(answer.contains(said), "{args:?}: {answer}");
    }
}

#[test]
fn mistakes_are_shown_and_as_json_on_request() {
    let (_folder, lab) = lab();
    write(&lab.join("manifests/images/lab.toml"), "format = 1\ndescripton = \"d\"\n");
    let said = refused(&lab, &["profile", "list"]);
    assert!(said.contains("--> manifests/images/lab.toml:2:1"), "{said}");
    assert!(said.contains("did you mean `description`?"), "{said}");
    let out = xtask(&lab, &["profile", "list", "--json"]);
    assert_eq!(out.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let first = &json["diagnostics"][0];
    assert_eq!((&first["line"], &first["column"]), (&1.into(), &1.into()), "{json}");
    assert_eq!(json["format"], 1);
}

#[test]
fn schemas_are_printed_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let all: serde_json::Value = serde_json::from_str(&prints(folder.path(), &["schema"])).unwrap();
    let one: serde_json::Value =
        serde_json::from_str(&prints(folder.path(), &["schema", "image"])).unwrap();
    assert_eq!(all["schemas"]["image"], one);
    assert_eq!(one["additionalProperties"], false);
    let said = refused(folder.path(), &["schema", "imgae"]);
    assert!(said.contains("did you mean `image`?"), "{said}");
}
