//! The schemas against the files of this tree, and the declarations against themselves.

use super::*;
use crate::config::kinds::{FileKind, KINDS};
use crate::config::shape::{KeyDoc, Presence, Shape, TableDoc};
use crate::config::{decode, schema};
use serde_json::Value;

/// What of draft 7 the schemas use. `Err` says where and why.
fn validate(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fail = |why: String| Err(format!("{at}: {why}"));
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    if let Some(choices) = list("enum")
        && !choices.contains(value)
    {
        return fail(format!("{value} is none of {choices:?}"));
    }
    let kind = match value {
        Value::String(_) => "string",
        Value::Number(n) if n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    match schema.get("type") {
        Some(Value::String(t)) if t != kind => return fail(format!("{kind}, not {t}")),
        Some(Value::Array(ts)) if !ts.contains(&kind.into()) => return fail(kind.to_owned()),
        _ => {}
    }
    if let (Some(pattern), Value::String(s)) = (schema.get("pattern"), value) {
        let pattern = pattern.as_str().expect("a pattern is a string");
        let regex = regex_lite::Regex::new(pattern).expect("a pattern compiles");
        if !regex.is_match(s) {
            return fail(format!("`{s}` does not match {pattern}"));
        }
    }
    if let (Some(min), Some(max), Some(n)) =
        (schema.get("minimum"), schema.get("maximum"), value.as_i64())
        && !(min.as_i64()..=max.as_i64()).contains(&Some(n))
    {
        return fail(format!("{n} is out of range"));
    }
    if let Some(any) = list("anyOf")
        && !any.iter().any(|s| validate(s, value, at).is_ok())
    {
        return fail(format!("{value} fits none of anyOf"));
    }
    for item in value.as_array().into_iter().flatten() {
        validate(&schema["items"], item, &format!("{at}[]"))?;
    }
    let Value::Object(object) = value else { return Ok(()) };
    for key in list("required").into_iter().flatten() {
        if !object.contains_key(key.as_str().expect("a key is a string")) {
            return fail(format!("{key} is missing"));
        }
    }
    for (key, value) in object {
        let inner = format!("{at}.{key}");
        match (
            schema.get("properties").and_then(|p| p.get(key)),
            schema.get("additionalProperties"),
        ) {
            (Some(known), _) => validate(known, value, &inner)?,
            (None, Some(Value::Bool(false))) => return fail(format!("unknown key {key}")),
            (None, Some(other)) => validate(other, value, &inner)?,
            (None, None) => {}
        }
        if let Some(names) = schema.get("propertyNames") {
            validate(names, &key.as_str().into(), &inner)?;
        }
    }
    Ok(())
}

fn json(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(table).expect("JSON")
}

/// Files of `root` that the pattern `files` names.
fn matching(root: &Utf8Path, files: &str) -> Vec<Utf8PathBuf> {
    let mut found = vec![root.to_owned()];
    for part in files.split('/') {
        let fits = |name: &str| match part.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == part,
        };
        let list = |dir: &Utf8PathBuf| tree::Disk.list(dir).unwrap_or_default();
        found = found
            .iter()
            .flat_map(|dir| {
                list(dir).into_iter().filter(|e| fits(&e.name)).map(|e| dir.join(e.name))
            })
            .collect();
    }
    found
}

#[test]
fn every_file_of_this_tree_fits_its_schema() {
    let root = this_tree().osier;
    let mut seen = 0;
    for kind in KINDS {
        let schema = schema::of_kind(kind);
        for file in matching(&root, kind.files) {
            let text = std::fs::read_to_string(&file).expect("a file that was listed");
            validate(&schema, &json(&text), file.as_str()).unwrap_or_else(|e| panic!("{e}"));
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} files");
}

#[test]
fn a_schema_refuses_what_the_loader_refuses() {
    for (kind, text, why) in [
        (
            "machine",
            "format = 1\narch = \"x64\"\ntype = \"q35\"\nmemroy = \"1M\"",
            "unknown key memroy",
        ),
        ("machine", "format = 1\narch = \"x86\"\ntype = \"q35\"", "is none of"),
        ("machine", "format = 1\narch = \"x64\"", "\"type\" is missing"),
        (
            "machine",
            "format = 1\narch = \"x64\"\ntype = \"q35\"\nmemory = 5",
            "integer, not string",
        ),
        ("machine", "format = 2\narch = \"x64\"\ntype = \"q35\"", "2 is out of range"),
        ("profile", "format = 1\ndescription = \"\"\nmachine = \"A\"", "`A` does not match"),
        ("driver", "[package.metadata.driver]\nrequire = []", "unknown key require"),
        ("scenario", "format = 1\ndescription = \"\"\nimage = \"a\"\nmachine = 1", "fits none of"),
        ("image", "format = 1\ndescription = \"\"\n[arch.x86]", "is none of"),
    ] {
        let schema = schema::of_kind(FileKind::named(kind).expect(kind));
        let refused = validate(&schema, &json(text), kind).expect_err(text);
        assert!(refused.contains(why), "{refused}");
    }
}

/// Every key of every table, with the table's name.
fn every_key(doc: &'static TableDoc, visit: &mut impl FnMut(&'static str, &KeyDoc)) {
    fn inside(shape: &Shape, visit: &mut impl FnMut(&'static str, &KeyDoc)) {
        match shape {
            Shape::Table(doc) => every_key(doc, visit),
            Shape::List(item) => inside(item, visit),
            Shape::Map { value, .. } => inside(value, visit),
            Shape::Either(shapes) => shapes.iter().for_each(|s| inside(s, visit)),
            _ => {}
        }
    }
    for key in (doc.keys)() {
        visit(doc.what, &key);
        inside(&key.shape, visit);
    }
}

#[test]
fn every_default_is_a_value_of_its_key() {
    let mut defaults = 0;
    for kind in KINDS {
        every_key(kind.doc, &mut |what, key| {
            assert!(!key.doc.is_empty(), "{what}.{} has no documentation", key.key);
            let Presence::Default(default) = key.presence else { return };
            let value = decode::to_json(default).unwrap_or_else(|| panic!("{default} is no TOML"));
            let schema = schema::of_shape(&key.shape);
            validate(&schema, &value, key.key).unwrap_or_else(|e| panic!("{what}: {e}"));
            defaults += 1;
        });
    }
    assert!(defaults > 30, "only {defaults} defaults");
}

#[test]
fn no_toml_is_parsed_anywhere_but_in_the_loader() {
    let root = this_tree().osier;
    let mut folders = vec![root.join("xtask/src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in tree::Disk.list(&folder).expect("a folder of this tree") {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                // The loader itself, and the tidy rules, which name the word.
                let exempt = ["xtask/src/config", "xtask/src/tidy"].map(|p| root.join(p));
                folders.extend((!exempt.contains(&path)).then_some(path));
            } else if path.extension() == Some("rs") {
                files += 1;
                let text = std::fs::read_to_string(&path).expect("a file of this tree");
                for word in ["toml::", "use toml", "toml_edit", "toml_parser"] {
                    assert!(
                        !text.contains(word),
                        "{path} uses `{word}`: load it in xtask/src/config"
                    );
                }
            }
        }
    }
    assert!(files > 20, "only {files} files");
    for manifest in matching(&root, "*/Cargo.toml").iter().chain(&matching(&root, "*/*/Cargo.toml"))
    {
        let text = std::fs::read_to_string(manifest).expect("a file that was listed");
        let uses = text.lines().any(|l| l.starts_with("toml"));
        assert!(!uses || *manifest == root.join("xtask/Cargo.toml"), "{manifest} depends on toml");
    }
}
