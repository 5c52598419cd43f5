//! Repositories in their order, shadowing, settings of several files, merging per arch.

use super::*;
use crate::config::resolved::{Content, Origin, SourcePath};

fn loaded(changes: &[(&str, &str)], request: &LoadRequest) -> resolved::Workspace {
    load_from(&tree(changes), request).unwrap_or_else(|d| panic!("{d}"))
}

fn repository(name: &str, others: &str) -> String {
    format!("format = 1\nname = \"{name}\"\nrepositories = [{others}]\n")
}

#[test]
fn repositories_are_searched_in_one_order_and_osier_last() {
    let (mine, near, far) = (
        repository("mine", "\"../near\""),
        repository("near", "\"../far\", \"../mine\", \"../osier\""),
        repository("far", ""),
    );
    let changes = [
        ("/project/osier.toml", mine.as_str()),
        ("/near/osier.toml", near.as_str()),
        ("/far/osier.toml", far.as_str()),
        ("/given/osier.toml", "format = 1\nname = \"given\"\n"),
        ("/built/osier.toml", "format = 1\nname = \"built\"\n"),
        ("/b/etc/build.toml", "format = 1\nrepositories = [\"../built\", \"/far\"]\n"),
        ("/mine/osier.toml", "format = 1\nname = \"other\"\n"),
    ];
    let request = LoadRequest {
        cwd: "/project/src/deep".into(),
        repos: vec!["/given".into(), "/project".into()],
        ..request()
    };
    let ws = loaded(&changes, &request);
    let order: Vec<String> =
        ws.repositories.iter().map(|r| format!("{}={}", r.name, r.root)).collect();
    assert_eq!(
        order,
        [
            "built=/built",
            "far=/far",
            "mine=/project",
            "near=/near",
            "other=/mine",
            "given=/given",
            "osier=/osier"
        ]
    );
}

#[test]
fn without_a_project_osier_is_alone() {
    let request = LoadRequest { cwd: "/elsewhere".into(), build_dir: None, ..request() };
    let ws = loaded(&[], &request);
    assert_eq!(ws.repositories.len(), 1);
    assert_eq!(ws.repositories[0].name, "osier");
}

#[test]
fn two_repositories_of_one_name_are_refused() {
    let mine = repository("mine", "\"../twin\"");
    let files = tree(&[("/project/osier.toml", &mine), ("/twin/osier.toml", &mine)]);
    let report = load_from(&files, &request()).expect_err("twins").to_string();
    assert!(report.contains("two repositories are called `mine`"), "{report}");
    assert!(report.contains("the other one is .;"), "{report}");
}

#[test]
fn the_first_repository_wins_and_what_it_hides_is_noted() {
    let changes = [
        ("/project/kernel-config/machines/q35.toml", "format = 1\narch = \"x64\"\ntype = \"pc\"\n"),
        ("/project/kernel-config/profiles/x64/all.toml", PROFILE_X64),
        // What is hidden is not even read.
        ("/osier/kernel-config/profiles/x64/all.toml", "this is no TOML"),
        ("/project/drivers/uart/Cargo.toml", NS16550),
        ("/project/apps/hello/Cargo.toml", "[package]\nname = \"hello\"\ndescription = \"Mine\"\n"),
    ];
    let ws = loaded(&changes, &request());
    assert_eq!(ws.machines[&name("q35")].machine_type, "pc");
    let at = |repo: &str, path: &str| SourcePath { repo: repo.into(), path: path.into() };
    assert_eq!(ws.drivers[&name("ns16550")].source, at("mine", "drivers/uart"));
    assert_eq!(ws.apps[&name("hello")].description, "Mine");
    let hidden: Vec<String> = ws
        .shadowed
        .iter()
        .map(|s| format!("{}: {} over {}", s.what, s.taken.repo, s.hidden.path))
        .collect();
    assert_eq!(
        hidden,
        [
            "profile x64/all: mine over kernel-config/profiles/x64/all.toml",
            "driver ns16550: mine over drivers/ns16550",
            "machine q35: mine over kernel-config/machines/q35.toml",
            "app hello: mine over apps/hello",
        ]
    );
}

