//! Plans of the real workspace: golden ones, and what must hold between two.

use super::*;
use crate::cli::Selectors;
use crate::config::resolved::{Libc, Origin, Sourced, Workspace};
use crate::config::{self, LoadRequest};
use crate::context::Env;
use crate::model::Arch;
use crate::solve;
use std::collections::BTreeSet;
use std::fmt::Write as _;

fn workspace() -> Workspace {
    let osier: camino::Utf8PathBuf = env!("CARGO_MANIFEST_DIR").into();
    let osier = osier.parent().unwrap().to_owned();
    let build_dir = Some(osier.join("no such build directory"));
    config::load(&LoadRequest { cwd: osier.clone(), osier, repos: Vec::new(), build_dir })
        .unwrap_or_else(|e| panic!("{e}"))
}

/// `--arch x64 --profile base` and the like as flags.
fn selectors(line: &str) -> Selectors {
    let mut out = Selectors::default();
    let words: Vec<&str> = line.split_whitespace().collect();
    for pair in words.chunks(2) {
        let values = || pair[1].split(',').map(str::to_owned).collect();
        match pair[0] {
            "--arch" => out.arch = values(),
            "--mode" => out.mode = values(),
            "--profile" => out.profile = values(),
            "--image" => out.image = values(),
            "--kernel-base" => out.kernel_base = Some(pair[1].to_owned()),
            other => panic!("{other}"),
        }
    }
    out
}

fn plan_in(w: &Workspace, line: &str) -> Result<BuildPlan, crate::error::Refusal> {
    let selections = selections(&selectors(line), &Env::new(), w)?;
    let epoch = Sourced { value: 0, origin: Origin::Default };
    plan(w, &selections, &epoch, &|s| {
        let image = Some(&s.image.value);
        let solved = solve::for_selection(w, s.arch.value, &s.profile.value, image);
        let solved = solved.unwrap_or_else(|e| panic!("{e}"));
        Ok(solved.names().map(|n| (n.clone(), String::new())).collect())
    })
}

fn plan_of(line: &str) -> BuildPlan {
    plan_in(&workspace(), line).unwrap()
}

fn ids(plan: &BuildPlan) -> BTreeSet<&str> {
    plan.steps.iter().map(|s| s.id.0.as_str()).collect()
}

/// A plan as people compare it: steps, what they read, what they make. The hash in a kernel's
/// key is left out: it changes with every setting.
fn brief(plan: &BuildPlan) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        let _ = writeln!(out, "{}", step.id);
        for input in &step.inputs {
            let _ = match input {
                Input::File(p) => writeln!(out, "  reads {} of {}", p.path, p.repo),
                Input::Package(p) => writeln!(out, "  package {} of {}", p.path, p.repo),
                Input::Tool(t) => writeln!(out, "  runs {}", t.name()),
                Input::Output { path, .. } => writeln!(out, "  takes {path}"),
            };
        }
        step.outputs.iter().for_each(|o| out.push_str(&format!("  makes {o}\n")));
    }
    let keys: BTreeSet<&str> = plan.selections.iter().map(|s| s.kernel.as_str()).collect();
    keys.into_iter().fold(out, |out, key| {
        // `x64-release-HASH`, and `-calls-HASH` after it when the image lists calls.
        let (compiled, calls) = key.split_once("-calls-").unwrap_or((key, ""));
        let out = if calls.is_empty() { out } else { out.replace(calls, "KEY") };
        let short = compiled.rsplit_once('-').map_or(compiled, |(head, _)| head);
        out.replace(compiled, &format!("{short}-KEY"))
    })
}

#[test]
fn golden_plans() {
    let w = workspace();
    for arch in ["x64", "aarch64"] {
        for mode in ["release", "debug"] {
            for profile in ["base", "all"] {
                let line = format!("--arch {arch} --mode {mode} --profile {profile} --image hello");
                let plan = plan_in(&w, &line).unwrap();
                insta::assert_snapshot!(format!("{arch}-{mode}-{profile}"), brief(&plan));
            }
        }
    }
}

