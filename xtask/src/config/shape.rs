//! What a key accepts, as a value: the source of the reference and of the JSON schemas.

use super::suggest;
use toml::de::DeValue;

/// A table that users write.
#[derive(Debug)]
pub struct TableDoc {
    /// What messages call it: `a profile`.
    pub what: &'static str,
    /// Its documentation, line by line, as rustdoc keeps it (each with a leading space).
    pub doc: &'static [&'static str],
    /// Its keys, in the order of declaration. A function, since tables may nest.
    pub keys: fn() -> Vec<KeyDoc>,
}

/// A key of a table.
#[derive(Debug)]
pub struct KeyDoc {
    /// As written.
    pub key: &'static str,
    /// Its documentation, line by line.
    pub doc: &'static [&'static str],
    /// What it accepts.
    pub shape: Shape,
    /// Whether it must be given.
    pub presence: Presence,
}

/// Whether a key must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Yes.
    Required,
    /// No; absence means something of its own, which the documentation says.
    Optional,
    /// No; this TOML value stands for it.
    Default(&'static str),
}

/// The values that a key accepts.
#[derive(Debug)]
pub enum Shape {
    /// A string.
    Text {
        /// What it is called.
        what: &'static str,
        /// What it must match.
        pattern: Option<&'static str>,
        /// Whether an integer is accepted as well.
        integer_too: bool,
    },
    /// One string of few.
    Choice {
        /// What it is called.
        what: &'static str,
        /// All of them.
        choices: &'static [&'static str],
    },
    /// An integer in a range, both ends included.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// `true` or `false`.
    Flag,
    /// An array.
    List(Box<Shape>),
    /// A table with free keys.
    Map {
        /// What a key is.
        key: Box<Shape>,
        /// What a value is.
        value: Box<Shape>,
    },
    /// A table with fixed keys.
    Table(&'static TableDoc),
    /// Any of these.
    Either(Vec<Shape>),
}

impl Shape {
    /// The shape in words, with its article: `a name`, `an array of names`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Shape::Text { what, .. } | Shape::Choice { what, .. } => (*what).to_owned(),
            Shape::Integer { .. } => "an integer".to_owned(),
            Shape::Flag => "`true` or `false`".to_owned(),
            Shape::List(item) => format!("an array, each item {}", item.name()),
            Shape::Map { value, .. } => format!("a table, each value {}", value.name()),
            Shape::Table(doc) => format!("a table, {}", doc.what),
            Shape::Either(shapes) => {
                let names: Vec<String> = shapes.iter().map(Shape::name).collect();
                names.join(", or ")
            }
        }
    }

    /// How the value `found`, of a wrong type, would be written right, when that is plain.
    #[must_use]
    pub fn example(&self, found: &DeValue<'_>) -> Option<String> {
        match (self, found) {
            (Shape::List(_), DeValue::String(s)) => Some(format!("write `[\"{s}\"]`")),
            (Shape::Text { pattern: None, .. }, DeValue::Integer(n)) => {
                Some(format!("write it in quotes: `\"{n}\"`"))
            }
            (Shape::Choice { choices, .. }, DeValue::Integer(n))
                if choices.contains(&n.as_str()) =>
            {
                Some(format!("write it in quotes: `\"{n}\"`"))
            }
            (Shape::Choice { choices, .. }, _) => {
                let all: Vec<String> = choices.iter().map(|c| format!("`\"{c}\"`")).collect();
                Some(format!("write {}", suggest::list(&all, "or")))
            }
            (Shape::Integer { .. }, DeValue::String(s)) if s.parse::<i64>().is_ok() => {
                Some(format!("write it without quotes: `{s}`"))
            }
            (Shape::Flag, DeValue::String(s)) if matches!(s.as_ref(), "true" | "false") => {
                Some(format!("write it without quotes: `{s}`"))
            }
            _ => None,
        }
    }

    /// A line that gives `key` some value of this shape.
    #[must_use]
    pub fn example_line(&self, key: &str) -> Option<String> {
        match self {
            Shape::Text { .. } => Some(format!("{key} = \"…\"")),
            Shape::Choice { choices, .. } => {
                let all: Vec<String> = choices.iter().map(|c| format!("{key} = \"{c}\"")).collect();
                Some(all.join("` or `"))
            }
            Shape::Integer { min, .. } => Some(format!("{key} = {min}")),
            Shape::Flag => Some(format!("{key} = true")),
            Shape::List(_) => Some(format!("{key} = []")),
            Shape::Table(_) => Some(format!("[{key}]")),
            Shape::Map { .. } => None,
            Shape::Either(shapes) => shapes.first().and_then(|s| s.example_line(key)),
        }
    }
}
