use super::*;
use proptest::prelude::*;
use std::string::{String, ToString};

fn text(words: &Strings) -> Vec<String> {
    words.iter().map(|w| String::from_utf8(w.to_vec()).unwrap()).collect()
}

/// The variables behind those that are always there.
fn env(p: &Parsed) -> Vec<String> {
    let mut all = text(&p.env);
    assert!(all.len() >= 3 && all[0].starts_with("PATH=") && all[2].starts_with("TERM="));
    all.split_off(3)
}

fn devices(line: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    values(line.as_bytes(), "virtio_mmio.device", &mut found);
    found
}

fn given(line: &str) -> Box<Parsed> {
    parse(b"", line.as_bytes())
}

#[test]
fn the_kernels_words_are_taken_out_wherever_they_stand() {
    let line = "osier.exit=debugcon /bin/hello --name x osier.loglevel=info env.A=1 virtio_mmio.device=512@0xfeb00000:5";
    let p = given(line);
    assert_eq!(text(&p.words), ["/bin/hello", "--name", "x"]);
    assert_eq!(env(&p), ["A=1"]);
    assert_eq!(devices(line), [b"512@0xfeb00000:5"]);
    assert_eq!(p.options.exit, Some(ExitChannel::Debugcon));
    assert_eq!(p.options.loglevel, LevelFilter::Info);
    assert_eq!(p.warnings, []);
}

#[test]
fn what_qemu_appends_after_the_separator_is_the_kernels() {
    let line = "osier.exit=debugcon -- /bin/app a -- b virtio_mmio.device=512@0xfeb00e00:12";
    let p = given(line);
    assert_eq!(text(&p.words), ["/bin/app", "a", "--", "b"], "only the first `--` is dropped");
    assert_eq!(devices(line), [b"512@0xfeb00e00:12"]);
}

#[test]
fn quotes_keep_words_together_in_every_part() {
    let p = given(r#"env.GREETING="good morning" "/bin/my app" "osier.loglevel=error" "a b""#);
    assert_eq!(env(&p), ["GREETING=good morning"]);
    assert_eq!(text(&p.words), ["/bin/my app", "a b"]);
    assert_eq!(p.options.loglevel, LevelFilter::Error);
}

#[test]
fn the_vmms_line_wins_and_the_images_fills_in() {
    let default = b"osier.root=ramfs osier.loglevel=info env.A=1 env.B=2 /bin/hello --default";
    let p = parse(default, b"osier.loglevel=debug env.B=3 env.C=4");
    assert_eq!(text(&p.words), ["/bin/hello", "--default"]);
    assert_eq!(env(&p), ["A=1", "B=3", "C=4"]);
    assert_eq!(p.options.loglevel, LevelFilter::Debug);
    assert_eq!(p.options.root, Some(Root { kind: RootKind::Ramfs, uuid: None }));
    let p = parse(default, b"/bin/other");
    assert_eq!(text(&p.words), ["/bin/other"], "arguments of the image's program are not kept");
    assert_eq!(env(&p), ["A=1", "B=2"]);
}

#[test]
fn variables_that_are_always_there_can_have_other_values() {
    let p = given("env.HOME=/root env.TERM= env.HOMER=x env.HOME=/home");
    let wanted = ["PATH=/bin:/usr/bin:/sbin:/usr/sbin", "HOME=/home", "TERM=", "HOMER=x"];
    assert_eq!(text(&p.env), wanted);
}

#[test]
fn no_program_is_no_words() {
    assert!(given("osier.exit=semihosting env.A=1 --").words.is_empty());
}

#[test]
fn the_root_is_named_by_kind_and_uuid() {
    let root = |v: &str| given(&std::format!("osier.root={v}")).options.root;
    let uuid = Some(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes());
    let text = "00112233-4455-6677-8899-aabbccddeeff";
    assert_eq!(root(&std::format!("zfs:{text}")), Some(Root { kind: RootKind::Zfs, uuid }));
    assert_eq!(root(&std::format!("rofs:{}", text.to_uppercase())).unwrap().uuid, uuid);
    for bad in [
        "ext4",
        "zfs:",
        "zfs:0011",
        "rofs:00112233-4455-6677-8899-aabbccddeefg",
        "rofs:00112233-4455-6677-8899-aabbccddeeff-0",
    ] {
        assert_eq!(root(bad), None, "{bad}");
        assert_eq!(given(&std::format!("osier.root={bad}")).warnings.len(), 1, "{bad}");
    }
}

#[test]
fn mistakes_are_warned_of_and_say_what_there_is() {
    let p = given("osier.loglevl=info osier.exit=serial osier.leaks=yes a\"b");
    let said: Vec<String> = p.warnings.iter().map(ToString::to_string).collect();
    assert!(said[0].contains("unknown option osier.loglevl") && said[0].contains("osier.loglevel"));
    assert_eq!(said[1], "command line: bad value in osier.exit=serial");
    assert_eq!(said[2], "command line: bad value in osier.leaks=yes");
    assert_eq!(said[3], "command line: no closing quote in ab");
    assert_eq!(p.options, Options::DEFAULT);
}

#[test]
fn a_flag_without_a_value_is_set() {
    let p = given("osier.bootchart osier.leaks=1 osier.debug-panic=0");
    assert!(p.options.bootchart && p.options.leaks && !p.options.debug_panic);
}

#[test]
fn words_that_only_look_like_variables_are_the_programs() {
    assert_eq!(text(&given("env.sh env.=x env").words), ["env.sh", "env.=x", "env"]);
}

#[test]
fn bytes_that_are_not_utf8_stay_as_they_are() {
    let p = parse(b"", b"/bin/\xff env.A=\xfe osier.\xfd=1");
    assert_eq!(p.words.as_bytes(), b"/bin/\xff\0");
    assert!(p.env.as_bytes().ends_with(b"\0A=\xfe\0"));
    assert_eq!(
        p.warnings[0].to_string(),
        "command line: unknown option osier.\\xfd=1; there are osier.bootchart osier.debug-panic osier.exit osier.leaks osier.loglevel osier.poweroff osier.root osier.selftest"
    );
}

proptest! {
    #[test]
    fn the_early_and_the_full_parser_agree(a in "([a-z\" =.]|osier\\.|loglevel=|info|root=|zfs|exit=){0,30}", b in "([a-z\" =.]|osier\\.|leaks|loglevel=5|debugcon| ){0,30}") {
        prop_assert_eq!(options(a.as_bytes(), b.as_bytes()), parse(a.as_bytes(), b.as_bytes()).options);
    }

    #[test]
    fn no_line_panics(a in proptest::collection::vec(any::<u8>(), 0..300)) {
        let p = parse(&a, &a);
        for w in &p.warnings {
            let _ = w.to_string();
        }
    }
}

#[test]
fn values_of_a_key_are_found_wherever_they_stand() {
    let line = b"virtio_mmio.device=a x=1 /bin/p \"virtio_mmio.device=b c\" virtio_mmio.devices=d -- virtio_mmio.device= y";
    let mut found = Vec::new();
    super::values(line, "virtio_mmio.device", &mut found);
    assert_eq!(found, [&b"a"[..], b"b c", b""]);
}