#[test]
fn the_base_only_moves_what_is_relocated() {
    let usual = plan_of("--arch x64 --profile base");
    let moved = plan_of("--arch x64 --profile base --kernel-base 0x1000000");
    assert_eq!(usual.selections[0].kernel, moved.selections[0].kernel);
    let (a, b) = (ids(&usual), ids(&moved));
    let changed: Vec<&str> = b.difference(&a).map(|id| id.split(' ').next().unwrap()).collect();
    // In a folder of their own: the usual image stays as it is.
    assert_eq!(changed, ["assemble", "cmdline", "image", "relocate", "strip"]);
    assert_eq!(usual.selections[0].folder, "x64-release-base/hello");
    assert_eq!(moved.selections[0].folder, "x64-release-base/hello@0x1000000");
    for step in usual.steps.iter().filter(|s| b.contains(s.id.0.as_str())) {
        assert_eq!(moved.steps.iter().find(|s| s.id == step.id), Some(step));
    }
    // The usual base in another spelling is the usual base.
    assert_eq!(plan_of("--arch x64 --profile base --kernel-base 200000").hash, usual.hash);
}

#[test]
fn settings_know_their_line() {
    let plan = plan_of("--arch x64 --profile base");
    let origins = |start: &str| {
        let step = plan.steps.iter().find(|s| s.id.0.starts_with(start)).unwrap();
        step.origins.iter().map(|(k, o)| (k.clone(), o.to_string())).collect::<Vec<_>>()
    };
    let of = |list: &[(String, String)], key: &str| {
        list.iter().find(|(k, _)| k == key).map(|(_, o)| o.clone()).unwrap_or_default()
    };
    let text = include_str!("../../../kernel-config/arch/x64.toml");
    let line = |key: &str| 1 + text.lines().position(|l| l.starts_with(key)).unwrap();
    let kernel = origins("compile");
    for (setting, key) in [("opt_level", "opt-level"), ("lto", "lto"), ("debug", "debug")] {
        let told = of(&kernel, &format!("kernel.settings.{setting}"));
        let place = format!("kernel-config/arch/x64.toml:{}:", line(&format!("{key} =")));
        assert!(told.contains(&place), "{setting}: {told} is not {place}");
    }
    let told = of(&origins("apps"), "settings.codegen_units");
    let place = format!("kernel-config/arch/x64.toml:{}:", line("codegen-units ="));
    assert!(told.contains(&place), "{told}");
}

#[test]
fn a_cargo_home_in_the_build_directory_in_the_sources_is_a_cargo_home() {
    let path = |p: &str| camino::Utf8PathBuf::from(p);
    let remaps = app_remaps(&Places {
        sources: &[path("/s")],
        build_dir: &[path("/s/build"), path("/real/build")],
        cargo_home: &path("/s/build/cache/cargo-home"),
        crates: &path("/home/u/.cargo/registry/src"),
        sysroot: &path("/home/u/.rustup/toolchains/t"),
    });
    // As rustc does it: the last whose path begins the file's.
    let told = |file: &str| {
        let found = remaps.iter().rfind(|(from, _)| path(file).starts_with(from)).unwrap();
        format!("{}/{}", found.1, path(file).strip_prefix(&found.0).unwrap())
    };
    for (file, name) in [
        ("/s/apps/a.rs", "/source/apps/a.rs"),
        ("/s/build/gen/a.rs", "/build/gen/a.rs"),
        ("/real/build/gen/a.rs", "/build/gen/a.rs"),
        ("/s/build/cache/cargo-home/registry/src/x/a.rs", "/cargo/registry/src/x/a.rs"),
        ("/home/u/.cargo/registry/src/x/a.rs", "/cargo/registry/src/x/a.rs"),
        ("/home/u/.rustup/toolchains/t/lib/a.rs", "/toolchain/lib/a.rs"),
    ] {
        assert_eq!(told(file), name);
    }
}

