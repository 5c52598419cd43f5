//! The engine over steps that need no toolchain: what runs, what does not, and what a failure
//! or a disturbed build directory leads to.

use super::engine::{Done, Engine, Options};
use super::fsx;
use super::host::Tools;
use super::memo::Memo;
use super::stamps::Stamps;
use crate::config::resolved::{OSIER, Repository, Settings, SourcePath, Workspace};
use crate::context::Env;
use crate::model::{Digest, Layout};
use crate::plan::{Action, BuildPlan, Input, PackContent, PackEntry, Step, StepId, stamp};
use crate::report::{Event, Observer, Outcome};
use crate::setup::Toolchain;
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;

struct Quiet;

impl Observer for Quiet {
    fn hear(&self, _: &Event) {}
}

struct Place {
    _keep: tempfile::TempDir,
    source: Utf8PathBuf,
    layout: Layout,
}

impl Place {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_path_buf()).unwrap();
        let place =
            Self { _keep: keep, source: dir.join("src"), layout: Layout::new(dir.join("b")) };
        place.write_source("motd", "hello\n");
        place
    }

    fn write_source(&self, name: &str, text: &str) {
        fsx::write(&self.source.join(name), text.as_bytes()).unwrap();
    }

    fn artifact(&self, path: &str) -> Utf8PathBuf {
        self.layout.root().join(path)
    }

    /// Every artifact's bytes.
    fn bytes(&self, plan: &BuildPlan) -> BTreeMap<Utf8PathBuf, Vec<u8>> {
        let outputs = plan.steps.iter().flat_map(|s| &s.outputs);
        outputs.map(|o| (o.clone(), fsx::read(&self.artifact(o.as_str())).unwrap())).collect()
    }

    fn run(&self, plan: &BuildPlan) -> Done {
        self.run_with(
            plan,
            Options { jobs: 2, offline: true, keep_going: false, audit: false, shuffle: None },
            false,
        )
    }

    fn run_with(&self, plan: &BuildPlan, options: Options, rehash: bool) -> Done {
        let repository = Repository {
            name: OSIER.to_owned(),
            description: String::new(),
            root: self.source.clone(),
        };
        let workspace = Workspace {
            repositories: vec![repository],
            arches: BTreeMap::new(),
            profiles: BTreeMap::new(),
            machines: BTreeMap::new(),
            drivers: BTreeMap::new(),
            apps: BTreeMap::new(),
            components: BTreeMap::new(),
            images: BTreeMap::new(),
            scenarios: BTreeMap::new(),
            shadowed: Vec::new(),
            settings: Settings::default(),
        };
        let none = Utf8PathBuf::from("/nonexistent");
        let toolchain = Toolchain {
            cargo: none.clone(),
            rustc: none.clone(),
            sysroot: none.clone(),
            rustup_name: None,
        };
        let tools = Tools {
            toolchain,
            rust_lld: none.clone(),
            user_cargo_home: none.clone(),
            cargo_home: none,
        };
        let memo = Memo::open(&self.artifact("cache/memo.json"), rehash);
        let engine = Engine {
            layout: &self.layout,
            workspace: &workspace,
            tools: &tools,
            env: &Env::new(),
            options,
            observer: &Quiet,
            memo: &memo,
            stamps: &Stamps::new(&self.layout),
            jobserver: &jobserver::Client::new(options.jobs).unwrap(),
            lock: None,
            run: "1".into(),
            xtask: "this".into(),
        };
        let done = engine.run(plan).unwrap();
        memo.save().unwrap();
        done
    }
}

fn step(id: &str, inputs: Vec<Input>, outputs: &[&str], action: Action) -> Step {
    let outputs = outputs.iter().map(Utf8PathBuf::from).collect();
    Step { id: StepId(id.into()), inputs, outputs, action, origins: BTreeMap::new() }
}

fn source(name: &str) -> SourcePath {
    SourcePath { repo: OSIER.into(), path: name.into() }
}

/// A bootfs with one source file.
fn pack(id: &str, file: &str) -> Step {
    let entry = PackEntry {
        path: "/etc/motd".into(),
        mode: "0644".into(),
        owner: "root".into(),
        group: "root".into(),
        uid: 0,
        gid: 0,
        content: PackContent::Source(source(file)),
    };
    let (bootfs, manifest) = (format!("{id}/bootfs"), format!("{id}/manifest"));
    let action = Action::PackBootfs { mtime: 0, entries: vec![entry] };
    step(id, vec![Input::File(source(file))], &[&bootfs, &manifest], action)
}

