//! Editors: the checked-in settings, the proxy's end, and what the real rust-analyzer and
//! the check on save find. The component is set up by `cargo xtask test`.
// Helpers of tests are not seen as tests by the lint's own exemption.
#![allow(clippy::unwrap_used)]

mod lsp;

use lsp::Client;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

fn osier() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// What these tests compile, kept between runs.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor").join(name)
}

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(XTASK);
    command.args(args).current_dir(osier()).env("OSIER_ROOT", osier()).env_remove("ARCH");
    // What `cargo test` sets for this test is not there when an editor starts.
    command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
    command
}

/// The component; where it is missing `test` is noted as skipped, by name and reason.
fn rust_analyzer(test: &str) -> Option<PathBuf> {
    let out = xtask(&["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let tools = report["tools"].as_array().unwrap();
    let tool = tools.iter().find(|t| t["tool"] == "rust-analyzer").unwrap();
    if tool["ok"] == true {
        let rustc = tools.iter().find(|t| t["tool"] == "rust-src").unwrap();
        // rust-src's own file: <sysroot>/lib/rustlib/src/rust/library/Cargo.lock
        let sysroot = Path::new(rustc["found"].as_str().unwrap()).ancestors().nth(6).unwrap();
        return Some(sysroot.join("bin/rust-analyzer"));
    }
    let line = format!("{test}: the component rust-analyzer is missing");
    eprintln!("skipped {line}");
    if let Some(path) = std::env::var_os("OSIER_TEST_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
    None
}

#[test]
fn each_editor_has_the_same_settings() {
    let said = xtask(&["rust-analyzer", "--settings"]).output().unwrap();
    let ours: Value = serde_json::from_slice(&said.stdout).unwrap();
    let read = |file: &str| fs::read_to_string(osier().join(file)).unwrap();

    let code: Value = serde_json::from_str(&read(".vscode/settings.json")).unwrap();
    let mut nested = json!({});
    for (key, value) in code.as_object().unwrap() {
        if let Some(key) = key.strip_prefix("rust-analyzer.") {
            let (table, key) = key.split_once('.').unwrap();
            nested[table][key] = value.clone();
        }
    }
    assert_eq!(nested, ours, ".vscode/settings.json");

    let lua = read(".nvim.lua");
    let (_, rest) = lua.split_once("[[").unwrap();
    let (text, _) = rest.split_once("]]").unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), ours, ".nvim.lua");

    let helix: toml::Table = read(".helix/languages.toml").parse().unwrap();
    let config = &helix["language-server"]["rust-analyzer"]["config"];
    assert_eq!(serde_json::to_value(config).unwrap(), ours, ".helix/languages.toml");
    for arch in ["x64", "aarch64"] {
        let args = helix["language-server"][&format!("osier-{arch}")]["args"].as_array().unwrap();
        let args: Vec<&str> = args.iter().map(|a| a.as_str().unwrap()).collect();
        assert_eq!(args, ["xtask", "rust-analyzer", "--arch", arch]);
    }
}

#[test]
fn an_unknown_arch_is_refused() {
    let out = xtask(&["rust-analyzer", "--arch", "arm64"]).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("Osier calls it aarch64"), "{said}");
}

/// A toolchain whose rust-analyzer is a shell script.
fn with_server(script: &str) -> (tempfile::TempDir, Command) {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
    };
    for tool in ["cargo", "rustc"] {
        put(&format!("t/bin/{tool}"), "");
    }
    put("t/lib/rustlib/src/rust/library/Cargo.lock", "");
    put("t/bin/rust-analyzer", &format!("#!/bin/sh\n{script}\n"));
    let mut command = xtask(&["rust-analyzer"]);
    command.env("CARGO", dir.path().join("t/bin/cargo")).env_remove("RUSTC");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (dir, command)
}

/// What a session with `script` as the server comes to when the editor says `input` and is
/// gone: status, stdout, stderr.
fn session(script: &str, input: &[u8]) -> (Option<i32>, String, String) {
    let (_dir, mut command) = with_server(script);
    let mut child = command.spawn().unwrap();
    // The server may be gone already; then nobody reads it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let out = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_proxy_ends_with_its_editor() {
    let message = b"Content-Length: 2\r\n\r\n{}";
    // A server that answers, and has a last word when its editor is gone, which is when it has
    // answered: a server that is not running yet would be given no more than its time to end.
    let answers = "head -c 23; cat >/dev/null; printf 'Content-Length: 4\\r\\n\\r\\nlast'";
    let (_dir, mut command) = with_server(answers);
    let mut child = command.spawn().unwrap();
    let mut editor = child.stdin.take().unwrap();
    editor.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    let mut server = child.stdout.take().unwrap();
    server.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
    drop(editor);
    let mut last = String::new();
    server.read_to_string(&mut last).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(
        (last.as_str(), out.status.code()),
        ("Content-Length: 4\r\n\r\nlast", Some(0)),
        "{said}"
    );
    // A server that does not care that its editor is gone is ended.
    let (status, _, said) = session("exec sleep 1000 <&-", message);
    assert_eq!(status, Some(0), "{said}");
    let (status, _, said) = session("cat", b"hello there\r\n\r\n");
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("the editor sent no LSP") && said.contains("`hello there` is no header"),
        "{said}"
    );
}

#[test]
fn the_proxy_ends_with_its_server() {
    let no_protocol = "printf 'no protocol\\r\\n\\r\\n'; cat >/dev/null";
    for (script, status, says) in
        [("exit 0", 0, ""), ("exit 3", 1, ""), (no_protocol, 1, "the server sent no LSP")]
    {
        let (_dir, mut command) = with_server(script);
        let mut child = command.spawn().unwrap();
        // The editor stays: its end of the pipe is open until the proxy is gone.
        let editor = child.stdin.take().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(status), "{script}: {said}");
        assert!(said.contains(says), "{script}: {said}");
        drop(editor);
    }
}

