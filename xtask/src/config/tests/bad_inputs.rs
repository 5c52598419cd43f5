//! Bad inputs of every kind of file, by the message that each gets.

use super::*;

const MACHINE: &str = "/osier/kernel-config/machines/q35.toml";
const PROFILE: &str = "/osier/kernel-config/profiles/x64/base.toml";
const AN_IMAGE: &str = "/osier/manifests/images/x.toml";
const A_SCENARIO: &str = "/osier/scenarios/x.toml";
const A_BUILD: &str = "/b/etc/build.toml";

/// The mistakes as lines: `file:line:column: message`, each followed by its help.
fn mistakes(changes: &[(&str, &str)]) -> Vec<String> {
    let Err(diagnostics) = load_from(&tree(changes), &request()) else { return Vec::new() };
    let mut lines = Vec::new();
    for record in diagnostics.records() {
        let place = match (record.file, record.line, record.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
            _ => String::new(),
        };
        lines.push(format!("{place}{}", record.message));
        lines.extend(record.help.iter().map(|h| format!("  {h}")));
    }
    lines
}

#[test]
fn each_bad_input_gets_its_message() {
    let cases: Vec<&str> = include_str!("bad_inputs.txt").split("\n== ").skip(1).collect();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let (head, said) = case.split_once("\n--\n").expect("a case has a line `--`");
        let (file, text) = head.split_once('\n').expect("a case has a text");
        let got = mistakes(&[(file, &format!("{text}\n"))]).join("\n");
        if got.is_empty() || got != said.trim_end() {
            wrong.push_str(&format!("== {file}\n{text}\n--\n{got}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "these cases are said to be:\n{wrong}");
}

#[test]
fn mistakes_of_several_files_are_reported_together() {
    let got = mistakes(&[
        (MACHINE, "format = 1\narch = \"x64\"\ntype = \"q35\"\ncpus = 0\nmemroy = \"1G\"\n"),
        (PROFILE, "format = 1\ndescription = \"d\"\nmachine = \"q36\"\ndrivers = [\"uart\"]\n"),
        (A_BUILD, "format = 3\n"),
    ]);
    assert_eq!(
        got,
        [
            "/b/etc/build.toml:1:10: format 3 is unknown to this Osier, which reads format 1",
            "  write `format = 1`, or use the Osier that the file was written for",
            "/osier/kernel-config/machines/q35.toml:4:8: 0 is not between 1 and 255",
            "/osier/kernel-config/machines/q35.toml:5:1: unknown key `memroy` in a machine",
            "  did you mean `memory`?",
            "/osier/kernel-config/profiles/x64/base.toml:3:11: unknown machine `q36`",
            "  did you mean `q35`?",
            "/osier/kernel-config/profiles/x64/base.toml:4:12: unknown driver or role `uart`",
            "  there are `console`, `devfs`, `ns16550`, `pl011` and `ramfs`",
        ]
    );
}

#[test]
fn a_cycle_is_shown_where_it_is() {
    let requires = |n: &str| format!("format = 1\nrequires = [\"{n}\"]\n");
    let (a, b, c) = (requires("b"), requires("c"), requires("b"));
    let got = mistakes(&[
        ("/osier/manifests/components/a.toml", &a),
        ("/osier/manifests/components/b.toml", &b),
        ("/osier/manifests/components/c.toml", &c),
    ]);
    assert_eq!(
        got,
        [
            "/osier/manifests/components/b.toml:2:12: components require each other: `b` → `c` → `b`",
            "  take one `requires` out of the circle",
        ]
    );
}

#[test]
fn a_report_shows_the_lines_with_carets() {
    let image = "format = 1\ndescription = \"d\"\n[run]\nprogram = \"/a\"\n\
                 [[file]]\npath = \"/a\"\ntext = \"1\"\nmode = \"0755\"\n[[file]]\npath = \"/a\"\ntext = \"2\"\n";
    let scenario = "format = 1\ndescription = \"d\"\nimage = \"x\"\ntimeout = 5\n";
    let files = tree(&[(AN_IMAGE, image), (A_SCENARIO, scenario)]);
    let report = load_from(&files, &request()).expect_err("bad").render(false);
    let expected = r#"error: two entries for `/a`
 --> /osier/manifests/images/x.toml:9:1
  |
5 | [[file]]
  | -------- the first one
...
9 | [[file]]
  | ^^^^^^^^ the second one
  |
  = help: remove one of them, or give it another path

error: unknown key `timeout` in a scenario
 --> /osier/scenarios/x.toml:4:1
  |
4 | timeout = 5
  | ^^^^^^^
  |
  = help: did you mean `timeout-s`?

2 mistakes in the configuration; nothing was done
"#;
    assert_eq!(report, expected);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let mut files = tree(&[]);
    files.0.insert(MACHINE.into(), b"format = 1\n# \xff\n".to_vec());
    let lines = load_from(&files, &request()).expect_err("bad").to_string();
    assert!(
        lines.contains("/osier/kernel-config/machines/q35.toml:2 is not UTF-8 (byte 13)"),
        "{lines}"
    );
    files = tree(&[]);
    files.0.remove(Utf8Path::new("/osier/kernel-config/arch/aarch64.toml"));
    let lines = load_from(&files, &request()).expect_err("bad").to_string();
    assert!(lines.contains("`aarch64` has no kernel-config/arch/aarch64.toml"), "{lines}");
    let request = LoadRequest { repos: vec!["../elsewhere".into()], ..request() };
    let lines = load_from(&tree(&[]), &request).expect_err("bad").to_string();
    assert!(lines.contains("--repo ../elsewhere: no osier.toml there"), "{lines}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 400, failure_persistence: None, ..Default::default()
    })]

    /// Whatever stands in a file, loading ends with a workspace or a report.
    #[test]
    fn no_input_makes_the_loader_panic(
        file in 0..GOOD.len(),
        cut in 0..400usize,
        at in 0..400usize,
        byte: u8,
        insert in "[\\[\\]{}=\"',.a-z0-9\n-]{0,12}",
    ) {
        let mut files = tree(&[]);
        if let Some(text) = files.0.get_mut(Utf8Path::new(GOOD[file].0)) {
            text.truncate(text.len().saturating_sub(cut % (text.len() + 1)).max(at % 7));
            let at = at % (text.len() + 1);
            text.splice(at..at, insert.bytes());
            if let Some(b) = text.get_mut(at) {
                *b = byte;
            }
        }
        match load_from(&files, &request()) {
            Ok(workspace) => proptest::prop_assert_eq!(workspace.arches.len(), 2),
            Err(report) => proptest::prop_assert!(report.render(false).contains("error: ")),
        }
    }
}