/// A bootfs that holds the manifest of the step `of` as a file.
fn pack_made(id: &str, of: &str) -> Step {
    let mut made = pack(id, "motd");
    let path: Utf8PathBuf = format!("{of}/manifest").into();
    made.inputs = vec![Input::Output { step: StepId(of.into()), path: path.clone() }];
    if let Action::PackBootfs { entries, .. } = &mut made.action {
        entries[0].content = PackContent::App(path);
    }
    made
}

fn words(id: &str, words: &str) -> Step {
    let output = format!("{id}/cmdline");
    step(id, vec![], &[&output], Action::CommandLine { words: words.into() })
}

fn plan(steps: Vec<Step>) -> BuildPlan {
    let hash = Digest::of(b"");
    BuildPlan { format: 1, hash, selections: Vec::new(), shadowed: Vec::new(), steps }
}

fn usual() -> BuildPlan {
    plan(vec![pack("one", "motd"), words("line", "a b"), pack_made("two", "one")])
}

fn outcomes(done: &Done) -> Vec<(&str, Outcome)> {
    done.outcomes.iter().map(|(id, o)| (id.0.as_str(), *o)).collect()
}

use Outcome::{Failed, Fresh, Rebuilt, Skipped, Unchanged};

#[test]
fn a_second_run_does_nothing() {
    let place = Place::new();
    let first = place.run(&usual());
    assert_eq!(outcomes(&first), [("line", Rebuilt), ("one", Rebuilt), ("two", Rebuilt)]);
    assert_eq!(first.rebuilt.len(), 5);
    let second = place.run(&usual());
    assert_eq!(outcomes(&second), [("line", Fresh), ("one", Fresh), ("two", Fresh)]);
    assert_eq!(second.outputs, first.outputs);
    assert!(second.rebuilt.is_empty());
}

#[test]
fn a_changed_source_reruns_what_reads_it() {
    let place = Place::new();
    place.run(&usual());
    place.write_source("motd", "hullo\n");
    let done = place.run(&usual());
    assert_eq!(outcomes(&done), [("line", Fresh), ("one", Rebuilt), ("two", Rebuilt)]);
    let stamp = Stamps::new(&place.layout).load(&StepId("one".into())).unwrap();
    assert_eq!(stamp.history[0].changes[0].what, "file motd");
}

#[test]
fn equal_bytes_stop_the_chain() {
    let place = Place::new();
    place.run(&usual());
    // Another owner's name with the same number: another manifest, the same bootfs.
    let mut other = usual();
    if let Action::PackBootfs { entries, .. } = &mut other.steps[2].action {
        entries[0].uid = 0;
        entries[0].owner = "toor".into();
    }
    let done = place.run(&other);
    assert_eq!(outcomes(&done)[2], ("two", Rebuilt));
    assert_eq!(done.rebuilt.iter().map(|p| p.as_str()).collect::<Vec<_>>(), ["two/manifest"]);
    // A touched file with the same content changes nothing at all.
    place.write_source("motd", "hello\n");
    assert_eq!(outcomes(&place.run(&other))[1], ("one", Fresh));
}

#[test]
fn what_others_did_to_artifacts_is_mended() {
    let place = Place::new();
    place.run(&usual());
    let before = place.bytes(&usual());
    fsx::write(&place.artifact("one/bootfs"), b"scribble").unwrap();
    std::fs::remove_file(place.artifact("line/cmdline")).unwrap();
    let done = place.run(&usual());
    assert_eq!(outcomes(&done), [("line", Unchanged), ("one", Unchanged), ("two", Fresh)]);
    assert_eq!(place.bytes(&usual()), before);
}

#[test]
fn a_build_killed_at_any_moment_ends_in_the_same_bytes() {
    let clean = Place::new();
    clean.run(&usual());
    let expected = clean.bytes(&usual());
    // What a kill can leave: any set of outputs and stamps, half-written parts, a torn memo.
    for left in 0..64_u32 {
        let place = Place::new();
        place.run(&usual());
        let bit = |n: u32| left & (1 << n) != 0;
        for (n, id) in ["one", "line", "two"].iter().enumerate() {
            let n = n as u32;
            let id = StepId((*id).to_owned());
            if bit(n) {
                std::fs::remove_file(Stamps::new(&place.layout).path(&id)).unwrap();
            }
            let step = usual().steps.into_iter().find(|s| s.id == id).unwrap();
            let output = place.artifact(step.outputs[0].as_str());
            if bit(3 + n) {
                std::fs::remove_file(&output).unwrap();
            }
            std::fs::write(fsx::part_name(&output), b"half").unwrap();
        }
        if bit(0) {
            std::fs::write(place.artifact("cache/memo.json"), b"{\"/a").unwrap();
        }
        assert!(place.run(&usual()).failures.is_empty());
        assert_eq!(place.bytes(&usual()), expected, "{left:b}");
    }
}