#[test]
fn thin_lto_is_the_linkers() {
    let link = |lto: &str| {
        let mut w = workspace();
        for arch in w.arches.values_mut() {
            arch.modes.values_mut().for_each(|m| m.kernels.lto = lto.to_owned());
        }
        let plan = plan_in(&w, "--arch x64 --profile base").unwrap();
        let link = plan.steps.iter().any(|s| matches!(s.action, Action::Link { lto: Some(_), .. }));
        let spec = plan.steps.iter().find_map(|s| match &s.action {
            Action::CompileKernel { kernel } => Some(kernel.clone()),
            _ => None,
        });
        let call = kernel_call(&spec.unwrap(), "/gen".into(), "/target".into(), "/crates".into());
        let cargos = call.args.into_iter().find(|a| a.contains(".lto=")).unwrap();
        (link, call.env["CARGO_ENCODED_RUSTFLAGS"].contains("-Clinker-plugin-lto"), cargos)
    };
    let config = |kind: &str| format!("--config=profile.release.lto=\"{kind}\"");
    assert_eq!(link("thin"), (true, true, config("off")));
    assert_eq!(link("fat"), (false, false, config("fat")));
    assert_eq!(link("off"), (false, false, config("off")));
}

#[test]
fn glibc_is_another_call_with_the_hosts_linker() {
    let w = workspace();
    let both = plan_in(&w, "--arch x64 --profile base --image selftest,selftest-glibc").unwrap();
    assert_eq!(both.glibc().collect::<Vec<_>>(), [Arch::X64]);
    let calls: Vec<_> = both
        .steps
        .iter()
        .filter_map(|s| match &s.action {
            Action::CompileApps { mode, settings, target, libc, .. } => {
                let gnu_cc = (*libc == Libc::Gnu).then_some("the-cc");
                let target = (target.as_str(), gnu_cc);
                let folders = ("/repo".into(), "/target".into());
                let call =
                    app_call((*mode, settings), target, &["selftest"], folders.0, folders.1, &[]);
                Some((s.outputs.clone(), call))
            }
            _ => None,
        })
        .collect();
    let [(musl, with_lld), (gnu, with_cc)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(*musl, ["app/x64-release/selftest"]);
    assert_eq!(*gnu, ["app/x64-release-gnu/selftest"]);
    assert_eq!(with_lld.env["CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER"], "rust-lld");
    assert_eq!(with_cc.env["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"], "the-cc");
    let flags = &with_cc.env["CARGO_ENCODED_RUSTFLAGS"];
    assert!(flags.contains("+crt-static") && !flags.contains("ld.lld"), "{flags}");
    // Each image holds its own, and the kernel is one.
    let apps: Vec<_> = both.selections.iter().flat_map(|s| s.apps.values()).collect();
    assert_eq!(apps, [&musl[0], &gnu[0]]);
    assert_eq!(both.selections[0].kernel, both.selections[1].kernel);
}

#[test]
fn glibc_is_refused_where_the_arch_has_none() {
    let mut w = workspace();
    w.arches.values_mut().for_each(|a| a.app_target_gnu = None);
    let refusal = plan_in(&w, "--arch x64 --profile base --image selftest-glibc").unwrap_err();
    let line = "manifests/images/selftest-glibc.toml:9:1";
    assert!(refusal.message.contains("`selftest` is to be linked with glibc"), "{refusal:?}");
    assert!(refusal.message.contains(line), "{refusal:?}");
    assert!(refusal.help.join(" ").contains("no `app-target-gnu`"), "{refusal:?}");
}

#[test]
fn what_two_selections_share_is_one_step() {
    let one = plan_of("--arch x64 --profile base");
    let both = plan_of("--arch x64,aarch64 --mode release,debug --profile base,all");
    assert_eq!(both.selections.len(), 8);
    let unique = ids(&both);
    assert_eq!(unique.len(), both.steps.len());
    assert!(ids(&one).is_subset(&unique));
    let apps: Vec<_> = unique.iter().filter(|id| id.starts_with("apps")).collect();
    assert_eq!(apps.len(), 4, "one cargo call per arch and mode: {apps:?}");
}

#[test]
fn every_input_is_made_before_it_is_taken() {
    let plan = plan_of("--arch x64,aarch64 --profile base,all");
    let mut made = BTreeSet::new();
    for step in &plan.steps {
        for input in &step.inputs {
            if let Input::Output { path, step: by } = input {
                assert!(made.contains(&(by, path)), "{} takes {path} of {by}", step.id);
            }
        }
        made.extend(step.outputs.iter().map(|o| (&step.id, o)));
    }
    let outputs: BTreeSet<_> = plan.steps.iter().flat_map(|s| &s.outputs).collect();
    assert_eq!(outputs.len(), plan.steps.iter().map(|s| s.outputs.len()).sum::<usize>());
}

#[test]
fn the_hash_is_of_what_is_built_and_of_nothing_else() {
    let plan = plan_of("--arch x64 --profile base");
    let mut elsewhere = workspace();
    for repository in &mut elsewhere.repositories {
        repository.root = "/somewhere/else".into();
    }
    for arch in elsewhere.arches.values_mut() {
        arch.kernel_base.origin = Origin::Default;
    }
    let same = plan_in(&elsewhere, "--arch x64 --profile base").unwrap();
    assert_eq!(plan.hash, same.hash);
    assert_eq!(plan.selections[0].hash, same.selections[0].hash);
    let text = serde_json::to_string(&plan).unwrap();
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "a path of this machine is in the plan");
    let other = plan_of("--arch x64 --profile base --mode debug");
    assert!(plan.hash != other.hash && plan.selections[0].hash != other.selections[0].hash);
    // A selection's hash is its own, whatever else is built with it.
    let more = plan_of("--arch x64 --profile base,all");
    assert_eq!(more.selections[0].hash, plan.selections[0].hash);
}