#[test]
fn a_build_directory_says_more_than_the_project() {
    let changes = [
        (
            "/project/osier.toml",
            "format = 1\nname = \"mine\"\n[select]\narch = \"x64\"\nimage = [\"hello\", \"b\"]\n",
        ),
        ("/osier/manifests/images/b.toml", IMAGE),
        (
            "/b/etc/build.toml",
            "format = 1\njobs = 3\noffline = true\n[select]\narch = [\"aarch64\", \"x64\"]\n\
             profile = \"all+pl011\"\nmode = \"debug\"\nmachine = \"virt\"\n",
        ),
    ];
    let s = loaded(&changes, &request()).settings;
    let at = |origin: &Origin| origin.to_string();
    let arch = s.arch.expect("given");
    assert_eq!(
        (arch.value, at(&arch.origin).as_str()),
        (vec![Arch::Aarch64, Arch::X64], "<build-dir>/etc/build.toml:5:9")
    );
    let image = s.image.expect("given");
    assert_eq!(image.value, [name("hello"), name("b")]);
    assert_eq!(at(&image.origin), "osier.toml:5:10 in `mine`");
    assert_eq!(s.profile.expect("given").value, ["all+pl011"]);
    assert_eq!(s.mode.expect("given").value, [crate::model::Mode::Debug]);
    assert_eq!(s.machine.expect("given").value, name("virt"));
    assert_eq!(s.jobs.expect("given").value, 3);
    assert!(s.offline.expect("given").value);
}

#[test]
fn an_image_is_merged_for_each_arch() {
    let text = r#"format = 1
description = "d"
components = ["base"]
[run]
program = "/p"
args = ["a"]
env = { A = "1", B = "1" }
[[file]]
path = "/p"
text = ""
mode = "0755"
[arch.aarch64]
roles = ["console"]
size = "8M"
[arch.aarch64.run]
args = []
env = { B = "2", C = "2" }
[[arch.aarch64.dir]]
path = "/only-here"
mode = "01777"
owner = "nobody"
group = 7
"#;
    let ws = loaded(&[("/osier/manifests/images/x.toml", text)], &request());
    let image = &ws.images[&name("x")];
    let (x64, arm) = (&image.per_arch[&Arch::X64], &image.per_arch[&Arch::Aarch64]);
    assert_eq!((x64.args.as_slice(), arm.args.as_slice()), (&["a".to_owned()][..], &[][..]));
    let env = |on: &resolved::ImageOn| -> String {
        on.env.iter().map(|(k, v)| format!("{k}={v} ")).collect()
    };
    assert_eq!((env(x64), env(arm)), ("A=1 B=1 ".into(), "A=1 B=2 C=2 ".into()));
    assert_eq!((x64.size, arm.size), (None, Some(8 << 20)));
    let roles = |on: &resolved::ImageOn| -> String {
        on.roles.iter().map(|r| format!("{} ({}) ", r.value, r.origin)).collect()
    };
    assert_eq!(roles(x64), "devfs (the default) ");
    assert_eq!(roles(arm), "devfs (the default) console (manifests/images/x.toml:13:10) ");
    assert_eq!((x64.entries.len(), arm.entries.len()), (1, 2));
    let dir = &arm.entries[1];
    assert_eq!((dir.mode, dir.uid, dir.gid, &dir.content), (0o1777, 65534, 7, &Content::Dir));
    assert_eq!(dir.origin.to_string(), "manifests/images/x.toml:18:1");
}