#[test]
fn the_order_and_the_number_of_jobs_change_no_byte() {
    let mut expected = None;
    for jobs in [1, 8] {
        for turn in 0..3 {
            let place = Place::new();
            let mut steps: Vec<Step> = (0..9).map(|n| pack(&format!("p{n}"), "motd")).collect();
            steps.extend((0..9).map(|n| pack_made(&format!("q{n}"), &format!("p{n}"))));
            steps.rotate_left(turn * 5);
            let plan = plan(steps);
            let options =
                Options { jobs, offline: true, keep_going: false, audit: false, shuffle: None };
            assert!(place.run_with(&plan, options, false).failures.is_empty());
            let bytes = place.bytes(&plan);
            assert_eq!(*expected.get_or_insert_with(|| bytes.clone()), bytes);
        }
    }
}

#[test]
fn a_failure_stops_or_with_keep_going_only_what_needs_it() {
    let broken = || plan(vec![pack("one", "missing"), pack_made("two", "one"), words("zz", "a")]);
    let stop =
        |keep_going| Options { jobs: 1, offline: true, keep_going, audit: false, shuffle: None };
    let place = Place::new();
    let done = place.run_with(&broken(), stop(false), false);
    assert_eq!(outcomes(&done), [("one", Failed), ("two", Skipped), ("zz", Skipped)]);
    let place = Place::new();
    let done = place.run_with(&broken(), stop(true), false);
    assert_eq!(outcomes(&done), [("one", Failed), ("two", Skipped), ("zz", Rebuilt)]);
    let (id, error) = &done.failures[0];
    assert_eq!(id.0, "one");
    assert_eq!(crate::error::status(error), 2);
    assert!(error.to_string().contains("src/missing, which is not a file"), "{error}");
    assert!(!place.artifact("one").exists(), "nothing under a failed step's names");
}

#[test]
fn a_step_that_reads_or_writes_what_its_plan_does_not_name_fails() {
    let place = Place::new();
    let mut sly = pack("one", "motd");
    sly.inputs.clear();
    let done = place.run(&plan(vec![sly]));
    let error = format!("{:#}", done.failures[0].1);
    assert!(error.contains("reads motd, which is not among its inputs"), "{error}");
    let mut vague = pack("one", "motd");
    vague.outputs.pop();
    let done = place.run(&plan(vec![vague]));
    assert!(format!("{:#}", done.failures[0].1).contains("has no output `manifest`"));
    let mut lazy = words("line", "a");
    lazy.outputs.push("line/more".into());
    let done = place.run(&plan(vec![lazy]));
    assert!(format!("{:#}", done.failures[0].1).contains("did not make line/more"));
}

#[test]
fn rehash_finds_what_the_memo_believes() {
    let place = Place::new();
    place.run(&usual());
    let path = place.artifact("line/cmdline");
    let memo_path = place.artifact("cache/memo.json");
    // Changed behind the memo's back: same stat as far as the memo knows.
    fsx::write(&path, b"x y").unwrap();
    let memo = Memo::open(&memo_path, false);
    memo.wrote(&path, Digest::of(b"a b")).unwrap();
    memo.save().unwrap();
    assert_eq!(outcomes(&place.run(&usual()))[0], ("line", Fresh));
    let options =
        Options { jobs: 1, offline: true, keep_going: false, audit: false, shuffle: None };
    assert_eq!(outcomes(&place.run_with(&usual(), options, true))[0], ("line", Unchanged));
    assert_eq!(fsx::read(&path).unwrap(), b"a b");
}

#[test]
fn a_full_disk_is_one_error_and_nothing_half_written() {
    // /dev/full takes no byte: the part file is a link to it.
    let place = Place::new();
    let output = place.artifact("line/cmdline");
    fsx::symlink(Utf8Path::new("/dev/full"), &fsx::part_name(&output)).unwrap();
    let done = place.run(&plan(vec![words("line", "a b")]));
    let error = format!("{:#}", done.failures[0].1);
    assert!(error.contains("cannot write") && error.contains("No space left"), "{error}");
    assert!(!output.exists() && !fsx::part_name(&output).exists());
    assert_eq!(outcomes(&place.run(&plan(vec![words("line", "a b")]))), [("line", Rebuilt)]);
}

#[test]
fn a_stamp_of_another_format_is_none() {
    let place = Place::new();
    place.run(&usual());
    let stamps = Stamps::new(&place.layout);
    let id = StepId("line".into());
    let mut old = stamps.load(&id).unwrap();
    old.format = stamp::FORMAT + 1;
    stamps.save(&old).unwrap();
    assert_eq!(outcomes(&place.run(&usual()))[0], ("line", Rebuilt));
}