#[test]
fn rust_analyzer_finds_no_error_in_the_tree() {
    let Some(server) = rust_analyzer("rust_analyzer_finds_no_error_in_the_tree") else { return };
    let out = Command::new("timeout")
        .arg("300")
        .arg(server)
        .args(["diagnostics", "."])
        .current_dir(osier())
        .env("CARGO_TARGET_DIR", kept("rust-analyzer"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let errors: Vec<&str> = said.split('\r').filter(|l| l.contains(": Error ")).collect();
    assert!(out.status.success() && errors.is_empty(), "{errors:?}\n{}", out.status);
    assert!(said.contains("diagnostic scan complete"), "{said}");
    for file in ["loader/src/lib.rs", "xtask/src/main.rs"] {
        assert!(said.contains(file), "{file} was not looked at: {said}");
    }
}

#[test]
fn definitions_are_found_in_each_archs_own_code() {
    if rust_analyzer("definitions_are_found_in_each_archs_own_code").is_none() {
        return;
    }
    for arch in ["x64", "aarch64"] {
        let mut server = xtask(&["rust-analyzer", "--arch", arch]);
        server.env("CARGO_TARGET_DIR", kept("rust-analyzer"));
        let mut client = Client::start(server, &osier());
        let own = format!("loader/src/arch/{arch}");
        // From code that both archs share to the arch's, and inside of what is hardware-only.
        let trap = format!("{own}/trap.rs");
        for (from, what, to, definition) in [
            ("loader/src/process/start.rs", "resume_user", &trap, "fn resume_user("),
            (&trap, "TrapFrame", &format!("{own}/frame.rs"), "pub struct TrapFrame"),
            (
                "xtask/src/exec/supervise.rs",
                "Command::new",
                &"std/src/process.rs".to_owned(),
                "pub struct Command",
            ),
        ] {
            client.assert_definition(from, what, to, definition);
        }
        let start = "loader/src/process/start.rs";
        client.assert_hover(start, "resume_user", "fn resume_user(frame: &TrapFrame) -> !");
        client.assert_completion(&format!("{own}/paging.rs"), "super::pte::", "Format");
        for entry in fs::read_dir(osier().join(&own)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            client.assert_no_error(&format!("{own}/{name}"));
        }
        client.end();
    }
}

/// Copies the tree as git sees it; a file that is the same stays untouched, so that cargo
/// compiles only what a run before has not.
fn copy_of_the_tree(to: &Path, seed: impl Fn(&str, &mut String)) {
    let list = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(osier())
        .output()
        .unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    for name in String::from_utf8(list.stdout).unwrap().split('\0').filter(|n| !n.is_empty()) {
        let Ok(bytes) = fs::read(osier().join(name)) else { continue };
        // What somebody has lying about in the tree need not be text.
        let bytes = match String::from_utf8(bytes) {
            Ok(mut text) => {
                seed(name, &mut text);
                text.into_bytes()
            }
            Err(other) => other.into_bytes(),
        };
        let copy = to.join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        if fs::read(&copy).ok().as_ref() != Some(&bytes) {
            fs::write(&copy, bytes).unwrap();
        }
        files.push(copy);
    }
    assert!(files.len() > 100, "git lists {} files", files.len());
    remove_others(to, &files);
}

fn remove_others(folder: &Path, keep: &[PathBuf]) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            remove_others(&path, keep);
        } else if !keep.contains(&path) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn the_check_on_save_reports_both_archs_and_each_finding_once() {
    let tree = kept("tree");
    copy_of_the_tree(&tree, |name, text| match name {
        "loader/src/arch/x64/power.rs" => text.push_str("\nfn seeded_x64() -> u32 { \"x64\" }\n"),
        "loader/src/arch/aarch64/power.rs" => {
            text.push_str("\nfn seeded_aarch64() -> u32 { \"aarch64\" }\n");
        }
        // Compiled for the host, for its tests and for both kernels.
        "formats/end-record/src/lib.rs" => {
            *text = text.replacen("\n//! ", "\n//! Seeded.\n//! ", 1);
            let at = text.find("\npub ").unwrap();
            text.insert_str(at, "\n/// Seeded.\npub fn seeded() { let unused = 1; }\n");
        }
        _ => {}
    });
    let out = xtask(&["check", "--message-format", "json", "--build-dir"])
        .arg(kept("build"))
        .current_dir(&tree)
        .env("OSIER_ROOT", &tree)
        .env_remove("OSIER_BUILD_DIR")
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    let messages: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let found = |level: &str, text: &str| -> Vec<String> {
        let is = |m: &&Value| {
            m["reason"] == "compiler-message"
                && m["message"]["level"] == level
                && m["message"]["message"].as_str().unwrap().contains(text)
        };
        let place = |m: &Value| m["message"]["spans"][0]["file_name"].as_str().unwrap().to_owned();
        messages.iter().filter(is).map(place).collect()
    };
    let file = |name: &str| tree.join(name).to_str().unwrap().to_owned();
    let archs = ["x64", "aarch64"].map(|a| file(&format!("loader/src/arch/{a}/power.rs")));
    let mut errors = found("error", "mismatched types");
    errors.sort();
    let mut wanted = archs.to_vec();
    wanted.sort();
    assert_eq!(errors, wanted, "{err}");
    let unused = found("warning", "unused variable: `unused`");
    assert_eq!(unused, [file("formats/end-record/src/lib.rs")], "{err}");
    assert_eq!(messages.last(), Some(&json!({"reason": "build-finished", "success": false})));
}
