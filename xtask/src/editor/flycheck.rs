//! Cargo's messages (The Cargo Book, "External tools", JSON messages) of several calls as
//! one stream: the same crate is checked for the host and for each kernel target, and most
//! of what the compiler says is the same in all of them.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use std::collections::HashSet;

/// One stream of messages out of several calls of cargo.
#[derive(Debug)]
pub struct Merge {
    /// The folder that the compiler ran in, to which the paths of its spans are relative.
    root: Utf8PathBuf,
    seen: HashSet<String>,
    clean: bool,
}

impl Merge {
    /// For calls whose compilers run in `root`, which is absolute.
    #[must_use]
    pub fn new(root: &Utf8Path) -> Self {
        Self { root: root.to_owned(), seen: HashSet::new(), clean: true }
    }

    /// Takes a line of a call's output; gives the line to hand on, if any. A diagnostic is
    /// handed on once, with absolute paths. That a call has finished is left out:
    /// [`Self::finish`] says it for all.
    pub fn take(&mut self, line: &str) -> Option<String> {
        let mut message: Value = serde_json::from_str(line).ok()?;
        match message.get("reason").and_then(Value::as_str) {
            Some("build-finished") | None => None,
            Some("compiler-message") => {
                let diagnostic = message.get_mut("message")?;
                if !self.seen.insert(identity(diagnostic)) {
                    return None;
                }
                let level = diagnostic.get("level").and_then(Value::as_str).unwrap_or_default();
                // Besides these there are notes and helps, and an internal error begins so.
                self.clean &= !(level.starts_with("error") || level == "warning");
                absolute(diagnostic, &self.root);
                Some(message.to_string())
            }
            Some(_) => Some(line.to_owned()),
        }
    }

    /// The last line, and whether there was neither an error nor a warning. `succeeded` is
    /// whether all calls did.
    #[must_use]
    pub fn finish(&self, succeeded: bool) -> (String, bool) {
        let good = succeeded && self.clean;
        (json!({"reason": "build-finished", "success": good}).to_string(), good)
    }
}

/// What makes two diagnostics the same to a reader. Their notes are left out: the compiler
/// says why a lint is on only at its first finding in a crate, and which is first depends on
/// the target.
fn identity(diagnostic: &Value) -> String {
    let field = |key: &str| diagnostic.get(key).cloned().unwrap_or_default();
    let code = diagnostic.pointer("/code/code").cloned().unwrap_or_default();
    let spans = diagnostic.get("spans").and_then(Value::as_array);
    let spans: Vec<Value> = spans
        .into_iter()
        .flatten()
        .map(|s| json!([s["file_name"], s["byte_start"], s["byte_end"], s["label"]]))
        .collect();
    json!([field("level"), code, field("message"), spans]).to_string()
}

/// Makes the paths of all spans absolute, those of notes and of macro expansions included:
/// an editor may have been opened in another folder.
fn absolute(value: &mut Value, root: &Utf8Path) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    // `<…>` is no file but the name of a macro's or the prelude's text.
                    Value::String(path) if key == "file_name" && !path.starts_with('<') => {
                        *path = root.join(&*path).into_string();
                    }
                    other => absolute(other, root),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|v| absolute(v, root)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(level: &str, file: &str, note: &str) -> String {
        json!({
            "reason": "compiler-message",
            "message": {
                "level": level,
                "message": "unused variable: `x`",
                "code": {"code": "unused_variables"},
                "spans": [{
                    "file_name": file, "byte_start": 3, "byte_end": 4, "label": null,
                    "expansion": {"span": {"file_name": "loader/src/macros.rs"}},
                }],
                "children": [{"message": note, "spans": [{"file_name": "<anon>"}]}],
            },
        })
        .to_string()
    }

    #[test]
    fn what_several_targets_say_is_said_once() {
        let mut merge = Merge::new(Utf8Path::new("/osier"));
        let host = diagnostic("warning", "loader/src/a.rs", "on by default");
        let first: Value = serde_json::from_str(&merge.take(&host).unwrap()).unwrap();
        assert_eq!(merge.take(&diagnostic("warning", "loader/src/a.rs", "")), None);
        assert!(merge.take(&diagnostic("warning", "loader/src/b.rs", "")).is_some());
        let path = |p: &str| first.pointer(&format!("/message{p}/file_name")).cloned();
        assert_eq!(path("/spans/0"), Some("/osier/loader/src/a.rs".into()));
        assert_eq!(path("/spans/0/expansion/span"), Some("/osier/loader/src/macros.rs".into()));
        assert_eq!(path("/children/0/spans/0"), Some("<anon>".into()));
    }

    #[test]
    fn absolute_paths_stay() {
        let mut merge = Merge::new(Utf8Path::new("/osier"));
        let core = diagnostic("error", "/rustlib/src/core/a.rs", "");
        let line = merge.take(&core).unwrap();
        assert!(line.contains("\"/rustlib/src/core/a.rs\""), "{line}");
    }

    #[test]
    fn one_end_says_how_all_went() {
        let mut merge = Merge::new(Utf8Path::new("/"));
        assert_eq!(merge.take(r#"{"reason":"build-finished","success":true}"#), None);
        let artifact = r#"{"reason":"compiler-artifact","fresh":true}"#;
        assert_eq!(merge.take(artifact).as_deref(), Some(artifact));
        assert_eq!(merge.take("no JSON"), None);
        let end = |m: &Merge, ok| {
            let (line, good) = m.finish(ok);
            assert!(line.contains(&format!("\"success\":{good}")), "{line}");
            good
        };
        assert!(end(&merge, true));
        assert!(!end(&merge, false), "a call that failed");
        merge.take(&diagnostic("note", "a.rs", ""));
        assert!(end(&merge, true));
        merge.take(&diagnostic("warning", "a.rs", ""));
        assert!(!end(&merge, true), "a warning");
    }
}
