//! JSON schemas of the files that users write, from the same declarations as the decoder.
//! Draft 7, which taplo and the editors' JSON tools read.

use super::kinds::FileKind;
use super::shape::{Presence, Shape, TableDoc};
use serde_json::{Map, Value, json};

/// The draft that the schemas are written in.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The schema of a kind of file. For a table inside a foreign file (a driver's metadata in
/// its `Cargo.toml`) the rest of the file is left open.
#[must_use]
pub fn of_kind(kind: &FileKind) -> Value {
    let mut schema = table(kind.doc);
    for part in kind.table.split('.').filter(|p| !p.is_empty()).rev() {
        schema = json!({ "type": "object", "properties": { part: schema } });
    }
    if let Value::Object(top) = &mut schema {
        top.insert("$schema".into(), DRAFT.into());
        top.insert("title".into(), format!("Osier: {}", kind.doc.what).into());
    }
    schema
}

fn table(doc: &TableDoc) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in (doc.keys)() {
        let mut schema = of_shape(&key.shape);
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".into(), text(key.doc).into());
            if let Presence::Default(default) = key.presence
                && let Some(default) = super::decode::to_json(default)
            {
                schema.insert("default".into(), default);
            }
        }
        if key.presence == Presence::Required {
            required.push(key.key);
        }
        properties.insert(key.key.to_owned(), schema);
    }
    json!({
        "type": "object",
        "description": text(doc.doc),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The schema of one key's values.
#[must_use]
pub fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text { pattern, integer_too, .. } => {
            let mut schema = Map::new();
            let kind = if *integer_too { json!(["string", "integer"]) } else { json!("string") };
            schema.insert("type".into(), kind);
            schema.extend(pattern.map(|p| ("pattern".to_owned(), p.into())));
            schema.into()
        }
        Shape::Choice { choices, .. } => json!({ "enum": choices }),
        Shape::Integer { min, max } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::List(item) => json!({ "type": "array", "items": of_shape(item) }),
        Shape::Map { key, value } => {
            let names = match of_shape(key) {
                // Keys are strings in any case.
                Value::Object(mut names) => {
                    names.remove("type");
                    Value::Object(names)
                }
                other => other,
            };
            let value = of_shape(value);
            json!({ "type": "object", "propertyNames": names, "additionalProperties": value })
        }
        Shape::Table(doc) => table(doc),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(of_shape).collect::<Vec<_>>() })
        }
    }
}

/// Documentation as one text.
fn text(doc: &[&str]) -> String {
    doc.iter().map(|l| l.trim()).collect::<Vec<_>>().join(" ")
}