#[test]
fn an_image_is_for_the_archs_on_which_it_has_a_program() {
    let text = "format = 1\ndescription = \"d\"\n[[file]]\npath = \"/p\"\ntext = \"\"\n\
                mode = \"0700\"\n[arch.x64.run]\nprogram = \"/p\"\n";
    let ws = loaded(&[("/osier/manifests/images/x.toml", text)], &request());
    let arches: Vec<Arch> = ws.images[&name("x")].per_arch.keys().copied().collect();
    assert_eq!(arches, [Arch::X64]);
}

#[test]
fn the_order_of_folders_does_not_matter() {
    // `Tree::list` sorts; a tree that lists backwards must give the same workspace.
    struct Backwards(Memory);
    impl tree::Tree for Backwards {
        fn read(&self, path: &Utf8Path) -> std::io::Result<Vec<u8>> {
            self.0.read(path)
        }
        fn list(&self, path: &Utf8Path) -> std::io::Result<Vec<tree::DirEntry>> {
            self.0.list(path).map(|l| l.into_iter().rev().collect())
        }
        fn is_file(&self, path: &Utf8Path) -> bool {
            self.0.is_file(path)
        }
        fn canonical(&self, path: &Utf8Path) -> Utf8PathBuf {
            self.0.canonical(path)
        }
    }
    let forwards = loaded(&[], &request());
    let backwards = load_from(&Backwards(tree(&[])), &request()).unwrap_or_else(|d| panic!("{d}"));
    assert_eq!(forwards, backwards);
}

/// What the kernel of an image holds comes from its root, its roles and what it does without.
#[test]
fn an_image_says_what_its_kernel_holds() {
    use crate::solve::for_selection;
    let kernel = |root_and_roles: &str, profile: &str| {
        let text = format!(
            "format = 1\ndescription = \"d\"\n{root_and_roles}\n[run]\nprogram = \"/p\"\n\
             [[file]]\npath = \"/p\"\ntext = \"\"\nmode = \"0755\"\n"
        );
        let ws = loaded(&[("/osier/manifests/images/x.toml", &text)], &request());
        let selector = profile.parse().expect(profile);
        match for_selection(&ws, Arch::X64, &selector, Some(&name("x"))) {
            Ok(solved) => solved.names().map(Name::as_str).collect::<Vec<_>>().join(" "),
            Err(e) => e.to_string(),
        }
    };
    let without = r#"roles = ["~devfs"]"#;
    assert_eq!(kernel("", "base"), "devfs ns16550 ramfs");
    assert_eq!(kernel(without, "base"), "ns16550 ramfs");
    // Who types has the last word, but not against what the image needs.
    assert_eq!(kernel(without, "base+devfs"), "devfs ns16550 ramfs");
    assert_eq!(kernel(without, "base~devfs"), "ns16550 ramfs");
    assert_eq!(
        kernel("", "base~devfs"),
        "profile `base~devfs` on x64 with image `x`: `devfs` is needed, but `devfs` was taken \
         away by `~`\n  because `devfs` is asked for by the image `x` (the default)\n  help: leave \
         out `~devfs`, or let the image do without: `roles = [\"~devfs\"]`"
    );
    assert_eq!(
        kernel("root = \"ramfs\"\nroles = [\"~devfs\"]", "base~ramfs"),
        "profile `base~ramfs` on x64 with image `x`: `ramfs` is needed, but `ramfs` was taken \
         away by `~`\n  because `ramfs` is asked for by the root of the image `x` \
         (manifests/images/x.toml:3:8)\n  help: leave out `~ramfs`, or take away what needs it"
    );
    let taken = kernel(r#"roles = ["~ramfs", "~devfs"]"#, "base");
    assert!(taken.contains("asked for by the root of the image `x` (the default)"), "{taken}");
    assert!(taken.ends_with("leave out `~ramfs`, or take away what needs it"), "{taken}");
    // A profile's own drivers give way to an image that must not have them.
    assert_eq!(kernel(r#"roles = ["~devfs", "~ns16550"]"#, "base"), "ramfs");
}