#[test]
fn graphs_name_every_step_and_file() {
    let plan = plan_of("--arch aarch64 --profile base");
    for text in [show::dot(&plan), show::mermaid(&plan)] {
        assert!(plan.steps.iter().all(|s| text.contains(&s.id.0)));
        assert!(text.contains("libkernel.a") && text.contains("kernel-config/link/aarch64.ld"));
    }
}

#[test]
fn wrong_requests_say_what_was_meant() {
    let w = workspace();
    let refused = |line: &str| {
        let refusal = plan_in(&w, line).unwrap_err();
        format!("{}\n{}", refusal.message, refusal.help.join("\n"))
    };
    let cases = [
        ("--arch x86", "--arch x86: unknown arch `x86`"),
        ("--mode fast", "--mode fast: unknown mode `fast`"),
        ("--profile bas", "unknown profile `bas`"),
        ("--profile bas", "did you mean `base`?"),
        ("--profile all++x", "a driver's name after `+` is missing"),
        ("--image helo", "did you mean `hello`?"),
        ("--arch x64 --kernel-base 12q", "--kernel-base 12q is not a hexadecimal number"),
        ("--arch x64 --kernel-base 0x201000", "did you mean --kernel-base 0x200000?"),
        ("--arch aarch64 --kernel-base 0x41000000", "did you mean --kernel-base 0x41080000?"),
        ("--arch x64 --kernel-base 0x80000000", "the highest base is 0x7fe00000"),
        ("--arch x64 --kernel-base 0xffffffffffe00000", "beyond the 2048 MiB"),
        ("--arch aarch64 --kernel-base 0x8000080000", "the highest base is 0x7fffe80000"),
    ];
    for (line, message) in cases {
        assert!(refused(line).contains(message), "{line}: {}", refused(line));
    }
}

#[test]
fn the_environment_is_between_the_flags_and_the_default() {
    let w = workspace();
    let env: Env = [("ARCH".to_owned(), "aarch64".to_owned())].into();
    let by = |line: &str| selections(&selectors(line), &env, &w).unwrap()[0].arch.clone();
    assert_eq!(by("").value, crate::model::Arch::Aarch64);
    assert_eq!(by("").origin, Origin::Environment("ARCH".into()));
    assert_eq!(by("--arch x64").origin, Origin::CommandLine("--arch".into()));
    let wrong: Env = [("ARCH".to_owned(), "x86_64".to_owned())].into();
    let refusal = selections(&Selectors::default(), &wrong, &w).unwrap_err();
    assert!(refusal.message.starts_with("the environment has ARCH=x86_64"), "{refusal}");
    let epoch_of = |text: &str| epoch(&[("SOURCE_DATE_EPOCH".to_owned(), text.to_owned())].into());
    assert_eq!(epoch_of("1700000000").unwrap().value, 1_700_000_000);
    assert!(epoch_of("yesterday").is_err());
}
